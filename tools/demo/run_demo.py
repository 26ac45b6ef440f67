"""Trains a small dHT-ViT and a plain ViT with as many tokens on textured shapes, evaluates both and draws pictures.

    python tools/demo/run_demo.py --out-dir demo_out

Training and evaluation are mmsegmentation's own tools/train.py and tools/test.py, on the CPU. With the environment that `make
demo` sets up first everything takes less than ten minutes on two cores. What a run has finished, the next one skips.
"""

import argparse
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from make_shapes_dataset import make_dataset
from mmengine.config import Config
from pictures import count_regions, draw_samples
from PIL import Image
from skimage import data
from stages import LOG, run_once, run_script

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs/dht'
TOKENIZER = CONFIGS / 'tokenizer/dht-tokenizer_toy_1xb16-60i_shapes-128px.py'
DHT = CONFIGS / 'segmentation/dht-vit-toy_token-head_1xb8-300i_shapes-128x128.py'
GRID = CONFIGS / 'segmentation/grid-vit-toy_token-head_1xb8-300i_shapes-128x128.py'
IMAGES = dict(train=240, val=60, size=128, seed=0)
ROWS = 6  # validation images in the picture
PHOTO_SIZE = 384  # pixels of the longer side


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


def train(title: str, config: Path, folder: Path, options: Sequence[str] = (), needs: str = '') -> tuple[Path, float]:
    """Trains a config; its last checkpoint, and the seconds that it took.

    Args:
        title: Printed.
        config: File of the config.
        folder: Work directory.
        options: ``key=value`` overrides of the config.
        needs: What else the result depends on.
    """
    settings = Config.fromfile(config)
    extra = ('--cfg-options', *options) if options else ()
    command = [toolkit_script('train.py'), config, '--work-dir', folder, *extra]
    seconds = run_once(folder, title, settings.pretty_text + needs + ' '.join(options), lambda: run_script(command, folder / LOG))
    return folder / f'iter_{settings.train_cfg.max_iters}.pth', seconds


def evaluate(title: str, config: Path, checkpoint: Path, folder: Path) -> tuple[Path, float]:
    """Evaluates a checkpoint; the folder of its label maps, and its mIoU in per cent."""
    predictions = folder / 'predictions'
    command = [toolkit_script('test.py'), config, checkpoint, '--work-dir', folder, '--out', predictions]
    run_once(folder, title, str(checkpoint), lambda: run_script(command, folder / LOG))
    metrics = json.loads(next(folder.glob('*/*.json')).read_text())
    return predictions, metrics['mIoU']


def train_and_evaluate(name: str, config: Path, folder: Path, options: Sequence[str] = (), needs: str = '') -> Trained:
    """Both, the evaluation in a folder inside the training's, so that new training discards the old evaluation."""
    checkpoint, seconds = train(f'Training the {name}', config, folder, options, needs)
    return Trained(config, checkpoint, *evaluate(f'Evaluating the {name}', config, checkpoint, folder / 'test'), seconds)


def tokenize_photo(folder: Path, checkpoint: Path) -> None:
    """The regions of a photograph that no model was trained on, by the project's own command."""
    photo = Image.fromarray(data.stereo_motorcycle()[0])
    folder.mkdir(parents=True, exist_ok=True)
    photo.save(folder / 'photo.png')
    command = [ROOT / 'tools/tokenize_image.py', folder / 'photo.png', '--out-dir', folder, '--checkpoint', checkpoint,
               '--size', PHOTO_SIZE, '--scale', 2]
    run_script(command, folder / LOG)


def summary(models: dict[str, Trained], images: list[Path]) -> str:
    """A table of the models' figures."""
    lines = [f'{"":14}{"mIoU":>7}{"tokens/image":>14}{"training":>10}']
    for name, model in models.items():
        tokens = count_regions(model.config, model.checkpoint, images)
        lines.append(f'{name:14}{model.miou:7.2f}{tokens:14.1f}{model.seconds:8.0f} s')
    return '\n'.join(lines)


def run_demo(out: Path) -> None:
    """Everything, in order."""
    dataset = Path('data/shapes')  # where the configs look for it
    made = make_dataset(dataset, **IMAGES)
    print(f'Data: {dataset}, {IMAGES["train"]} + {IMAGES["val"]} images{"" if made else ": already there"}')
    tokenizer, _ = train('Pre-training the tokenizer', TOKENIZER, out / 'tokenizer', needs=str(IMAGES))
    pretrained = [f'model.backbone.tokenizer.init_cfg.{key}' for key in (
        'type=Pretrained', f'checkpoint={tokenizer}', 'prefix=tokenizer.')]
    needs = str(IMAGES) + Config.fromfile(TOKENIZER).pretty_text
    models = {'dHT-ViT': train_and_evaluate('dHT-ViT', DHT, out / 'dht-vit', pretrained, needs),
              'plain ViT': train_and_evaluate('plain ViT', GRID, out / 'grid-vit', needs=str(IMAGES))}
    images = sorted((dataset / 'images/validation').iterdir())
    dht = models['dHT-ViT']
    predictions = {name: model.predictions for name, model in models.items()}
    draw_samples(out / 'samples.png', dht.config, dht.checkpoint, predictions, images[:ROWS])
    run_once(out / 'photo', 'Regions of a photo', str(tokenizer), lambda: tokenize_photo(out / 'photo', tokenizer))
    table = summary(models, images)
    (out / 'summary.txt').write_text(table + '\n')
    print(f'\n{table}\n\nWritten: the table to {out}/summary.txt; pictures to {out}/samples.png, {out}/photo/photo_overlay.png,\n'
          f'{out}/photo/photo_mean_color.png; logs, configs and weights to {out}/tokenizer, {out}/dht-vit, {out}/grid-vit.')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out-dir', type=Path, default=Path('demo_out'), help='folder for results (default: %(default)s)')
    args = parser.parse_args()
    try:
        run_demo(args.out_dir)
    except KeyboardInterrupt:
        raise SystemExit('\ninterrupted; the next run goes on from the last finished step') from None
    except (OSError, ValueError) as error:
        raise SystemExit(f'\n{error}; the next run goes on from the last finished step') from None


if __name__ == '__main__':
    main()
