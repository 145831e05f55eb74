from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from flyweight.base import UserError
from flyweight.corpus.tokenizers import (
    Encoder,
    TextTokenizer,
    encoding,
    open_encoder,
    train_bpe,
    train_unigram,
)
from flyweight.corpus.tokenizers.bpe import PATTERNS
from flyweight.corpus.tokenizers.hard_text import HARD_TEXT

END = "<|endoftext|>"
IM_START, IM_END = "<|im_start|>", "<|im_end|>"
DRAW = random.Random(2)
WORDS = ["".join(DRAW.choices("etaoinshrdlu", k=DRAW.randint(2, 7))) for _ in range(300)]
SAMPLE = [
    f"The fox {n} isn't over the dog's {n * 7}.\n\n  def f(x): {' '.join(DRAW.choices(WORDS, k=9))}\n"
    for n in range(200)
]
LIBRARIES = ["tokenizers", "gigatoken"]


@pytest.fixture(scope="module", params=["qwen2", "gpt-2"])
def tokenizer(request: pytest.FixtureRequest) -> TextTokenizer:
    return trained(request.param)


def trained(pattern: str) -> TextTokenizer:
    return train_bpe(SAMPLE, 330, pattern, END, (IM_START, IM_END))


@pytest.fixture(scope="module", params=LIBRARIES)
def encoder(request: pytest.FixtureRequest, tokenizer: TextTokenizer) -> Encoder:
    if request.param == "gigatoken":
        pytest.importorskip("gigatoken")
    return Encoder(tokenizer, request.param)


def utf8(texts: Sequence[str]) -> list[bytes]:
    return [text.encode("utf-8") for text in texts]


def parts(ids: np.ndarray, sizes: np.ndarray) -> list[list[int]]:
    return [part.tolist() for part in np.split(ids, np.cumsum(sizes)[:-1])]


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
def test_our_own_tokenizers_are_encoded_by_gigatoken(pattern: str) -> None:
    pytest.importorskip("gigatoken")
    choice = open_encoder(trained(pattern), {"prose": SAMPLE[:5], "none": []})
    assert choice.name == "gigatoken", choice.reason


def test_hard_text_has_the_saved_tokenizers_ids(tokenizer: TextTokenizer, encoder: Encoder) -> None:
    ids, sizes = encoder.encode(utf8(HARD_TEXT))
    assert (ids.dtype, sizes.dtype) == (np.uint16, np.int64)
    assert parts(ids, sizes) == [[*tokenizer.encode(text), tokenizer.end_of_text] for text in HARD_TEXT]


@given(texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=40), max_size=5))
def test_any_documents(tokenizer: TextTokenizer, encoder: Encoder, texts: list[str]) -> None:
    ids, sizes = encoder.encode(utf8(texts))
    assert len(sizes) == len(texts)
    assert ids.tolist() == [
        identifier for text in texts for identifier in (*tokenizer.encode(text), tokenizer.end_of_text)
    ]
    assert sizes.tolist() == [len(tokenizer.encode(text)) + 1 for text in texts]


TURNS = st.lists(
    st.one_of(
        st.tuples(st.just(True), st.sampled_from([IM_START, IM_END])),
        st.tuples(st.just(False), st.sampled_from(["user\n", " a", "\n", IM_START, END, "hi there", "漢"])),
    ),
    max_size=8,
)


@given(conversations=st.lists(TURNS, min_size=1, max_size=4))
def test_marked_spans_are_special_tokens_and_only_they(
    tokenizer: TextTokenizer, encoder: Encoder, conversations: list[list[tuple[bool, str]]]
) -> None:
    texts, marks, expected = [], [], []
    for turns in conversations:
        text, spans, ids, plain = "", [], [], ""
        for special, piece in turns:
            if special:
                spans.append((len(text), len(text) + len(piece)))
                ids += [*tokenizer.encode(plain), tokenizer.backend.token_to_id(piece)]
                plain = ""
            else:
                plain += piece
            text += piece
        texts.append(text)
        marks.append(spans)
        expected.append([*ids, *tokenizer.encode(plain), tokenizer.end_of_text])
    assert parts(*encoder.encode(utf8(texts), marks)) == expected


def test_a_marked_conversation_is_what_the_saved_tokenizer_reads(
    tokenizer: TextTokenizer, encoder: Encoder
) -> None:
    text = f"{IM_START}user\nhello there{IM_END}\n{IM_START}assistant\nfox {IM_END}\n"
    spans, at = [], 0
    for token in (IM_START, IM_END, IM_START, IM_END):
        at = text.index(token, at)
        spans.append((at, at + len(token)))
        at += len(token)
    published = Tokenizer.from_str(tokenizer.backend.to_str())  # where special tokens in text are seen
    published.encode_special_tokens = False
    ids, _ = encoder.encode(utf8([text]), [spans])
    assert ids.tolist()[:-1] == published.encode(text, add_special_tokens=False).ids


def test_a_mark_that_is_no_token_names_the_key(encoder: Encoder) -> None:
    with pytest.raises(UserError, match=r"'<\|tool\|>'.*tokenizer\.special_tokens"):
        encoder.encode([b"<|tool|>x"], [[(0, 8)]])
    with pytest.raises(UserError, match=r"tokenizer\.special_tokens"):
        encoder.encode([b"the fox"], [[(0, 3)]])  # it may be an entry, but of ordinary text


