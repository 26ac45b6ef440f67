"""Whole pictures of one image: its regions, the levels of its hierarchy, its tokens."""

import numpy as np
from torch import Tensor, nn

from dht_mm.vector.checks import Regions, check_image, label_map

from .attention import region_attention
from .borders import draw_borders
from .label_colors import paint_regions
from .legends import with_color_bar, with_legend
from .levels import Forest, level_labels, num_levels, selected_levels
from .mean_color import paint_mean_color
from .panels import panel_grid, upscale
from .tokens import BlockPass, observe_block, principal_colors
from .values import paint_colors, paint_values, value_colors

MIN_HEIGHT = 240  # pixels; smaller images are enlarged, so that borders hide less and captions fit
COLUMNS, WIDE_COLUMNS = 2, 3
UPPER_END = 0.98  # quantile of regions at the upper end of scales: attention to a few regions would leave all others dark
MARK = 213, 94, 0  # vermilion, in no colour of the scale


def draw_regions(image: np.ndarray, regions: Regions) -> np.ndarray:
    """The image, the borders of its regions, their mean colours, and colours that tell neighbours apart.

    Args:
        image: ``[H, W, 3]`` uint8 RGB.
        regions: A partition of it or a label map ``[H, W]``.

    Returns:
        ``[H', W', 3]`` uint8, the four in two rows.

    Raises:
        TypeError: ``image`` or ``regions`` is of another type.
        ValueError: ``regions`` has another size than ``image``.
    """
    labels = label_map(regions, check_image(image).shape[:2])
    scale = _scale(image)
    return panel_grid({
        'image': upscale(image, scale),
        _count(len(np.unique(labels))): draw_borders(upscale(image, scale), upscale(labels, scale)),
        'mean colours': upscale(paint_mean_color(image, labels), scale),
        'region by region': upscale(paint_regions(labels), scale)}, COLUMNS)


def draw_levels(image: np.ndarray, hierarchy: Forest) -> np.ndarray:
    """All levels of a hierarchy in mean colours, and which one each region of the result was selected from.

    Args:
        image: ``[H, W, 3]`` uint8 RGB.
        hierarchy: That of this one image, from ``DHTTokenizer.hierarchy``.

    Returns:
        ``[H', W', 3]`` uint8, rows of pictures.

    Raises:
        TypeError: ``image`` is not a uint8 numpy array.
        ValueError: The hierarchy is of another size or of several images.
    """
    if hierarchy.labels.shape != (1, *check_image(image).shape[:2]):
        raise ValueError(f'hierarchy must be of one image of size {image.shape[:2]}, got {tuple(hierarchy.labels.shape)}')
    scale, pictures = _scale(image), {}
    for level in range(1, num_levels(hierarchy) + 1):
        labels = level_labels(hierarchy, level)[0]
        pictures[f'level {level}: {_count(labels.max() + 1)}'] = upscale(paint_mean_color(image, labels), scale)
    pictures[f'selected: {_count(len(hierarchy.node))}'] = upscale(paint_mean_color(image, hierarchy.labels[0]), scale)
    selection, colors = paint_selected_levels(hierarchy)
    pictures['level selected'] = with_legend(upscale(selection, scale), colors)
    return panel_grid(pictures, WIDE_COLUMNS)


def paint_selected_levels(hierarchy: Forest) -> tuple[np.ndarray, dict[str, tuple[int, int, int]]]:
    """Which level each region was selected from, from dark (pixels) to light (the whole image).

    Args:
        hierarchy: That of one image, from ``DHTTokenizer.hierarchy``.

    Returns:
        ``[H, W, 3]`` uint8, and the RGB colour of each level that regions come from, by its name and their number.
    """
    levels, last = selected_levels(hierarchy), num_levels(hierarchy) + 1
    names = {0: 'pixels', last: 'whole image'}
    colors = {
        f'{names.get(level, f"level {level}")}: {_count(count)}': tuple(value_colors(level, 0, last).tolist())
        for level, count in zip(*map(np.ndarray.tolist, np.unique(levels, return_counts=True)), strict=True)}
    return paint_values(hierarchy.labels[0], levels, 0, last), colors


