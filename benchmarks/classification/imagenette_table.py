"""Put the figures of imagenette.py into the results that the pages show, one list of figures for each seed.

    python benchmarks/classification/imagenette_table.py imagenette.json --into benchmarks/results/imagenette_h200.json
    python docs/write_tables.py

Several files are taken together, as of runs on several machines. The figures are the accuracies along the curve and that of 20 nearest
neighbours; docs/write_tables.py takes their means and spreads.
"""

import argparse
import json
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1]
sys.path += [str(BENCHMARKS), str(BENCHMARKS / 'experiments')]
from results_file import update_result  # noqa: E402
from variants import parse_variant  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', type=Path, nargs='+', help='what imagenette.py wrote with --json')
    parser.add_argument('--into', type=Path, required=True, help='file of results, whose title, page, setting and command stay')
    return parser.parse_args()


def title(name: str) -> str:
    """What the table calls a variant: the usual ones in words, others by their names."""
    variant = parse_variant(name)
    if variant.partition == 'plain':
        return 'plain ViT'
    if (variant.partition, variant.content) != ('hard', 'box') or variant.numbers or not set(variant.extras) <= {'gradient'}:
        return f'`{name}`'
    parts = ['dHT-ViT', 'end to end' if variant.end_to_end else 'tokenizer frozen', *(f'{extra} features' for extra in variant.extras)]
    return ', '.join(parts)


def runs_of(rows: list[dict]) -> tuple[list[str], dict[str, list[list[float]]]]:
    """Columns, and the figures of every seed by the variant's title, the plain ViT's first.

    Raises:
        SystemExit: A variant and a seed come twice, or the curves have other points.
    """
    tasks, epochs = [(row['variant'], row['seed']) for row in rows], {tuple(point[0] for point in row['curve']) for row in rows}
    if again := [task for task in tasks if tasks.count(task) > 1]:
        raise SystemExit(f'files must have each variant and seed once, but {max(again)} comes again')
    if len(epochs) != 1:
        raise SystemExit(f'files must have the same points of the curve in every run, but have {sorted(epochs)}')
    runs: dict[str, list[list[float]]] = {}
    for row in sorted(rows, key=lambda row: (row['variant'] != 'plain', row['variant'], row['seed'])):
        figures = [*(point[1] for point in row['curve']), row['knn']]
        runs.setdefault(title(row['variant']), []).append([round(value, 2) for value in figures])
    first, *others = epochs.pop()
    return ['', 'seeds', f'{first} epochs', *map(str, others), f'20-NN at {(first, *others)[-1]}'], runs


def main() -> None:
    args = parse_args()
    columns, runs = runs_of([row for file in args.files for row in json.loads(file.read_text())['rows']])
    update_result(args.into, columns, runs=runs)


if __name__ == '__main__':
    main()
