"""Saliency scores of small maps, by hand and by plain loops."""

import pytest
import torch
from mmengine.evaluator import Evaluator

from dht_mm.metrics import max_f_measure, saliency_scores

TRUTH = torch.tensor([[True, True, False, False]])
MASK = torch.tensor([[True, False, True, False]])


def test_scores_by_hand():
    scores = saliency_scores(torch.tensor([[1.0, 0.5, 0.25, 0.0]]), MASK, TRUTH)
    assert scores.iou == 1 / 3 and scores.accuracy == 0.5
    at = {0: (2 / 4, 1), 1: (2 / 3, 1), 63: (2 / 3, 1), 64: (1, 1), 127: (1, 1), 128: (1, 0.5), 255: (1, 0.5)}
    assert all((scores.precision[level].item(), scores.recall[level].item()) == pair for level, pair in at.items())


def test_curves_are_those_of_a_loop_over_thresholds():
    generator = torch.Generator().manual_seed(0)
    saliency, truth = torch.rand(9, 11, generator=generator), torch.rand(9, 11, generator=generator) > 0.7
    scores = saliency_scores(saliency, saliency > 0.5, truth)
    for level in range(256):
        found = (saliency.double() * 255).floor() >= level
        right = (found & truth).sum().item()
        assert scores.precision[level] == right / max(found.sum().item(), 1) and scores.recall[level] == right / truth.sum().item()


def test_f_measure_weighs_precision_more():
    precision, recall = torch.zeros(256).double(), torch.zeros(256).double()
    precision[3], recall[3] = 0.9, 0.5
    precision[4], recall[4] = 0.5, 0.9
    assert max_f_measure(precision, recall) == pytest.approx(1.3 * 0.45 / (0.27 + 0.5))


def test_evaluator_averages_curves_over_images():
    evaluator = Evaluator([dict(type='dht_mm.SaliencyMetric')])
    maps = [(torch.tensor([[1.0, 0.5, 0.25, 0.0]]), MASK), (TRUTH.float(), TRUTH)]
    for saliency, mask in maps:
        evaluator.process([dict(pred_saliency=dict(data=saliency[None]), pred_sem_seg=dict(data=mask.long()[None]),
                                gt_sem_seg=dict(data=TRUTH.long()[None]))], {})
    scores = evaluator.evaluate(2)
    assert scores == pytest.approx({'saliency/max_f': 100.0, 'saliency/iou': 100 * (1 / 3 + 1) / 2, 'saliency/accuracy': 75.0})


def test_empty_maps_are_defined():
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    scores = saliency_scores(torch.zeros(2, 2), nothing, nothing)
    assert (scores.iou, scores.accuracy, scores.recall.max().item()) == (1, 1, 0)
    assert max_f_measure(scores.precision, scores.recall) == 0


@pytest.mark.parametrize('maps, error, message', [
    ((torch.ones(1, 4), MASK.long(), TRUTH), TypeError, 'bool'), ((torch.ones(1, 4), MASK[:, :3], TRUTH), ValueError, 'same size'),
    ((torch.ones(1, 4) * 2, MASK, TRUTH), ValueError, r'\[0, 1\]'), ((torch.ones(1, 4) * torch.nan, MASK, TRUTH), ValueError, 'nan')])
def test_refuses_maps_without_meaning(maps: tuple, error: type, message: str):
    with pytest.raises(error, match=message):
        saliency_scores(*maps)
