"""The metrics in mmengine's evaluator."""

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement, PixelData

from dht_mm.metrics import boundary_overlap, class_overlap, region_majority, trimap_overlap

META = dict(classes=('a', 'b', 'c'))


def make_samples(number=3, height=40, width=60, regions=True):
    random = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(number):
        labels = torch.randint(0, 3, (1, height // 10, width // 10), generator=random).repeat_interleave(10, 1).repeat_interleave(10, 2)
        parts = (torch.arange(height)[:, None] // 7 * 100 + torch.arange(width) // 8)[None]
        sample = BaseDataElement(
            gt_sem_seg=PixelData(data=labels.masked_fill(torch.rand(labels.shape, generator=random) < 0.1, 255)),
            pred_sem_seg=PixelData(data=labels.roll(2, 2)))
        if regions:
            sample.pred_regions = PixelData(data=parts)
        samples.append(sample)
    return samples


def evaluate(metrics, samples):
    evaluator = Evaluator(metrics)
    evaluator.dataset_meta = META
    for sample in samples:
        evaluator.process([sample], {})
    return evaluator.evaluate(len(samples))


def maps(samples):
    """All images as one batch, which the functions count together."""
    return tuple(torch.cat([getattr(sample, name).data for sample in samples]) for name in ('pred_sem_seg', 'gt_sem_seg', 'pred_regions'))


def test_scores_of_a_data_set_are_those_of_all_its_pixels():
    samples = make_samples()
    prediction, labels, regions = maps(samples)
    scores = evaluate([dict(type='dht_mm.BoundaryIoU'), dict(type='dht_mm.TrimapIoU'), dict(type='dht_mm.RegionOracle')], samples)
    expected = {f'trimap/mIoU_{width}': trimap_overlap(prediction, labels, 3, width).mean_iou() for width in (1, 3, 5)}
    expected['boundary/mIoU'] = boundary_overlap(prediction, labels, 3, 1).mean_iou()  # 2 % of 72.1 pixels
    known = labels != 255
    oracle = class_overlap(region_majority(regions, labels, 3)[known], labels[known], 3)
    expected |= {'regions/oracle_mIoU': oracle.mean_iou(), 'regions/oracle_aAcc': oracle.accuracy(), 'regions/per_image': 48.0}
    assert scores == pytest.approx(expected) and 0 < scores['trimap/mIoU_1'] < scores['trimap/mIoU_5'] < 100


def test_width_of_the_boundary_in_pixels_or_by_the_diagonal():
    samples = make_samples()
    prediction, labels, _ = maps(samples)
    for settings, width in ((dict(width=4), 4), (dict(share=0.05), 4), (dict(share=0.001), 1)):
        scores = evaluate([dict(type='dht_mm.BoundaryIoU', **settings)], samples)
        assert scores['boundary/mIoU'] == pytest.approx(boundary_overlap(prediction, labels, 3, width).mean_iou())


def test_ignore_index_can_be_a_class():
    samples = make_samples()
    for sample in samples:
        sample.gt_sem_seg.data = sample.gt_sem_seg.data.masked_fill(sample.gt_sem_seg.data == 255, 0)
    names = ('BoundaryIoU', 'TrimapIoU', 'RegionOracle')
    zero = evaluate([dict(type=f'dht_mm.{name}', ignore_index=0) for name in names], samples)
    for sample in samples:
        sample.gt_sem_seg.data = sample.gt_sem_seg.data.masked_fill(sample.gt_sem_seg.data == 0, 255)
    assert zero == pytest.approx(evaluate([dict(type=f'dht_mm.{name}') for name in names], samples))


def test_images_of_ignored_pixels_only_count_nothing():
    samples, blind = make_samples(2), make_samples(1)
    blind[0].gt_sem_seg.data = torch.full_like(blind[0].gt_sem_seg.data, 255)
    metrics = [dict(type='dht_mm.BoundaryIoU'), dict(type='dht_mm.TrimapIoU'), dict(type='dht_mm.RegionOracle')]
    assert evaluate(metrics, samples + blind) == pytest.approx(evaluate(metrics, samples))


def test_the_oracle_says_where_the_regions_come_from():
    with pytest.raises(ValueError, match=r'pred_regions.*RegionSegmentor'):
        evaluate([dict(type='dht_mm.RegionOracle')], make_samples(regions=False))


@pytest.mark.parametrize(('name', 'settings'), [
    ('BoundaryIoU', dict(share=0)), ('BoundaryIoU', dict(width=0)), ('TrimapIoU', dict(widths=(1, 0))), ('TrimapIoU', dict(widths=()))])
def test_refuses_bands_without_pixels(name, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Evaluator([dict(type=f'dht_mm.{name}', **settings)])
