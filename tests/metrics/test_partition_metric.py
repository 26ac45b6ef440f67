"""The metric in mmengine's evaluator, on what a tokenizer predicts."""

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement, PixelData

from dht_mm.metrics import mean_scores, partition_scores
from dht_mm.registry import METRICS
from dht_mm.tokenizer import GridTokenizer, TokenizerPretrainer


def test_evaluator_gives_the_means_of_the_images():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    truths = torch.randint(0, 3, (3, 2, 8, 8))
    samples = [BaseDataElement(gt_sem_seg=PixelData(data=truth)) for truth in truths[:2]] + [BaseDataElement()]
    evaluator = Evaluator(METRICS.build(dict(type='dht_mm.PartitionMetric', tolerance=0)))
    model = TokenizerPretrainer(GridTokenizer(4))
    for part in (slice(0, 2), slice(2, 3)):
        evaluator.process(model(images[part].float(), samples[part], mode='predict'), dict(inputs=list(images[part])))
    labels = GridTokenizer(4)(images.float()).labels
    expected = [partition_scores(label, image.movedim(0, -1), truth, 0)
                for label, image, truth in zip(labels, images, [*truths[:2], None], strict=True)]
    result = evaluator.evaluate(3)
    assert result == {f'partition/{name}': value for name, value in mean_scores(expected).items()}
    assert result['partition/regions'] == 4
    assert result['partition/boundary_recall'] == pytest.approx(np.mean([scores['boundary_recall'] for scores in expected[:2]]))


def test_scores_without_an_annotation():
    scores = partition_scores(np.zeros((2, 2), int), np.zeros((2, 2, 3), np.uint8))
    assert list(scores) == ['regions', 'explained_variation', 'psnr', 'compactness']


def test_undefined_scores_are_left_out_of_means():
    assert mean_scores([dict(a=1.0, b=float('nan')), dict(a=2.0, b=3.0, c=float('nan'))]) == dict(a=1.5, b=3.0)


def test_prediction_needs_samples():
    with pytest.raises(ValueError, match="data_samples must be one an image in mode='predict', got None"):
        TokenizerPretrainer(GridTokenizer(4))(torch.zeros(1, 3, 8, 8), mode='predict')
