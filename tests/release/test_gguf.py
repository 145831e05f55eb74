"""GGUF files hold the model's weights in llama.cpp's layout, and its tokenizer; what llama.cpp lacks is refused."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from release_models import CHAT_TOKENS, END_OF_TEXT, KINDS, make_decoder, make_recipe
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from flyweight.base import UserError
from flyweight.corpus import TextTokenizer
from flyweight.corpus.reading.chat import CHATML
from flyweight.corpus.tokenizers import adopt
from flyweight.corpus.tokenizers.bpe import PATTERNS, pre_tokenizer, train_bpe
from flyweight.corpus.tokenizers.hard_text import HARD_TEXT
from flyweight.inference import ChatFormat, load_decoder, load_model
from flyweight.model import FoldedWeights, stock_config, to_stock
from flyweight.recipe import recipe_from_dict
from flyweight.release import EXPORT_FILE, ExportError, export_gguf
from flyweight.release.checks import probe_texts
from flyweight.release.gguf import writing
from flyweight.release.gguf.checks import NEW_TOKENS, check_gguf, has_llama_cpp
from flyweight.release.gguf.vocabulary import CONTROL, NORMAL, UNUSED, vocabulary
from flyweight.release.gguf.writing import gguf_name, interleaved

SAMPLE = Path(__file__).read_text()
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "tokenizers"
STOCK = [kind for kind, (name, _, _) in KINDS.items() if name != "FlyweightForCausalLM"]


@pytest.fixture(scope="session")
def tokenizer() -> TextTokenizer:
    return train_bpe([SAMPLE], 300, "qwen2", END_OF_TEXT, CHAT_TOKENS)


@pytest.fixture
def tensors():
    """A function from a file to its tensors by name, as float32 arrays."""

    def read(file: Path) -> dict[str, np.ndarray]:
        found = gguf.GGUFReader(file).tensors
        return {one.name: gguf.quants.dequantize(one.data, one.tensor_type) for one in found}

    return read


@pytest.mark.parametrize("kind", STOCK)
def test_a_file_holds_the_folded_weights(write_checkpoint, tensors, tmp_path: Path, kind: str) -> None:
    checkpoint = write_checkpoint(kind)
    done = export_gguf(checkpoint, tmp_path / "out", kind="f32")
    decoder, recipe = load_decoder(checkpoint)
    config, weights = to_stock(decoder.state_dict(), decoder.config, recipe.parametrization)
    found = tensors(done.file)
    assert set(found) == {gguf_name(name) for name in weights}
    assert ("output.weight" in found) == (not recipe.model.tie_word_embeddings)
    turned = config["architectures"] == ["LlamaForCausalLM"]
    for name, weight in weights.items():
        expected = weight.numpy()
        if turned and name.endswith(("q_proj.weight", "k_proj.weight")):
            expected = interleaved(expected, recipe.model.head_dim)
        assert np.array_equal(found[gguf_name(name)].reshape(expected.shape), expected), name
    record = json.loads((tmp_path / "out" / EXPORT_FILE).read_text())
    assert record["file"] == done.file.name == f"{recipe.name}-F32.gguf"
    assert list(record["files"]) == [done.file.name]
    assert str(tmp_path) not in json.dumps(record)


@pytest.mark.parametrize(("kind", "share"), [("f16", 2**-11), ("bf16", 2**-8), ("q8_0", 0.5 / 127 + 2**-11)])
def test_matrices_are_rounded_and_gains_are_not(
    write_checkpoint, tensors, tmp_path: Path, kind, share
) -> None:
    checkpoint = write_checkpoint("gpt-x2")
    exact = tensors(export_gguf(checkpoint, tmp_path / "exact", kind="f32").file)
    rounded = tensors(export_gguf(checkpoint, tmp_path / "rounded", kind=kind).file)
    for name, expected in exact.items():
        if expected.ndim == 1 or (kind == "q8_0" and expected.shape[1] % 32):
            assert np.array_equal(rounded[name], expected), name
            continue
        # Half a unit in the last place; of Q8_0 half a step of its block of 32, and the rounding of that step.
        blocks = expected.reshape(-1, 32) if kind == "q8_0" else expected.reshape(-1, 1)
        allowed = share * np.abs(blocks).max(axis=1, keepdims=True)
        off = np.abs(rounded[name].reshape(blocks.shape) - blocks)
        assert (off <= allowed + 1e-7).all(), name
        assert off.max() > 0, name


def test_turned_rows_give_the_same_scores_under_neighbours_rotation() -> None:
    """llama.cpp rotates neighbours (2i, 2i+1) where transformers rotates halves (i, i + C/2)."""
    random = np.random.default_rng(0)
    size, width = 8, 5
    query, key = random.normal(size=(2, 2 * size, width))
    x, y = random.normal(size=(2, width))
    angles = 0.3 ** np.arange(size // 2)

    def halves(v: np.ndarray, place: int) -> np.ndarray:
        a, b = v.reshape(2, 2, size // 2).swapaxes(0, 1)
        cos, sin = np.cos(place * angles), np.sin(place * angles)
        return np.stack([a * cos - b * sin, b * cos + a * sin])

    def neighbours(v: np.ndarray, place: int) -> np.ndarray:
        a, b = np.moveaxis(v.reshape(2, size // 2, 2), -1, 0)
        cos, sin = np.cos(place * angles), np.sin(place * angles)
        return np.stack([a * cos - b * sin, b * cos + a * sin])

    plain = (halves(query @ x, 7) * halves(key @ y, 3)).sum(axis=(0, 2))
    turned = (neighbours(interleaved(query, size) @ x, 7) * neighbours(interleaved(key, size) @ y, 3)).sum(
        axis=(0, 2)
    )
    assert turned == pytest.approx(plain)
    assert neighbours(query @ x, 7) != pytest.approx(halves(query @ x, 7))


@pytest.mark.parametrize("kind", ["gqa", "minicpm"])
def test_transformers_reads_a_llama_file_as_the_checkpoint(
    write_checkpoint, tokenizer, tmp_path: Path, kind
) -> None:
    checkpoint = write_checkpoint(kind)
    done = export_gguf(checkpoint, tmp_path / "out", kind="f32")
    loaded, (decoder, _) = load_model(done.file, "cpu"), load_decoder(checkpoint)
    tokens = torch.randint(0, decoder.config.vocab_size, (2, 64), generator=torch.Generator().manual_seed(0))
    rows, places = torch.meshgrid(torch.arange(2), torch.arange(64), indexing="ij")
    found = loaded.logits_at(tokens, rows.reshape(-1), places.reshape(-1))
    with torch.no_grad():
        expected = decoder.logits(decoder(tokens)).flatten(0, 1)
    assert (found - expected).abs().max() < 1e-4
    for text in probe_texts(tokenizer):
        assert loaded.tokenizer.encode(text["text"]) == text["tokens"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_vocabulary_has_every_token_with_its_kind_and_the_patterns_name(pattern: str) -> None:
    trained = train_bpe([SAMPLE], 290, pattern, END_OF_TEXT, CHAT_TOKENS)
    words = vocabulary(trained, 300, "test", end_of_turn=2)
    assert words.pattern == pattern
    assert len(words.tokens) == len(words.kinds) == 300
    assert len(set(words.tokens)) == 300
    assert words.kinds == [CONTROL] * 3 + [NORMAL] * 287 + [UNUSED] * 10
    assert [trained.backend.token_to_id(token) for token in words.tokens[:290]] == list(range(290))
    assert words.end_of_turn == 2
    vocabulary_of_merges = {"".join(merge.split(" ")) for merge in words.merges}
    assert vocabulary_of_merges <= set(words.tokens)


def test_what_llama_cpp_lacks_is_one_sentence(write_checkpoint, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no architecture with exclusive attention; export it with --to hf\.$"
    ):
        export_gguf(write_checkpoint("gpt-s"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").write_text("mine")
    with pytest.raises(UserError, match="not an earlier export"):
        export_gguf(write_checkpoint("gqa"), tmp_path / "other")


def byte_level(**model) -> Tokenizer:
    alphabet = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=alphabet | {END_OF_TEXT: 256}, merges=[], **model))
    backend.add_special_tokens([END_OF_TEXT])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def test_tokenizers_that_llama_cpp_would_read_otherwise_are_refused() -> None:
    assert vocabulary(TextTokenizer(byte_level(), END_OF_TEXT), 257, "test").pattern == "gpt-2"
    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), (END_OF_TEXT, 0.0), ("a", -1.0)], unk_id=0))
    normalized, cut = byte_level(), byte_level()
    normalized.normalizer = normalizers.NFC()
    cut.pre_tokenizer = pre_tokenizers.Whitespace()
    for backend, message in (
        (unigram, "its tokenizer is Unigram"),
        (normalized, "changes text before it is cut"),
        (cut, "a pattern that llama.cpp has no name for"),
        (byte_level(ignore_merges=True), "has ignore_merges True"),
        (byte_level(byte_fallback=True), "has byte_fallback True"),
    ):
        with pytest.raises(UserError, match=message):
            vocabulary(TextTokenizer(backend, END_OF_TEXT), 300, "test")


def test_a_file_has_the_chat_template_and_the_token_that_ends_a_turn(
    write_checkpoint, tokenizer, tmp_path
) -> None:
    fields = gguf.GGUFReader(
        export_gguf(write_checkpoint("gqa", chat="chatml"), tmp_path / "out").file
    ).fields
    assert fields["tokenizer.chat_template"].contents() == CHATML
    assert fields["tokenizer.ggml.eot_token_id"].contents() == tokenizer.backend.token_to_id("<|im_end|>")
    fields = gguf.GGUFReader(export_gguf(write_checkpoint("gpt-x2"), tmp_path / "other").file).fields
    assert not {"tokenizer.chat_template", "tokenizer.ggml.eot_token_id"} & set(fields)


def test_a_file_has_the_base_of_the_positions_that_training_ended_with(write_checkpoint, tmp_path) -> None:
    checkpoint = write_checkpoint("gqa")
    state = json.loads((checkpoint / "state.json").read_text())
    (checkpoint / "state.json").write_text(json.dumps(state | {"rope_theta": 80_000.0}))
    fields = gguf.GGUFReader(export_gguf(checkpoint, tmp_path / "out").file).fields
    assert fields["llama.rope.freq_base"].contents() == 80_000.0


ADOPTED = {
    "deepseek-v3": ("deepseek_v3", "<｜end▁of▁sentence｜>"),
    "smollm": ("smollm2_from_gguf", "<|endoftext|>"),
    "gpt-2": ("gpt2", "<|endoftext|>"),
}


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("pattern", ADOPTED)
def test_llama_cpp_cuts_text_as_adopted_tokenizers_do(tmp_path: Path, pattern: str) -> None:
    folder, end_of_text = ADOPTED[pattern]
    if not (SHARED / folder).is_dir():
        pytest.skip("../shared/data/tokenizers is not beside this checkout")
    adopted = adopt(SHARED / folder, end_of_text)
    values = make_recipe("gqa").to_dict()
    values["model"] |= {"vocab_size": adopted.vocab_size + 5, "hidden_size": 16, "num_hidden_layers": 1}
    recipe = recipe_from_dict(values)
    words = vocabulary(adopted, recipe.model.vocab_size, "test")
    assert words.pattern == pattern
    if not has_llama_cpp():
        pytest.skip("llama-cpp-python is not installed")
    decoder = make_decoder(recipe)
    config, weights = stock_config(recipe.model, recipe.parametrization), decoder.state_dict()
    folded = FoldedWeights(weights, recipe.model, recipe.parametrization)
    writing.write_gguf(tmp_path / "model.gguf", "test", config, folded, words, "f32")
    checks = check_gguf(tmp_path / "model.gguf", decoder, adopted, None, "f32", "llama")
    assert checks.texts > 50


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
def test_llama_cpp_cuts_text_as_own_tokenizers_do(tmp_path: Path, pattern: str) -> None:
    if not has_llama_cpp():
        pytest.skip("llama-cpp-python is not installed")
    own = train_bpe([SAMPLE, *HARD_TEXT] * 2, 1200, pattern, END_OF_TEXT, CHAT_TOKENS)
    values = make_recipe("gqa").to_dict()
    values["model"] |= {"vocab_size": own.vocab_size}
    recipe = recipe_from_dict(values)
    decoder = make_decoder(recipe)
    folded = FoldedWeights(decoder.state_dict(), recipe.model, recipe.parametrization)
    words = vocabulary(own, own.vocab_size, "test", 2)
    config, chat = stock_config(recipe.model, recipe.parametrization), ChatFormat(CHATML, own)
    file = tmp_path / "model.gguf"
    writing.write_gguf(file, "test", config, folded, words, "f32", chat_template=CHATML)
    assert check_gguf(file, decoder, own, chat, "f32", "llama").texts > 50


def test_an_entry_that_merges_do_not_arrive_at_is_refused_where_llama_cpp_would_take_it() -> None:
    """`ab` and `bc` come before `abc`'s own merge, so that "abc" becomes `a` `bc`."""
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    entries = letters | {"bc": 256, "ab": 257, "abc": 258, END_OF_TEXT: 259}
    for pattern in ("qwen2", "llama-bpe"):
        backend = Tokenizer(models.BPE(vocab=entries, merges=[("b", "c"), ("a", "b"), ("ab", "c")]))
        backend.add_special_tokens([END_OF_TEXT])
        backend.pre_tokenizer = pre_tokenizer(pattern)
        backend.decoder = decoders.ByteLevel()
        trained = TextTokenizer(backend, END_OF_TEXT)
        assert trained.encode("abc") == [letters["a"], 256]
        if pattern == "qwen2":
            assert vocabulary(trained, 260, "test").pattern == "qwen2"
        else:
            with pytest.raises(UserError, match=r"has the entry '(a|ab|abc|bc)'"):
                vocabulary(trained, 260, "test")


