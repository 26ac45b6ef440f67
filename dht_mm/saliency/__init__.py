"""Salient objects without labels: a cut of the graph of an image's tokens. Plain torch."""

from .keys import region_keys
from .normalized_cut import cosine_graph, second_eigenvector
from .token_cut import Saliency, paint_saliency, token_cut

__all__ = ['Saliency', 'cosine_graph', 'paint_saliency', 'region_keys', 'second_eigenvector', 'token_cut']
