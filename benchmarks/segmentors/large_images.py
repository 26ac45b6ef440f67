"""Time and peak memory of one prediction on a large image, on the CPU.

    python benchmarks/segmentors/large_images.py --size 4096 4096 --classes 150 --mode whole --no-logits

One process a measurement: the peak is the process's own, less what it had before the prediction. The image is smooth noise, the backbone
two thin blocks behind the tokenizer at its random start with the paper's soft budget, so that tokens and maps decide and not weights.
"""

import argparse
import re
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmseg.models import BaseSegmentor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample


def peak_gib() -> float:
    """Highest memory of this process so far, on Linux. `ru_maxrss` would start with that of the process which started this one."""
    return int(re.search(r'VmHWM:\s+(\d+) kB', Path('/proc/self/status').read_text())[1]) / 2**20


def build_segmentor(args: argparse.Namespace) -> BaseSegmentor:
    """The segmentor that the options ask for, with random weights."""
    slide = dict(mode='slide', crop_size=(args.crop, args.crop), stride=(args.crop * 2 // 3,) * 2)
    test_cfg = (slide if args.mode == 'slide' else dict(mode='whole')) | dict(seg_logits=args.logits)
    tokenizer = dict(type='dht_mm.DHTTokenizer', token_budget=dict(mode='soft'))
    return MODELS.build(ConfigDict(
        type=args.segmentor, test_cfg=test_cfg,
        data_preprocessor=dict(type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
        backbone=dict(type='dht_mm.DHTViT', arch=dict(embed_dims=32, num_layers=2, num_heads=2), img_size=512, out_type='tokens',
                      tokenizer=tokenizer),
        decode_head=dict(type='dht_mm.TokenHead', in_channels=32, num_classes=args.classes,
                         decode=dict() if args.decode else None))).eval()


def make_image(height: int, width: int) -> torch.Tensor:
    """``[3, H, W]`` uint8: blots of 16 pixels and a little noise."""
    blots = torch.randint(0, 256, (1, 3, -(-height // 16), -(-width // 16))).float()
    return (F.interpolate(blots, (height, width), mode='bilinear')[0] + 4 * torch.randn(1, height, width)).clamp(0, 255).byte()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--size', type=int, nargs=2, default=(1024, 2048), metavar=('H', 'W'), help='of the image (default: 1024 2048)')
    parser.add_argument('--classes', type=int, default=19, help='(default: %(default)s)')
    parser.add_argument('--mode', choices=('whole', 'slide'), default='whole', help='(default: %(default)s)')
    parser.add_argument('--crop', type=int, default=1024, help='side of the windows of slide mode (default: %(default)s)')
    parser.add_argument('--segmentor', choices=('dht_mm.RegionSegmentor', 'EncoderDecoder'), default='dht_mm.RegionSegmentor')
    parser.add_argument('--no-logits', dest='logits', action='store_false', help='predict classes alone (RegionSegmentor)')
    parser.add_argument('--decode', action='store_true', help='pixels have logits of their own')
    args = parser.parse_args()
    init_default_scope('mmseg')
    torch.manual_seed(0)
    segmentor, shape = build_segmentor(args), tuple(args.size)
    batch = dict(inputs=[make_image(*shape)], data_samples=[SegDataSample(metainfo=dict(img_shape=shape, ori_shape=shape))])
    before, start = peak_gib(), time.perf_counter()
    with torch.no_grad():
        result, = segmentor.test_step(batch)
    seconds, peak = time.perf_counter() - start, peak_gib() - before
    assert tuple(result.pred_sem_seg.shape) == shape
    print(f'{seconds:.1f} s, {peak:.2f} GiB; a map of logits is {shape[0] * shape[1] * args.classes * 4 / 2**30:.2f} GiB')


if __name__ == '__main__':
    main()