@pytest.mark.slow
@pytest.mark.parametrize("kind", STOCK)
def test_llama_cpp_computes_the_same(write_checkpoint, tmp_path: Path, kind: str) -> None:
    if not has_llama_cpp():
        pytest.skip("llama-cpp-python is not installed")
    checkpoint = write_checkpoint(kind, chat="chatml")
    checks = export_gguf(checkpoint, tmp_path / "f32", kind="f32").checks
    assert checks is not None
    assert checks.maximum_difference < 1e-3
    assert checks.same_tokens == checks.generated_tokens == NEW_TOKENS
    assert checks.texts > 10
    assert checks.conversation_tokens is not None
    assert checks.conversation_tokens > 50
    for rounded in ("f16", "bf16", "q8_0"):
        checks = export_gguf(checkpoint, tmp_path / rounded, kind=rounded).checks
        assert checks is not None
        assert 1e-5 < max(checks.relative.values()) < checks.tolerance < 0.1


BUILTIN = {
    "same": CHATML,
    # By its <|im_start|> it is taken for ChatML.
    "different": CHATML.replace("'\n' + message['content']", "': ' + message['content']"),
    "unknown": "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}",
}
"""Chat templates, by what llama.cpp's built-in renderer makes of them."""


@pytest.mark.slow
@pytest.mark.parametrize("builtin", BUILTIN)
def test_the_record_says_whether_the_builtin_renderer_writes_the_same(
    write_checkpoint, tmp_path: Path, builtin: str
) -> None:
    if not has_llama_cpp():
        pytest.skip("llama-cpp-python is not installed")
    checkpoint = write_checkpoint("gqa", chat=BUILTIN[builtin])
    export_gguf(checkpoint, tmp_path / "out")
    checks = json.loads((tmp_path / "out" / EXPORT_FILE).read_text())["checks"]
    assert checks["builtin_template"] == builtin
    assert checks["conversation_tokens"] > 50


