"""What renderers make of the documents."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from label_maps import disc, noise, rings
from PIL import Image

from dht_mm.converters import convert_tokenizer
from dht_mm.metrics import psnr
from dht_mm.tokenizer import DHTTokenizer
from dht_mm.vector import vectorize
from dht_mm.visualization import paint_mean_color, read_image

sys.path.append(str(Path(__file__).resolve().parents[2] / 'tools'))
from svg_quality import RENDERERS  # noqa: E402
from tokenize_image import normalize  # noqa: E402

PALETTE = np.array([[220, 30, 30], [30, 200, 60], [40, 60, 230], [240, 240, 240], [10, 10, 10], [230, 210, 40]], np.uint8)


@pytest.fixture(params=['resvg', 'cairosvg'])
def render(request: pytest.FixtureRequest):
    if request.param not in RENDERERS:
        pytest.skip(f'needs the renderer {request.param}, which is not installed')
    return RENDERERS[request.param]


@pytest.mark.parametrize('labels', [rings(4), noise(9, 12, 5), np.indices((6, 6)).sum(0) % 2, disc(9), np.zeros((1, 1), int)])
def test_pixel_outlines_give_the_picture_back(render, labels: np.ndarray):
    """Holes, touching corners and islands included."""
    image = PALETTE[labels]
    height, width = labels.shape
    for factor in (1, 3):
        painted = render(vectorize(image, labels, tolerance=0, background=None), width * factor, height * factor)
        expected = np.kron(image, np.ones((factor, factor, 1), np.uint8))
        assert (painted[..., 3] == 255).all() and np.array_equal(painted[..., :3], expected)


def test_gradients_are_painted_as_fitted(render):
    y, x = np.indices((24, 32))
    image = np.stack([40 + 4 * x + 2 * y, 220 - 4 * x - 2 * y, np.full_like(x, 128)], -1).astype(np.uint8)
    painted = render(vectorize(image, np.zeros((24, 32), int), least_gain=0.0), 32, 24)[..., :3]
    assert np.abs(painted.astype(int) - image).max() <= 2


def test_groups_are_drawn(render):
    labels = rings(6)
    painted = render(vectorize(PALETTE[labels], labels, levels=np.arange(6) % 2), 11, 11)
    assert psnr(painted[..., :3], PALETTE[labels]) > 20


@pytest.fixture(scope='module')
def photos(shared: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All shared photographs at 224 x 224 pixels, with their regions."""
    tokenizer = DHTTokenizer(compactness=0.01).eval()
    published = torch.load(shared / 'weights/r2v.pth', map_location='cpu', weights_only=True)
    tokenizer.load_state_dict(convert_tokenizer(published).state_dict)
    images = [np.array(Image.fromarray(read_image(path)).resize((224, 224), Image.Resampling.BICUBIC))
              for path in sorted((shared / 'images').glob('*.jpg'))]
    with torch.inference_mode():
        return [(image, tokenizer(normalize(image, 'cpu')).labels[0].numpy()) for image in images]


def test_photographs_are_covered_and_as_near_as_their_flat_regions(render, photos: list):
    assert len(photos) >= 12
    for image, labels in photos:
        painted = render(vectorize(image, labels), 224, 224)
        assert (painted[..., 3] == 255).all()
        assert psnr(image, painted[..., :3]) > psnr(image, paint_mean_color(image, labels)) - 0.3
        hairlines = render(vectorize(image, labels, background=None), 224, 224)[..., 3]
        assert (hairlines < 255).mean() < 1e-3 and hairlines.min() > 128
