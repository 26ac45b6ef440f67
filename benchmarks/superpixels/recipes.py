"""Recipes for training the tokenizer: what each gains in L_rec, and in superpixels of BSDS500's training images.

    python benchmarks/superpixels/recipes.py --photos data/photos --data DATA/bsds500 --out-dir recipes --jobs 8

A recipe is the config that trained the package's tokenizers with one option changed. tools/train.py runs it, several recipes side by side,
and its tokenizer cuts up every ceil(n / --images)-th training image of BSDS500, whose segmentations it has not seen: L_rec and the number
of regions are those of the natural partition, the other scores, which docs/metrics.md defines, those of the exact budgets --regions. Choose
recipes by this table alone, since validation images are for reporting. --out-dir keeps each tokenizer as NAME.pth, and in NAME/ its log;
recipes that are not trained when --limit is over are left out.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch

from dht_mm.losses import reconstruction_loss
from dht_mm.metrics import mean_scores, partition_scores
from dht_mm.tokenizer import DHTTokenizer, TokenBudget
from dht_mm.tokenizer.checkpoint import load_tokenizer
from dht_mm.visualization import read_image

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'tools' / folder) for folder in ('', 'analysis_tools')]
from annotated_images import find_images  # noqa: E402
from tokenize_image import normalize  # noqa: E402

CONFIG = ROOT / 'configs/dht/tokenizer/dht-tokenizer_1xb16-500i_photos-224px.py'
DATA = 'train_dataloader.dataset.dataset'
COLUMNS = dict(boundary_recall='recall', boundary_precision='precision', undersegmentation_error='UE', achievable_accuracy='ASA',
               explained_variation='EV')


def gain(scale: float) -> dict:
    """Batch norm's first weights: how far features lie apart, which the Gaussian kernel compares, when training begins."""
    name = 'model.tokenizer.init_cfg'
    return {f'{name}.type': 'Constant', f'{name}.layer': 'BatchNorm2d', f'{name}.val': scale, f'{name}.bias': 0.0}


def length(steps: int) -> dict:
    """As many steps, and the schedule over them."""
    return {'train_cfg.max_iters': steps, 'param_scheduler.1.end': steps, 'default_hooks.checkpoint.interval': steps,
            'custom_hooks.0.interval': steps}


RECIPES = {
    'the config': {},
    'crops of 128 pixels, 8 a step': {'train_dataloader.batch_size': 8, f'{DATA}.pipeline.1.scale': 128},
    'feature scale 2': gain(2.0),
    'feature scale 4': gain(4.0),
    'rate 3e-3': {'optim_wrapper.optimizer.lr': 3e-3},
    'rate 3e-2': {'optim_wrapper.optimizer.lr': 3e-2},
    'half the photographs': {f'{DATA}.indices': 5},
    '250 steps': length(250),
    '1000 steps': length(1000),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--photos', type=Path, required=True, help='folder of the photographs to train on')
    parser.add_argument('--data', type=Path, required=True, help='folder of images/train and groundTruth/train')
    parser.add_argument('--out-dir', type=Path, required=True, help='folder for tokenizers and logs')
    parser.add_argument('--recipes', nargs='+', choices=RECIPES, default=[*RECIPES], metavar='NAME', help='all by default')
    parser.add_argument('--compactness', type=float, nargs='+', default=[0.01, 0.1], metavar='C', help='default: 0.01 0.1')
    parser.add_argument('--regions', type=int, nargs='+', default=[200, 400], metavar='K')
    parser.add_argument('--images', type=int, default=24, help='at most so many of the split (default: %(default)s)')
    parser.add_argument('--jobs', type=int, default=1, help='recipes at a time (default: %(default)s)')
    parser.add_argument('--limit', type=float, default=float('inf'), metavar='SECONDS')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='for every recipe, before its own')
    return parser.parse_args()


def train(name: str, recipe: str, compactness: float, args: argparse.Namespace, seconds: float) -> Path:
    """Runs the training script, whose output goes to NAME/output.txt; the checkpoint."""
    folder = args.out_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    options = {f'{DATA}.data_root': args.photos.resolve(), 'model.tokenizer.compactness': compactness}
    command = [sys.executable, ROOT / 'tools/train.py', CONFIG, '--work-dir', folder, '--cfg-options', *args.cfg_options,
               *(f'{key}={value}' for key, value in (options | RECIPES[recipe]).items())]
    with (folder / 'output.txt').open('w') as output:
        subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, timeout=seconds, check=True)
    return Path((folder / 'last_checkpoint').read_text())


@torch.inference_mode()
def score(tokenizer: DHTTokenizer, args: argparse.Namespace) -> dict[int, dict[str, float]]:
    """Means over images: at 0 those of the natural partition, else by number of regions."""
    device = next(tokenizer.parameters()).device
    scores = {target: [] for target in (0, *args.regions)}
    for sample in find_images(args.data, 'train', args.images):
        image, truths = read_image(sample.image), sample.read_truths()
        pixels = normalize(image, device)
        for target, rows in scores.items():
            tokenizer.token_budget = TokenBudget('exact', test=target) if target else None
            partition = tokenizer(pixels)
            loss = reconstruction_loss(pixels, partition).item()
            rows.append(dict(loss_rec=loss) | partition_scores(partition.labels[0].cpu(), image, truths))
    return {target: mean_scores(rows) for target, rows in scores.items()}


def run(recipe: str, compactness: float, args: argparse.Namespace, end: float) -> tuple[float, dict[int, dict[str, float]]]:
    """Trains and scores; the seconds that training took, and the scores."""
    torch.set_num_threads(1)
    name, start = f'{recipe} at {compactness}'.replace(' ', '_').replace(',', ''), time.time()
    tokenizer = DHTTokenizer(compactness=compactness)
    load_tokenizer(tokenizer, train(name, recipe, compactness, args, max(0.0, end - start)))
    seconds = time.time() - start
    torch.save(tokenizer.state_dict(), args.out_dir / f'{name}.pth')
    return seconds, score(tokenizer.to('cuda' if torch.cuda.is_available() else 'cpu').eval(), args)


def row(recipe: str, compactness: float, seconds: float, scores: dict[int, dict[str, float]]) -> str:
    """A line of the table."""
    natural = scores.pop(0)
    cells = [f'{seconds:.0f}', f'{natural["loss_rec"]:.4f}', f'{natural["regions"]:.0f}']
    cells += [f'{own[column]:.4f}' for own in scores.values() for column in COLUMNS]
    return f'| {recipe} | {compactness} | {" | ".join(cells)} |'


def main() -> None:
    args = parse_args()
    end = time.time() + args.limit
    jobs = [(recipe, compactness) for recipe in args.recipes for compactness in args.compactness]
    os.environ['OMP_NUM_THREADS'] = '1'  # processes are what runs side by side
    pool = ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context('spawn'))
    running = {pool.submit(run, *job, args, end): job for job in jobs}
    columns = [f'{title} at {target}' for target in args.regions for title in COLUMNS.values()]
    print(f'| recipe | compactness | seconds | L_rec | regions | {" | ".join(columns)} |\n|{"---|" * (5 + len(columns))}', flush=True)
    for future in as_completed(running):
        try:
            print(row(*running[future], *future.result()), flush=True)
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            print(f'{running[future]}: {error}', file=sys.stderr)
    pool.shutdown()


if __name__ == '__main__':
    main()
