"""Pixel features of the tokenizer in two steps, the features of coarse cells and those of pixels, and batch norm as a part of both.

Every value is computed in float64 with single IEEE operations in a fixed order and rounded once at the end. Gradients decide nothing:
the compiled ones are computed in float32 and added up in an order that the shapes alone give.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .backend import use_ext
from .checks import check_devices
from .op import define
from .reference import projection as reference
from .reference import projection_gradient
from .reference.gradients import gradients

Linear = tuple[Tensor, Tensor]


def project(image: Tensor, layers: Sequence[Sequence[Tensor]], eps: Sequence[float]) -> Tensor:
    """``f0 = SiLU(A(x) + U(x))`` (paper section 3 and appendix) in one call, without gradient: :func:`fold_norm` of the three layers,
    :func:`coarse_features` and :func:`pixel_features`.

    Args:
        image: ``[B, C, H, W]`` float, any H, W >= 1.
        layers: The layer of ``A`` and the first and the second of ``U``. Each is a weight ``[O, ...]`` of ``C``, ``4C`` and ``16d``
            inputs and ``d``, ``4d`` and ``d`` outputs ``O``, and ``[O]`` bias, gamma, beta, mean and variance (see :func:`fold_norm`).
        eps: Epsilon of each layer's norm.

    Returns:
        ``[B, d, H, W]`` in the dtype of ``image``.

    Raises:
        ValueError: The shapes do not fit together.
    """
    check_devices(image=image, fine=layers[0][0], coarse1=layers[1][0], coarse2=layers[2][0])
    image_channels, channels = image.shape[1], len(layers[0][0])
    sizes = ((channels, image_channels), (4 * channels, 4 * image_channels), (channels, 16 * channels))
    for name, layer, (outputs, inputs) in zip(('fine', 'coarse1', 'coarse2'), layers, sizes, strict=True):
        if len(layer[0]) != outputs or [tensor.numel() for tensor in layer] != [outputs * inputs, *[outputs] * 5]:
            raise ValueError(f'{name} must be a weight of {outputs} outputs and {inputs} inputs and five vectors [{outputs}], got '
                             f'{[tuple(tensor.shape) for tensor in layer]}')
    return _project(image, [tensor for layer in layers for tensor in layer], eps)


@define('project', '(Tensor image, Tensor[] layers, float[] eps) -> Tensor')
def _project(image, layers, eps):
    if use_ext(image) and all(tensor.dtype == torch.float32 for tensor in layers):
        return _from_cells_first(torch.ops.dht_mm_ext.project(image.contiguous(), [tensor.contiguous() for tensor in layers], eps))
    fine, coarse1, coarse2 = (
        fold_norm(layers[i].flatten(1), *layers[i + 1:i + 6], epsilon) for i, epsilon in zip((0, 6, 12), eps, strict=True))
    return pixel_features(image, coarse_features(image, coarse1, coarse2), fine)


@_project.register_fake
def _(image, layers, eps):
    return _empty_features(image, len(layers[0]), *image.shape[2:], image.dtype)


def _check_linear(name: str, linear: Linear, outputs: int, inputs: int) -> None:
    shapes = tuple(tuple(tensor.shape) for tensor in linear)
    if shapes != ((outputs, inputs), (outputs,)):
        raise ValueError(f'{name} must have the shapes [{outputs}, {inputs}] and [{outputs}], got {shapes[0]} and {shapes[1]}')


def coarse_features(image: Tensor, coarse1: Linear, coarse2: Linear) -> Tensor:
    """Features of cells of 4x4 pixels, ``[B, d, ceil(H / 4), ceil(W / 4)]`` float64: the two layers of ``U`` with SiLU between
    them.

    Args:
        image: ``[B, C, H, W]`` float, any H, W >= 1. It goes on with its last row and column.
        coarse1: Weight ``[4d, 4C]`` and bias ``[4d]`` of the first convolution, float64, with batch norm folded in (:func:`fold_norm`).
            A patch of 2x2 lies as (channel, row, column).
        coarse2: Those of the second, ``[d, 16d]`` and ``[d]``.

    Raises:
        ValueError: The shapes do not fit together.
    """
    check_devices(image=image, coarse1=coarse1[0], coarse2=coarse2[0])
    channels = coarse2[0].shape[0]
    _check_linear('coarse1', coarse1, 4 * channels, 4 * image.shape[1])
    _check_linear('coarse2', coarse2, channels, 16 * channels)
    return _coarse_features(image, *coarse1, *coarse2)


def pixel_features(image: Tensor, coarse: Tensor, fine: Linear) -> Tensor:
    """SiLU of the layer of ``A`` plus ``coarse``, upsampled bilinearly with aligned corners.

    Args:
        image: ``[B, C, H, W]`` float.
        coarse: Its :func:`coarse_features`.
        fine: Weight ``[d, C]`` and bias ``[d]``, float64, with batch norm folded in.

    Returns:
        ``[B, d, H, W]`` in the dtype of ``image``.

    Raises:
        ValueError: The shapes do not fit together.
    """
    check_devices(image=image, coarse=coarse, fine=fine[0])
    batch, in_channels, height, width = image.shape
    channels = len(fine[1])
    _check_linear('fine', fine, channels, in_channels)
    cells = (batch, channels, (height + 3) // 4, (width + 3) // 4)
    if coarse.shape != cells:
        raise ValueError(f'coarse must be {list(cells)} for an image of {list(image.shape)}, got {tuple(coarse.shape)}')
    return _pixel_features(image, coarse, *fine)


def fold_norm(weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor, eps: float) -> Linear:
    """A linear map ``[O, K]``, ``[O]`` followed by batch norm as one linear map in float64; differentiable once.

    Args:
        weight: ``[O, K]`` float.
        bias: ``[O]`` float.
        gamma: ``[O]``, weight of the norm.
        beta: ``[O]``, bias of the norm.
        mean: ``[O]``, running mean or the batch's.
        variance: ``[O]``, running variance or the batch's (not corrected for its degrees of freedom).
        eps: The norm's epsilon.
    """
    check_devices(weight=weight, bias=bias, gamma=gamma, beta=beta, mean=mean, variance=variance)
    return _fold_norm(weight, bias, gamma, beta, mean, variance, eps)


@define('fold_norm', '(Tensor weight, Tensor bias, Tensor gamma, Tensor beta, Tensor mean, Tensor variance, float eps) -> (Tensor, Tensor)')
def _fold_norm(weight, bias, gamma, beta, mean, variance, eps):
    if use_ext(weight) and mean.dtype == variance.dtype and {bias.dtype, gamma.dtype, beta.dtype} == {torch.float32}:
        return torch.ops.dht_mm_ext.fold_norm(*(tensor.contiguous() for tensor in (weight, bias, gamma, beta, mean, variance)), eps)
    return reference.fold_norm(weight, bias, gamma, beta, mean, variance, eps)


@_fold_norm.register_fake
def _(weight, bias, gamma, beta, mean, variance, eps):
    return weight.new_empty(weight.shape, dtype=torch.float64), bias.new_empty(bias.shape, dtype=torch.float64)


@define(
    'fold_norm_backward',
    '(Tensor grad_weight, Tensor grad_bias, Tensor weight, Tensor bias, Tensor gamma, Tensor mean, Tensor variance, float eps) '
           '-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)')
def _fold_backward(grad_weight, grad_bias, weight, bias, gamma, mean, variance, eps):
    if use_ext(weight) and {bias.dtype, gamma.dtype} == {torch.float32}:
        return torch.ops.dht_mm_ext.fold_norm_backward(
            grad_weight.contiguous(), grad_bias.contiguous(), weight.contiguous(), bias.contiguous(), gamma.contiguous(),
            mean.double().contiguous(), variance.double().contiguous(), eps)
    return projection_gradient.fold_norm(grad_weight, grad_bias, weight, bias, gamma, mean, variance, eps)


@_fold_backward.register_fake
def _(grad_weight, grad_bias, weight, bias, gamma, mean, variance, eps):
    statistics = (gamma.new_empty(gamma.shape, dtype=torch.float64) for _ in range(2))
    return (weight.new_empty(weight.shape), bias.new_empty(bias.shape), gamma.new_empty(gamma.shape), gamma.new_empty(gamma.shape),
            *statistics)


def _setup_fold(ctx, inputs, output):
    weight, bias, gamma, _, mean, variance, ctx.eps = inputs
    ctx.save_for_backward(weight, bias, gamma, mean, variance)


def _backward_fold(ctx, grad_weight, grad_bias):
    *grads, to_mean, to_variance = _fold_backward(grad_weight, grad_bias, *ctx.saved_tensors, ctx.eps)
    statistics = (grad if needed else None for grad, needed in zip((to_mean, to_variance), ctx.needs_input_grad[4:6], strict=True))
    return *grads, *statistics, None


_fold_norm.register_autograd(_backward_fold, setup_context=_setup_fold)


def _cells_first(tensor: Tensor) -> Tensor:
    """Memory as the compiled kernels write and read it: ``[B, H, W, d]`` on the GPU, ``[B, d, H, W]`` else."""
    return tensor.permute(0, 2, 3, 1).contiguous() if tensor.is_cuda else tensor.contiguous()


def _from_cells_first(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 3, 1, 2) if tensor.is_cuda else tensor


def _copies(*parts: Tensor) -> list[Tensor]:
    """Parts of a tensor as tensors of their own: results of an op must not share memory."""
    return [part.clone(memory_format=torch.contiguous_format) for part in parts]


def _empty_features(image: Tensor, channels: int, height: int, width: int, dtype: torch.dtype) -> Tensor:
    if image.is_cuda and use_ext(image):
        return image.new_empty(len(image), height, width, channels, dtype=dtype).permute(0, 3, 1, 2)
    return image.new_empty(len(image), channels, height, width, dtype=dtype)


@define('coarse_features', '(Tensor image, Tensor weight1, Tensor bias1, Tensor weight2, Tensor bias2) -> Tensor')
def _coarse_features(image, *layers):
    if use_ext(image):
        return _from_cells_first(torch.ops.dht_mm_ext.coarse_features(image.contiguous(), *(tensor.contiguous() for tensor in layers)))
    return reference.coarse_features(image, *layers)


@_coarse_features.register_fake
def _(image, weight1, bias1, weight2, bias2):
    return _empty_features(image, len(bias2), (image.shape[2] + 3) // 4, (image.shape[3] + 3) // 4, torch.float64)


@define('coarse_features_backward', '(Tensor grad, Tensor image, Tensor weight1, Tensor bias1, Tensor weight2, bool to_image) '
           '-> (Tensor, Tensor, Tensor, Tensor, Tensor)')
def _coarse_backward(grad, image, weight1, bias1, weight2, to_image):
    if use_ext(image) and not to_image:
        sums = torch.ops.dht_mm_ext.coarse_features_backward(
            _cells_first(grad), image.contiguous(), weight1.contiguous(), bias1.contiguous(), weight2.contiguous())
        to_weight2, to_layer1, to_bias2 = sums.split([len(weight2), weight1.shape[1] + 1, 1], 1)
        to_layer1 = to_layer1.unflatten(0, (-1, 4)).sum(1)
        return image.new_empty(0), *_copies(to_layer1[:, :-1], to_layer1[:, -1], to_weight2.T, to_bias2[:len(weight2), 0])
    inputs = (image, weight1, bias1, weight2, torch.zeros_like(bias1[:len(weight2)]))
    to_image, *grads = gradients(projection_gradient.coarse_features, inputs, grad) if to_image else (
        image.new_empty(0), *gradients(lambda *rest: projection_gradient.coarse_features(image, *rest), inputs[1:], grad))
    return to_image, *grads


@_coarse_backward.register_fake
def _(grad, image, weight1, bias1, weight2, to_image):
    return (image.new_empty(image.shape if to_image else 0), weight1.new_empty(weight1.shape), bias1.new_empty(bias1.shape),
            weight2.new_empty(weight2.shape), bias1.new_empty(len(weight2)))


def _setup_coarse(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:4])


def _backward_coarse(ctx, grad):
    to_image, *grads = _coarse_backward(grad, *ctx.saved_tensors, ctx.needs_input_grad[0])
    return to_image if ctx.needs_input_grad[0] else None, *grads


_coarse_features.register_autograd(_backward_coarse, setup_context=_setup_coarse)


@define('pixel_features', '(Tensor image, Tensor coarse, Tensor weight, Tensor bias) -> Tensor')
def _pixel_features(image, coarse, weight, bias):
    if use_ext(image):
        return _from_cells_first(torch.ops.dht_mm_ext.pixel_features(
            image.contiguous(), _cells_first(coarse), weight.contiguous(), bias.contiguous()))
    return reference.pixel_features(image, coarse, weight, bias)


@_pixel_features.register_fake
def _(image, coarse, weight, bias):
    return _empty_features(image, len(bias), *image.shape[2:], image.dtype)


@define(
    'pixel_features_backward',
    '(Tensor grad, Tensor image, Tensor coarse, Tensor weight, Tensor bias, bool to_image) -> (Tensor, Tensor, Tensor, Tensor)')
def _pixel_backward(grad, image, coarse, weight, bias, to_image):
    if use_ext(image) and not to_image:
        to_coarse, sums = torch.ops.dht_mm_ext.pixel_features_backward(
            _cells_first(grad), image.contiguous(), _cells_first(coarse), weight.contiguous(), bias.contiguous())
        return image.new_empty(0), _from_cells_first(to_coarse), *_copies(sums[:, :-1], sums[:, -1])
    inputs = (image, coarse, weight, bias)
    if to_image:
        return gradients(projection_gradient.pixel_features, inputs, grad)
    return image.new_empty(0), *gradients(lambda *rest: projection_gradient.pixel_features(image, *rest), inputs[1:], grad)


@_pixel_backward.register_fake
def _(grad, image, coarse, weight, bias, to_image):
    to_coarse = _empty_features(image, len(bias), *coarse.shape[2:], torch.float64)
    if to_image or not use_ext(image):
        to_coarse = coarse.new_empty(coarse.shape)
    return image.new_empty(image.shape if to_image else 0), to_coarse, weight.new_empty(weight.shape), bias.new_empty(bias.shape)


def _setup_pixel(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward_pixel(ctx, grad):
    to_image, *grads = _pixel_backward(grad, *ctx.saved_tensors, ctx.needs_input_grad[0])
    return to_image if ctx.needs_input_grad[0] else None, *grads


_pixel_features.register_autograd(_backward_pixel, setup_context=_setup_pixel)
