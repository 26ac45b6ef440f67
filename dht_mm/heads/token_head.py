"""Decoder-free segmentation head: classify each region's token, paint the region with its logits."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.utils import SampleList
from torch import Tensor, nn

from dht_mm.ops.checks import check_positive
from dht_mm.registry import MODELS
from dht_mm.structures import Partition, RegionTokens
from dht_mm.structures.label_map import pixel_classes

from .lattice import Lattice
from .pixel_decode import PixelDecode

# Arguments of BaseDecodeHead that configure convolutions over feature maps or choose among them.
MAP_ONLY = ('channels', 'conv_cfg', 'norm_cfg', 'act_cfg', 'input_transform')


class TokenLogits(NamedTuple):
    """Class logits of the tokens of a batch.

    Attributes:
        regions: ``[R, K]``, one row a region in the order of ``partition``.
        images: ``[B, K]``, those of the class tokens; None without an image loss.
        partition: Where the regions lie.
        pixels: ``[B, K, h, w]``, those of a head that decodes pixels; None where a pixel has its region's.
        lattice: Which of the image's pixels these are.
    """

    regions: Tensor
    images: Tensor | None
    partition: Partition
    pixels: Tensor | None = None
    lattice: Lattice = Lattice()


def mlp_block(dims: int) -> nn.Sequential:
    """The block of two linear layers ``dims -> 4 dims -> dims`` with a GELU between them."""
    return nn.Sequential(OrderedDict(fc1=nn.Linear(dims, 4 * dims), act=nn.GELU(), fc2=nn.Linear(4 * dims, dims)))


def check_tokens(inputs: Any) -> None:
    """Raise a TypeError unless ``inputs`` are a token backbone's output."""
    if not isinstance(inputs, RegionTokens):
        raise TypeError("inputs must be RegionTokens, which a backbone with out_type='tokens' gives, "
                        f'got {type(inputs).__name__}')


