"""The demo's pictures, and how many regions its models see."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image

from dht_mm.registry import MODELS
from dht_mm.structures import Partition
from dht_mm.tokenizer.checkpoint import load_tokenizer
from dht_mm.visualization import draw_borders, paint_labels, panel_strip, read_image, save_png, stack_strips, upscale

SCALE = 2  # pictures are enlarged so that borders hide less
UNLABELLED = 255


def load_model_tokenizer(config: Path, checkpoint: Path) -> torch.nn.Module:
    """The tokenizer of a segmentation model, with its trained weights, in evaluation mode."""
    tokenizer = MODELS.build(Config.fromfile(config).model.backbone.tokenizer)
    if tokenizer.state_dict():
        load_tokenizer(tokenizer, checkpoint)
    return tokenizer.eval()


@torch.inference_mode()
def tokenize(tokenizer: torch.nn.Module, image: np.ndarray, preprocessor: dict) -> Partition:
    """The partition of one ``[H, W, 3]`` uint8 RGB image, normalised as a model's data preprocessor does it."""
    mean, std = (torch.tensor(preprocessor[name], dtype=torch.float32) for name in ('mean', 'std'))
    return tokenizer(((torch.from_numpy(image) - mean) / std).permute(2, 0, 1)[None])


def read_classes(path: Path) -> np.ndarray:
    """A label map in ADE20K's numbering, ``[H, W]``: classes from 0, ``UNLABELLED`` where the file has 0."""
    return np.asarray(Image.open(path)) - np.uint8(1)  # 0 wraps around to 255


def count_regions(config: Path, checkpoint: Path, images: list[Path]) -> float:
    """Mean number of regions, that is of tokens without the class token, of images."""
    tokenizer, preprocessor = load_model_tokenizer(config, checkpoint), Config.fromfile(config).model.data_preprocessor
    return float(np.mean([tokenize(tokenizer, read_image(path), preprocessor).total_regions for path in images]))


def draw_samples(out: Path, config: Path, checkpoint: Path, predictions: dict[str, Path], images: list[Path]) -> None:
    """Writes a picture with a row for each image: image | regions | each model's prediction | truth.

    Args:
        out: PNG file to write.
        config: Config of the model whose regions are shown.
        checkpoint: Its weights.
        predictions: Caption to the folder of label maps that the toolkit's test script wrote.
        images: Files in ``images/SPLIT`` of a data set in ADE20K's format.
    """
    settings = Config.fromfile(config)
    tokenizer, palette = load_model_tokenizer(config, checkpoint), np.array(settings.metainfo.palette, np.uint8)
    rows = []
    for path in images:
        image = read_image(path)
        regions = tokenize(tokenizer, image, settings.model.data_preprocessor).labels[0].numpy()
        truth = path.parents[2] / 'annotations' / path.parent.name / path.name
        maps = {**{name: folder / path.name for name, folder in predictions.items()}, 'truth': truth}
        panels = {'image': upscale(image, SCALE), 'regions': draw_borders(upscale(image, SCALE), upscale(regions, SCALE))}
        panels |= {name: upscale(paint_labels(read_classes(file), palette, UNLABELLED), SCALE) for name, file in maps.items()}
        rows.append(panel_strip(panels))
    save_png(out, stack_strips(rows))
