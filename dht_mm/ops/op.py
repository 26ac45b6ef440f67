"""How operators are registered and called: through ``torch.library`` where somebody watches, and directly where not."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Op:
    """An operator ``dht_mm::name`` of ``torch.library`` that eager code calls without the layers that only its watchers need.

    The library's Python layers take 50 to 100 us a call, as long as several kernels.

    Args:
        name: Its name in the library.
        schema: Its schema.
        kernel: The implementation.
    """

    def __init__(self, name: str, schema: str, kernel: Callable[..., Any]):
        self._kernel = kernel
        self._registered = torch.library.custom_op(f'dht_mm::{name}', kernel, mutates_args=(), schema=schema)
        self._function: type[torch.autograd.Function] | None = None
        self.register_fake = self._registered.register_fake

    def register_autograd(self, backward: Callable[..., Any], *, setup_context: Callable[..., None]) -> None:
        """Set the gradient, as :func:`torch.library.register_autograd` does."""
        self._registered.register_autograd(backward, setup_context=setup_context)
        kernel = self._kernel

        def forward(ctx, *args):  # no method of its own for the context: binding signatures would take longer than a small kernel
            output = kernel(*args)
            setup_context(ctx, args, output)
            return output

        self._function = type(kernel.__name__, (torch.autograd.Function,), dict(
            forward=staticmethod(forward), backward=staticmethod(backward)))

    def __call__(self, *args: Any) -> Any:
        """Run the operator on positional arguments."""
        if is_watched():
            return self._registered(*args)
        if not (torch.is_grad_enabled() and any(isinstance(value, Tensor) and value.requires_grad for value in args)):
            return self._kernel(*args)
        # The library refuses a gradient where none is registered.
        return self._registered(*args) if self._function is None else self._function.apply(*args)


def define(name: str, schema: str) -> Callable[[Callable[..., Any]], Op]:
    """Decorator that makes an operator of its implementation, see :class:`Op`."""
    return lambda kernel: Op(name, schema, kernel)


def is_watched() -> bool:
    """Whether anybody needs to see operators: a compiler, a tracer, or a mode such as that of a FLOP counter."""
    return (torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0
            or torch._C._get_tracing_state() is not None)
