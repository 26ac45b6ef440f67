"""Convert weights of the published dHT code to this project's.

    python tools/model_converters/dht_reference_to_mm.py SRC DST
    python tools/model_converters/dht_reference_to_mm.py SRC DST --head seg --pos-grid 14 14

SRC is the published tokenizer, or an encoder in the published layout (tokenizer, extractor, embedder, blocks, norm, head). A
tokenizer becomes the weights of a `dht_mm.DHTTokenizer`, an encoder those of a whole model of mmpretrain (class head) or
mmsegmentation (token head); `init_cfg=dict(type='Pretrained', checkpoint=DST, prefix='backbone.')` takes its backbone alone. What
became of every key is printed. DST is written only if all keys are accounted for.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from dht_mm.converters import Conversion, convert_encoder, convert_tokenizer
from dht_mm.tokenizer.checkpoint import read_state_dict


def convert(state_dict: Mapping[str, Tensor], pos_grid: tuple[int, int] | None, head: str | None) -> Conversion:
    """Convert either published layout; the one of encoders has its tokenizer under a prefix."""
    if any(key.startswith('tokenizer.') for key in state_dict):
        return convert_encoder(state_dict, pos_grid, head)
    return convert_tokenizer(state_dict)


def save(state_dict: dict[str, Tensor], path: Path) -> None:
    """Write a checkpoint as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + '.partial')
    try:
        torch.save(dict(state_dict=state_dict), partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Convert, and report; the exit code says whether DST was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', type=Path, metavar='SRC', help='published weights')
    parser.add_argument('dst', type=Path, metavar='DST', help='where to write the converted ones')
    parser.add_argument('--pos-grid', type=int, nargs=2, metavar=('Y', 'X'),
                        help='cells of the position histogram, where the shapes leave them open')
    parser.add_argument('--head', choices=('cls', 'seg'), help='what a linear head is for (default: cls)')
    args = parser.parse_args(argv)
    try:
        conversion = convert(read_state_dict(args.src), args.pos_grid and tuple(args.pos_grid), args.head)
        print(conversion.report())
        save(conversion.state_dict, args.dst)
    except (OSError, ValueError) as error:
        print(f'{args.src}: nothing written: {error}', file=sys.stderr)
        return 1
    print(f'{args.dst}: {len(conversion.state_dict)} tensors from {len(conversion.mapped)} keys of {args.src}, '
          f'{len(conversion.unused)} keys not used')
    return 0


if __name__ == '__main__':
    sys.exit(main())
