"""The hierarchy op: pixel features to regions, and the differentiable values of the regions."""

from numbers import Real
from typing import NamedTuple

import torch
from torch import Tensor

from .backend import use_ext
from .checks import check_devices
from .op import define
from .reference import hierarchy as reference
from .reference.criterion import PENALTIES
from .reference.edge_weight import KERNELS
from .reference.gradients import gradients
from .reference.tree_mean import replay

_NOT_FINITE = 'features must be finite: the images or the weights hold NaN or infinite values'


class Hierarchy(NamedTuple):
    """A partition and the forest of regions it was selected from.

    ``R`` regions of a batch, image after image, label after label; ``n`` nodes of the forest, level after level: pixels (level 0, in
    raster order), regions of every level, and last each whole image as one region. ``node_*`` fields leave out the pixels, whose
    values are implied: row ``i`` of them is node ``i + B * H * W``.

    Attributes:
        labels: ``[B, H, W]`` int32, region of each pixel, numbered per image in raster order of first pixels.
        num_regions: ``[B]`` int32.
        offsets: ``[B + 1]`` int32, start of each image's regions, and their number.
        node: ``[R]`` int32, selected node of each region; regions that lie apart can share one.
        bbox: ``[R, 4]`` int32, inclusive ymin, xmin, ymax, xmax.
        size: ``[R]`` int32, pixels.
        mean: ``[R, d]``, mean of the selected node, without gradient.
        parent: ``[n]`` int32, node of the next level; -1 for whole images.
        pick: ``[n]`` int32, neighbour that each node proposed to merge with; itself where its self edge won.
        node_mean: ``[n - BHW, d]``, ``F`` of paper eq. 5.
        node_variance: ``[n - BHW, d]``, ``S``.
        node_size: ``[n - BHW]`` int32.
        node_bbox: ``[n - BHW, 4]`` int32.
        node_score: ``[n - BHW]`` float64, negative information criterion; ``-inf`` in levels after an image stopped.
        node_alpha: ``[n - BHW]`` float64, sum of the children's ``alpha = m sqrt(w*)``.
        level_starts: ``[L + 3]`` int64, first node of each level, then ``n``.
    """

    labels: Tensor
    num_regions: Tensor
    offsets: Tensor
    node: Tensor
    bbox: Tensor
    size: Tensor
    mean: Tensor
    parent: Tensor
    pick: Tensor
    node_mean: Tensor
    node_variance: Tensor
    node_size: Tensor
    node_bbox: Tensor
    node_score: Tensor
    node_alpha: Tensor
    level_starts: Tensor

    def packed(self) -> 'Hierarchy':
        """The hierarchy without the rows and levels that :func:`build_fixed_hierarchy` adds. Waits for the device.

        Without any node where ``num_regions`` says that the regions did not fit.
        """
        starts = self.level_starts.unique_consecutive()
        regions, nodes = int(self.offsets[-1]), int(starts[-1])
        if (len(self.size), len(self.parent)) == (regions, nodes):
            return self
        merged = max(nodes - self.labels.numel(), 0)
        return Hierarchy(*self[:3], *(field[:regions] for field in self[3:7]), *(field[:nodes] for field in self[7:9]),
                         *(field[:merged] for field in self[9:15]), starts)


def build_hierarchy(features: Tensor, slope: Tensor, bias: Tensor, *, kernel: str = 'gaussian', compactness: float = 0.1,
                    criterion: str = 'aicc', iota: float = 5.0, min_regions: int = 6) -> Hierarchy:
    """Merge pixels into a hierarchy and select the regions that an information criterion prefers (paper section 3).

    Every image is treated alone; the result has no gradient (see :func:`tree_mean`). Weights, scores and statistics are computed in
    float64 with single IEEE operations or in integers, so the result is the same on every device and backend.

    Args:
        features: ``[B, d, H, W]`` float32 or float64, finite, ``f0``.
        slope: ``[d]``, ``a`` of the self edge's kernel ``sigmoid(a . s + b)``.
        bias: ``[]``, ``b``.
        kernel: ``'gaussian'``, ``'cosine'`` or ``'tanimoto'``.
        compactness: Share ``c`` in [0, 1) of the regions' shape in the edge weight.
        criterion: ``'aic'``, ``'aicc'``, ``'bic'`` or ``'cic'``.
        iota: Positive constant of the likelihood.
        min_regions: An image with at most this many regions is not merged further.

    Raises:
        TypeError: ``compactness`` or ``iota`` is not a number.
        ValueError: An argument is out of its range.
    """
    check_features(features, slope, bias)
    check_options(kernel=kernel, compactness=compactness, criterion=criterion, iota=iota, min_regions=min_regions)
    return Hierarchy(*_build_hierarchy(features.detach(), slope.detach(), bias.detach(), kernel, compactness, criterion, iota, min_regions))


