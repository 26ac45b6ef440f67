"""Scaling a linear map's weights is scaling its output."""

import pytest
import torch
from torch import Tensor, nn

from dht_mm.encoder import scaling


def scaled_and_gradients(linear: nn.Module, fold: bool, dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    x, scale = torch.randn(7, 6).to(dtype).requires_grad_(), scaling.LayerScale(5, 1)
    nn.init.normal_(scale.gamma)
    with torch.autocast('cpu', dtype, enabled=dtype != torch.float32):
        output = scaling.scaled_linear(linear, x, scale) if fold else scale(linear(x))
    return [output, *torch.autograd.grad(output.float().sin().sum(), [x, scale.gamma, *linear.parameters()])]


class Wrapped(nn.Linear):
    """Another linear map than it seems, as tools for low-rank adaption put in the place of one."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x[:, :1]


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('kind', [nn.Linear, Wrapped])
@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-5), (torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_same_output_and_gradients(kind: type, bias: bool, dtype: torch.dtype, tolerance: float):
    linear = kind(6, 5, bias=bias)
    for found, expected in zip(*(scaled_and_gradients(linear, fold, dtype) for fold in (True, False)), strict=True):
        assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def test_tiny_factors_survive_half_precision():
    linear = nn.Linear(64, 8, bias=False)
    nn.init.constant_(linear.weight, 0.01)
    x, scale = torch.ones(3, 64, dtype=torch.float16), scaling.LayerScale(8, 1e-6)
    with torch.autocast('cpu', torch.float16):
        found = scaling.scaled_linear(linear, x, scale)
    assert torch.allclose(found.float(), torch.full((3, 8), 0.64e-6), rtol=0.01)  # 1e-8, the scaled weight, is 0 in float16


def test_without_factor_the_map_is_called():
    linear, x = nn.Linear(6, 5), torch.randn(7, 6)
    assert torch.equal(scaling.scaled_linear(linear, x, nn.Identity()), linear(x))