@pytest.mark.slow
def test_without_a_chat_template_the_record_says_nothing_of_renderers(
    write_checkpoint, tmp_path: Path
) -> None:
    if not has_llama_cpp():
        pytest.skip("llama-cpp-python is not installed")
    checks = export_gguf(write_checkpoint("gqa"), tmp_path / "out").checks
    assert checks is not None
    assert checks.builtin_template is checks.conversation_tokens is None


@pytest.mark.slow
def test_the_check_of_a_model_with_a_long_context_needs_no_more_room(
    write_checkpoint, tmp_path: Path
) -> None:
    if not has_llama_cpp():
        pytest.skip("llama-cpp-python is not installed")
    checkpoint = write_checkpoint("minicpm")
    recipe = json.loads((checkpoint / "recipe.json").read_text())
    recipe["model"]["max_position_embeddings"] = 131_072
    (checkpoint / "recipe.json").write_text(json.dumps(recipe))
    checks = export_gguf(checkpoint, tmp_path / "out", kind="f32").checks
    assert checks is not None
    assert checks.positions < 1000


@pytest.mark.slow
def test_rows_in_the_other_order_are_found_by_llama_cpp(
    write_checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mistake that greedy text does not show."""
    if not has_llama_cpp():
        pytest.skip("llama-cpp-python is not installed")
    monkeypatch.setattr(writing, "interleaved", lambda array, _head_dim: array)
    for kind in ("f32", "f16", "bf16", "q8_0"):
        with pytest.raises(ExportError, match="its logits differ by"):
            export_gguf(
                write_checkpoint("gqa") if kind == "f32" else tmp_path / "runs/gqa",
                tmp_path / "out",
                kind=kind,
            )
    assert not (tmp_path / "out").exists()