def check_features(features: Tensor, slope: Tensor, bias: Tensor) -> None:
    """Raise ``ValueError`` where the tensors of :func:`build_hierarchy` are of a wrong shape or dtype."""
    check_devices(features=features, slope=slope, bias=bias)
    if features.dim() != 4 or features.numel() == 0 or features.dtype not in (torch.float32, torch.float64):
        raise ValueError(f'features must be a non-empty [B, d, H, W] of float32 or float64, got {features.dtype} of shape '
                         f'{tuple(features.shape)}')
    if slope.shape != features.shape[1:2] or bias.dim() != 0:
        raise ValueError(f'slope and bias must be [{features.shape[1]}] and [], got {tuple(slope.shape)} and {tuple(bias.shape)}')


def check_options(*, kernel: str, compactness: float, criterion: str, iota: float, min_regions: int) -> None:
    """Raise ``TypeError`` or ``ValueError`` where an option of :func:`build_hierarchy` is no number or out of its range."""
    for name, choice, choices in (('kernel', kernel, sorted(KERNELS)), ('criterion', criterion, sorted(PENALTIES))):
        if choice not in choices:
            raise ValueError(f'{name} must be one of {choices}, got {choice!r}')
    for name, number in (('compactness', compactness), ('iota', iota)):
        if not isinstance(number, Real):
            raise TypeError(f'{name} must be a number, got {number!r}')
    if not 0.0 <= compactness < 1.0:
        raise ValueError(f'compactness must be in [0, 1), got {compactness!r}')
    if not 0.0 < iota < float('inf'):
        raise ValueError(f'iota must be positive and finite, got {iota!r}')
    if isinstance(min_regions, bool) or not isinstance(min_regions, int) or min_regions < 1:
        raise ValueError(f'min_regions must be a positive integer, got {min_regions!r}')


def tree_mean(features: Tensor, slope: Tensor, bias: Tensor, hierarchy: Hierarchy, *, kernel: str = 'gaussian',
              compactness: float = 0.1) -> Tensor:
    """Feature mean ``f*`` of every selected region, differentiable through the tree with its structure held fixed (paper eq. 5).

    Args:
        features: ``[B, d, H, W]``, the ``f0`` that the hierarchy was built from.
        slope: ``[d]``, the ``a`` it was built with.
        bias: ``[]``, the ``b``.
        hierarchy: The structure, of a fixed length or not.
        kernel: The kernel it was built with.
        compactness: The compactness it was built with.

    Returns:
        ``[R, d]`` in the dtype of ``features``, with a first derivative to ``features``, ``slope`` and ``bias``. Rows that no region
        needs are zero and pass none on.
    """
    return _tree_mean(features, slope, bias, *hierarchy, kernel, compactness)


_FIELDS = ', '.join(f'Tensor {name}' for name in Hierarchy._fields)


@define(
    'build_hierarchy',
    '(Tensor features, Tensor slope, Tensor bias, str kernel, float compactness, str criterion, float iota, int min_regions)'
    f' -> ({", ".join(["Tensor"] * len(Hierarchy._fields))})')
