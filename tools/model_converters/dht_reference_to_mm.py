"""Convert weights of the published dHT code to this project's, or back.

    python tools/model_converters/dht_reference_to_mm.py SRC DST
    python tools/model_converters/dht_reference_to_mm.py SRC DST --head seg --pos-grid 14 14
    python tools/model_converters/dht_reference_to_mm.py SRC DST --back

SRC is the published tokenizer, or an encoder in the published layout (tokenizer, extractor, embedder, blocks, norm, head). A
tokenizer becomes the weights of a `dht_mm.DHTTokenizer`, an encoder those of a whole model of mmpretrain (class head) or
mmsegmentation (token head); `init_cfg=dict(type='Pretrained', checkpoint=DST, prefix='backbone.')` takes its backbone alone. With
--back it is the other way round, as far as the published layout has a place for everything. What became of every key is printed.
DST is written only if all keys are accounted for.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from conversion_file import convert_file
from torch import Tensor

from dht_mm.converters import Conversion, convert_encoder, convert_tokenizer, export_encoder, export_tokenizer


def convert(state_dict: Mapping[str, Tensor], args: argparse.Namespace) -> Conversion:
    """Convert either layout; those of encoders have their tokenizer under a prefix."""
    if args.back:
        return (export_encoder if any(key.startswith('backbone.') for key in state_dict) else export_tokenizer)(state_dict)
    if any(key.startswith('tokenizer.') for key in state_dict):
        return convert_encoder(state_dict, args.pos_grid and tuple(args.pos_grid), args.head)
    return convert_tokenizer(state_dict)


def main(argv: Sequence[str] | None = None) -> int:
    """Convert, and report; the exit code says whether DST was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', type=Path, metavar='SRC', help='published weights')
    parser.add_argument('dst', type=Path, metavar='DST', help='where to write the converted ones')
    parser.add_argument('--pos-grid', type=int, nargs=2, metavar=('Y', 'X'),
                        help='cells of the position histogram, where the shapes leave them open')
    parser.add_argument('--head', choices=('cls', 'seg'), help='what a linear head is for (default: cls)')
    parser.add_argument('--back', action='store_true', help='SRC holds weights of this project, DST gets the published layout')
    args = parser.parse_args(argv)
    return convert_file(args.src, args.dst, lambda state_dict: convert(state_dict, args))


if __name__ == '__main__':
    sys.exit(main())
