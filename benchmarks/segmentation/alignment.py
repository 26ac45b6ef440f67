"""Before training, tokens of regions learn from the plain ViT what the patches are that their regions cover; labels are not needed."""

import argparse
import copy
from functools import partial

import torch
import torch.nn.functional as F
from augmentation import augment
from recipe import build_optimizer, descend, shuffled
from region_vit import RegionViT, quarters
from segmenter import Segmenter
from torch import Tensor
from training import CROP_RATIO, WARMUP_SHARE
from variants import parse_variant

from dht_mm.structures import Partition


def align(model: Segmenter, images: Tensor, args: argparse.Namespace) -> None:
    """Train a segmenter's backbone in place to give regions the mean of the plain ViT's tokens, after every quarter of the blocks.

    Args:
        model: The segmenter, with the plain ViT's weights.
        images: ``[N, 3, H, W]`` uint8.
        args: ``align``, the steps, and the options of training.
    """
    teacher = RegionViT(parse_variant('plain'), model.grid, copy.deepcopy(model.backbone), from_zero=True, graphs=False)
    teacher.eval().requires_grad_(False)
    student = RegionViT(model.variant, model.grid, model.backbone, from_zero=True, graphs=model.graphs is not None)
    student.content = model.content
    teacher.layers = student.layers = quarters(model.backbone)
    student.train()
    optimizer = build_optimizer(student, args.lr, args.layer_decay, args.weight_decay, args.new_lr)
    batches = shuffled(len(images), args.align, args.batch, images.device)
    for _ in descend(student, partial(_distance, student, teacher, images, args), optimizer, batches, WARMUP_SHARE, args):
        pass


def _distance(student: RegionViT, teacher: RegionViT, images: Tensor, args: argparse.Namespace, chosen: Tensor) -> Tensor:
    """Mean squared distance of normalised tokens of some images ``[B]``, newly augmented."""
    pixels, _ = augment(images[chosen], None, (args.crop, 1.0), CROP_RATIO, args.colour)
    _, tokens, scene = student.tokens(pixels)
    with torch.no_grad():
        patches = teacher.tokens(pixels)[1].unflatten(0, (len(pixels), -1))
        targets = _normalised(student.content.mean_of_cells(patches, scene.partition), len(student.layers))
    return _mean_of_regions((_normalised(tokens, len(student.layers)) - targets).square().mean(1), scene.partition)


def _normalised(tokens: Tensor, layers: int) -> Tensor:
    """``[R, layers D]`` with the tokens of each layer normalised by themselves."""
    tokens = tokens.float().unflatten(1, (layers, -1))
    return F.layer_norm(tokens, tokens.shape[-1:]).flatten(1)


def _mean_of_regions(values: Tensor, partition: Partition) -> Tensor:
    """The mean of ``[R]``, rows of no region left out."""
    there = partition.size > 0
    return (values * there).sum() / there.sum()
