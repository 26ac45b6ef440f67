"""The partition of a batch of images into connected regions, packed image after image."""

from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.utils._pytree import register_pytree_node

NOT_CANONICAL = 'labels must be numbered per image from 0 without gaps, in raster order of first pixels'


@dataclass(frozen=True)
class Partition:
    """Regions of a batch of images: a packed structure, never padded.

    ``R`` is the number of regions of the whole batch. Row ``offsets[i] + l`` of a packed field belongs to label ``l`` of image ``i``.
    A partition of a fixed length has more rows: those from ``offsets[-1]`` on are of no region, with size, box, mean and colour 0.

    Attributes:
        labels: ``[B, H, W]`` int32. Region of each pixel, numbered from 0 per image in raster order of first pixels.
        num_regions: ``[B]`` int32. Regions of each image.
        offsets: ``[B + 1]`` int32. Start of each image's rows in the packed fields (``cu_seqlens`` of the token sequence).
        bbox: ``[R, 4]`` int32. Inclusive ``ymin, xmin, ymax, xmax`` in pixels.
        size: ``[R]`` int32. Pixels of each region.
        mean: ``[R, d]`` float. The region's feature mean ``f*``; differentiable.
        color: ``[R, C]`` float. The predicted mean colour ``W f* + b`` in the normalised space of the input; differentiable.
        max_regions: Most regions that an image can have, where the host knows it without asking the device; a partition of a fixed
            length always tells it.
    """

    labels: Tensor
    num_regions: Tensor
    offsets: Tensor
    bbox: Tensor
    size: Tensor
    mean: Tensor
    color: Tensor
    max_regions: int | None = None

    @classmethod
    def from_labels(cls, labels: Tensor, image: Tensor) -> 'Partition':
        """The partition of a given label map; ``mean`` and ``color`` are the mean pixels of ``image`` in each region.

        Args:
            labels: ``[B, H, W]`` integer. Labels of each image without gaps from 0, in raster order of first pixels.
            image: ``[B, C, H, W]`` float, the images that the regions lie in.

        Raises:
            TypeError: An argument is no tensor.
            ValueError: ``labels`` is not an integer map, is empty, or is not numbered in raster order of first pixels.
        """
        for name, value in dict(labels=labels, image=image).items():
            if not isinstance(value, Tensor):
                raise TypeError(f'{name} must be a torch.Tensor, got {value!r}')
        if labels.dim() != 3 or labels.is_complex() or labels.is_floating_point() or labels.dtype == torch.bool or labels.numel() == 0:
            raise ValueError(f'labels must be a non-empty integer [B, H, W], got {labels.dtype} of shape {tuple(labels.shape)}')
        labels = labels.long()  # narrow integers overflow where regions are counted
        batch, height, width = labels.shape
        num_regions = labels.flatten(1).amax(1) + 1
        if labels.min() < 0 or labels.max() >= height * width:
            raise ValueError(NOT_CANONICAL)
        offsets = torch.cat([num_regions.new_zeros(1), num_regions.cumsum(0)]).int()
        packed = (labels + offsets[:-1].long()[:, None, None]).flatten()
        total = int(offsets[-1])
        size = torch.bincount(packed, minlength=total).int()
        y, x = (axis.expand(batch, height, width).flatten() for axis in (
            torch.arange(height, device=labels.device)[:, None], torch.arange(width, device=labels.device)))
        first = packed.new_full((total,), labels.numel()).scatter_reduce(
            0, packed, torch.arange(labels.numel(), device=labels.device), 'amin')
        if not (size > 0).all() or not (first.diff() > 0).all():
            raise ValueError(NOT_CANONICAL)
        low, high = packed.new_full((total,), max(height, width)), packed.new_zeros(total)
        bbox = torch.stack([low.scatter_reduce(0, packed, y, 'amin'), low.scatter_reduce(0, packed, x, 'amin'),
                            high.scatter_reduce(0, packed, y, 'amax'), high.scatter_reduce(0, packed, x, 'amax')], 1).int()
        empty = image.new_empty(0)
        bare = cls(labels.int(), num_regions.int(), offsets, bbox, size, empty, empty)
        mean = bare.pool(image)
        return replace(bare, mean=mean, color=mean)

    def __len__(self) -> int:
        """Number of images."""
        return self.labels.shape[0]

    @property
    def total_regions(self) -> int:
        """Number of rows of the packed fields: the regions of the whole batch, ``R``, or the fixed length."""
        return self.size.shape[0]

    @property
    def packed_labels(self) -> Tensor:
        """``[B, H, W]`` int64: row of each pixel's region in the packed fields."""
        return self.labels.long() + self.offsets[:-1].long()[:, None, None]

    @cached_property
    def image_index(self) -> Tensor:
        """``[R]`` int64: the image each region belongs to; the last one for rows of no region."""
        rows = torch.arange(self.total_regions, dtype=self.offsets.dtype, device=self.offsets.device)
        return torch.searchsorted(self.offsets[1:], rows, right=True).clamp_max_(len(self) - 1)

    def pool(self, features: Tensor) -> Tensor:
        """Average pixel features over regions.

        Args:
            features: ``[B, D, H, W]`` float; ``H, W`` those of ``labels``.

        Returns:
            ``[R, D]``, the mean of each region, in the dtype of ``features``.

        Raises:
            ValueError: ``features`` is not a map of this partition's batch and size.
        """
        self._check_map(features)
        rows = features.movedim(1, -1).flatten(0, 2)
        index = self.packed_labels.flatten()
        # Accumulated in float64: the order of additions on a GPU then does not show in float32.
        total = rows.new_zeros(self.total_regions, rows.shape[1], dtype=torch.float64)
        total = total.index_add(0, index, rows.double())
        return (total / self.size.clamp_min(1)[:, None]).to(features.dtype)

    def scatter(self, tokens: Tensor) -> Tensor:
        """Paint each region with its token.

        Args:
            tokens: ``[R, D]``, one row a region.

        Returns:
            ``[B, D, H, W]``: every pixel carries exactly its region's row.

        Raises:
            ValueError: ``tokens`` does not have one row a region.
        """
        if not isinstance(tokens, Tensor):
            raise TypeError(f'tokens must be a torch.Tensor, got {tokens!r}')
        if tokens.dim() != 2 or tokens.shape[0] != self.total_regions:
            raise ValueError(f'tokens must be [R, D] with R = {self.total_regions} regions, got shape {tuple(tokens.shape)}')
        return tokens[self.packed_labels].movedim(-1, 1)

    def boundaries(self) -> Tensor:
        """``[B, H, W]`` bool: pixels with a 4-neighbour in another region."""
        labels = self.labels
        edge = torch.zeros_like(labels, dtype=torch.bool)
        vertical = labels[:, 1:] != labels[:, :-1]
        horizontal = labels[:, :, 1:] != labels[:, :, :-1]
        edge[:, 1:] |= vertical
        edge[:, :-1] |= vertical
        edge[:, :, 1:] |= horizontal
        edge[:, :, :-1] |= horizontal
        return edge

    def to(self, device: torch.device | str) -> 'Partition':
        """The same partition with every field on ``device``."""
        tensors = {name: value for name, value in ((field.name, getattr(self, field.name)) for field in fields(self))
                   if isinstance(value, Tensor)}
        return replace(self, **{name: tensor.to(device) for name, tensor in tensors.items()})

    def _check_map(self, features: Tensor) -> None:
        batch, height, width = self.labels.shape
        if not isinstance(features, Tensor):
            raise TypeError(f'features must be a torch.Tensor, got {features!r}')
        if features.dim() != 4 or (features.shape[0], *features.shape[2:]) != (batch, height, width):
            raise ValueError(
                f'features must be [B, D, H, W] with B, H, W = {batch}, {height}, {width}, got shape {tuple(features.shape)}')


def _flatten(partition: Partition) -> tuple[list[Tensor], int | None]:
    *tensors, max_regions = (getattr(partition, field.name) for field in fields(Partition))
    return tensors, max_regions


# What torch records, and exports to a file, can then return partitions, as it can tuples of tensors.
register_pytree_node(Partition, _flatten, lambda tensors, max_regions: Partition(*tensors, max_regions),
                     serialized_type_name='dht_mm.structures.Partition')
