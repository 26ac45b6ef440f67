"""What padding by a preprocessor does to an image: it is pixels like any others, and the rest of the batch does not matter."""

import pytest
import torch
import torch.nn.functional as F

from dht_mm.features import PositionFeatures
from dht_mm.tokenizer import DHTTokenizer, TokenBudget


@pytest.fixture(scope='module')
def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [F.interpolate(torch.randn(1, 3, 5, 6, generator=generator), size) for size in ((24, 20), (17, 31))]


def pad(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return F.pad(image, (0, width - image.shape[3], 0, height - image.shape[2]))


def test_a_padded_image_gives_the_same_whatever_it_is_batched_with(images):
    model = DHTTokenizer().eval()
    padded = [pad(image, 24, 31) for image in images]
    together = model(torch.cat(padded))
    for i, image in enumerate(padded):
        assert torch.equal(together.labels[i], model(image).labels[0])


def test_the_preprocessor_of_mmsegmentation_pads_just_so(images):
    SegDataPreProcessor = pytest.importorskip('mmseg.models').SegDataPreProcessor
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample
    samples = [SegDataSample(metainfo=dict(img_shape=image.shape[2:])) for image in images]
    for sample, image in zip(samples, images, strict=True):
        sample.gt_sem_seg = PixelData(data=torch.zeros(1, *image.shape[2:], dtype=torch.long))
    inputs = [image[0] for image in images]
    batch = SegDataPreProcessor(size=(24, 31), pad_val=0, seg_pad_val=255)(dict(inputs=inputs, data_samples=samples), training=True)
    assert torch.equal(batch['inputs'], torch.cat([pad(image, 24, 31) for image in images]))


def test_padding_becomes_regions_of_its_own_where_its_colour_is_foreign(images):
    model = DHTTokenizer().eval()
    labels = model(pad(images[0] + 3.0, 48, 40)).labels[0]
    inside, outside = labels[:24, :20].unique(), torch.cat([labels[28:].flatten(), labels[:, 24:].flatten()]).unique()
    assert not set(inside.tolist()) & set(outside.tolist())
    assert len(outside) < len(inside)


def test_budget_counts_the_padded_pixels():
    assert TokenBudget('soft').target(48 * 40, training=True) == round((48 * 40) ** 0.5)
    model = DHTTokenizer(token_budget=dict(mode='hard')).eval()
    assert model(torch.randn(1, 3, 48, 40)).num_regions <= round((48 * 40) ** 0.5 / 0.56)


def test_positions_are_relative_to_the_padded_size(images):
    model = DHTTokenizer().eval()
    image = pad(images[0], 48, 40)
    partition = model(image)
    rows = PositionFeatures(2)(image, partition)
    inside = partition.packed_labels[0, 0, 0]
    assert rows[inside, 0] > 0 and partition.bbox[inside, 2] < 24
