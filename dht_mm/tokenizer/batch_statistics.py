"""Statistics of batch norm from sums, so that they are the same bits on every device and can be added over processes."""

import torch
from torch import Tensor, distributed, nn

from dht_mm.ops import channel_moments, linear_statistics, patch_moments


def uses_batch(norm: nn.Module) -> bool:
    """Whether a batch norm takes the statistics of the batch and not the running ones."""
    return norm.training or norm.running_mean is None


def statistics_of_linear(image: Tensor, conv: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Mean and variance, ``[O]`` float64, of a convolution of patches that lie side by side; updates the norm's running statistics.

    Args:
        image: ``[B, C, H, W]``, the whole batch.
        conv: Convolution whose stride is its kernel size, which divides H and W.
        norm: Batch norm behind it.

    Raises:
        ValueError: A channel has one value only.
    """
    stride = conv.stride[0]
    count, first, second = _over_processes(norm, image.numel() // (image.shape[1] * stride**2), *patch_moments(image, stride))
    share = 1.0 / count  # torch divides by a number on the CPU and multiplies by its reciprocal on the GPU
    return _tracked(norm, *linear_statistics(first * share, second * share, conv.weight.flatten(1), conv.bias), count)


def statistics_of_channels(values: Tensor, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Mean and variance, ``[d]``, of the channels of ``[B, d, h, w]`` float64; the rest as in :func:`statistics_of_linear`."""
    count, first, second = _over_processes(norm, values.numel() // values.shape[1], *channel_moments(values))
    share = 1.0 / count
    mean = first * share
    return _tracked(norm, mean, (second * share - mean * mean).clamp_min(0.0), count)


class _SumOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor, group: distributed.ProcessGroup | None) -> Tensor:
        ctx.group = group
        total = values.clone()
        distributed.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return _SumOverProcesses.apply(grad, ctx.group), None


def _over_processes(norm: nn.Module, count: int, *sums: Tensor) -> tuple[int | Tensor, ...]:
    """Number of values of a channel and sums, over all processes if batch norm is synchronised."""
    synchronised = isinstance(norm, nn.SyncBatchNorm) and norm.training and distributed.is_initialized()
    processes = distributed.get_world_size(norm.process_group) if synchronised else 1
    if count * processes == 1:
        raise ValueError('batch norm in training needs more than one value per channel, got one: use a larger image or batch, or '
                         'norm_eval=True')
    if processes == 1:
        return count, *sums
    number = sums[0].new_full((1,), count)
    totals = _SumOverProcesses.apply(torch.cat([number, *(values.flatten() for values in sums)]), norm.process_group)
    number, *totals = totals.split([1, *(values.numel() for values in sums)])
    return number, *(total.view_as(values) for total, values in zip(totals, sums, strict=True))


@torch.no_grad()
def _update(norm: nn.Module, mean: Tensor, variance: Tensor, count: int | Tensor) -> None:
    """Running statistics as torch's batch norm keeps them: the variance is corrected for its degrees of freedom."""
    norm.num_batches_tracked.add_(1)
    share = norm.num_batches_tracked.to(mean.dtype).reciprocal() if norm.momentum is None else norm.momentum
    for running, value in ((norm.running_mean, mean), (norm.running_var, variance * (count / (count - 1)))):
        running.copy_(torch.lerp(running.to(value.dtype), value, share))


def _tracked(norm: nn.Module, mean: Tensor, variance: Tensor, count: int | Tensor) -> tuple[Tensor, Tensor]:
    if norm.training and norm.running_mean is not None:
        _update(norm, mean, variance, count)
    return mean, variance