@MODELS.register_module()
class TokenHead(BaseDecodeHead):
    """Segmentation head that reads a token backbone's :class:`RegionTokens` and gives every pixel its region's logits.

    Region losses (those that say ``per_region``) read the region logits and the partition, any other loss of mmsegmentation the
    painted map of logits, which is only built if there is one. The class token goes through the same classifier as the regions.
    Predictions come at the size of the backbone's input, where no pixel is interpolated. Source: the paper's section on
    dense prediction. With ``decode`` pixels have logits of their own, and losses of pixels read these.

    Args:
        in_channels: Dimensions of one token, D.
        num_classes: Number of classes.
        classifier: ``'linear'``, or ``'mlp'`` for an MLP block (:func:`mlp_block`) before the linear map.
        concat_last: Number n of blocks whose tokens are concatenated: those of the backbone's ``out_indices`` up to ``in_index``
            (-1, the last). The classifier then reads n D dimensions.
        decode: Options of a :class:`PixelDecode`, ``dict()`` for its defaults; None paints each region with its logits.
        loss_stride: With ``decode``, losses of pixels read every such row and column alone, from a random first one on: neighbouring
            pixels say much the same, and the decode of all of them can take longer than the backbone.
        loss_decode: Config of the loss or losses of regions and pixels; None is :class:`RegionFocalLoss` at its defaults and, with
            ``decode``, the cross entropy of the pixels that are not ignored.
        loss_image: Config of the loss of the class token, such as ``dict(type='dht_mm.ImageBCELoss')``; None for no such loss.
        dropout_ratio: Dropout before the linear map.
        **kwargs: ``in_index``, ``out_channels``, ``threshold``, ``ignore_index``, ``sampler``, ``align_corners`` and ``init_cfg``
            of mmsegmentation's heads.

    Raises:
        ValueError: ``classifier`` or ``concat_last`` is unknown, or a region or image loss meets a sampler of pixels or a single
            output channel (neither is defined on regions), or ``decode`` meets no loss of pixels that would train it.
        TypeError: ``ignore_index``, ``in_channels`` or ``in_index`` is no integer, or an argument is given that only means something
            for feature maps.
    """

    def __init__(self, in_channels: int, num_classes: int, classifier: str = 'linear', concat_last: int = 1,
                 decode: dict | None = None, loss_stride: int = 1, loss_decode: dict | list[dict] | None = None,
                 loss_image: dict | None = None, dropout_ratio: float = 0.0, **kwargs: Any) -> None:
        if classifier not in ('linear', 'mlp'):
            raise ValueError(f"classifier must be 'linear' or 'mlp', got {classifier!r}")
        if not isinstance(concat_last, int) or concat_last < 1:
            raise ValueError(f'concat_last must be a positive integer, got {concat_last!r}')
        if unfit := [name for name in MAP_ONLY if name in kwargs]:
            raise TypeError(f'TokenHead reads tokens and takes no argument for feature maps, got {", ".join(unfit)}')
        for name, value in dict(in_channels=in_channels, in_index=kwargs.get('in_index', -1)).items():
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f'{name} must be an integer, got {value!r}')
        check_positive(loss_stride=loss_stride)
        if decode is None and loss_stride > 1:
            raise ValueError(f'loss_stride must be 1 without decode, got {loss_stride}')
        dims = concat_last * in_channels
        kwargs.setdefault('init_cfg', dict(type='TruncNormal', layer='Linear', std=0.02))
        if loss_decode is None:
            by_pixel = dict(type='CrossEntropyLoss', avg_non_ignore=True)
            loss_decode = dict(type='dht_mm.RegionFocalLoss') if decode is None else by_pixel
        super().__init__(in_channels, dims, num_classes=num_classes, dropout_ratio=dropout_ratio,
                         loss_decode=loss_decode, **kwargs)
        self.concat_last, self.loss_stride = concat_last, loss_stride
        self.mlp = mlp_block(dims) if classifier == 'mlp' else nn.Identity()
        self.dropout = nn.Dropout(dropout_ratio)  # the base class's convolution and dropout are made for maps
        self.conv_seg = nn.Linear(dims, self.out_channels)
        self.decode = PixelDecode(dims, self.out_channels, **decode) if decode is not None else None
        self.loss_image = MODELS.build(loss_image) if loss_image is not None else None
        self._check_losses()

    def forward(self, inputs: RegionTokens) -> Tensor:
        """Pixel logits ``[B, K, H, W]`` at the size of the backbone's input."""
        return self.pixelwise(inputs, lambda logits: logits)

    def pixelwise(self, inputs: RegionTokens, function: Callable[[Tensor], Tensor]) -> Tensor:
        """What a function makes of the logits of every pixel, without the map of logits where no gradient is wanted.

        Args:
            inputs: Tokens of a backbone.
            function: ``[N, K, ...]`` to ``[N, C, ...]``, the same for each place.

        Returns:
            ``[B, C, H, W]``.
        """
        check_tokens(inputs)
        if self.decode is None:
            return inputs.partition.scatter(function(self.classify(inputs.tokens)))
        if torch.is_grad_enabled():
            return function(self._logits(inputs, Lattice()).pixels)
        tokens = self._features(inputs.tokens)
        bands = self.decode.bands(self.conv_seg(tokens), tokens, inputs.partition, self._images(inputs), inputs.boxes)
        return _stacked((function(band) for band in bands), inputs.partition.labels.shape[1])

    def classify(self, tokens: tuple[Tensor, ...]) -> Tensor:
        """Logits of tokens.

        Args:
            tokens: One ``[N, D]`` for each block of the backbone's ``out_indices``.

        Returns:
            ``[N, K]``.

        Raises:
            ValueError: There are fewer blocks than ``in_index`` and ``concat_last`` ask for.
        """
        return self.conv_seg(self._features(tokens))

    def _features(self, tokens: tuple[Tensor, ...]) -> Tensor:
        """``[N, D']``: what the linear maps read."""
        chosen = tokens[:self.in_index + 1 or None][-self.concat_last:]  # up to in_index, which may be negative
        if len(chosen) < self.concat_last or not -len(tokens) <= self.in_index < len(tokens):
            raise ValueError(f'concat_last={self.concat_last} at in_index={self.in_index} needs more blocks than '
                             f"the {len(tokens)} of the backbone's out_indices")
        return self.dropout(self.mlp(torch.cat(chosen, 1)))

    def _logits(self, inputs: RegionTokens, lattice: Lattice) -> TokenLogits:
        """Logits of regions and, where they are decoded, the pixels of some rows and columns."""
        tokens = self._features(inputs.tokens)
        regions, pixels = self.conv_seg(tokens), None
        if self.decode is not None:
            pixels = self.decode(regions, tokens, inputs.partition, self._images(inputs), inputs.boxes, *lattice)
        return TokenLogits(regions, None, inputs.partition, pixels, lattice)

    @staticmethod
    def _images(inputs: RegionTokens) -> Tensor:
        if inputs.images is None:
            raise ValueError('decode needs inputs that know their images, as those of DHTViT do, got images=None')
        return inputs.images

    def loss(self, inputs: RegionTokens, batch_data_samples: SampleList, train_cfg: dict | None = None) -> dict[str, Tensor]:
        """Losses and accuracy of a batch; see :meth:`loss_by_feat`."""
        check_tokens(inputs)
        images = None
        if self.loss_image is not None:
            if not inputs.cls_tokens:
                raise ValueError('loss_image needs a class token, but the backbone has none: set loss_image=None')
            images = self.classify(inputs.cls_tokens)
        labels = inputs.partition.labels
        logits = self._logits(inputs, Lattice.random(*labels.shape[1:], self.loss_stride, labels.device))
        return self.loss_by_feat(logits._replace(images=images), batch_data_samples)

    def loss_by_feat(self, seg_logits: TokenLogits, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Losses and accuracy of the logits of a batch.

        Args:
            seg_logits: Logits of regions and images.
            batch_data_samples: One sample an image, with ``gt_sem_seg`` of the size of the backbone's input.

        Returns:
            Each loss under its ``loss_name``, and ``acc_seg``: percentage of the not ignored pixels that are right.

        Raises:
            ValueError: A label map is of another size than the image, or has a label out of range.
        """
        regions, images, partition, pixels, lattice = seg_logits
        labels = self._labels(batch_data_samples, partition)
        losses = self._decode_losses(seg_logits, labels)
        if images is not None and self.loss_image is not None:
            name = self.loss_image.loss_name
            losses[name] = losses.get(name, 0) + self.loss_image(images, labels, ignore_index=self.ignore_index)
        predicted = self._predicted(regions)[partition.packed_labels] if pixels is None else self._predicted(pixels)
        losses['acc_seg'] = self._accuracy(predicted, lattice.cut(labels))
        return losses

    def predict_by_feat(self, seg_logits: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """The pixel logits as they are: they already have the size of the input, so nothing is resized."""
        return seg_logits

    def _decode_losses(self, seg_logits: TokenLogits, labels: Tensor) -> dict[str, Tensor]:
        regions, _, partition, pixels, lattice = seg_logits
        by_region, by_pixel = self._split_losses()
        values = [(loss, loss(regions, labels, partition, ignore_index=self.ignore_index)) for loss in by_region]
        if by_pixel:
            pixel_classes(labels, self.num_classes, self.ignore_index)  # these losses do not check the range themselves
            labels = lattice.cut(labels)
            pixels = partition.scatter(regions) if pixels is None else pixels
            weight = self.sampler.sample(pixels, labels[:, None]) if self.sampler is not None else None
            values += [(loss, loss(pixels, labels, weight=weight, ignore_index=self.ignore_index)) for loss in by_pixel]
        losses: dict[str, Tensor] = {}
        for loss, value in values:
            value = value if value.numel() else value.sum()  # a Lovasz loss of no pixel is empty, its mean would be NaN
            name = str(loss.loss_name)
            losses[name] = losses[name] + value if name in losses else value
        return losses

    @torch.no_grad()
    def _predicted(self, logits: Tensor) -> Tensor:
        """``[N, ...]``: the class of each of ``[N, K, ...]`` logits."""
        return (logits[:, 0].sigmoid() > self.threshold).long() if self.out_channels == 1 else logits.argmax(1)

    def _accuracy(self, predicted: Tensor, labels: Tensor) -> Tensor:
        valid = labels != self.ignore_index
        return 100 * ((predicted == labels) & valid).sum() / valid.sum().clamp_min(1)

    def _split_losses(self) -> tuple[list[nn.Module], list[nn.Module]]:
        losses = self.loss_decode if isinstance(self.loss_decode, nn.ModuleList) else [self.loss_decode]
        by_region = [loss for loss in losses if getattr(loss, 'per_region', False)]
        return by_region, [loss for loss in losses if not getattr(loss, 'per_region', False)]

    def _check_losses(self) -> None:
        by_region, by_pixel = self._split_losses()
        if self.decode is not None and not by_pixel:
            raise ValueError('loss_decode must have a loss of pixels with decode, which no loss of regions trains')
        if not isinstance(self.ignore_index, int):
            raise TypeError(f'ignore_index must be an integer, got {self.ignore_index!r}')
        if self.out_channels == 1 and (by_region or self.loss_image is not None):
            raise ValueError(f'out_channels must be num_classes={self.num_classes} with a region or image loss, got 1')
        if self.sampler is not None and by_region:
            raise ValueError(f'sampler chooses pixels and cannot go with a region loss, got {type(self.sampler).__name__}')

    def _labels(self, batch_data_samples: SampleList, partition: Partition) -> Tensor:
        size = tuple(partition.labels.shape[1:])
        maps = [sample.gt_sem_seg.data for sample in batch_data_samples]
        for label_map in maps:
            if tuple(label_map.shape[-2:]) != size:
                raise ValueError(f'gt_sem_seg must be of the size of the image, {size}, got {tuple(label_map.shape[-2:])}')
        return torch.cat(maps).long()


def _stacked(bands: Iterable[Tensor], height: int) -> Tensor:
    """``[B, C, h, W]`` of consecutive rows as one ``[B, C, H, W]``, with memory for it and one band."""
    result, top = None, 0
    for band in bands:
        if result is None:  # classes last in memory, as painted logits come
            result = band.new_empty(len(band), height, band.shape[3], band.shape[1]).movedim(-1, 1)
        result[:, :, top:top + band.shape[2]] = band
        top += band.shape[2]
    return result
