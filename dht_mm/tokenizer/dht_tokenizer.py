"""The differentiable hierarchical tokenizer: images to partitions into pixel-exact regions."""

import math
from dataclasses import replace

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from dht_mm.ops import Hierarchy, build_hierarchy, check_options, exact_linear, tree_mean
from dht_mm.registry import MODELS
from dht_mm.structures import Partition

from .budget import TokenBudget
from .check import check_images
from .projection import FeatureProjection


@MODELS.register_module()
class DHTTokenizer(BaseModule):
    """Partition images by merging pixels up a hierarchy and selecting regions by an information criterion (paper section 3).

    In evaluation, an image's result depends on nothing but the image and the weights: not on the batch, the device or the number of
    threads. The tokenizer works in float32 under autocast too.

    Args:
        in_channels: Channels ``C`` of the images.
        hidden_channels: Channels ``d`` of the pixel features.
        kernel: Similarity of neighbours: ``'gaussian'``, ``'cosine'`` or ``'tanimoto'``.
        compactness: Share ``c`` in [0, 1) of the regions' shape in the edge weight.
        criterion: ``'aic'``, ``'aicc'``, ``'bic'`` or ``'cic'``.
        iota: Positive constant of the likelihood; larger values prefer larger regions.
        min_regions: An image with at most this many regions is not merged further.
        token_budget: ``None``, or ``dict(mode='soft'|'hard', train=T|None, test=T|None)``, see :class:`TokenBudget`.
        norm_eval: Whether batch norm uses its running statistics in training too.
        init_cfg: Initialisation of mmengine, for instance ``dict(type='Pretrained', checkpoint=FILE)``.

    Raises:
        TypeError: An option is of another type.
        ValueError: An option is out of its range.
    """

    def __init__(self, in_channels: int = 3, hidden_channels: int = 8, kernel: str = 'gaussian', compactness: float = 0.1,
                 criterion: str = 'aicc', iota: float = 5.0, min_regions: int = 6, token_budget: dict | None = None,
                 norm_eval: bool = False, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        for name, value in (('in_channels', in_channels), ('hidden_channels', hidden_channels)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f'{name} must be a positive integer, got {value!r}')
        self.options = dict(kernel=kernel, compactness=compactness, criterion=criterion, iota=iota, min_regions=min_regions)
        check_options(**self.options)
        self.in_channels = in_channels
        if not (token_budget is None or isinstance(token_budget, dict)):
            raise TypeError(f'token_budget must be a dict or None, got {token_budget!r}')
        self.token_budget = None if token_budget is None else TokenBudget(**token_budget)
        self.norm_eval = norm_eval
        self.projection = FeatureProjection(in_channels, hidden_channels)
        self.color = nn.Linear(hidden_channels, in_channels)
        self.self_edge = nn.Linear(hidden_channels, 1)
        self._reset_maps()

    def init_weights(self) -> None:
        """Initialise as configured. A model's ``init_cfg`` for all its linear layers does not reach the tokenizer's two maps."""
        self._reset_maps()
        super().init_weights()

    def _reset_maps(self) -> None:
        self.color.reset_parameters()
        nn.init.normal_(self.self_edge.weight, std=1e-4)
        nn.init.constant_(self.self_edge.bias, -2 * math.pi)

    def train(self, mode: bool = True) -> 'DHTTokenizer':
        """Set the mode; batch norm stays in evaluation where ``norm_eval`` asks for it."""
        super().train(mode)
        if self.norm_eval:
            self.projection.eval()
        return self

    def forward(self, images: Tensor) -> Partition:
        """Tokenize a batch.

        Args:
            images: ``[B, C, H, W]`` float, normalised; any H, W >= 1. Half precision is widened to float32.

        Returns:
            The partition; ``mean`` and ``color`` are differentiable.

        Raises:
            TypeError: Images are not floating point.
            ValueError: Images are empty, not finite or of another shape.
        """
        check_images(images, self.in_channels)
        with torch.autocast(images.device.type, enabled=False):
            features, hierarchy = self._hierarchy(images)
            mean = tree_mean(features, self.self_edge.weight[0], self.self_edge.bias[0], hierarchy,
                             kernel=self.options['kernel'], compactness=self.options['compactness'])
            partition = self._with_color(_partition(hierarchy, mean))
            if self.token_budget is not None:
                merged = self.token_budget.merge(partition, _widen(images), self.training, self.options['kernel'])
                partition = self._with_color(merged)
        return partition

    def hierarchy(self, images: Tensor) -> Hierarchy:
        """All levels of the hierarchy of ``[B, C, H, W]`` images, before any token budget; without gradient."""
        check_images(images, self.in_channels)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return self._hierarchy(images)[1]

    def _hierarchy(self, images: Tensor) -> tuple[Tensor, Hierarchy]:
        features = self.projection(_widen(images))
        return features, build_hierarchy(features, self.self_edge.weight[0], self.self_edge.bias[0], **self.options)

    def _with_color(self, partition: Partition) -> Partition:
        color = exact_linear(partition.mean.T[None], self.color.weight, self.color.bias)[0].T
        return replace(partition, color=color.to(partition.mean.dtype))


def _widen(images: Tensor) -> Tensor:
    return images if images.dtype == torch.float64 else images.float()


def _partition(hierarchy: Hierarchy, mean: Tensor) -> Partition:
    """The result of a hierarchy; its colours are yet to be predicted."""
    num_regions = hierarchy.num_regions
    offsets = torch.cat([num_regions.new_zeros(1), num_regions.cumsum(0, dtype=num_regions.dtype)])
    return Partition(hierarchy.labels, num_regions, offsets, hierarchy.bbox, hierarchy.size, mean, color=mean)
