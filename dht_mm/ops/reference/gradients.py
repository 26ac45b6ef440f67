"""Gradients of a definition inside a custom op's kernel."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def gradients(function: Callable[..., Tensor], inputs: Sequence[Tensor], grad: Tensor) -> tuple[Tensor, ...]:
    """Gradient of ``function(*inputs)`` to its inputs; zeros for those that it does not depend on.

    Args:
        function: Differentiable tensor operations.
        inputs: Its arguments.
        grad: Gradient to its result.
    """
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    # A custom op's kernel runs below autograd; here operations are recorded again.
    with torch._C._SetExcludeDispatchKeyGuard(torch._C.DispatchKey.AutogradFunctionality, False), torch.enable_grad():
        out = function(*leaves)
        grads = torch.autograd.grad(out, leaves, grad.to(out.dtype), allow_unused=True)
    return tuple(torch.zeros_like(leaf) if g is None else g.contiguous() for leaf, g in zip(leaves, grads, strict=True))
