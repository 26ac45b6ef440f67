"""The differentiable hierarchical tokenizer: images to partitions into pixel-exact regions."""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from dht_mm.ops import Hierarchy, build_fixed_hierarchy, build_hierarchy, check_options, exact_linear, tree_mean
from dht_mm.registry import MODELS
from dht_mm.structures import Partition

from .budget import TokenBudget
from .check import check_images
from .checkpoint import read_state_dict
from .projection import FeatureProjection
from .shipped import SCHEME


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
        token_budget: ``None``, or ``dict(mode='soft'|'hard'|'exact', train=T|None, test=T|None, spread=S|None)``, see
            :class:`TokenBudget`.
        norm_eval: Whether batch norm uses its running statistics in training too.
        capacity: Regions of a whole batch that there is room for before the token budget, for CUDA graphs and export: no shape then depends
            on how many regions there are, and nothing waits for a GPU, in training and evaluation. An exact budget needs room for the
            regions that it merges from too, about 5 to 20 times as many as it leaves. The partition's packed fields have this many rows, or
            those of the budget if that is less or it has a ``spread``; a soft budget can't be had with it. Rows that no region needs are
            zero, and no gradient goes to or comes from them. Where the regions do not fit or, on a GPU, the images are not finite,
            ``num_regions`` is -1 and every row is empty; with gradients enabled, mean and color are then NaN, so that no step of an
            optimiser can take them for a result.
        init_cfg: Initialisation of mmengine, for instance ``dict(type='Pretrained', checkpoint='dht_mm://tokenizer_c01')``, which comes
            with the package, as does ``tokenizer_c001`` for compactness 0.01. Or a file.

    Raises:
        TypeError: An option is of another type.
        ValueError: An option is out of its range.
    """

    def __init__(self, in_channels: int = 3, hidden_channels: int = 8, kernel: str = 'gaussian', compactness: float = 0.1,
                 criterion: str = 'aicc', iota: float = 5.0, min_regions: int = 6, token_budget: dict | None = None,
                 norm_eval: bool = False, capacity: int | None = None, init_cfg: dict | None = None):
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
        if capacity is not None and self.token_budget is not None and self.token_budget.mode == 'soft':
            raise ValueError("capacity must be None with a token_budget of mode='soft', which does not say how many regions it leaves, "
                             f'got {capacity!r}')
        self.norm_eval, self.capacity = norm_eval, capacity
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
        with _without_autocast(images.device.type):
            features, hierarchy = self._hierarchy(images, self.capacity)
            if self.token_budget is not None:
                hierarchy = self.token_budget.cut(hierarchy, self.training, self.capacity)
            mean = hierarchy.mean
            if torch.is_grad_enabled():
                mean = tree_mean(features, *self._self_edge(), hierarchy, kernel=self.options['kernel'],
                                 compactness=self.options['compactness'])
            partition = Partition(hierarchy.labels, hierarchy.num_regions, hierarchy.offsets, hierarchy.bbox, hierarchy.size, mean,
                                  color=mean, max_regions=self._max_regions(images))
            if self.token_budget is not None:
                if self.token_budget.mode == 'soft':
                    partition = self._colored(partition)
                partition = self.token_budget.merge(partition, _widen(images), self.training, self.options['kernel'])
            if self.capacity is not None and torch.is_grad_enabled():
                failed = partition.num_regions[:1, None] < 0
                partition = replace(partition, mean=partition.mean.masked_fill(failed, torch.nan))
            return self._colored(partition)

    def hierarchy(self, images: Tensor) -> Hierarchy:
        """All levels of the hierarchy of ``[B, C, H, W]`` images, before any token budget; without gradient."""
        check_images(images, self.in_channels)
        with torch.no_grad(), _without_autocast(images.device.type):
            return self._hierarchy(images, None)[1]

    def _hierarchy(self, images: Tensor, capacity: int | None) -> tuple[Tensor, Hierarchy]:
        features = self.projection(_widen(images))
        if capacity is None:
            return features, build_hierarchy(features, *self._self_edge(), **self.options)
        return features, build_fixed_hierarchy(features, *self._self_edge(), capacity, **self.options)

    def _max_regions(self, images: Tensor) -> int | None:
        if self.capacity is None:
            return None
        most = min(self.capacity, images.shape[2] * images.shape[3])
        return int(most) if isinstance(most, Tensor) else most  # torch.jit.trace makes tensors of sizes

    def _self_edge(self) -> tuple[Tensor, Tensor]:
        return self.self_edge.weight[0], self.self_edge.bias[0]

    def _colored(self, partition: Partition) -> Partition:
        used = None if self.capacity is None else partition.offsets[-1]
        return replace(partition, color=exact_linear(partition.mean, self.color.weight, self.color.bias, used))


@CheckpointLoader.register_scheme(SCHEME, force=True)  # a reloaded module registers it again
def load_from_package(address: str, map_location: object = None) -> dict[str, Tensor]:
    """Weights behind ``dht_mm://``, for mmengine's ``Pretrained``; on the CPU, whatever ``map_location`` says."""
    return read_state_dict(address)


def _widen(images: Tensor) -> Tensor:
    return images if images.dtype == torch.float64 else images.float()


def _without_autocast(device_type: str) -> AbstractContextManager:
    """Autocast off. Entering torch's context takes longer than a small op, so it is left out where autocast is off already."""
    return torch.autocast(device_type, enabled=False) if torch.is_autocast_enabled(device_type) else nullcontext()
