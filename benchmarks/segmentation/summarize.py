"""Means over seeds of the runs of camvid.py, as a table of the docs and as a plot.

    python benchmarks/segmentation/summarize.py runs.json --times times.json --results benchmarks/results/NAME.json --plot camvid.png

The file of results has what no run knows (title, page, setting, command); its columns and rows are written anew, and shown by
docs/write_tables.py. Times are read from --times, runs of one worker, where there are any.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev

Runs = dict[tuple[str, int], list[dict]]  # of a variant and a number of tokens, one for each seed

SCORES = dict(miou='mIoU', trimap_1='1 px', trimap_3='3 px', trimap_5='5 px', boundary='boundary IoU', oracle='ceiling')
TIMES = dict(ms_per_step='ms a step', images_per_s='images/s')
PLOTTED = ('miou', 'trimap_3', 'boundary', 'oracle')


def read_runs(paths: list[Path]) -> Runs:
    """The rows of several files of runs."""
    runs: Runs = {}
    for row in (row for path in paths for row in json.loads(path.read_text())['rows']):
        runs.setdefault((row['variant'], row['T']), []).append(row)
    return runs


def spread(values: list[float]) -> str:
    """Mean and, of several, the standard deviation."""
    return f'{mean(values):.1f}' + (f' ± {stdev(values):.1f}' if len(values) > 1 else '')


def short(value: float) -> str:
    """With a decimal where that is much."""
    return f'{value:.1f}' if value < 100 else f'{value:.0f}'


def make_table(runs: Runs, times: Runs) -> tuple[list[str], list[list[str]]]:
    """Columns and rows, those of the least number of tokens first, and variants in the order in which they first come."""
    timed = TIMES if times else {}
    columns = ['T', 'name', 'seeds', *SCORES.values(), *timed.values()]
    rows = []
    variants = [*dict.fromkeys(variant for variant, _ in runs)]
    for key in sorted(runs, key=lambda key: (key[1], variants.index(key[0]))):
        scores = [spread([row['miou'] for row in runs[key]])] + [f'{mean(row[name] for row in runs[key]):.1f}' for name in [*SCORES][1:]]
        figures = [short(mean(row[name] for row in times[key])) if key in times else '' for name in timed]
        rows.append([str(key[1]), f'`{key[0]}`', str(len(runs[key])), *scores, *figures])
    return columns, rows


def plot(path: Path, runs: Runs) -> None:
    """Scores over the number of tokens, a line a variant; bars are the standard deviation over seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4), layout='constrained')
    panels = figure.subplots(1, len(PLOTTED))
    variants = list(dict.fromkeys(variant for variant, _ in runs))
    for name, axes in zip(PLOTTED, panels, strict=True):
        for variant in variants:
            tokens = sorted(number for other, number in runs if other == variant)
            values = [[row[name] for row in runs[variant, number]] for number in tokens]
            axes.errorbar(tokens, [mean(value) for value in values], [stdev(value) if len(value) > 1 else 0 for value in values],
                          marker='.', capsize=3, label=variant)
        axes.set(xscale='log', xlabel='tokens', title=SCORES[name])
        ticks = sorted({number for _, number in runs})
        axes.set_xticks(ticks, labels=[str(tick) for tick in ticks], minor=False)
        axes.minorticks_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside lower center', ncols=2)
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', nargs='+', type=Path, help='files that camvid.py wrote with --json')
    parser.add_argument('--times', nargs='*', type=Path, default=[], help='such files too, of one worker')
    parser.add_argument('--results', type=Path, required=True, help='file to update')
    parser.add_argument('--plot', type=Path, help='picture to write; needs matplotlib')
    args = parser.parse_args()
    runs = read_runs(args.runs)
    columns, rows = make_table(runs, read_runs(args.times))
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in json.loads(args.results.read_text()).items()}
    texts |= dict(columns=json.dumps(columns, ensure_ascii=False),
                  rows='[\n' + ',\n'.join(f'    {json.dumps(row, ensure_ascii=False)}' for row in rows) + '\n  ]')
    args.results.write_text('{\n' + ',\n'.join(f'  {json.dumps(key)}: {text}' for key, text in texts.items()) + '\n}\n')
    if args.plot:
        plot(args.plot, runs)


if __name__ == '__main__':
    main()
