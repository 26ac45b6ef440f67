"""Weights of other projects as weights of this one: pure functions on state dicts."""

from .conversion import Conversion
from .export import export_encoder, export_tokenizer
from .published_encoder import FeatureSizes, convert_encoder, infer_sizes
from .published_tokenizer import convert_tokenizer
from .vit_to_dht import convert_vit

__all__ = ['Conversion', 'FeatureSizes', 'convert_encoder', 'convert_tokenizer', 'convert_vit', 'export_encoder',
           'export_tokenizer', 'infer_sizes']
