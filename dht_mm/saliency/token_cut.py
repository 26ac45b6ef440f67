"""The salient part of an image: one side of the normalized cut of its tokens, painted with exact masks."""

from typing import NamedTuple

import torch
from torch import Tensor

from dht_mm.structures import Partition

from .normalized_cut import cosine_graph, second_eigenvector


class Saliency(NamedTuple):
    """How salient things are, tokens or pixels.

    Attributes:
        values: Float in [0, 1], 1 for the most salient; 0 for all where nothing stands out.
        foreground: Bool, the salient side of the cut.
    """

    values: Tensor
    foreground: Tensor


def token_cut(features: Tensor, size: Tensor | None = None, threshold: float = 0.2) -> Saliency:
    """Cut the tokens of one image in two and tell which side is salient.

    The tokens on either side of the mean of the second eigenvector are the two sides; the salient one has the token of the largest
    absolute value. Source: TokenCut (Wang et al., 2022), with the graph of :func:`cosine_graph`.

    Args:
        features: ``[N, D]`` float, one row a token; the method's authors take the keys of the last attention.
        size: ``[N]``, pixels of each token. With it the graph is that of the pixels, all pixels of a token being alike, so that a
            partition's fineness does not shift the cut. None counts every token once, as the authors do with their squares.
        threshold: The cosine from which on two tokens are similar.

    Returns:
        ``[N]`` each. Nothing is salient among tokens that are all similar, nor in an image of one token.

    Raises:
        ValueError: ``features`` or ``threshold`` are refused by :func:`cosine_graph`, or ``size`` has another number of tokens.
    """
    graph = cosine_graph(features, threshold)
    if size is not None and size.shape != graph.shape[:1]:
        raise ValueError(f'size must be [N] with N = {len(graph)} tokens, got shape {tuple(size.shape)}')
    if (graph == 1).all():
        return Saliency(features.new_zeros(len(graph)), torch.zeros(len(graph), dtype=torch.bool, device=features.device))
    share = torch.ones_like(graph[0]) if size is None else size.to(graph)
    values = second_eigenvector(share[:, None] * graph * share)
    values = values - (values * share).sum() / share.sum()
    largest = values[values.abs().argmax()]
    values = values * largest.sign()
    low, high = values.aminmax()
    return Saliency(((values - low) / (high - low)).to(features), values > 0)


def paint_saliency(features: Tensor, partition: Partition, by_size: bool = False, threshold: float = 0.2) -> Saliency:
    """:func:`token_cut` of the regions of each image, painted: borders of masks are borders of regions, to the pixel.

    Args:
        features: ``[R, D]`` float, rows in the order of ``partition``.
        partition: The regions of B images.
        by_size: Whether pixels count and not regions.
        threshold: The cosine from which on two regions are similar.

    Returns:
        ``[B, H, W]`` each.

    Raises:
        ValueError: There is not one row for each region, or they are refused by :func:`token_cut`.
    """
    if len(features) != partition.total_regions:
        raise ValueError(f'features must be [R, D] with R = {partition.total_regions} regions, got shape {tuple(features.shape)}')
    counts = partition.num_regions.tolist()
    sizes = partition.size.split(counts) if by_size else [None] * len(counts)
    cuts = [token_cut(rows, size, threshold) for rows, size in zip(features.split(counts), sizes, strict=True)]
    values, foreground = (torch.cat(field)[:, None] for field in zip(*cuts, strict=True))
    return Saliency(partition.scatter(values)[:, 0], partition.scatter(foreground)[:, 0])
