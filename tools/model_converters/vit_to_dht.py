"""Convert a pretrained plain ViT to a dHT-ViT.

    python tools/model_converters/vit_to_dht.py deit3-small-p16.pth dht-vit-s_deit3.pth
    python tools/model_converters/vit_to_dht.py dinov2_vits14.pth dht-vit-s_dinov2.pth --patch-size 16 --pos-grid 24 24

SRC is a checkpoint of timm (vit_*, deit3_*), mmpretrain (VisionTransformer, DeiT3), DINOv2 or DeiT III. The result computes exactly
what SRC does as long as it tokenizes squares, `tokenizer=dict(type='dht_mm.GridTokenizer', patch_size=...)`; then a pre-trained
`dht_mm.DHTTokenizer` takes their place and all is fine-tuned. Take it over with

    backbone=dict(type='dht_mm.DHTViT', ..., init_cfg=dict(type='Pretrained', checkpoint=DST, prefix='backbone.'))

with the options that are printed (heads are taken to have 64 dimensions, which weights do not show). What became of every key is
printed: mapped, resampled, missing in SRC, unused. DST is written only if all keys are accounted for.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from conversion_file import convert_file

from dht_mm.converters import convert_vit
from dht_mm.converters.vit_layouts import LAYOUTS


def main(argv: Sequence[str] | None = None) -> int:
    """Convert, and report; the exit code says whether DST was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', type=Path, metavar='SRC', help='weights of a plain ViT')
    parser.add_argument('dst', type=Path, metavar='DST', help='where to write the converted ones')
    parser.add_argument('--from', dest='layout', choices=('auto', *LAYOUTS), default='auto',
                        help='whose names the weights have (default: auto, tell by the names)')
    parser.add_argument('--patch-size', type=int, metavar='Q', help='another patch size, such as 16 for weights of 14')
    parser.add_argument('--pos-grid', type=int, nargs=2, metavar=('Y', 'X'), help='another grid of positions, such as 24 24 or 48 48')
    parser.add_argument('--pos-scale', type=float, metavar='S', help="the model's pos_scale, where it is not the default")
    parser.add_argument('--source-grid', type=int, nargs=2, metavar=('Y', 'X'), help='patches of SRC, where they are not a square')
    parser.add_argument('--gradient', action='store_true', help='add weights for gradient features, which are 0')
    args = parser.parse_args(argv)
    grids = {name: value and tuple(value) for name, value in (('pos_grid', args.pos_grid), ('source_grid', args.source_grid))}
    return convert_file(args.src, args.dst, lambda state_dict: convert_vit(
        state_dict, args.layout, gradient=args.gradient, patch_size=args.patch_size, pos_scale=args.pos_scale, **grids))


if __name__ == '__main__':
    sys.exit(main())