def _build_hierarchy(features, slope, bias, kernel, compactness, criterion, iota, min_regions):
    if not use_ext(features):
        if not torch.isfinite(features).all():
            raise ValueError(_NOT_FINITE)
        return reference.build_hierarchy(features, slope, bias, kernel, compactness, criterion, iota, min_regions)
    try:  # compiled kernels look for themselves; those of a GPU tell with their one read-back
        return torch.ops.dht_mm_ext.build_hierarchy(
            kernel_layout(features), slope.float().contiguous(), bias.float(), list(KERNELS).index(kernel), compactness,
            list(PENALTIES).index(criterion), iota, min_regions)
    except RuntimeError as error:
        if _NOT_FINITE in str(error):
            raise ValueError(_NOT_FINITE) from error
        raise


def kernel_layout(features: Tensor) -> Tensor:
    """On the GPU a pixel's channels lie side by side, on the CPU each channel is a plane."""
    return (features.permute(0, 2, 3, 1) if features.is_cuda else features).contiguous()


@_build_hierarchy.register_fake
def _(features, slope, bias, kernel, compactness, criterion, iota, min_regions):
    batch, channels, height, width = features.shape
    context = torch.library.get_ctx()
    regions, nodes, starts = (context.new_dynamic_size(min=smallest) for smallest in (1, 1, 3))

    def integers(*shape):
        return features.new_empty(shape, dtype=torch.int32)

    def doubles():
        return features.new_empty(nodes, dtype=torch.float64)

    return (
        integers(batch, height, width), integers(batch), integers(batch + 1), integers(regions), integers(regions, 4), integers(regions),
        features.new_empty(regions, channels), integers(nodes + batch * height * width), integers(nodes + batch * height * width),
        features.new_empty(nodes, channels), features.new_empty(nodes, channels), integers(nodes), integers(nodes, 4), doubles(), doubles(),
        features.new_empty(starts, dtype=torch.int64))


@define('tree_mean', f'(Tensor features, Tensor slope, Tensor bias, {_FIELDS}, str kernel, float compactness) -> Tensor')
def _tree_mean(features, slope, bias, *structure):
    # The structure pass found the means already; only their gradient follows the tree.
    return Hierarchy(*structure[:-2]).mean.clone()


@_tree_mean.register_fake
def _(features, slope, bias, *structure):
    return torch.empty_like(Hierarchy(*structure[:-2]).mean)


@define('tree_mean_backward', f'(Tensor grad, Tensor features, Tensor slope, Tensor bias, {_FIELDS}, str kernel, float compactness)'
    ' -> (Tensor, Tensor, Tensor)')
def _tree_mean_backward(grad, features, slope, bias, *structure):
    hierarchy, (kernel, compactness) = Hierarchy(*structure[:-2]), structure[-2:]
    if kernel == 'gaussian' and use_ext(features):
        to_features, to_slope, to_bias = torch.ops.dht_mm_ext.tree_mean_backward(
            grad.contiguous(), kernel_layout(features), slope.contiguous(), bias, hierarchy.offsets, hierarchy.node, hierarchy.parent,
            hierarchy.pick, hierarchy.node_mean, hierarchy.node_variance, hierarchy.node_size, hierarchy.node_bbox, hierarchy.node_alpha,
            hierarchy.level_starts, compactness)
        return to_features.permute(0, 3, 1, 2) if features.is_cuda else to_features, to_slope, to_bias
    hierarchy = hierarchy.packed()
    if len(hierarchy.size) == 0:
        return torch.zeros_like(features), torch.zeros_like(slope), torch.zeros_like(bias)
    return gradients(lambda *leaves: replay(*leaves, hierarchy, kernel, compactness), (features, slope, bias), grad[:len(hierarchy.size)])


@_tree_mean_backward.register_fake
def _(grad, features, slope, bias, *structure):
    to_features = features.new_empty(features.shape)
    if features.is_cuda and structure[-2] == 'gaussian' and use_ext(features):
        to_features = torch.empty_like(features.permute(0, 2, 3, 1), memory_format=torch.contiguous_format).permute(0, 3, 1, 2)
    return to_features, torch.empty_like(slope), torch.empty_like(bias)


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:-2])
    ctx.options = inputs[-2:]


def _backward(ctx, grad):
    nothing = (None,) * (len(Hierarchy._fields) + 2)
    return *_tree_mean_backward(grad, *ctx.saved_tensors, *ctx.options), *nothing


_tree_mean.register_autograd(_backward, setup_context=_setup_context)
