"""Random partitions to test on."""

import torch
from torch import Tensor

from dht_mm.structures import Partition


def canonical(labels: Tensor) -> Tensor:
    """``[H, W]`` values, numbered by the raster order of their first pixels."""
    values = labels.flatten().tolist()
    number = {value: index for index, value in enumerate(dict.fromkeys(values))}
    return torch.tensor([number[value] for value in values]).view(labels.shape)


def random_labels(batch: int, height: int, width: int, seeds: int, generator: torch.Generator) -> Tensor:
    """``[B, H, W]`` labels: each pixel belongs to the nearest of at most ``seeds`` points, image by image fewer."""
    maps = []
    for image in range(batch):
        points = torch.rand(max(1, seeds - image), 2, generator=generator) * torch.tensor([height, width])
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
        pixels = torch.stack([y, x], -1).float()
        maps.append(canonical(torch.cdist(pixels.view(-1, 2), points, p=1).argmin(1).view(height, width)))
    return torch.stack(maps)


def random_case(batch: int = 2, height: int = 13, width: int = 17, seeds: int = 9, channels: int = 3, seed: int = 0,
                dtype: torch.dtype = torch.float32) -> tuple[Tensor, Partition]:
    """Random images ``[B, C, H, W]`` and a partition of them."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(batch, channels, height, width, generator=generator, dtype=dtype)
    return image, Partition.from_labels(random_labels(batch, height, width, seeds, generator), image)
