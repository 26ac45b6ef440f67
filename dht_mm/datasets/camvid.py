"""CamVid, which mmsegmentation has no class for."""

from collections.abc import Sequence
from typing import Any

from mmseg.datasets import BaseSegDataset

from dht_mm.registry import DATASETS

SEGNET_VOID, VOID = 11, 255


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """CamVid (Brostow et al., 2009) in the 11 classes of SegNet (Badrinarayanan et al., 2017), 480 by 360 pixels.

    The files are those of SegNet's tutorial: images in ``train``, ``val`` and ``test``, label maps of the same names in
    ``trainannot`` and so on. A pixel without a class is 11 there; both 11 and 255 are ignored.

    Args:
        img_suffix: How names of images end.
        seg_map_suffix: How names of label maps end.
        **kwargs: Arguments of mmsegmentation's ``BaseSegDataset``.
    """

    METAINFO = dict(
        classes=('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian', 'bicyclist'),
        palette=[[128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222], [128, 128, 0], [192, 128, 128],
                 [64, 64, 128], [64, 0, 128], [64, 64, 0], [0, 128, 192]])

    def __init__(self, img_suffix: str = '.png', seg_map_suffix: str = '.png', **kwargs: Any) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int]:
        """What label each label becomes when a file is read; ``new_classes`` may choose and reorder the classes."""
        return {**(super().get_label_map(new_classes) or {}), SEGNET_VOID: VOID}
