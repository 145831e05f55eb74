"""A recipe's new tokenizer."""

from __future__ import annotations

from collections.abc import Iterable

from flyweight.corpus.tokenizers.bpe import train_bpe
from flyweight.corpus.tokenizers.text_tokenizer import TextTokenizer
from flyweight.corpus.tokenizers.unigram import MOST_SAMPLE, train_unigram
from flyweight.corpus.tokenizers.word_limit import MOST_WORDS, UNLIMITED_BYTES, limit_words
from flyweight.recipe import Tokenizer


def train(settings: Tokenizer, texts: Iterable[str]) -> TextTokenizer:
    """Train the BPE or Unigram that a recipe's `tokenizer` section describes.

    Memory: a BPE keeps counts of distinct words, of which there are at most MOST_WORDS; a Unigram
    keeps its text, of which it takes at most `most_sample`.

    Raises:
        UserError: the text gives fewer entries, or a package is missing.
    """
    assert settings.kind != "existing", "an existing tokenizer is adopted"
    if settings.kind == "unigram":
        return train_unigram(
            texts, settings.vocab_size, settings.end_of_text, settings.special_tokens, settings.symbols
        )
    if settings.sample > UNLIMITED_BYTES:
        texts = limit_words(texts, MOST_WORDS)
    return train_bpe(
        texts, settings.vocab_size, settings.pattern, settings.end_of_text, settings.special_tokens
    )


def most_sample(settings: Tokenizer) -> int:
    """Bytes of text that training takes at most: tokenizer.sample, or less where the trainer holds its input."""
    return min(settings.sample, MOST_SAMPLE) if settings.kind == "unigram" else settings.sample
