"""The hierarchy op: pixel features to regions, and the differentiable values of the regions."""

from typing import NamedTuple

import torch
from torch import Tensor

from .backend import use_ext
from .reference import hierarchy as reference
from .reference.criterion import PENALTIES
from .reference.edge_weight import KERNELS
from .reference.tree_mean import replay


class Hierarchy(NamedTuple):
    """A partition and the forest of regions it was selected from.

    ``R`` regions of a batch, image after image, label after label; ``n`` nodes of the forest, level after level: pixels (level 0, in
    raster order), regions of every level, and last each whole image as one region. ``node_*`` fields leave out the pixels, whose
    values are implied: row ``i`` of them is node ``i + B * H * W``.

    Attributes:
        labels: ``[B, H, W]`` int32, region of each pixel, numbered per image in raster order of first pixels.
        num_regions: ``[B]`` int32.
        node: ``[R]`` int32, selected node of each region; regions that lie apart can share one.
        bbox: ``[R, 4]`` int32, inclusive ymin, xmin, ymax, xmax.
        size: ``[R]`` int32, pixels.
        parent: ``[n]`` int32, node of the next level; -1 for whole images.
        pick: ``[n]`` int32, neighbour that each node proposed to merge with; itself where its self edge won.
        node_mean: ``[n - BHW, d]``, ``F`` of paper eq. 5.
        node_variance: ``[n - BHW, d]``, ``S``.
        node_size: ``[n - BHW]`` int32.
        node_bbox: ``[n - BHW, 4]`` int32.
        node_score: ``[n - BHW]`` float64, negative information criterion; ``-inf`` in levels after an image stopped.
        level_starts: ``[L + 3]`` int64 on the CPU, first node of each level, then ``n``.
    """

    labels: Tensor
    num_regions: Tensor
    node: Tensor
    bbox: Tensor
    size: Tensor
    parent: Tensor
    pick: Tensor
    node_mean: Tensor
    node_variance: Tensor
    node_size: Tensor
    node_bbox: Tensor
    node_score: Tensor
    level_starts: Tensor


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
        ValueError: An argument is out of its range.
    """
    if features.dim() != 4 or features.numel() == 0 or features.dtype not in (torch.float32, torch.float64):
        raise ValueError(f'features must be a non-empty [B, d, H, W] of float32 or float64, got {features.dtype} of shape '
                         f'{tuple(features.shape)}')
    if slope.shape != features.shape[1:2] or bias.dim() != 0:
        raise ValueError(f'slope and bias must be [{features.shape[1]}] and [], got {tuple(slope.shape)} and {tuple(bias.shape)}')
    check_options(kernel=kernel, compactness=compactness, criterion=criterion, iota=iota, min_regions=min_regions)
    with torch.no_grad():
        if not use_ext(features):
            return Hierarchy(*reference.build_hierarchy(features, slope, bias, kernel, compactness, criterion, iota, min_regions))
        # On the GPU a pixel's channels lie side by side, on the CPU each channel is a plane.
        layout = features.permute(0, 2, 3, 1) if features.is_cuda else features
        return Hierarchy(*torch.ops.dht_mm_ext.build_hierarchy(
            layout.contiguous(), slope.float().contiguous(), bias.float(), list(KERNELS).index(kernel), compactness,
            list(PENALTIES).index(criterion), iota, min_regions))


def check_options(*, kernel: str, compactness: float, criterion: str, iota: float, min_regions: int) -> None:
    """Raise ``ValueError`` where an option of :func:`build_hierarchy` is out of its range."""
    if kernel not in KERNELS:
        raise ValueError(f'kernel must be one of {sorted(KERNELS)}, got {kernel!r}')
    if criterion not in PENALTIES:
        raise ValueError(f'criterion must be one of {sorted(PENALTIES)}, got {criterion!r}')
    if not 0.0 <= compactness < 1.0:
        raise ValueError(f'compactness must be in [0, 1), got {compactness!r}')
    if not 0.0 < iota < float('inf'):
        raise ValueError(f'iota must be positive and finite, got {iota!r}')
    if isinstance(min_regions, bool) or not isinstance(min_regions, int) or min_regions < 1:
        raise ValueError(f'min_regions must be a positive integer, got {min_regions!r}')


class _TreeMean(torch.autograd.Function):
    """Reads the means that the structure pass found; replays them over the tree for their gradient."""

    @staticmethod
    def forward(ctx, features, slope, bias, hierarchy, kernel, compactness):
        ctx.save_for_backward(features, slope, bias)
        ctx.hierarchy, ctx.options = hierarchy, (kernel, compactness)
        pixels = features.movedim(1, -1).flatten(0, 2)
        node = hierarchy.node.long()
        is_pixel = node < len(pixels)
        merged = hierarchy.node_mean[(node - len(pixels)).clamp_min(0)]
        return torch.where(is_pixel[:, None], pixels[node.clamp_max(len(pixels) - 1)], merged)

    @staticmethod
    def backward(ctx, grad):
        with torch.enable_grad():
            leaves = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
            mean = replay(*leaves, ctx.hierarchy, *ctx.options)
            grads = torch.autograd.grad(mean, leaves, grad.double(), allow_unused=True)
        return (*(torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, grads, strict=True)), None, None, None)


def tree_mean(features: Tensor, slope: Tensor, bias: Tensor, hierarchy: Hierarchy, *, kernel: str = 'gaussian',
              compactness: float = 0.1) -> Tensor:
    """Feature mean ``f*`` of every selected region, differentiable through the tree with its structure held fixed (paper eq. 5).

    Args:
        features: ``[B, d, H, W]``, the ``f0`` that the hierarchy was built from.
        slope: ``[d]``, the ``a`` it was built with.
        bias: ``[]``, the ``b``.
        hierarchy: The structure.
        kernel: The kernel it was built with.
        compactness: The compactness it was built with.

    Returns:
        ``[R, d]`` in the dtype of ``features``, with a first derivative to ``features``, ``slope`` and ``bias``.
    """
    return _TreeMean.apply(features, slope, bias, hierarchy, kernel, compactness)
