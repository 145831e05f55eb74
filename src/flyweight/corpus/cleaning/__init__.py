"""What is found in text before training: near-duplicates, and text of evaluation sets.

`evaluation_sets`, which reads the sets, is not imported here: the processes that compare text start faster.
"""

from flyweight.corpus.cleaning.contamination import EvaluationIndex, IndexedSet
from flyweight.corpus.cleaning.near import BANDS, NO_KEY, ROWS, band_keys
from flyweight.corpus.cleaning.words import WordHashes, hash_words

__all__ = [
    "BANDS",
    "NO_KEY",
    "ROWS",
    "EvaluationIndex",
    "IndexedSet",
    "WordHashes",
    "band_keys",
    "hash_words",
]
