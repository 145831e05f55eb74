"""A tokenizer: text to token ids and back, in the format of Hugging Face's `tokenizers`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from flyweight.base import UserError, atomic_write

FILE = "tokenizer.json"


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

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """The texts of its special tokens, end_of_text among them."""
        added = self.backend.get_added_tokens_decoder().values()
        return tuple(token.content for token in added if token.special)

    def encode(self, text: str) -> list[int]:
        """The ids of one text, without special tokens."""
        return self.backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str], *, special: bool = False) -> list[list[int]]:
        """The ids of many texts, on all cores; with `special`, those too that the tokenizer adds by itself (a BOS)."""
        encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=special)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int], *, special: bool = True) -> str:
        """The text of ids, with or without special tokens; bytes that are not UTF-8 become U+FFFD."""
        return self.backend.decode(list(ids), skip_special_tokens=not special)

    def save(self, folder: Path) -> None:
        """Write `folder`/tokenizer.json."""
        with atomic_write(folder / FILE) as file:
            file.write(self._json)

    @classmethod
    def load(cls, path: Path, end_of_text: str) -> TextTokenizer:
        """Read a tokenizer.json, or a folder with one; `adopt` reads other formats too.

        Raises:
            UserError: missing, of another kind, or without the token `end_of_text`.
        """
        file = path / FILE if path.is_dir() else path
        return cls.with_end(read_tokenizer_json(file), end_of_text, file)

    @classmethod
    def with_end(cls, backend: Tokenizer, end_of_text: str, place: Path) -> TextTokenizer:
        """Wrap what was read at `place`.

        Raises:
            UserError: it has no token `end_of_text`; names those that it could be.
        """
        if backend.token_to_id(end_of_text) is None:
            raise UserError(
                f"{place}: the token {end_of_text!r} is not in this tokenizer; set tokenizer.end_of_text to "
                f"the token that ends a document in it{_candidates(backend)}."
            )
        return cls(backend, end_of_text)


def _candidates(backend: Tokenizer) -> str:
    special = [token.content for token in backend.get_added_tokens_decoder().values() if token.special]
    return f" (its special tokens begin with {', '.join(special[:6])})" if special else ""


def read_tokenizer_json(file: Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json.

    Raises:
        UserError: missing, or not of this format.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such tokenizer; expected a {FILE}, or a folder with one.")
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise UserError(
            f"{file}: this is not a {FILE} of the tokenizers library ({str(error).splitlines()[0]})."
        ) from None
