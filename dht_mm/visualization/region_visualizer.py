"""Predictions on their regions, for the toolkits' visualization hooks."""

import numpy as np
from mmengine.dist import master_only
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer

from dht_mm.registry import VISUALIZERS

from .borders import draw_borders
from .label_colors import label_palette, paint_labels
from .mean_color import paint_mean_color
from .panels import panel_strip

IGNORED = 255  # label of pixels of no class in annotations, painted black


@VISUALIZERS.register_module()
class RegionVisualizer(Visualizer):
    """Draws a data sample as image, borders and mean colours of its regions, prediction and ground truth, side by side.

    Takes the place of ``SegLocalVisualizer`` in a config of mmsegmentation; ``dht_mm.RegionSegmentor`` and ``dht_mm.TokenizerPretrainer``
    give samples the ``pred_regions`` that are drawn. What a sample does not have is left out. Classes have the colours of the data set's
    palette, where its metainfo has one. All arguments are those of mmengine's ``Visualizer``.
    """

    @master_only
    def add_datasample(self, name: str, image: np.ndarray, data_sample: BaseDataElement | None = None, draw_gt: bool = True,
                       draw_pred: bool = True, show: bool = False, wait_time: float = 0, step: int = 0) -> None:
        """Draw a sample and hand the picture to all back ends.

        Args:
            name: Name of the picture.
            image: ``[H, W, 3]`` uint8 RGB.
            data_sample: The sample; its maps are of the size of the image.
            draw_gt: Whether to draw ``gt_sem_seg``.
            draw_pred: Whether to draw ``pred_regions`` and ``pred_sem_seg``.
            show: Whether to open a window with the picture instead.
            wait_time: Seconds until the window closes; 0 for when a key is pressed.
            step: Step of the run.
        """
        picture = self.draw_datasample(image, data_sample, draw_gt, draw_pred)
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        else:
            self.add_image(name, picture, step)

    def draw_datasample(self, image: np.ndarray, data_sample: BaseDataElement | None, draw_gt: bool = True,
                        draw_pred: bool = True) -> np.ndarray:
        """``[H', W', 3]`` uint8, the picture of a sample; see :meth:`add_datasample`."""
        pictures = {'image': image}
        regions = _map_of(data_sample, 'pred_regions') if draw_pred else None
        if regions is not None:
            pictures[f'{len(np.unique(regions))} regions'] = draw_borders(image, regions)
            pictures['mean colours'] = paint_mean_color(image, regions)
        for caption, key, wanted in (('prediction', 'pred_sem_seg', draw_pred), ('ground truth', 'gt_sem_seg', draw_gt)):
            classes = _map_of(data_sample, key) if wanted else None
            if classes is not None:
                pictures[caption] = paint_labels(classes, self._palette(classes), IGNORED)
        return panel_strip(pictures)

    def _palette(self, classes: np.ndarray) -> np.ndarray:
        palette = (self.dataset_meta or {}).get('palette')
        if palette is not None:
            return np.asarray(palette, dtype=np.uint8)
        return label_palette(int(classes[classes != IGNORED].max(initial=0)) + 1)


def _map_of(data_sample: BaseDataElement | None, key: str) -> np.ndarray | None:
    """``[H, W]`` int64, a map of a sample; None where it has no such."""
    if data_sample is None or key not in data_sample:
        return None
    return data_sample.get(key).data.squeeze(0).long().cpu().numpy()
