"""Many documents to ids at once: by gigatoken where its ids are those of the saved tokenizer.

gigatoken is 30 times as fast as `tokenizers` on one core, and of a younger make. So before a
preparation uses it, it must agree on documents of every source and on text that is hard to cut.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import Unigram

from flyweight.base import UserError
from flyweight.corpus.shards import token_dtype
from flyweight.corpus.tokenizers.adopting import without_special_tokens
from flyweight.corpus.tokenizers.hard_text import HARD_TEXT
from flyweight.corpus.tokenizers.text_tokenizer import TextTokenizer

Library = Literal["gigatoken", "tokenizers"]

Marks = Sequence[tuple[int, int]]
"""Spans of characters of a document that are special tokens, rising."""

_CHECKED_CHARACTERS = 50_000
"""Of each sample, so that a book does not take as long as all others."""

_MOST_REMEMBERED = 500_000_000
"""Bytes by which this process may grow before gigatoken is loaded anew: it remembers every word that it has
seen, in about 120 bytes (2.4 million distinct words took 295 MB), and never forgets one."""

_RENEW_AFTER = 200_000_000
"""Bytes of text after which it is loaded anew where the size of this process cannot be asked for."""

_Batch = Callable[[Sequence[bytes]], tuple[np.ndarray, np.ndarray]]
"""Texts in UTF-8 to ids, (tokens,) uint32, and the number of tokens of each text, (texts,) int64."""


@dataclass(frozen=True)
class EncoderChoice:
    """The library to encode with, and why, for people."""

    name: Library
    reason: str


def open_encoder(tokenizer: TextTokenizer, samples: Mapping[str, Sequence[str]]) -> EncoderChoice:
    """gigatoken, if it gives the ids of `tokenizer` on the samples of every source and on hard text.

    Args:
        tokenizer: the corpus's tokenizer, as it is saved.
        samples: some documents of each source; of long ones the beginning is compared.
    """
    try:
        import gigatoken  # noqa: F401
    except ImportError:
        return EncoderChoice(
            "tokenizers", 'gigatoken is not installed; `pip install "flyweight[data]"` makes encoding faster.'
        )
    specials = [token.content for token in tokenizer.backend.get_added_tokens_decoder().values()]
    sets = {
        "text that is hard to cut": [*HARD_TEXT, "".join(specials[:50]), f"a {tokenizer.end_of_text_text}b"]
    }
    sets |= {f"source {name!r}": texts for name, texts in samples.items()}
    try:
        fast = _gigatoken(tokenizer)
        for where, texts in sets.items():
            cut = [text[:_CHECKED_CHARACTERS] for text in texts]
            if cut and not _agree(fast, tokenizer, cut):
                return EncoderChoice("tokenizers", f"gigatoken gives other ids on {where}.")
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # Rust's panics are no Exception
        message = (str(error).splitlines() or [type(error).__name__])[0]
        return EncoderChoice("tokenizers", f"gigatoken cannot run this tokenizer ({message}).")
    return EncoderChoice("gigatoken", "gigatoken gives the same ids on samples of every source.")


def _agree(fast: _Batch, tokenizer: TextTokenizer, texts: Sequence[str]) -> bool:
    data = [text.encode("utf-8") for text in texts]
    return all(
        np.array_equal(a, b) for a, b in zip(fast(data), _tokenizers(tokenizer.backend)(data), strict=True)
    )


class Encoder:
    """Documents to ids, on one core; one instance a worker process."""

    def __init__(self, tokenizer: TextTokenizer, library: Library) -> None:
        """Encode as `tokenizer`, by the library that `open_encoder` chose."""
        self._tokenizer = tokenizer
        self._library: Library = library
        self._dtype = token_dtype(tokenizer.vocab_size)
        self._open()
        self._mark_ids: dict[str, int | None] = {}

    @property
    def vocab_size(self) -> int:
        """Entries of the tokenizer."""
        return self._tokenizer.vocab_size

    def encode(self, texts: Sequence[bytes], marks: Sequence[Marks] = ()) -> tuple[np.ndarray, np.ndarray]:
        """Ids of documents one after another, each followed by end_of_text, and how many each has.

        Args:
            texts: the documents, in UTF-8.
            marks: for each document the spans that are special tokens; they become the id of the token
                that is written there. Whatever else the text holds is ordinary text. Left out: no spans.

        Returns:
            (tokens,) of the shards' type, and (documents,) int64; a document has at least its end_of_text.

        Raises:
            UserError: a span holds no token of the tokenizer.
        """
        if not texts:
            return np.empty(0, self._dtype), np.empty(0, np.int64)
        segments: list[bytes] = []
        inner: list[bool] = []
        after: list[int] = []
        counts = np.ones(len(texts), np.int64)
        for number, rest in enumerate(texts):
            is_inner = False
            if marks and marks[number]:
                text, start = rest.decode("utf-8"), 0
                for begin, end, identifier in self._cuts(text, marks[number]):
                    segments.append(text[start:begin].encode("utf-8"))
                    inner.append(is_inner)
                    after.append(identifier)
                    start, is_inner = end, True
                    counts[number] += 1
                rest = text[start:].encode("utf-8")
            segments.append(rest)
            inner.append(is_inner)
            after.append(self._tokenizer.end_of_text)
        ids, sizes = self._encode(segments, inner)
        ids = np.insert(ids.astype(self._dtype), np.cumsum(sizes), np.asarray(after, self._dtype))
        firsts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        return ids, np.add.reduceat(sizes + 1, firsts)

    def _cuts(self, text: str, marks: Marks) -> Iterable[tuple[int, int, int]]:
        for begin, end in marks:
            token = text[begin:end]
            if token not in self._mark_ids:
                self._mark_ids[token] = self._mark_id(token)
            identifier = self._mark_ids[token]
            if identifier is not None:
                yield begin, end, identifier

    def _mark_id(self, token: str) -> int | None:
        """The id of a special token; None where text becomes the token by itself, as a Unigram's symbols do."""
        backend = self._tokenizer.backend
        identifier = backend.token_to_id(token)
        if identifier is not None and identifier in backend.get_added_tokens_decoder():
            return identifier
        by_itself = isinstance(backend.model, Unigram) and identifier in self._tokenizer.encode(token)
        if by_itself:
            return None
        raise UserError(
            f"the chat template writes {token!r} as a special token, which the tokenizer does not have; add it "
            f"to tokenizer.special_tokens, or set a tokenizer.chat_template that goes with the tokenizer."
        )

    def _encode(self, segments: Sequence[bytes], inner: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
        if self._continuing is None or not any(inner):
            return self._plain(segments)
        sizes = np.empty(len(segments), np.int64)
        found: list[np.ndarray] = [np.empty(0, np.uint32)] * len(segments)
        for batch, chosen in ((self._plain, False), (self._continuing, True)):
            places = [place for place, value in enumerate(inner) if value is chosen]
            ids, sizes[places] = batch([segments[place] for place in places])
            for place, part in zip(places, np.split(ids, np.cumsum(sizes[places])[:-1]), strict=True):
                found[place] = part
        return np.concatenate(found), sizes

    def _plain(self, texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        if self._library == "gigatoken" and self._remembers_much():
            del self._batch
            self._open()
        self._encoded += sum(map(len, texts))
        return self._batch(texts)

    def _open(self) -> None:
        self._encoded = 0
        self._size = _own_memory()
        if self._library == "gigatoken":
            self._batch = _gigatoken(self._tokenizer)
        else:
            self._batch = _tokenizers(self._tokenizer.backend)

    def _remembers_much(self) -> bool:
        now = _own_memory()
        if now is None or self._size is None:
            return self._encoded > _RENEW_AFTER
        return now - self._size > _MOST_REMEMBERED

    @cached_property
    def _continuing(self) -> _Batch | None:
        """For text after a special token, where the tokenizer puts a space before a document only."""
        content = json.loads(self._tokenizer.backend.to_str())
        if not _drop_first_space(content["pre_tokenizer"]):
            return None
        backend = Tokenizer.from_str(json.dumps(content))
        backend.encode_special_tokens = True
        return _tokenizers(backend)


def _own_memory() -> int | None:
    """Bytes that this process has for itself, files in memory left out; None where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            _, resident, shared = file.read().split()[:3]
    except OSError:
        return None
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def _drop_first_space(pre_tokenizer: dict[str, Any] | None) -> bool:
    """Change every Metaspace that begins a document with a space; whether there is one."""
    if pre_tokenizer is None:
        return False
    found = pre_tokenizer.get("prepend_scheme") == "first"
    if found:
        pre_tokenizer["prepend_scheme"] = "never"
    return any([found, *(_drop_first_space(part) for part in pre_tokenizer.get("pretokenizers", []))])


def _tokenizers(backend: Tokenizer) -> _Batch:
    def batch(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        found = [
            # One at a time: a batch would go to all cores, and other workers are there.
            np.asarray(
                backend.encode_batch_fast([text.decode("utf-8")], add_special_tokens=False)[0].ids, np.uint32
            )
            for text in texts
        ]
        sizes = np.fromiter(map(len, found), np.int64, len(found))
        return (np.concatenate(found) if found else np.empty(0, np.uint32)), sizes

    return batch


def _gigatoken(tokenizer: TextTokenizer) -> _Batch:
    import gigatoken

    # Without special tokens in the file no text can become one.
    backend = gigatoken.Tokenizer.from_json(json.dumps(without_special_tokens(tokenizer.backend)))

    def batch(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        layout: Any = backend.encode_batch(list(texts), parallel=False).layout
        offsets = np.asarray(layout.offsets.data, np.int64)
        ids = np.asarray(layout.content.data, np.uint32)[offsets[0] : offsets[-1]]
        return ids, np.diff(offsets)

    return batch
