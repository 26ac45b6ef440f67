"""Images to partitions."""

from .budget import TokenBudget
from .dht_tokenizer import DHTTokenizer
from .grid import GridTokenizer
from .injection import inject_mean, mean_shift
from .pretrainer import TokenizerPretrainer

__all__ = ['DHTTokenizer', 'GridTokenizer', 'TokenBudget', 'TokenizerPretrainer', 'inject_mean', 'mean_shift']
