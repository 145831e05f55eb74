from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from flyweight.base import UserError
from flyweight.corpus.tokenizers.bpe import PATTERNS, pre_tokenizer, train_bpe
from flyweight.corpus.tokenizers.text_tokenizer import TextTokenizer

END = "<|endoftext|>"
SAMPLE = [
    f"The quick brown fox number {n} doesn't jump over the lazy dog's {n * 7} bones.\n\n"
    f"  Elsewhere, whoever writes a sentence about weather, gardens or mathematics must choose: {n}!\n"
    for n in range(200)
]


@pytest.fixture(scope="module", params=sorted(PATTERNS))
def tokenizer(request: pytest.FixtureRequest) -> TextTokenizer:
    return train_bpe(SAMPLE, 340, request.param, END)


def splits(pattern: str, text: str) -> list[str]:
    return [text[start:end] for _, (start, end) in pre_tokenizer(pattern).pre_tokenize_str(text)]


TRICKY = {
    # text: (qwen2, llama-bpe, gpt-2), written by hand from the patterns' rules
    "I'm DON'T we'LL": (
        ["I", "'m", " DON", "'T", " we", "'LL"],
        ["I", "'m", " DON", "'T", " we", "'LL"],
        ["I", "'m", " DON", "'", "T", " we", "'", "LL"],
    ),
    "in 12345 a1": (
        ["in", " ", "1", "2", "3", "4", "5", " a", "1"],
        ["in", " ", "123", "45", " a", "1"],
        ["in", " 12345", " a", "1"],
    ),
    "a  b\n\n  c": (
        ["a", " ", " b", "\n\n", " ", " c"],
        ["a", " ", " b", "\n\n", " ", " c"],
        ["a", " ", " b", "\n\n ", " c"],
    ),
    "x = (y+1);\n\tz": (
        ["x", " =", " (", "y", "+", "1", ");\n", "\tz"],
        ["x", " =", " (", "y", "+", "1", ");\n", "\tz"],
        ["x", " =", " (", "y", "+", "1", ");", "\n", "\t", "z"],
    ),
    "été_naïve...ok": (
        ["été", "_naïve", "...", "ok"],
        ["été", "_naïve", "...", "ok"],
        ["été", "_", "naïve", "...", "ok"],
    ),
    "end   ": (["end", "   "], ["end", "   "], ["end", "   "]),
    "a \r\n b": (["a", " \r\n", " b"], ["a", " \r\n", " b"], ["a", " \r\n", " b"]),
}


@pytest.mark.parametrize("text", TRICKY)
def test_pre_tokenizers_split_as_published(text: str) -> None:
    for pattern, expected in zip(("qwen2", "llama-bpe", "gpt-2"), TRICKY[text], strict=True):
        assert splits(pattern, text) == expected, pattern


def test_patterns_are_those_of_transformers() -> None:
    from transformers.convert_slow_tokenizer import TikTokenConverter
    from transformers.models.qwen2 import tokenization_qwen2

    assert PATTERNS["qwen2"] == tokenization_qwen2.PRETOKENIZE_REGEX
    # Llama 3's tokenizer is converted with the converter's default.
    assert PATTERNS["llama-bpe"] == inspect.signature(TikTokenConverter).parameters["pattern"].default


# Characters that every library's Unicode tables agree on.
CHARACTERS = st.one_of(
    st.sampled_from(" \n\r\t'sStTdDmMrReEvVlL0123456789.,()_-éß漢字のعहि🙂½Ⅷ²\u00a0\u200b\u3000"),
    st.characters(exclude_categories=("Cs", "Cn", "Cc")),
)


@given(st.text(CHARACTERS, max_size=60))
def test_splits_equal_another_engine_on_the_same_patterns(text: str) -> None:
    gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    for pattern, expression in PATTERNS.items():
        assert splits(pattern, text) == regex.findall(expression or gpt2, text)


@pytest.mark.parametrize(("pattern", "name"), [("qwen2", "Qwen2Tokenizer"), ("gpt-2", "GPT2Tokenizer")])
def test_ids_equal_those_of_transformers_with_the_same_merges(pattern: str, name: str) -> None:
    import transformers

    ours = train_bpe(SAMPLE, 340, pattern, END)
    model = json.loads(ours.backend.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    theirs = getattr(transformers, name)(vocab=model["vocab"], merges=merges)
    for text in [*TRICKY, *SAMPLE[:5], "漢字 🙂 it's 3.14 over\n\n\n the lazy dog's"]:
        assert ours.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]


