from __future__ import annotations

import io
import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from flyweight.base import UserError
from flyweight.corpus.tokenizers import TextTokenizer, adopt, train_bpe
from flyweight.corpus.tokenizers.hard_text import HARD_TEXT
from flyweight.corpus.tokenizers.sentencepiece_conversion import convert
from flyweight.corpus.tokenizers.sentencepiece_model import USER_DEFINED, parse_model

END = "<|endoftext|>"
SPACE = "\u2581"
DRAW = random.Random(5)
WORDS = ["".join(DRAW.choices("etaoinshrdlucmfwyp", k=DRAW.randint(1, 7))) for _ in range(500)]
SAMPLE = [" ".join(DRAW.choices(WORDS, k=40)) + " aaaa aaa aa == ====" for _ in range(100)]
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "tokenizers"


def sentencepiece_bytes(**options: object) -> bytes:
    sentencepiece = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    usual = {"vocab_size": 420, "byte_fallback": True, "normalization_rule_name": "identity"}
    usual |= {"remove_extra_whitespaces": False, "model_type": "bpe", "minloglevel": 2}
    with open(os.devnull, "w") as silence:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SAMPLE), model_writer=model, logstream=silence, **(usual | options)
        )
    return model.getvalue()


@pytest.fixture(scope="module")
def bpe_model() -> bytes:
    return sentencepiece_bytes()


@pytest.fixture(scope="module")
def bpe_pair(bpe_model: bytes):
    sentencepiece = pytest.importorskip("sentencepiece")
    theirs = sentencepiece.SentencePieceProcessor(model_proto=bpe_model)
    return TextTokenizer(convert(parse_model(bpe_model)), "</s>"), theirs


@given(text=st.one_of(st.text(max_size=30), st.text("aet =\n<0x>1s", max_size=30)))
@settings(max_examples=400)
def test_a_sentencepiece_bpe_keeps_its_ids(bpe_pair, text: str) -> None:
    ours, theirs = bpe_pair
    assert ours.encode(text) == theirs.encode(text)
    assert ours.decode(ours.encode(text)) == text.replace(SPACE, " ")


def test_a_sentencepiece_bpe_keeps_its_ids_on_hard_text(bpe_pair) -> None:
    ours, theirs = bpe_pair
    assert [ours.encode(text) for text in HARD_TEXT] == [theirs.encode(text) for text in HARD_TEXT]


def test_a_model_without_a_dummy_prefix(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    model = sentencepiece_bytes(add_dummy_prefix=False)
    (tmp_path / "tokenizer.model").write_bytes(model)
    ours, theirs = adopt(tmp_path, "</s>"), sentencepiece.SentencePieceProcessor(model_proto=model)
    for text in ("", " ", "the", " the", "  a \n"):
        assert ours.encode(text) == theirs.encode(text)
        assert ours.decode(ours.encode(text)) == text


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"byte_fallback": False, "vocab_size": 200}, "no byte fallback"),
        ({"normalization_rule_name": "nmt_nfkc"}, "normalizer 'nmt_nfkc' changes text"),
        ({"remove_extra_whitespaces": True}, "removes repeated spaces"),
        ({"user_defined_symbols": ["<x>"]}, "BPE with user-defined symbols"),
        ({"model_type": "char", "hard_vocab_limit": False}, "neither a Unigram nor a BPE"),
    ],
)
def test_a_model_that_would_lose_text_is_refused(
    tmp_path: Path, options: dict[str, object], reason: str
) -> None:
    (tmp_path / "m.model").write_bytes(sentencepiece_bytes(**options))
    with pytest.raises(UserError, match=reason):
        adopt(tmp_path / "m.model", "</s>")


