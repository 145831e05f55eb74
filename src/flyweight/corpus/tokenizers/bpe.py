"""Byte-level BPE: the pre-tokenizers of published models, and training.

What training needs: the `tokenizers` library counts words and lets the text go, so its memory follows the
number of distinct words, about 0.9 KB each. Measured for 32K entries in a process of its own, beyond what
reading the text takes: 106 MB for 10 MB of English and code (61,415 distinct words), 190 MB for 40 MB
(153,755), 360 MB for 120 MB (363,284). For large samples `word_limit` bounds the words at a million, so
that 50 GB of text need about 1.2 GB: a million times 0.9 KB and what is needed without words, not measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from flyweight.base import UserError
from flyweight.corpus.tokenizers.text_tokenizer import TextTokenizer

_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = {
    "qwen2": _QWEN2,
    "llama-bpe": _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|"),
    "gpt-2": None,
}
"""The pre-tokenizer of each name, as in the tokenizers that are published under it and, by the same
name, in llama.cpp; any other pattern would split differently there. `gpt-2`'s is part of ByteLevel."""

LEAST_PAIRS = 2
"""A pair that occurs once in the whole sample is noise, not a merge."""


def pre_tokenizer(pattern: str) -> pre_tokenizers.PreTokenizer:
    """How text is cut before merging, then written as ByteLevel's 256 characters."""
    expression = PATTERNS[pattern]
    if expression is None:
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(expression), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )  # pyright: ignore[reportReturnType]


def train_bpe(
    texts: Iterable[str], vocab_size: int, pattern: str, end_of_text: str, special_tokens: Sequence[str] = ()
) -> TextTokenizer:
    """A byte-level BPE of exactly `vocab_size` entries (arXiv 1508.07909, over bytes as in GPT-2).

    Every string has a lossless encoding: all 256 bytes are in the vocabulary, there is no normalizer
    and no unknown token. Id 0 is `end_of_text`, then come `special_tokens`, the bytes and the merges.

    Args:
        texts: the sample, read once.
        vocab_size: entries, with the special tokens and the 256 bytes.
        pattern: a name of PATTERNS.
        end_of_text: the token after every document.
        special_tokens: further tokens that text never turns into.

    Raises:
        UserError: the sample gives fewer entries.
    """
    specials = list(dict.fromkeys([end_of_text, *special_tokens]))
    if vocab_size < 256 + len(specials):
        raise UserError(
            f"tokenizer.vocab_size: {vocab_size:,} entries have no room for the 256 bytes and the "
            f"{len(specials)} special tokens; set it to at least {256 + len(specials)}."
        )
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizer(pattern)  # pyright: ignore[reportAttributeAccessIssue]
    backend.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=LEAST_PAIRS,
        show_progress=False,
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    counted = _Counted(texts)
    backend.train_from_iterator(counted, trainer)
    found = backend.get_vocab_size()
    if found < vocab_size:
        raise UserError(
            f"tokenizer.vocab_size: {vocab_size:,} entries were asked for, but the {counted.size:,} "
            f"characters of text give only {found:,}; set tokenizer.vocab_size and model.vocab_size to at "
            f"most that, or give more text."
        )
    return TextTokenizer(backend, end_of_text)


class _Counted:
    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts
        self.size = 0

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            self.size += len(text)
            yield text
