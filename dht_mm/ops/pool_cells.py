"""Tokens of regions as a feature map: what painting them and average pooling gives, without the painted map."""

import torch
from torch import Tensor

from .backend import contiguous_ints, use_ext
from .checks import check_labels, check_positive
from .op import define
from .reference import pool_cells as reference


def pool_cells(tokens: Tensor, labels: Tensor, offsets: Tensor, stride: int) -> Tensor:
    """Average the tokens of each cell's pixels.

    Args:
        tokens: ``[R, D]`` float, one row a region.
        labels: ``[B, H, W]`` integer, the region of each pixel, numbered per image.
        offsets: ``[B + 1]`` integer, first row of each image.
        stride: Side of the square cells in pixels. Cells at the right and bottom border average the pixels that they have.

    Returns:
        ``[B, D, ceil(H / stride), ceil(W / stride)]``, differentiable to ``tokens``.

    Raises:
        TypeError: ``labels`` or ``offsets`` are not integers.
        ValueError: The shapes do not fit together, or ``stride`` is not a positive integer.
    """
    check_labels(labels, offsets, tokens=tokens)
    check_positive(stride=stride)
    if tokens.dim() != 2 or not tokens.is_floating_point():
        raise ValueError(f'tokens must be a float [R, D], got {tokens.dtype} of shape {tuple(tokens.shape)}')
    if not len(tokens) and labels.numel():
        raise ValueError('tokens must have a row for each region, got none')
    return _pool_cells(tokens, labels, offsets, stride).movedim(-1, 1)


@define('pool_cells', '(Tensor tokens, Tensor labels, Tensor offsets, int stride) -> Tensor')
def _pool_cells(tokens, labels, offsets, stride):
    if use_ext(tokens):
        return torch.ops.dht_mm_ext.pool_cells(tokens.contiguous(), *contiguous_ints(labels, offsets), stride)
    return reference.pool_cells(tokens, labels, offsets, stride)


@_pool_cells.register_fake
def _(tokens, labels, offsets, stride):
    batch, height, width = labels.shape
    return tokens.new_empty(batch, -(-height // stride), -(-width // stride), tokens.shape[1])


@define('pool_cells_backward', '(Tensor grad, Tensor labels, Tensor offsets, SymInt total_regions, int stride) -> Tensor')
def _pool_cells_backward(grad, labels, offsets, total_regions, stride):
    if use_ext(grad):
        return torch.ops.dht_mm_ext.pool_cells_backward(
            grad.contiguous(), *contiguous_ints(labels, offsets), total_regions, stride)
    return reference.pool_cells_backward(grad, labels, offsets, total_regions, stride)


@_pool_cells_backward.register_fake
def _(grad, labels, offsets, total_regions, stride):
    return grad.new_empty(total_regions, grad.shape[-1])


def _setup_context(ctx, inputs, output):
    tokens, labels, offsets, ctx.stride = inputs
    ctx.total_regions = tokens.shape[0]
    ctx.save_for_backward(labels, offsets)


def _backward(ctx, grad):
    return _pool_cells_backward(grad, *ctx.saved_tensors, ctx.total_regions, ctx.stride), None, None, None


_pool_cells.register_autograd(_backward, setup_context=_setup_context)
