"""Random crops by their share of the image and their shape, of an image and its label maps."""

import math

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform

from dht_mm.registry import TRANSFORMS

TRIES = 10


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """Cut out a random part and resize it, the image bilinearly and its label maps by the nearest pixel.

    The crop of Szegedy et al. (2015, Going deeper with convolutions) for segmentation. Source of the defaults: the recipe of the
    paper's table D.1. A crop that does not fit into the image is drawn again, at most ten times; then it is the largest one of the
    shape of ``size``.

    Args:
        size: Height and width of the result.
        scale: Range of the crop's share of the image's area.
        ratio: Range of the crop's width over its height, relative to that of ``size``.

    Raises:
        ValueError: ``size`` is not positive, or a range is empty or not positive.
    """

    def __init__(self, size: tuple[int, int], scale: tuple[float, float] = (0.5, 1.0), ratio: tuple[float, float] = (0.8, 1.2)) -> None:
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f'size must be a positive height and width, got {size!r}')
        for name, (low, high) in (('scale', scale), ('ratio', ratio)):
            if not 0 < low <= high or (name == 'scale' and high > 1):
                raise ValueError(f'{name} must be a range of positive numbers{" up to 1" * (name == "scale")}, got {(low, high)}')
        self.size, self.scale, self.ratio = (size[0], size[1]), scale, ratio

    def transform(self, results: dict) -> dict:
        """Crop and resize ``img`` and what ``seg_fields`` name, and set ``img_shape``."""
        window = self._draw(*results['img'].shape[:2])
        results['img'] = self._cut(results['img'], window, 'bilinear')
        for key in results.get('seg_fields', []):
            results[key] = self._cut(results[key], window, 'nearest')
        results['img_shape'] = self.size
        return results

    def _draw(self, height: int, width: int) -> tuple[slice, slice]:
        """The rows and the columns of a crop."""
        shape = self.size[1] / self.size[0]
        for _ in range(TRIES):
            area = np.random.uniform(*self.scale) * height * width
            aspect = shape * math.exp(np.random.uniform(*np.log(self.ratio)))
            rows, columns = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
            if 0 < rows <= height and 0 < columns <= width:
                break
        else:
            rows, columns = min(height, max(1, round(width / shape))), min(width, max(1, round(height * shape)))
        top, left = np.random.randint(height - rows + 1), np.random.randint(width - columns + 1)
        return slice(top, top + rows), slice(left, left + columns)

    def _cut(self, picture: np.ndarray, window: tuple[slice, slice], interpolation: str) -> np.ndarray:
        return mmcv.imresize(picture[window], self.size[::-1], interpolation=interpolation)
