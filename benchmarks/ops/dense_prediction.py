"""From tokens to pixels: what the neck and the losses of regions save over painting first, and what the kernels of the decode save over
plain tensor operations, for every fourth row and column (step), all forward and backward; and of all pixels, forward (decode). 512 x 512
pixels.

    python benchmarks/ops/dense_prediction.py --images ../shared/images --checkpoint TOKENIZER.pth
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from common import build_tokenizer, median_ms, parser, peak_bytes, photographs
from torch import Tensor

from dht_mm.heads import PixelDecode, average_over_regions
from dht_mm.heads.pixel_decode import BLUR, WIDE
from dht_mm.losses import RegionCrossEntropyLoss
from dht_mm.necks import TokenToPixel
from dht_mm.ops.reference.decode_pixels import decode_pixels as decode_plainly
from dht_mm.ops.reference.surroundings import surroundings as describe_plainly
from dht_mm.structures import Partition, RegionTokens

DIMS, CLASSES, FEW_CLASSES, BAND, STRIDE = 384, 150, 19, 64, 4


def neck_cases(partition: Partition, device: str) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """The neck, and the same levels by painting, average pooling and a convolution of one pixel."""
    neck = TokenToPixel(DIMS, (4, 8, 16, 32), (256, 512, 1024, 2048)).to(device)
    tokens = torch.randn(partition.total_regions, DIMS, device=device, requires_grad=True)

    def painted() -> Tensor:
        levels = zip(neck.projections, neck.strides, strict=True)
        map = partition.scatter(tokens)
        return sum(F.conv2d(F.avg_pool2d(map, stride, ceil_mode=True, count_include_pad=False),
                            layer.weight[:, :, None, None], layer.bias).sum() for layer, stride in levels)

    return lambda: sum(level.sum() for level in neck(RegionTokens((tokens,), (), partition))), painted


def loss_cases(partition: Partition, device: str) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """The cross entropy of pixels from the logits of regions, and from the painted map of logits."""
    logits = torch.randn(partition.total_regions, CLASSES, device=device, requires_grad=True)
    labels = torch.randint(0, CLASSES, partition.labels.shape, device=device)
    loss = RegionCrossEntropyLoss()
    return lambda: loss(logits, labels, partition), lambda: F.cross_entropy(partition.scatter(logits), labels)


def refine_cases(partition: Partition, device: str) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Logits of stride 4 averaged over regions, and only resized, as a decode head's loss does anyway."""
    batch, height, width = partition.labels.shape
    logits = torch.randn(batch, CLASSES, height // 4, width // 4, device=device, requires_grad=True)
    return (lambda: average_over_regions(logits, partition).sum(),
            lambda: F.interpolate(logits, (height, width), mode='bilinear').sum())


def decode_arguments(partition: Partition, device: str) -> tuple[PixelDecode, tuple[Tensor, Tensor, Partition, Tensor]]:
    """A decode and its arguments: logits and tokens of regions, the regions, and images."""
    tokens, logits = (torch.randn(partition.total_regions, dims, device=device, requires_grad=True) for dims in (DIMS, FEW_CLASSES))
    images = torch.randn(len(partition), 3, *partition.labels.shape[1:], device=device)
    return PixelDecode(DIMS, FEW_CLASSES, texture=True).to(device), (logits, tokens, partition, images)


def decode_cases(partition: Partition, device: str) -> tuple[Callable[[], list[Tensor]], Callable[[], None]]:
    """The logits of pixels from the tokens around them, in bands, and the same sums in plain tensor operations."""
    decode, arguments = decode_arguments(partition, device)
    images = arguments[-1]
    y, x = (torch.arange(length, device=device) for length in images.shape[2:])

    @torch.no_grad()
    def plainly() -> None:
        ingredients, colours = decode.ingredients(*arguments), describe_plainly(images, y, x, BLUR, WIDE)
        for band in y.split(BAND):
            decode_plainly(*ingredients, colours[:, :, band], band, x)

    return torch.no_grad()(lambda: [*decode.bands(*arguments)]), plainly


def step_cases(partition: Partition, device: str) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """The logits of some rows and columns, and the same sums in plain tensor operations."""
    decode, arguments = decode_arguments(partition, device)
    images = arguments[-1]
    y, x = (torch.arange(0, length, STRIDE, device=device) for length in images.shape[2:])
    return (lambda: decode(*arguments, rows=y, columns=x).square().mean(),
            lambda: decode_plainly(*decode.ingredients(*arguments), describe_plainly(images, y, x, BLUR, WIDE), y, x).square().mean())


def main() -> None:
    options = parser(__doc__)
    options.add_argument('--batch', type=int, default=2, help='images (default: %(default)s)')
    args = options.parse_args()
    on_gpu = args.device.startswith('cuda')
    with torch.no_grad():
        partition = build_tokenizer(args)(photographs(args.images, args.batch, 512, 512, args.device))
    print(torch.cuda.get_device_name() if on_gpu else f'CPU, {torch.get_num_threads()} threads', end=', ')
    print(f'{args.batch} images, {partition.total_regions} regions')
    print(f'{"":8} {"ours ms":>9} {"peer ms":>9} {"peer / ours":>11}' + (f' {"ours MB":>8} {"peer MB":>8}' if on_gpu else ''))
    for name, cases in (('neck', neck_cases), ('loss', loss_cases), ('refine', refine_cases), ('step', step_cases),
                        ('decode', decode_cases)):
        runs = cases(partition, args.device) if name == 'decode' else [
            lambda case=case: case().backward() for case in cases(partition, args.device)]
        ours, peer = (median_ms(run, args.device, args.repeats) for run in runs)
        memory = ' '.join(f'{peak_bytes(run) / 1e6:8.1f}' for run in runs) if on_gpu else ''
        print(f'{name:8} {ours:9.2f} {peer:9.2f} {peer / ours:11.2f} {memory}', flush=True)


if __name__ == '__main__':
    main()
