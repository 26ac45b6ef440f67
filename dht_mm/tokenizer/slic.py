"""SLIC superpixels as a partition, by scikit-image."""

from collections.abc import Sequence
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from dht_mm.registry import MODELS
from dht_mm.structures import Partition

from .check import check_images


@MODELS.register_module()
class SLICTokenizer(nn.Module):
    """Partition images by simple linear iterative clustering (Achanta et al., 2012), as scikit-image implements it.

    Images are clustered one after the other on the CPU, wherever they lie: this is for comparisons, and slow beside a GPU. Superpixels
    that are not connected are cut into their pieces, as everything here works on connected regions.

    Args:
        num_regions: Superpixels to aim for in an image; there can be somewhat fewer or more.
        compactness: Weight of the distance in space against that in CIELAB.
        mean: Means that the images were normalised with, in levels of 0 to 255.
        std: Their standard deviations. The colours are needed, so SLIC works on ``image * std + mean``, rounded to whole levels.

    Raises:
        ImportError: scikit-image is not installed.
        ValueError: An argument is out of its range.
    """

    def __init__(self, num_regions: int, compactness: float = 10.0, mean: Sequence[float] = (123.675, 116.28, 103.53),
                 std: Sequence[float] = (58.395, 57.12, 57.375)):
        super().__init__()
        if isinstance(num_regions, bool) or not isinstance(num_regions, int) or num_regions < 1:
            raise ValueError(f'num_regions must be a positive integer, got {num_regions!r}')
        if isinstance(compactness, bool) or not isinstance(compactness, (int, float)) or not compactness > 0:
            raise ValueError(f'compactness must be a positive number, got {compactness!r}')
        for name, values in dict(mean=mean, std=std).items():
            if len(values) != 3:
                raise ValueError(f'{name} must be three numbers, of red, green and blue, got {values!r}')
        if find_spec('skimage') is None:
            raise ImportError('SLICTokenizer needs scikit-image, which is not installed: pip install scikit-image')
        self.num_regions, self.compactness, self.mean, self.std = num_regions, compactness, tuple(mean), tuple(std)

    def forward(self, images: Tensor) -> Partition:
        """``[B, 3, H, W]`` float images to their partition; ``mean`` and ``color`` are the superpixels' mean pixels.

        Raises:
            TypeError: Images are not floating point.
            ValueError: Images are empty, not finite or not ``[B, 3, H, W]``.
        """
        check_images(images, 3)
        labels = torch.stack([self._superpixels(image) for image in self._levels(images)])
        return Partition.from_labels(labels.to(images.device), images)

    def _levels(self, images: Tensor) -> Tensor:
        """``[B, H, W, 3]`` uint8 on the CPU."""
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in (self.mean, self.std))
        return (images.detach().cpu().double().movedim(1, -1) * std + mean).round().clamp(0, 255).byte()

    def _superpixels(self, image: Tensor) -> Tensor:
        """``[H, W]`` canonical labels of one ``[H, W, 3]`` uint8 image."""
        from skimage.measure import label
        from skimage.segmentation import slic

        superpixels = slic(image.numpy(), self.num_regions, self.compactness, start_label=0)
        return torch.from_numpy(label(superpixels, background=-1, connectivity=1)) - 1  # pieces are numbered in raster order