def draw_tokens(image: np.ndarray, backbone: nn.Module, inputs: Tensor, block: int = -1,
                point: tuple[int, int] | None = None) -> np.ndarray:
    """Tokens of a block painted on their regions: norms, principal components, attention from the class token and from a region.

    Args:
        image: ``[H, W, 3]`` uint8 RGB.
        backbone: A ``DHTViT`` in evaluation mode.
        inputs: ``[1, C, H, W]`` float, the same image as the backbone takes it.
        block: Number of the block, negative ones counted from the end.
        point: ``(y, x)`` of the pixel whose region's attention is shown; None for the image's middle.

    Returns:
        ``[H', W', 3]`` uint8, rows of pictures. Attention is the mean over heads.

    Raises:
        TypeError: ``image`` is not a uint8 numpy array.
        ValueError: ``inputs`` is of another size, or there is no such block or pixel.
    """
    scale, seen = _scale(image), _observe_one(image, backbone, inputs, block)
    labels, tokens = seen.partition.labels[0].cpu().numpy(), seen.regions
    pictures = {
        'image': upscale(image, scale),
        'principal components of tokens': upscale(paint_colors(labels, principal_colors(tokens, seen.partition.size)), scale),
        'norm of tokens': _paint_scale(labels, tokens.norm(dim=1), scale)}
    if seen.has_cls_token:
        pictures['attention of the class token'] = _paint_scale(labels, region_attention(seen).regions.mean(1), scale)
    point = (image.shape[0] // 2, image.shape[1] // 2) if point is None else point
    attention = region_attention(seen, point).regions.mean(1)
    attended = _paint_scale(labels, attention, scale, mark=int(labels[point]))
    return panel_grid(pictures | {'attention of the outlined region': attended}, WIDE_COLUMNS)


def draw_heads(image: np.ndarray, backbone: nn.Module, inputs: Tensor, block: int = -1,
               point: tuple[int, int] | None = None) -> np.ndarray:
    """Attention of each head of a block, from the class token or from the region at a pixel.

    Args:
        image: ``[H, W, 3]`` uint8 RGB.
        backbone: A ``DHTViT`` in evaluation mode.
        inputs: ``[1, C, H, W]`` float, the same image as the backbone takes it.
        block: Number of the block, negative ones counted from the end.
        point: ``(y, x)`` of a pixel; None for the class token, or for the image's middle where there is none.

    Returns:
        ``[H', W', 3]`` uint8, rows of pictures.

    Raises:
        TypeError: ``image`` is not a uint8 numpy array.
        ValueError: ``inputs`` is of another size, or there is no such block or pixel.
    """
    scale, seen = _scale(image), _observe_one(image, backbone, inputs, block)
    labels = seen.partition.labels[0].cpu().numpy()
    if point is None and not seen.has_cls_token:
        point = image.shape[0] // 2, image.shape[1] // 2
    heads = region_attention(seen, point).regions.T
    mark = None if point is None else int(labels[point])
    return panel_grid({f'head {index}': _paint_scale(labels, head, scale, mark) for index, head in enumerate(heads)}, WIDE_COLUMNS)


def _observe_one(image: np.ndarray, backbone: nn.Module, inputs: Tensor, block: int) -> BlockPass:
    if inputs.shape[0] != 1 or inputs.shape[2:] != check_image(image).shape[:2]:
        raise ValueError(f'inputs must be one image of size {image.shape[:2]}, got shape {tuple(inputs.shape)}')
    return observe_block(backbone, inputs, block)


def _paint_scale(labels: np.ndarray, values: Tensor, scale: int, mark: int | None = None) -> np.ndarray:
    """One number a region as a picture with its scale, and one region outlined."""
    low, high = float(values.min()), float(values.quantile(UPPER_END))
    picture = upscale(paint_values(labels, values, low, high), scale)
    if mark is not None:
        picture = draw_borders(picture, upscale((labels == mark).astype(int), scale), MARK)
    return with_color_bar(picture, low, high, above=bool(values.max() > high))


def _scale(image: np.ndarray) -> int:
    return max(1, -(-MIN_HEIGHT // image.shape[0]))


def _count(regions: int) -> str:
    return f'{regions} region' if regions == 1 else f'{regions} regions'
