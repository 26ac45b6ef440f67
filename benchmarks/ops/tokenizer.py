"""Time of the tokenizer: compiled kernels beside the pure-torch definition, and beside SLIC on a CPU, in one process.

    python benchmarks/ops/tokenizer.py --images ../shared/images --checkpoint TOKENIZER.pth

On a GPU it also captures the tokenizer in a CUDA graph (of a fixed capacity) and times a training step up to the blocks of the
transformer, eager and in a CUDA graph. `reference` is what the implementation published with the paper took on an H200 (float32) or on
two CPU cores; it was measured elsewhere, and the ratio to it is only as good as the machines are alike.
"""

import argparse
from collections.abc import Callable

import torch
from common import Front, build_tokenizer, median_ms, parser, peak_bytes, photographs, training_step
from torch import Tensor

from dht_mm.ops import backend_info, use_backend
from dht_mm.tokenizer import DHTTokenizer

# (side, batch): milliseconds of the published implementation, the tokenizer alone.
GPU_REFERENCE = {(224, 128): 146.0, (224, 32): 84.9, (224, 1): 58.3, (512, 32): 170.8}
CPU_REFERENCE = {(224, 1): 100.0, (512, 1): 435.0}
TRAINING_REFERENCE = 125.0  # its forward pass alone, 224, batch 64
SLOW_REPEATS = 5


def row(name: str, ours: float, torch_ms: float, reference: float, peak: str = '') -> None:
    print(f'{name:34} {ours:9.2f} {torch_ms:9.1f} {torch_ms / ours:7.1f}x {reference:9.1f} {reference / ours:7.1f}x {peak:>8}', flush=True)


def compare(name: str, run: Callable[[], object], args: argparse.Namespace, reference: float) -> None:
    """Time a call with the compiled kernels and with the definition, and print both."""
    with use_backend('torch'):
        torch_ms = median_ms(run, args.device, SLOW_REPEATS, warmups=1)
    with use_backend('ext'):
        ours = median_ms(run, args.device, args.repeats)
        peak = f'{peak_bytes(run) / 1e9:.2f} GB' if args.device.startswith('cuda') else ''
    row(name, ours, torch_ms, reference, peak)


def graph_replay(tokenizer: DHTTokenizer, images: Tensor) -> Callable[[], None]:
    """The tokenizer of a fixed capacity, captured in a CUDA graph."""
    tokenizer.capacity = images.shape[0] * 2048
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        tokenizer(images)
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        partition = tokenizer(images)
    graph.replay()
    torch.cuda.synchronize()
    assert 0 < int(partition.offsets[-1]) <= tokenizer.capacity
    tokenizer.capacity = None
    return graph.replay


def training_graph(tokenizer: DHTTokenizer, images: Tensor, budget: dict | None) -> Callable[[], None]:
    """A training step of a tokenizer of a fixed capacity and all up to the blocks, forward and backward in one CUDA graph."""
    capacity = images.shape[0] * 2048
    fixed = DHTTokenizer(**tokenizer.options, token_budget=budget, norm_eval=tokenizer.norm_eval, capacity=capacity)
    fixed.load_state_dict(tokenizer.state_dict())
    step = training_step(Front(fixed, images.shape[-1]).to(images.device).train(), images)
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        step()
    return graph.replay


def slic_ms(images: Tensor, repeats: int) -> float:
    """scikit-image's SLIC with about 400 regions on the first image, as a user would call it."""
    from skimage.segmentation import slic

    pixels = images[0].permute(1, 2, 0).double().numpy()
    pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    return median_ms(lambda: slic(pixels, n_segments=400), 'cpu', repeats)


def on_gpu(args: argparse.Namespace, tokenizer: DHTTokenizer) -> None:
    for (side, batch), reference in GPU_REFERENCE.items():
        images = photographs(args.images, batch, side, side, args.device)
        run = torch.inference_mode()(lambda images=images: tokenizer(images))
        compare(f'{side} x {side}, batch {batch}', run, args, reference)
        if batch == 1:
            with torch.inference_mode(), use_backend('ext'):
                ours = median_ms(graph_replay(tokenizer, images), args.device, args.repeats)
            print(f'{"  the same in a CUDA graph":34} {ours:9.2f}')
    images = photographs(args.images, 64, 224, 224, args.device)
    for norm_eval in (True, False):
        tokenizer.norm_eval = norm_eval
        step = training_step(Front(tokenizer, 224).to(args.device).train(), images)
        compare(f'training, 224, 64, {"frozen" if norm_eval else "batch"} norm', step, args, TRAINING_REFERENCE)
        for name, budget in (('', None), (', hard budget', dict(mode='hard', train=196))):
            with use_backend('ext'):
                ours = median_ms(training_graph(tokenizer, images, budget), args.device, args.repeats)
            print(f'{"  in a CUDA graph" + name:34} {ours:9.2f}')


def on_cpu(args: argparse.Namespace, tokenizer: DHTTokenizer) -> None:
    for (side, batch), reference in CPU_REFERENCE.items():
        images = photographs(args.images, batch, side, side, args.device)
        run = torch.inference_mode()(lambda images=images: tokenizer(images))
        compare(f'{side} x {side}, {torch.get_num_threads()} threads', run, args, reference)
        print(f'{"  SLIC of scikit-image":34} {slic_ms(images, SLOW_REPEATS):9.2f}')


def main() -> None:
    args = parser(__doc__).parse_args()
    tokenizer = build_tokenizer(args)
    name = torch.cuda.get_device_name() if args.device.startswith('cuda') else 'CPU'
    print(f'{name}, torch {torch.__version__}, {backend_info()["library"]}')
    print(f'{"ms, median":34} {"ours":>9} {"torch":>9} {"ratio":>8} {"reference":>9} {"ratio":>8} {"peak":>8}')
    (on_gpu if args.device.startswith('cuda') else on_cpu)(args, tokenizer)


if __name__ == '__main__':
    main()