@given(data=st.binary(max_size=60))
def test_what_is_no_model_is_told(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.mktemp("any") / "any.model"
    file.write_bytes(data)
    with pytest.raises(UserError, match="SentencePiece model"):
        adopt(file, "</s>")


def test_a_cut_model_is_told(bpe_model: bytes, tmp_path: Path) -> None:
    (tmp_path / "cut.model").write_bytes(bpe_model[: len(bpe_model) // 2 + 3])
    with pytest.raises(UserError, match="SentencePiece model"):
        adopt(tmp_path / "cut.model", "</s>")


@pytest.fixture(scope="module")
def gpt2_kind() -> TextTokenizer:
    return train_bpe(SAMPLE, 330, "gpt-2", END)


def write_gpt2_files(tokenizer: TextTokenizer, folder: Path, names: tuple[str, str]) -> None:
    model = json.loads(tokenizer.backend.to_str())["model"]
    (folder / names[0]).write_text(json.dumps(model["vocab"]))
    lines = ["#version: 0.2", *(" ".join(merge) for merge in model["merges"])]
    (folder / names[1]).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("names", [("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt")])
def test_gpt2_files_keep_their_ids(gpt2_kind: TextTokenizer, tmp_path: Path, names: tuple[str, str]) -> None:
    write_gpt2_files(gpt2_kind, tmp_path, names)
    for path in (tmp_path, tmp_path / names[0], tmp_path / names[1]):
        adopted = adopt(path, END)
        assert [adopted.encode(text) for text in HARD_TEXT] == [gpt2_kind.encode(text) for text in HARD_TEXT]
        assert adopted.end_of_text == gpt2_kind.end_of_text
        assert adopted.end_of_text not in adopted.encode(f"a{END}b")


def test_gpt2_files_that_are_not_are_told(gpt2_kind: TextTokenizer, tmp_path: Path) -> None:
    write_gpt2_files(gpt2_kind, tmp_path, ("vocab.json", "merges.txt"))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "Qwen2Tokenizer"}')
    with pytest.raises(UserError, match=r"Qwen2Tokenizer do not say how.*give its tokenizer\.json"):
        adopt(tmp_path, END)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b c\n")
    with pytest.raises(UserError, match="not two tokens"):
        adopt(tmp_path, END)
    (tmp_path / "merges.txt").write_text("#version: 0.2\nqqq zzz\n")
    with pytest.raises(UserError, match="merges do not go with"):
        adopt(tmp_path, END)
    (tmp_path / "vocab.json").write_text('["a"]')
    with pytest.raises(UserError, match=r"not GPT-2's files|do not go with"):
        adopt(tmp_path, END)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(UserError, match="no such file"):
        adopt(tmp_path, END)


def test_a_tokenizer_json_comes_first_and_the_end_must_be_in_it(
    gpt2_kind: TextTokenizer, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"rubbish")
    gpt2_kind.save(tmp_path)
    assert adopt(tmp_path, END).fingerprint == gpt2_kind.fingerprint
    with pytest.raises(UserError, match=r"'</s>' is not in this tokenizer.*begin with <\|endoftext\|>"):
        adopt(tmp_path, "</s>")
    with pytest.raises(UserError, match="no such tokenizer; expected"):
        adopt(tmp_path / "absent", END)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no such tokenizer; expected"):
        adopt(tmp_path / "empty", END)


def shared(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"the published tokenizer {name} is not beside the checkout")
    return SHARED / name


@pytest.mark.shared
def test_gpt2_is_that_of_transformers() -> None:
    import transformers

    folder = shared("gpt2")
    ours = adopt(folder, END)
    vocabulary = json.loads((folder / "encoder.json").read_text())
    merges = [
        tuple(line.split(" ")) for line in (folder / "vocab.bpe").read_text("utf-8").split("\n")[1:] if line
    ]
    theirs = transformers.GPT2TokenizerFast(vocab=vocabulary, merges=merges)
    plain = [text for text in HARD_TEXT if END not in text]  # there transformers sees the special token
    assert [ours.encode(t) for t in plain] == [
        theirs(t, add_special_tokens=False)["input_ids"] for t in plain
    ]
    assert (ours.vocab_size, ours.end_of_text) == (50257, 50256)


@pytest.mark.shared
def test_deepseek_v3_is_its_file() -> None:
    folder, end = shared("deepseek_v3"), "<｜end▁of▁sentence｜>"
    ours, theirs = adopt(folder, end), Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in HARD_TEXT:
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids
        assert ours.decode(ours.encode(text)) == text
    assert ours.vocab_size == 128_815
    assert ours.end_of_text not in ours.encode(end)


@pytest.mark.shared
def test_xmodel_is_that_of_sentencepiece_but_for_ties() -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    file = shared("xmodel_65280") / "tokenizer.model"
    ours, theirs = adopt(file.parent, "</s>"), sentencepiece.SentencePieceProcessor(model_file=str(file))
    model = parse_model(file.read_bytes())
    scores = {
        number: 0.1 * len(piece.text.encode()) - 0.1 if piece.type == USER_DEFINED else piece.score
        for number, piece in enumerate(model.pieces)
    }
    assert (ours.vocab_size, ours.end_of_text) == (65_280, 2)
    equal = 0
    for text in HARD_TEXT:
        mine, other = ours.encode(text), theirs.encode(text)
        equal += mine == other
        total = sum(map(scores.__getitem__, other))
        assert abs(sum(map(scores.__getitem__, mine)) - total) <= 1e-6 * abs(total)
        assert ours.decode(mine) == text.replace(SPACE, " ")
    assert equal > 0.99 * len(HARD_TEXT)
