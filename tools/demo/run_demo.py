"""Trains a small dHT-ViT and a plain ViT with as many tokens on textured shapes, evaluates both and draws pictures.

    python tools/demo/run_demo.py --out-dir demo_out

Training and evaluation are mmsegmentation's own tools/train.py and tools/test.py, on the CPU. With the environment that `make
demo` sets up first everything takes less than ten minutes on two cores. What a run has finished, the next one skips.
"""

import argparse
import json
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from make_shapes_dataset import make_dataset
from mmengine.config import Config
from pictures import count_regions, draw_samples
from PIL import Image
from skimage import data
from stages import LOG, exclusive, run_once, run_script

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs/dht'
DHT = CONFIGS / 'segmentation/dht-vit-toy_token-head_1xb8-300i_shapes-128x128.py'
GRID = CONFIGS / 'segmentation/grid-vit-toy_token-head_1xb8-300i_shapes-128x128.py'
IMAGES = dict(train=240, val=60, size=128, seed=0)
ROWS = 6  # validation images in the picture
PHOTO_SIZE = 384  # pixels of the longer side
TABLE = 'summary.txt'


class Trained(NamedTuple):
    """A trained and evaluated model.

    Attributes:
        config: Its config.
        checkpoint: Its weights.
        predictions: Folder of its label maps of the validation images.
        miou: Mean intersection over union, per cent.
        seconds: What its training took.
    """

    config: Path
    checkpoint: Path
    predictions: Path
    miou: float
    seconds: float


def toolkit_script(name: str) -> Path:
    """A script that mmsegmentation was installed with."""
    return Path(find_spec('mmseg').submodule_search_locations[0]) / '.mim/tools' / name


def train(title: str, config: Path, folder: Path) -> tuple[Path, float]:
    """Trains a config; its last checkpoint, and the seconds that it took."""
    settings = Config.fromfile(config)
    command = [toolkit_script('train.py'), config, '--work-dir', folder]
    seconds = run_once(folder, title, settings.pretty_text + str(IMAGES), lambda: run_script(command, folder / LOG))
    return folder / f'iter_{settings.train_cfg.max_iters}.pth', seconds


def evaluate(title: str, config: Path, checkpoint: Path, folder: Path) -> tuple[Path, float]:
    """Evaluates a checkpoint; the folder of its label maps, and its mIoU in per cent."""
    predictions = folder / 'predictions'
    command = [toolkit_script('test.py'), config, checkpoint, '--work-dir', folder, '--out', predictions]
    run_once(folder, title, str(checkpoint), lambda: run_script(command, folder / LOG))
    metrics = json.loads(next(folder.glob('*/*.json')).read_text())
    return predictions, metrics['mIoU']


def train_and_evaluate(name: str, config: Path, folder: Path) -> Trained:
    """Both, the evaluation in a folder inside the training's, so that new training discards the old evaluation."""
    checkpoint, seconds = train(f'Training the {name}', config, folder)
    return Trained(config, checkpoint, *evaluate(f'Evaluating the {name}', config, checkpoint, folder / 'test'), seconds)


def tokenize_photo(folder: Path) -> None:
    """The regions of a photograph that no model was trained on, by the project's own command."""
    photo = folder / 'photo.png'
    Image.fromarray(data.stereo_motorcycle()[0]).save(photo)
    command = [ROOT / 'tools/tokenize_image.py', photo, '--out-dir', folder, '--size', PHOTO_SIZE, '--scale', 2]
    run_script(command, folder / LOG)


def make_table(models: dict[str, Trained], images: list[Path]) -> str:
    """The models' figures, a line each."""
    lines = [f'{"":10}{"mIoU":>8}{"tokens/image":>15}{"training":>12}']
    for name, model in models.items():
        tokens = count_regions(model.config, model.checkpoint, images)
        lines.append(f'{name:10}{model.miou:8.2f}{tokens:15.1f}{model.seconds:10.0f} s')
    return '\n'.join(lines) + '\n'


def write_results(folder: Path, models: dict[str, Trained], images: list[Path]) -> None:
    """Pictures and table."""
    dht = models['dHT-ViT']
    predictions = {name: model.predictions for name, model in models.items()}
    draw_samples(folder / 'samples.png', dht.config, dht.checkpoint, predictions, images[:ROWS])
    tokenize_photo(folder)
    (folder / TABLE).write_text(make_table(models, images))


def run_demo(out: Path) -> None:
    """Everything, in order."""
    dataset = Path('data/shapes')  # where the configs look for it
    try:
        made = make_dataset(dataset, **IMAGES)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    print(f'Data: {IMAGES["train"]} + {IMAGES["val"]} images in {dataset}{"" if made else ", already there"}')
    models = {'dHT-ViT': train_and_evaluate('dHT-ViT', DHT, out / 'dht-vit'),
              'plain ViT': train_and_evaluate('plain ViT', GRID, out / 'grid-vit')}
    images = sorted((dataset / 'images/validation').iterdir())
    results = out / 'results'
    run_once(results, 'Drawing', str(models), lambda: write_results(results, models, images))
    print(f'\n{(results / TABLE).read_text()}\n'
          f'Pictures and this table are in {results}: samples.png, photo_overlay.png, photo_mean_color.png, {TABLE};\n'
          f'logs, configs and weights in {out / "dht-vit"} and {out / "grid-vit"}.')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out-dir', type=Path, default=Path('demo_out'), help='folder for results (default: %(default)s)')
    args = parser.parse_args()
    try:
        with exclusive(args.out_dir):
            run_demo(args.out_dir)
    except KeyboardInterrupt:
        raise SystemExit('\ninterrupted; the next run goes on from the last finished step') from None
    except OSError as error:
        raise SystemExit(f'\n{error}; the next run goes on from the last finished step') from None


if __name__ == '__main__':
    main()
