"""How good a backbone's features are, without training anything on them."""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn

from dht_mm.registry import MODELS


@MODELS.register_module()
class KNNClassifier(BaseModel):
    """Classify images by a vote of their nearest neighbours among labelled ones (Wu et al., 2018, Instance discrimination).

    For mmpretrain's test script. The features of all labelled images are computed once, before the first prediction, and shared
    among the processes. Each of the ``k`` most similar ones votes for its class with weight ``exp(cosine / temperature)``.

    Args:
        backbone: A backbone whose last output is ``[B, D]``, or its config.
        database: Config of the data loader of the labelled images, in their order (``DefaultSampler`` with ``shuffle=False``).
        num_classes: Classes.
        k: Neighbours that vote.
        temperature: Of the votes.
        data_preprocessor: The toolkit's preprocessor or its config.
        init_cfg: Initialisation of mmengine.

    Raises:
        ValueError: ``k`` or ``temperature`` is not positive.
    """

    def __init__(self, backbone: dict | nn.Module, database: dict, num_classes: int, k: int = 20, temperature: float = 0.07,
                 data_preprocessor: dict | nn.Module | None = None, init_cfg: dict | None = None):
        super().__init__(data_preprocessor, init_cfg)
        if k < 1 or temperature <= 0:
            raise ValueError(f'k and temperature must be positive, got {k!r} and {temperature!r}')
        self.backbone = backbone if isinstance(backbone, nn.Module) else MODELS.build(backbone)
        self.database, self.num_classes, self.k, self.temperature = database, num_classes, k, temperature
        self.features = self.labels = torch.empty(0)  # until fill()

    def forward(self, inputs: Tensor, data_samples: list[Any] | None = None, mode: str = 'tensor') -> Tensor | list[Any]:
        """Features or predictions of a batch.

        Args:
            inputs: ``[B, C, H, W]`` float, normalised.
            data_samples: What the toolkit passes along; predictions are written into them.
            mode: ``'tensor'`` or ``'predict'``.

        Returns:
            ``[B, D]`` features of length 1; or ``data_samples`` with the share of the votes that each class got.

        Raises:
            ValueError: ``mode`` is another, since there is nothing to train; or there is no sample to predict for.
        """
        if mode not in ('tensor', 'predict'):
            raise ValueError(f"mode must be 'tensor' or 'predict', got {mode!r}")
        features = F.normalize(self.backbone(inputs)[-1].float(), dim=1)
        if mode == 'tensor':
            return features
        if data_samples is None:
            raise ValueError("data_samples must be one an image in mode='predict', got None")
        if not len(self.features):
            self.fill()
        scores = vote(features @ self.features.T, self.labels, self.num_classes, self.k, self.temperature)
        for sample, score in zip(data_samples, scores, strict=True):
            sample.set_pred_score(score).set_pred_label(score.argmax())
        return data_samples

    @torch.no_grad()
    def fill(self) -> None:
        """Compute the features of the labelled images; every process computes its share."""
        self.eval()
        loader = Runner.build_dataloader(self.database)
        features, labels = [], []
        for batch in loader:
            data = self.data_preprocessor(batch)
            features.append(self(data['inputs']))
            labels += [sample.gt_label for sample in data['data_samples']]
        size = len(loader.dataset)
        self.features = _interleave(torch.cat(features), size)
        self.labels = _interleave(torch.cat(labels).to(self.features.device), size)


def vote(similarity: Tensor, labels: Tensor, num_classes: int, k: int, temperature: float) -> Tensor:
    """Share of each class in the votes of the nearest neighbours.

    Args:
        similarity: ``[B, N]``, cosine to each labelled image.
        labels: ``[N]`` int64, their classes.
        num_classes: Classes K.
        k: Neighbours that vote; all if there are fewer.
        temperature: Of the votes.

    Returns:
        ``[B, K]``, rows that sum to 1.
    """
    nearest, index = similarity.topk(min(k, len(labels)), 1)
    weights = (nearest / temperature).softmax(1)
    return weights.new_zeros(len(similarity), num_classes).scatter_add(1, labels[index], weights)


def _interleave(part: Tensor, size: int) -> Tensor:
    """All processes' rows in the order of the data set; the sampler deals it out one by one and fills up at the end."""
    return torch.stack(all_gather(part), 1).flatten(0, 1)[:size]