def test_a_unigrams_symbols_are_left_to_the_text() -> None:
    pytest.importorskip("sentencepiece")
    tokenizer = train_unigram(SAMPLE, 310, "</s>", (IM_START,), (IM_END,))
    text = f"{IM_START}hi{IM_END} the"
    ids, _ = Encoder(tokenizer, "tokenizers").encode(utf8([text]), [[(0, 12), (14, 24)]])
    start = tokenizer.backend.token_to_id(IM_START)
    assert ids.tolist() == [start, *tokenizer.encode(f"hi{IM_END} the"), tokenizer.end_of_text]
    assert open_encoder(tokenizer, {}).name == "tokenizers"


@pytest.mark.parametrize("scheme", ["first", "always"])
def test_text_after_a_mark_begins_as_in_the_saved_tokenizer(scheme: str) -> None:
    pieces = ["<unk>", "\u2581", "h", "i", "\u2581hi"]
    backend = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, []))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)  # type: ignore[assignment]
    backend.decoder = decoders.Metaspace(prepend_scheme=scheme)  # type: ignore[assignment]
    backend.add_special_tokens([END, IM_START])
    published = Tokenizer.from_str(backend.to_str())
    text = f"hi{IM_START}hi hi"
    ids, _ = Encoder(TextTokenizer(backend, END), "tokenizers").encode(utf8([text]), [[(2, 14)]])
    assert ids.tolist()[:-1] == published.encode(text, add_special_tokens=False).ids


def test_empty_input_and_empty_documents(encoder: Encoder, tokenizer: TextTokenizer) -> None:
    ids, sizes = encoder.encode([])
    assert ids.tolist() == sizes.tolist() == []
    ids, sizes = encoder.encode([b"", b""], [(), ()])
    assert (ids.tolist(), sizes.tolist()) == ([tokenizer.end_of_text] * 2, [1, 1])
    assert encoder.vocab_size == 330


@pytest.mark.parametrize("grows", [True, False], ids=["by its size", "by the text"])
def test_the_fast_library_is_opened_anew_now_and_then(
    tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch, grows: bool
) -> None:
    pytest.importorskip("gigatoken")
    opened = []
    real = encoding._gigatoken
    monkeypatch.setattr(encoding, "_gigatoken", lambda t: opened.append(1) or real(t))
    monkeypatch.setattr(encoding, "_RENEW_AFTER", 100)
    monkeypatch.setattr(encoding, "_MOST_REMEMBERED", 1000)
    size = itertools.count(0, 600)
    monkeypatch.setattr(encoding, "_own_memory", lambda: next(size) if grows else None)
    encoder = Encoder(tokenizer, "gigatoken")
    for text in SAMPLE[:5]:
        assert encoder.encode(utf8([text]))[0].tolist() == [*tokenizer.encode(text), tokenizer.end_of_text]
    assert 2 <= len(opened) <= 6


class Wrong:
    """A fast library that errs on the text `where`, as `fault` says."""

    def __init__(self, where: str, fault: BaseException | None) -> None:
        self.where, self.fault = where, fault

    def __call__(self, tokenizer: TextTokenizer) -> Any:
        plain = encoding._tokenizers(tokenizer.backend)

        def batch(texts: Any) -> Any:
            ids, sizes = plain(texts)
            if any(self.where.encode() in text for text in texts):
                if self.fault is not None:
                    raise self.fault
                ids = ids.copy()
                ids[0] += 1
            return ids, sizes

        return batch


class Panic(BaseException):
    pass


def test_any_difference_falls_back_and_says_where(
    tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gigatoken", SimpleNamespace())  # type: ignore[arg-type]
    samples = {"prose": SAMPLE[:3], "code": ["x = 1", "needle"]}
    monkeypatch.setattr(encoding, "_gigatoken", Wrong("needle", None))
    choice = open_encoder(tokenizer, samples)
    assert (choice.name, choice.reason) == ("tokenizers", "gigatoken gives other ids on source 'code'.")
    monkeypatch.setattr(encoding, "_gigatoken", Wrong("机器学习", None))
    assert "hard to cut" in open_encoder(tokenizer, samples).reason
    for fault in (RuntimeError("no such thing\nat line 3"), Panic("no such thing")):
        monkeypatch.setattr(encoding, "_gigatoken", Wrong("needle", fault))
        choice = open_encoder(tokenizer, samples)
        assert (choice.name, choice.reason) == (
            "tokenizers",
            "gigatoken cannot run this tokenizer (no such thing).",
        )
    monkeypatch.setattr(encoding, "_gigatoken", Wrong("needle", KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        open_encoder(tokenizer, samples)


def test_without_gigatoken_tokenizers_is_used(
    tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    choice = open_encoder(tokenizer, {"prose": SAMPLE})
    assert choice.name == "tokenizers"
    assert 'pip install "flyweight[data]"' in choice.reason


PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "tokenizers"


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "end", "library"),
    [
        ("gpt2", END, "gigatoken"),
        ("deepseek_v3", "<｜end▁of▁sentence｜>", "gigatoken"),
        ("xmodel_65280", "</s>", "tokenizers"),
        ("smollm2_from_gguf", END, "tokenizers"),
    ],
)
def test_published_tokenizers(name: str, end: str, library: str) -> None:
    from flyweight.corpus.tokenizers import adopt

    pytest.importorskip("gigatoken")
    if not (PUBLISHED / name).is_dir():
        pytest.skip(f"the published tokenizer {name} is not beside the checkout")
    tokenizer = adopt(PUBLISHED / name, end)
    choice = open_encoder(tokenizer, {"prose": SAMPLE[:3]})
    assert choice.name == library, choice.reason
    ids, sizes = Encoder(tokenizer, choice.name).encode(utf8(HARD_TEXT[:300]))
    assert parts(ids, sizes) == [[*tokenizer.encode(text), tokenizer.end_of_text] for text in HARD_TEXT[:300]]