@given(text=st.text(st.characters(codec="utf-8"), max_size=200))
def test_every_string_comes_back(tokenizer: TextTokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.end_of_text not in ids
    assert tokenizer.encode_batch([text, "x", text]) == [ids, tokenizer.encode("x"), ids]


def test_text_that_looks_like_a_special_token_is_text(tokenizer: TextTokenizer) -> None:
    text = f"before {END}{END} after"
    ids = tokenizer.encode(text)
    assert tokenizer.end_of_text not in ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode([tokenizer.end_of_text]) == END


def test_the_vocabulary_is_exact_and_holds_every_byte(tokenizer: TextTokenizer) -> None:
    assert tokenizer.vocab_size == 340 == len(tokenizer.backend.get_vocab())
    assert tokenizer.end_of_text == 0
    assert sorted(len(token) for token in tokenizer.backend.get_vocab())[:256] == [1] * 256


def test_training_is_deterministic_and_the_fingerprint_follows_the_file(tmp_path: Path) -> None:
    first, second = (train_bpe(iter(SAMPLE), 320, "qwen2", END) for _ in range(2))
    first.save(tmp_path)
    loaded = TextTokenizer.load(tmp_path, END)
    assert first.fingerprint == second.fingerprint == loaded.fingerprint
    assert loaded.encode(f"a fox {END}") == first.encode(f"a fox {END}")
    assert train_bpe(SAMPLE, 321, "qwen2", END).fingerprint != first.fingerprint


def test_too_little_text_says_how_many_entries_it_gives() -> None:
    with pytest.raises(UserError, match=r"5,000 entries were asked for, but .* give only \d+;") as error:
        train_bpe(SAMPLE, 5000, "qwen2", END)
    most = int(str(error.value).split("give only ")[1].split(";")[0])
    assert train_bpe(SAMPLE, most, "qwen2", END).vocab_size == most


def test_adopting_what_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such tokenizer"):
        TextTokenizer.load(tmp_path, END)
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(UserError, match=r"tokenizer\.json: this is not a tokenizer\.json"):
        TextTokenizer.load(tmp_path, END)
    train_bpe(SAMPLE, 300, "qwen2", "<eos>").save(tmp_path)
    with pytest.raises(UserError, match=r"the token '<\|endoftext\|>' is not in this tokenizer.*<eos>"):
        TextTokenizer.load(tmp_path / "tokenizer.json", END)


def test_an_adopted_tokenizer_neither_truncates_nor_pads(tmp_path: Path) -> None:
    tokenizer = train_bpe(SAMPLE, 300, "qwen2", END)
    expected = tokenizer.encode_batch(["a long text of many words", "b"])
    tokenizer.backend.enable_truncation(3)
    tokenizer.backend.enable_padding(length=9)
    tokenizer.backend.save(str(tmp_path / "tokenizer.json"))
    assert TextTokenizer.load(tmp_path, END).encode_batch(["a long text of many words", "b"]) == expected


def test_special_tokens_are_entries_that_text_never_becomes() -> None:
    specials = ("<|im_start|>", "<|im_end|>", END)  # end_of_text named twice is one token
    tokenizer = train_bpe(SAMPLE, 340, "qwen2", END, specials)
    ids = [tokenizer.backend.token_to_id(token) for token in (END, *specials[:2])]
    assert ids == [0, 1, 2]
    assert tokenizer.vocab_size == 340 == len(tokenizer.backend.get_vocab())
    text = "<|im_start|>user\nhi<|im_end|>"
    assert not {0, 1, 2} & set(tokenizer.encode(text))
    assert tokenizer.decode(tokenizer.encode(text)) == text
    # The merges are those of a tokenizer without them.
    plain = train_bpe(SAMPLE, 338, "qwen2", END)
    assert [id - 2 for id in tokenizer.encode(SAMPLE[0])] == plain.encode(SAMPLE[0])


def test_no_room_for_the_bytes_is_told() -> None:
    with pytest.raises(UserError, match="set it to at least 259"):
        train_bpe(SAMPLE, 258, "qwen2", END, ("<a>", "<b>"))
