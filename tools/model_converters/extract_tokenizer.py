"""Take the weights of the tokenizer out of a checkpoint, into a file of their own that holds tensors alone.

    python tools/model_converters/extract_tokenizer.py work_dirs/RUN/iter_500.pth tokenizer.pth

SRC is a checkpoint of pre-training or of any model with a `dht_mm.DHTTokenizer` of eight hidden channels.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from conversion_file import save

from dht_mm.tokenizer import DHTTokenizer
from dht_mm.tokenizer.checkpoint import load_tokenizer


def main(argv: Sequence[str] | None = None) -> int:
    """Extract; the exit code says whether DST was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', type=Path, metavar='SRC', help='checkpoint')
    parser.add_argument('dst', type=Path, metavar='DST', help='where to write the tokenizer')
    args = parser.parse_args(argv)
    tokenizer = DHTTokenizer()
    try:
        load_tokenizer(tokenizer, args.src)
        save(tokenizer.state_dict(), args.dst)
    except (OSError, ValueError) as error:
        print(f'{args.src}: nothing written: {error}', file=sys.stderr)
        return 1
    print(f'{args.dst}: {args.dst.stat().st_size} bytes')
    return 0


if __name__ == '__main__':
    sys.exit(main())
