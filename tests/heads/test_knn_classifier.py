"""The nearest neighbours' vote, on features whose neighbours are known."""

import math

import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn

from dht_mm.heads import KNNClassifier, knn_classifier
from dht_mm.heads.knn_classifier import vote

pytest.importorskip('mmpretrain')
from mmpretrain.models import ClsDataPreprocessor  # noqa: E402
from mmpretrain.structures import DataSample  # noqa: E402


class MeanColor(nn.Module):
    """A backbone whose features are the images' mean colours."""

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (images.mean((2, 3)),)


class Colors(torch.utils.data.Dataset):
    """Red, green and blue pictures of many brightnesses, in the form of mmpretrain's pipelines."""

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict:
        label = index % 3
        image = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(index)) * 0.1
        image[label] += 1 + index
        return dict(inputs=image, data_samples=DataSample().set_gt_label(label))


def make_model(size: int = 31, **options) -> KNNClassifier:
    database = dict(batch_size=4, num_workers=0, dataset=Colors(size), sampler=dict(type='DefaultSampler', shuffle=False))
    return KNNClassifier(MeanColor(), database, 3, data_preprocessor=ClsDataPreprocessor(), **options)


def test_votes_are_weighted_by_similarity():
    similarity, labels = torch.tensor([[0.9, 0.8, 0.7, -0.5]]), torch.tensor([2, 0, 0, 1])
    found = vote(similarity, labels, 3, 3, 0.1)
    weights = [math.exp(cosine / 0.1) for cosine in (0.9, 0.8, 0.7)]
    assert torch.allclose(found, torch.tensor([[weights[1] + weights[2], 0, weights[0]]]) / sum(weights))
    assert vote(similarity, labels, 3, 1, 0.1).tolist() == [[0, 0, 1]]
    assert vote(similarity, labels, 3, 9, 0.1).sum() == pytest.approx(1)


def test_images_get_the_class_of_their_neighbours():
    model = make_model(k=5).eval()
    batch = pseudo_collate([Colors(60)[index] for index in range(40, 60)])
    samples = model.test_step(batch)
    assert [sample.pred_label.item() for sample in samples] == [index % 3 for index in range(40, 60)]
    assert all(sample.pred_score.sum().item() == pytest.approx(1) for sample in samples)


def test_database_is_in_the_order_of_the_data_set():
    model = make_model()
    model.fill()
    assert model.labels.tolist() == [index % 3 for index in range(31)]
    expected = torch.stack([Colors(31)[index]['inputs'].mean((1, 2)) for index in range(31)])
    assert torch.allclose(model.features, nn.functional.normalize(expected, dim=1), atol=1e-6)


def test_nothing_is_trained():
    with pytest.raises(ValueError, match="mode must be 'tensor' or 'predict', got 'loss'"):
        make_model()(torch.zeros(1, 3, 2, 2), mode='loss')


def test_prediction_without_samples_is_named():
    with pytest.raises(ValueError, match="data_samples must be one an image in mode='predict', got None"):
        make_model()(torch.zeros(1, 3, 2, 2), mode='predict')


@pytest.mark.parametrize('options', [dict(k=0), dict(temperature=0.0)])
def test_bad_options_are_named(options: dict):
    with pytest.raises(ValueError, match='k and temperature must be positive, got'):
        make_model(**options)


def test_processes_that_were_dealt_the_images_one_by_one_put_them_in_order(monkeypatch: pytest.MonkeyPatch):
    parts = [torch.tensor([0, 2, 4]), torch.tensor([1, 3, 0])]  # the sampler fills up the last one
    monkeypatch.setattr(knn_classifier, 'all_gather', lambda part: parts)
    assert knn_classifier._interleave(parts[0], 5).tolist() == [0, 1, 2, 3, 4]
