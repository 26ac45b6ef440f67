"""The relaxed normalized cut of a graph of tokens (Shi and Malik, 2000, Normalized cuts and image segmentation)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def cosine_graph(features: Tensor, threshold: float = 0.2, floor: float = 1e-5) -> Tensor:
    """Weights of the edges between all tokens: 1 where two are similar, ``floor`` where they are not.

    Source: TokenCut (Wang et al., 2022, Self-supervised transformers for unsupervised object discovery using normalized cut),
    whose values the defaults are. The floor keeps the graph connected.

    Args:
        features: ``[N, D]`` float, one row a token.
        threshold: The cosine from which on two tokens are similar.
        floor: Weight of other edges, above 0.

    Returns:
        ``[N, N]`` float64, symmetric.

    Raises:
        ValueError: ``features`` are no rows of finite numbers, or an argument is out of its range.
    """
    if features.dim() != 2 or features.numel() == 0:
        raise ValueError(f'features must be a non-empty [N, D], got shape {tuple(features.shape)}')
    if not features.isfinite().all():
        raise ValueError(f'features must be finite, got {int((~features.isfinite()).sum())} values that are not')
    if not -1 <= threshold <= 1 or not 0 < floor < 1:
        raise ValueError(f'threshold must be in [-1, 1] and floor in (0, 1), got {threshold} and {floor}')
    unit = F.normalize(features.double(), dim=1)
    return torch.where(unit @ unit.T >= threshold, 1.0, floor).to(unit)


def second_eigenvector(weights: Tensor) -> Tensor:
    """The y of the second smallest λ in ``(D - W) y = λ D y``, where D has the sums of the rows of W on its diagonal.

    Args:
        weights: ``[N, N]`` float64, symmetric and positive, N at least 2.

    Returns:
        ``[N]`` float64, of either sign.

    Raises:
        ValueError: ``weights`` are not square, or have fewer than two rows.
    """
    if weights.dim() != 2 or weights.shape[0] != weights.shape[1] or len(weights) < 2:
        raise ValueError(f'weights must be [N, N] with N at least 2, got shape {tuple(weights.shape)}')
    scale = weights.sum(1).rsqrt()
    # With z = sqrt(D) y an ordinary problem: its largest values are the smallest λ, 1 - λ being the value.
    vectors = torch.linalg.eigh(scale[:, None] * weights * scale).eigenvectors
    return vectors[:, -2] * scale
