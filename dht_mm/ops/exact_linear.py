"""The linear map behind everything that decides an edge: same bits on every device and for every batch size."""

from torch import Tensor

from .reference import exact_linear as reference


def exact_linear(planes: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``out[b, :, n] = weight @ planes[b, :, n] + bias`` in float64, summed in the order of the channels, bias first.

    Args:
        planes: ``[B, K, N]`` float.
        weight: ``[O, K]`` float.
        bias: ``[O]`` float.

    Returns:
        ``[B, O, N]`` float64.

    Raises:
        ValueError: The shapes do not fit together.
    """
    if planes.dim() != 3 or weight.dim() != 2 or planes.shape[1] != weight.shape[1] or bias.shape != weight.shape[:1]:
        raise ValueError(f'planes, weight and bias must be [B, K, N], [O, K] and [O], got {tuple(planes.shape)}, '
                         f'{tuple(weight.shape)} and {tuple(bias.shape)}')
    return reference.exact_linear(planes, weight, bias)
