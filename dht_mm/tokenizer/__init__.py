"""Images to partitions."""

from .budget import TokenBudget
from .dht_tokenizer import DHTTokenizer
from .grid import GridTokenizer
from .injection import inject_mean, mean_shift
from .pretrainer import TokenizerPretrainer
from .quadtree import QuadtreeTokenizer
from .slic import SLICTokenizer

__all__ = [
    'DHTTokenizer', 'GridTokenizer', 'QuadtreeTokenizer', 'SLICTokenizer', 'TokenBudget', 'TokenizerPretrainer', 'inject_mean', 'mean_shift'
]
