"""Scores of a segmenter on a data set."""

import argparse
from collections.abc import Iterator
from statistics import median

import torch
from augmentation import normalise
from packing import IGNORED
from partitions import cells
from pool import autocast, wait
from segmenter import Segmenter
from torch import Tensor

from dht_mm.metrics import ClassOverlap, boundary_overlap, class_overlap, region_majority, trimap_overlap

WIDTHS = (1, 3, 5)
BOUNDARY_SHARE = 0.02


@torch.inference_mode()
def evaluate(model: Segmenter, images: Tensor, labels: Tensor, num_classes: int, args: argparse.Namespace) -> dict[str, float]:
    """Scores in per cent: mIoU, that within some pixels of borders, boundary IoU, the ceiling of the partition; regions of an image;
    images a second from normalised images on the device to logits on it, by the median batch.

    Args:
        model: The segmenter.
        images: ``[N, 3, H, W]`` uint8.
        labels: ``[N, H, W]`` uint8.
        num_classes: Classes.
        args: ``batch`` and the precision.
    """
    model.eval()
    totals: dict[str, ClassOverlap] = {}
    regions, seconds = 0, []
    for pixels, classes in _batches(images, labels, args.batch):
        start = wait(args)
        with autocast(args):
            logits, partition = model.replay(model, pixels)
        seconds.append(wait(args) - start)
        areas = cells(*pixels.shape[2:], model.grid, pixels.device).expand(classes.shape) if partition is None else partition.labels
        regions += int(areas.flatten(1).amax(1).sum()) + len(areas)
        for name, overlap in _overlaps(logits.argmax(1), areas, classes, num_classes):
            totals[name] = overlap if name not in totals else ClassOverlap(*map(torch.add, totals[name], overlap))
    scores = {name: overlap.mean_iou() for name, overlap in totals.items()}
    return scores | dict(tokens=regions / len(images), images_per_s=min(args.batch, len(images)) / median(seconds),
                         class_iou=[round(100 * value, 1) for value in totals['miou'].iou().tolist()])


def _overlaps(prediction: Tensor, regions: Tensor, labels: Tensor, num_classes: int) -> Iterator[tuple[str, ClassOverlap]]:
    known = labels != IGNORED
    diagonal = (labels.shape[1]**2 + labels.shape[2]**2)**0.5
    yield 'miou', class_overlap(prediction[known], labels[known], num_classes)
    for width in WIDTHS:
        yield f'trimap_{width}', trimap_overlap(prediction, labels, num_classes, width, IGNORED)
    yield 'boundary', boundary_overlap(prediction, labels, num_classes, max(1, round(BOUNDARY_SHARE * diagonal)), IGNORED)
    yield 'oracle', class_overlap(region_majority(regions, labels, num_classes, IGNORED)[known], labels[known], num_classes)


def _batches(images: Tensor, labels: Tensor, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    for pixels, classes in zip(images.split(batch), labels.split(batch), strict=True):
        yield normalise(pixels.float() / 255), classes.long()

