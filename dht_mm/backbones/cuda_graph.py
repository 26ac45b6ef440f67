"""A module's forward and backward as CUDA graphs: recorded once for each kind of input, then replayed with one launch each."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_flatten, tree_unflatten

MOST_GRAPHS = 8  # each keeps the memory of its activations
WARMUPS = 3


class CUDAGraphs:
    """The graphs of one module.

    A kind of input is its shape and dtype, the modes of the module and its parts, which parameters train, whether gradients are enabled,
    and autocast. Copies and pickles of this object are empty, so that a module with graphs can be copied. Where graphs cannot be
    recorded, the module runs as it would without: on a CPU, for images that want a gradient, within another recording, traced, and after
    the first 8 kinds.

    Args:
        within: Gives a context for the recordings of a module; a function that can be pickled.
    """

    def __init__(self, within: Callable[[nn.Module], AbstractContextManager] = nullcontext) -> None:
        self._within = within
        self._addresses: list[int] = []
        self._graphs: dict[tuple, _Graph] = {}

    def __reduce__(self) -> tuple:
        return CUDAGraphs, (self._within,)

    def __call__(self, function: Callable[[Tensor], object], module: nn.Module, images: Tensor) -> object:
        """``function(images)``, which may read the parameters and buffers of ``module``.

        Its result is a new one each time, a tree of tensors and None. A backward must follow before the next forward of the same kind.
        """
        if not images.is_cuda or images.requires_grad or _is_recorded():
            return function(images)
        addresses, modes = _state(module)
        if addresses != self._addresses:  # weights moved elsewhere: graphs would read where they were
            self._graphs, self._addresses = {}, addresses
        kind = (images.device, images.dtype, images.shape, images.stride(), torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
                torch.is_autocast_enabled('cuda'), torch.get_autocast_dtype('cuda'), *modes)
        if kind not in self._graphs:
            if len(self._graphs) == MOST_GRAPHS:
                return function(images)
            self._graphs[kind] = _Graph(lambda batch: self._run(function, module, batch), module, images)
        return self._graphs[kind](images)

    def _run(self, function: Callable[[Tensor], object], module: nn.Module, images: Tensor) -> object:
        with self._within(module):
            return function(images)


class _Graph:
    """The recorded forward of one kind of input and, where something in it trains, its backward."""

    def __init__(self, function: Callable[[Tensor], object], module: nn.Module, images: Tensor):
        self.images = images.clone()
        self.inputs = [x for x in module.parameters() if x.requires_grad and torch.is_grad_enabled()]
        self.pending: object | None = None
        with torch.cuda.device(images.device), _unchanged(module), _aliases(module) as aliases:
            self.aliases = [aliases[x] for x in self.inputs]
            self._warm_up(function)
            self._record(function)

    def __call__(self, images: Tensor) -> object:
        outputs = _Replay.apply(self, images, *self.inputs) if self.inputs else self.forward(images)
        given = iter(outputs)
        return tree_unflatten([next(given) if there else None for there in self.there], self.form)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Replay the forward; copies of its outputs."""
        # Gradients were handed over as they lie in the graph's memory. What has been kept of an earlier step moves out of it.
        for x, gradient in zip(self.inputs, self.gradients, strict=True):
            if gradient is not None and x.grad is not None and x.grad.data_ptr() == gradient.data_ptr():
                x.grad = x.grad.clone()
        with torch.no_grad():
            self.images.copy_(images)
            self.forward_graph.replay()
            return [output.clone() for output in self.outputs]

    def backward(self, token: object, grads: tuple[Tensor, ...]) -> list[Tensor | None]:
        """Replay the backward of the forward that got this token; the gradients of ``inputs``."""
        if token is not self.pending:
            raise RuntimeError('a backward with cuda_graph=True must follow its forward, once, before the next forward of the same shape: '
                               'set cuda_graph=False')
        self.pending = None
        for place, gradient in zip(self.output_grads, (grads[index] for index in self.differentiable), strict=True):
            place.copy_(gradient)
        self.backward_graph.replay()
        return [None if gradient is None else gradient.detach() for gradient in self.gradients]

    def _warm_up(self, function: Callable[[Tensor], object]) -> None:
        """Whatever is set up at a first call (libraries, workspaces, compiled blocks) must not be recorded."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARMUPS):
                outputs = self._run(function)
                self._gradients(outputs, [torch.zeros_like(output) for output in outputs if output.requires_grad])
                del outputs
        torch.cuda.current_stream().wait_stream(stream)

    def _record(self, function: Callable[[Tensor], object]) -> None:
        self.forward_graph, self.backward_graph = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        # Of one stream, to which autograd returns; other threads, which load data, may call CUDA meanwhile.
        options = dict(stream=torch.cuda.Stream(), capture_error_mode='thread_local')
        with torch.cuda.graph(self.forward_graph, **options):
            outputs = self._run(function)
        self.differentiable = [index for index, output in enumerate(outputs) if output.requires_grad]
        self.output_grads = [torch.zeros_like(outputs[index]) for index in self.differentiable]
        self.gradients: list[Tensor | None] = [None] * len(self.inputs)
        if self.inputs and self.differentiable:
            with torch.cuda.graph(self.backward_graph, pool=self.forward_graph.pool(), **options):
                self.gradients = self._gradients(outputs, self.output_grads)
        self.outputs = [output.detach() for output in outputs]

    def _run(self, function: Callable[[Tensor], object]) -> list[Tensor]:
        # A graph must not read weights that autocast has cast before it, outside.
        with torch.autocast('cuda', torch.get_autocast_dtype('cuda'), torch.is_autocast_enabled('cuda'), cache_enabled=False):
            leaves, self.form = tree_flatten(function(self.images))
        self.there = [leaf is not None for leaf in leaves]  # optional fields can be empty
        return [leaf for leaf in leaves if leaf is not None]

    def _gradients(self, outputs: list[Tensor], output_grads: list[Tensor]) -> list[Tensor | None]:
        outputs = [output for output in outputs if output.requires_grad]
        if not (self.inputs and outputs):
            return []
        with torch.autocast('cuda', enabled=False):  # as training loops call it
            gradients = torch.autograd.grad(outputs, self.aliases, output_grads, allow_unused=True)
        found, apart = set(), []
        for gradient in gradients:  # two parameters can get the same tensor, which an optimizer then would change twice
            apart.append(gradient.clone() if gradient is not None and gradient.data_ptr() in found else gradient)
            found.add(None if gradient is None else gradient.data_ptr())
        return apart


class _Replay(torch.autograd.Function):
    """A node of the caller's graph that stands for all recorded ones."""

    @staticmethod
    def forward(ctx, graph: _Graph, images: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = graph.forward(images)
        ctx.graph, ctx.token = graph, object()
        graph.pending = ctx.token
        ctx.mark_non_differentiable(*(output for index, output in enumerate(outputs) if index not in graph.differentiable))
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *ctx.graph.backward(ctx.token, grads)


def _state(module: nn.Module) -> tuple[list[int], list[bool]]:
    """Where parameters and buffers lie, and the modes of all parts and parameters: in one quick walk, since every call takes it."""
    addresses, modes, parts = [], [], [module]
    while parts:
        part = parts.pop()
        parts += [child for child in part._modules.values() if child is not None]
        modes.append(part.training)
        for tensor in (*part._parameters.values(), *part._buffers.values()):
            if tensor is not None:
                addresses.append(tensor.data_ptr())
                modes.append(tensor.requires_grad)
    return addresses, modes


def _is_recorded() -> bool:
    """Whether somebody else records what happens now."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.cuda.is_current_stream_capturing()


@contextmanager
def _aliases(module: nn.Module) -> Iterator[dict[nn.Parameter, nn.Parameter]]:
    """Other parameters on the same memory in the place of those of ``module``, where gradients are enabled.

    Their gradients are recorded without the hooks of the real ones, and on no other stream than that of the recording.
    """
    parts = module.modules() if torch.is_grad_enabled() else ()
    held = [(part._parameters, name, x) for part in parts for name, x in part._parameters.items() if x is not None]
    aliases = {x: nn.Parameter(x.detach(), x.requires_grad) for _, _, x in held}
    try:
        for place, name, x in held:
            place[name] = aliases[x]
        yield aliases
    finally:
        for place, name, x in held:
            place[name] = x


@contextmanager
def _unchanged(module: nn.Module) -> Iterator[None]:
    """Leave buffers and random numbers as they were."""
    kept = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        with torch.random.fork_rng([torch.cuda.current_device()]):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
