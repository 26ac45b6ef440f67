"""A backbone small enough to check a head by, and data to feed it."""

import pytest
import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from dht_mm.structures import Partition, RegionTokens


def in_raster_order(values: Tensor) -> Tensor:
    """Number the values of one map ``[H, W]`` by their first pixels."""
    order = list(dict.fromkeys(values.flatten().tolist()))
    return torch.tensor([order.index(value) for value in values.flatten().tolist()]).view(values.shape)


class ColorRegions(BaseModule):
    """A region is all of one colour, its token a linear map of it: an image and its mirror have the same tokens."""

    def __init__(self, embed_dims: int = 8, blocks: int = 1, with_cls_token: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.ModuleList(nn.Linear(3, embed_dims) for _ in range(blocks))
        for layer in self.embed:
            nn.init.normal_(layer.weight)  # so that several classes are predicted
        self.with_cls_token = with_cls_token

    def partition(self, image: Tensor) -> Partition:
        keys = (image * torch.tensor([1.0, 10, 100])[:, None, None]).sum(1).round()
        return Partition.from_labels(torch.stack([in_raster_order(key) for key in keys]), image)

    def forward(self, image: Tensor) -> RegionTokens:
        partition = self.partition(image)
        tokens = tuple(embed(partition.mean) for embed in self.embed)
        cls_tokens = tuple(embed(image.mean((2, 3))) for embed in self.embed)
        return RegionTokens(tokens, cls_tokens if self.with_cls_token else (), partition)


@pytest.fixture(scope='session')
def color_regions() -> type:
    """The class above, to name in a config."""
    return ColorRegions


@pytest.fixture
def images() -> Tensor:
    """Two images ``[2, 3, 12, 16]`` of blocks in few colours."""
    blocks = torch.randint(-1, 2, (2, 3, 6, 4), generator=torch.Generator().manual_seed(0))
    return blocks.repeat_interleave(2, 2).repeat_interleave(4, 3).float()


@pytest.fixture
def labels() -> Tensor:
    """Their class maps ``[2, 12, 16]``: classes 0 to 3 and the ignored 255."""
    classes = torch.randint(0, 5, (2, 4, 4), generator=torch.Generator().manual_seed(1))
    classes = classes.masked_fill(classes == 4, 255)
    return classes.repeat_interleave(3, 1).repeat_interleave(4, 2)
