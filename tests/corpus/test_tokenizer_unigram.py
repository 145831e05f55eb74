from __future__ import annotations

import random
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyweight.base import UserError
from flyweight.corpus.tokenizers import TextTokenizer, train, train_unigram, unigram
from flyweight.corpus.tokenizers.hard_text import HARD_TEXT
from flyweight.corpus.tokenizers.sentencepiece_conversion import convert
from flyweight.corpus.tokenizers.sentencepiece_model import BYTE, CONTROL, USER_DEFINED, parse_model
from flyweight.corpus.tokenizers.unigram import train_sentencepiece
from flyweight.recipe import Tokenizer

sentencepiece = pytest.importorskip("sentencepiece")

END = "</s>"
SPACE = "\u2581"
SPECIALS = ("<|im_start|>", "<|im_end|>")
SYMBOLS = ("0", "7", "...", "<sym>", "==", "====", SPACE * 2, SPACE * 4)
SYLLABLES = ("ka", "lo", "mer", "tin", "sha", "dru", "pel", "ost", "wi", "ngen", "ba", "zu", "ri", "fax")
DRAW = random.Random(3)
WORDS = ["".join(DRAW.choices(SYLLABLES, k=DRAW.randint(1, 4))) for _ in range(800)]
SAMPLE = [
    f"{' '.join(DRAW.choices(WORDS, k=30))}.\n"
    f"The quick brown fox number {n} doesn't jump over the lazy dog's {n * 7} bones.\n\n"
    f"    if x == {n}:\n        return 'weather, gardens or mathematics' + foo_{n % 13}(a[{n}], <b>)...\n"
    f"机器学习是人工智能的一个分支 été naïve 🙂 {n}\n"
    for n in range(300)
]


@pytest.fixture(scope="module")
def model() -> bytes:
    return train_sentencepiece(SAMPLE, 640, END, SPECIALS, SYMBOLS)


@pytest.fixture(scope="module")
def theirs(model: bytes):
    return sentencepiece.SentencePieceProcessor(model_proto=model)


@pytest.fixture(scope="module")
def ours(model: bytes) -> TextTokenizer:
    return TextTokenizer(convert(parse_model(model)), END)


def same_cut(ours: TextTokenizer, theirs, text: str) -> bool:
    """Equal ids, or a cut of exactly the same total score, of which SentencePiece's rounding picks any."""
    mine, other = ours.encode(text), theirs.encode(text)
    if mine == other:
        return True

    def score(ids: list[int]) -> float:
        symbol = {ours.backend.token_to_id(s): 0.1 * len(s.encode()) - 0.1 for s in SYMBOLS}
        return sum(symbol.get(id, theirs.get_score(id)) for id in ids)

    return abs(score(mine) - score(other)) <= 1e-6 * abs(score(other))


def test_hard_text_has_the_ids_of_sentencepiece(ours: TextTokenizer, theirs) -> None:
    wrong = [text for text in HARD_TEXT if not same_cut(ours, theirs, text)]
    assert not wrong, wrong[:5]
    exact = sum(ours.encode(text) == theirs.encode(text) for text in HARD_TEXT)
    assert exact > 0.99 * len(HARD_TEXT)


PIECES = st.sampled_from(
    [
        *" \n\t<>0x4a.=s",
        "  ",
        "the ",
        "<s>",
        "</s>",
        "<unk>",
        "<0x41>",
        "<|im_start|>",
        "<sym>",
        "漢",
        "学习",
        "🙂",
    ]
)


@given(text=st.one_of(st.text(max_size=30), st.lists(PIECES, max_size=12).map("".join)))
@settings(max_examples=400)
def test_any_text_has_the_ids_of_sentencepiece_and_comes_back(ours: TextTokenizer, theirs, text: str) -> None:
    assert same_cut(ours, theirs, text)
    # SentencePiece itself reads U+2581 as a space.
    assert ours.decode(ours.encode(text)) == text.replace(SPACE, " ")


@given(
    text=st.lists(st.sampled_from(["<s>", "</s>", "<unk>", *SPECIALS, "<0x0A>", " ", "a"]), max_size=8).map(
        "".join
    )
)
def test_text_never_becomes_a_special_token_or_a_byte(ours: TextTokenizer, model: bytes, text: str) -> None:
    hidden = {n for n, piece in enumerate(parse_model(model).pieces) if piece.type in (CONTROL, BYTE)}
    assert not hidden & set(ours.encode(text))


def test_ids_are_laid_out_as_in_xmodel(model: bytes, ours: TextTokenizer) -> None:
    pieces = parse_model(model).pieces
    assert [piece.text for piece in pieces[:5]] == ["<unk>", "<s>", END, *SPECIALS]
    assert [p.text for p in pieces if p.type == USER_DEFINED] == list(SYMBOLS)
    assert sum(piece.type == BYTE for piece in pieces) == 256
    assert len(pieces) == ours.vocab_size == 640
    # split_digits: a digit stands alone.
    assert not [
        p.text for p in pieces if p.type == 1 and len(p.text) > 1 and any(c.isdigit() for c in p.text)
    ]
    # A piece never reaches over a space.
    assert not [p.text for p in pieces if SPACE in p.text.lstrip(SPACE)]


def test_symbols_are_never_split_or_joined(ours: TextTokenizer) -> None:
    tokens = ours.backend.encode("a<sym>b 70 x====y", add_special_tokens=False).tokens
    assert {"<sym>", "7", "0", "===="} <= set(tokens)


def test_training_is_deterministic_and_a_recipe_reaches_it() -> None:
    wanted = Tokenizer(
        kind="unigram", vocab_size=640, end_of_text=END, special_tokens=SPECIALS, symbols=SYMBOLS
    )
    assert (
        train(wanted, iter(SAMPLE)).fingerprint
        == train_unigram(SAMPLE, 640, END, SPECIALS, SYMBOLS).fingerprint
    )


def test_too_little_text_says_how_many_entries_it_gives() -> None:
    with pytest.raises(UserError, match=r"50,000 entries were asked for, but .* give only [\d,]+;"):
        train_unigram(SAMPLE, 50_000, END)
    with pytest.raises(UserError, match="there is no text"):
        train_unigram([], 500, END)
    with pytest.raises(UserError, match="have no room"):
        train_unigram(SAMPLE, 262, END)


def test_the_sample_is_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unigram, "MOST_SAMPLE", 10_000)
    read = []
    train_unigram((read.append(text) or text for text in SAMPLE), 360, END)
    assert 10_000 <= sum(len(text.encode()) for text in read) < 12_000


def test_without_sentencepiece_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(UserError, match=r'pip install "flyweight\[data\]"'):
        train_unigram(SAMPLE, 420, END)
