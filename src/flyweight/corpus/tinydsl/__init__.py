"""TinyDSL: Python source as pseudocode, one way (`compact`) or reversibly (`exact`)."""

from flyweight.corpus.tinydsl.denormalizer import denormalize, denormalize_file
from flyweight.corpus.tinydsl.errors import NotNormalisable, NotTinyDSL
from flyweight.corpus.tinydsl.normalizer import normalize, normalize_file

__all__ = ["NotNormalisable", "NotTinyDSL", "denormalize", "denormalize_file", "normalize", "normalize_file"]
