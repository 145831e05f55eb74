"""Byte-level BPE tokenizers: trained here, or adopted from a tokenizer.json."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from flyweight.base import UserError, atomic_write

FILE = "tokenizer.json"

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


class TextTokenizer:
    """Text to token ids and back.

    Text is always ordinary text: a document that contains the characters of a special token, such as
    "<|endoftext|>", does not get that token. Ids of special tokens are only ever put in by code.
    """

    def __init__(self, backend: Tokenizer, end_of_text: str) -> None:
        """Wrap `backend`, whose vocabulary must contain the token `end_of_text`."""
        identifier = backend.token_to_id(end_of_text)
        assert identifier is not None
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        self.backend = backend
        self.end_of_text = identifier
        self.end_of_text_text = end_of_text
        self._json = backend.to_str(pretty=True)

    @cached_property
    def vocab_size(self) -> int:
        """Entries: one more than the largest id."""
        return max(self.backend.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the saved file."""
        return hashlib.blake2b(self._json.encode("utf-8"), digest_size=16).hexdigest()

    def encode(self, text: str) -> list[int]:
        """The ids of one text, without special tokens."""
        return self.backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of many texts, on all cores."""
        encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; bytes that are not UTF-8 become U+FFFD."""
        return self.backend.decode(list(ids), skip_special_tokens=False)

    def save(self, folder: Path) -> None:
        """Write `folder`/tokenizer.json."""
        with atomic_write(folder / FILE) as file:
            file.write(self._json)

    @classmethod
    def load(cls, path: Path, end_of_text: str) -> TextTokenizer:
        """Adopt a tokenizer.json, or a folder with one.

        Raises:
            UserError: missing, of another kind, or without the token `end_of_text`.
        """
        file = path / FILE if path.is_dir() else path
        if not file.is_file():
            raise UserError(f"{file}: no such tokenizer; expected a {FILE}, or a folder with one.")
        try:
            backend = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise UserError(
                f"{file}: this is not a {FILE} of the tokenizers library ({str(error).splitlines()[0]})."
            ) from None
        if backend.token_to_id(end_of_text) is None:
            raise UserError(
                f"{file}: the token {end_of_text!r} is not in this tokenizer; set tokenizer.end_of_text to "
                f"the token that ends a document in it{_candidates(backend)}."
            )
        return cls(backend, end_of_text)


def _candidates(backend: Tokenizer) -> str:
    special = [token.content for token in backend.get_added_tokens_decoder().values() if token.special]
    return f" (its special tokens begin with {', '.join(special[:6])})" if special else ""


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


def train_tokenizer(texts: Iterable[str], vocab_size: int, pattern: str, end_of_text: str) -> TextTokenizer:
    """A byte-level BPE of exactly `vocab_size` entries (arXiv 1508.07909, over bytes as in GPT-2).

    Every string has a lossless encoding: all 256 bytes are in the vocabulary, there is no normalizer
    and no unknown token. Id 0 is `end_of_text`, the bytes follow, then the merges.

    Args:
        texts: the sample, read once.
        vocab_size: entries, with end_of_text and the 256 bytes.
        pattern: a name of PATTERNS.
        end_of_text: the token after every document.

    Raises:
        UserError: the sample gives fewer entries.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizer(pattern)  # pyright: ignore[reportAttributeAccessIssue]
    backend.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=LEAST_PAIRS,
        show_progress=False,
        special_tokens=[end_of_text],
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
