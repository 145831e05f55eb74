from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel

from flyweight.base import UserError, read_json, write_json
from flyweight.corpus import TextTokenizer
from flyweight.inference import DecoderModel, HuggingFaceModel, LanguageModel, load_model
from flyweight.inference import huggingface as huggingface_module
from flyweight.inference import language_model as language_model_module
from flyweight.model import Decoder
from flyweight.recipe import Recipe

TOKENS = torch.tensor([[3, 50, 7, 7, 120, 9, 33, 4], [250, 8, 9, 10, 11, 0, 0, 0]])
ROWS = torch.tensor([0, 0, 1, 1, 1])
POSITIONS = torch.tensor([7, 2, 4, 0, 2])
TARGETS = torch.tensor([5, 299, 0, 17, 250])


@pytest.fixture(scope="session")
def llama(llama_folder: Path) -> LanguageModel:
    return load_model(llama_folder, "cpu")


def reference_logits(folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(input_ids=tokens).logits


def check_consistency(model: LanguageModel, full: torch.Tensor) -> None:
    """Every way to ask the model gives what the full logits say."""
    at = model.logits_at(TOKENS, ROWS, POSITIONS)
    assert at.dtype == torch.float32
    torch.testing.assert_close(at, full[ROWS, POSITIONS], atol=1e-4, rtol=0)
    expected = full.log_softmax(-1)[ROWS, POSITIONS, TARGETS]
    got = model.target_log_probs(TOKENS, ROWS, POSITIONS, TARGETS)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)
    check_scores_of_shared_places(model, full)
    cache = model.new_cache(2, 8)
    first = model.next_logits(TOKENS[:, :5], cache)
    torch.testing.assert_close(first, full[:, 4], atol=1e-4, rtol=0)
    for position in range(5, 8):
        step = model.next_logits(TOKENS[:, position : position + 1], cache)
        torch.testing.assert_close(step, full[:, position], atol=1e-4, rtol=0)
    check_rows_of_different_lengths(model, full)


def check_scores_of_shared_places(model: LanguageModel, full: torch.Tensor) -> None:
    owners = torch.tensor([0, 0, 2, 3, 3, 3])
    targets = torch.tensor([1, int(full[0, 7].argmax()), 4, 5, int(full[1, 0].argmax()), 6])
    scored = model.score(TOKENS, ROWS, POSITIONS, owners, targets)
    logits = full[ROWS, POSITIONS]
    expected = logits.log_softmax(-1)[owners, targets]
    torch.testing.assert_close(scored.log_probs, expected, atol=1e-4, rtol=0)
    assert scored.likeliest.tolist() == (logits.argmax(-1)[owners] == targets).tolist()


def check_rows_of_different_lengths(model: LanguageModel, full: torch.Tensor) -> None:
    """Rows padded on the left, another put beside them, one taken out: each goes on as if it were alone."""
    valid = torch.tensor([[True] * 5, [False, False, True, True, True]])
    tokens = torch.stack([TOKENS[0, :5], torch.tensor([0, 0, *TOKENS[1, :3].tolist()])])
    cache = model.new_cache(2, 8)
    logits = model.next_logits(tokens, cache, valid)
    torch.testing.assert_close(logits, full[[0, 1], [4, 2]], atol=1e-4, rtol=0)
    if not model.joins(cache):
        return
    more = model.new_cache(1, 8)
    model.next_logits(TOKENS[:1, :7], more)
    cache = cache.beside(more).select(torch.tensor([2, 1]), 0)  # the first row is finished
    valid = torch.tensor([[True] * 8, [False] * 4 + [True] * 4])
    step = model.next_logits(torch.stack([TOKENS[0, 7:], TOKENS[1, 3:4]]), cache, valid)
    torch.testing.assert_close(step, full[[0, 1], [7, 3]], atol=1e-4, rtol=0)
    cache = cache.select(torch.tensor([1]), 4)  # and its padding goes
    step = model.next_logits(TOKENS[1:, 4:5], cache, torch.ones(1, 5, dtype=torch.bool))
    torch.testing.assert_close(step, full[1:, 4], atol=1e-4, rtol=0)


def test_our_decoder(model: DecoderModel, decoder: Decoder):
    with torch.no_grad():
        check_consistency(model, decoder.logits(decoder(TOKENS)))


def test_our_decoder_with_everything_on(tokenizer: TextTokenizer, recipe_with: Callable[..., Recipe]):
    recipe = recipe_with(
        exclusive_attention=True, qk_norm=True, scale_embedding=True, tie_word_embeddings=False
    )
    decoder = Decoder(recipe.model, recipe.parametrization).initialize(3)
    with torch.no_grad():
        check_consistency(DecoderModel(decoder, tokenizer), decoder.logits(decoder(TOKENS)))


def test_a_llama_folder_as_transformers_has_it(llama: LanguageModel, llama_folder: Path):
    check_consistency(llama, reference_logits(llama_folder, TOKENS))
    assert llama.max_length == 40
    assert (llama.prefix_token, llama.stop_tokens) == (5, {0})
    assert llama.tokenizer.decode(llama.tokenizer.encode("the cat — ü")) == "the cat — ü"


@pytest.mark.parametrize("kind", ["absolute positions", "soft-capped logits"])
def test_other_architectures(tmp_path: Path, llama_folder: Path, kind: str):
    torch.manual_seed(0)
    if kind == "absolute positions":
        config: Any = GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=24)
        GPT2LMHeadModel(config).save_pretrained(tmp_path)
    else:
        config = Gemma2Config(
            vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, max_position_embeddings=24, initializer_range=1.0,
            final_logit_softcapping=2.0,
        )  # fmt: skip
        Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    for file in llama_folder.glob("*token*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    model = load_model(tmp_path, "cpu")
    check_consistency(model, reference_logits(tmp_path, TOKENS))
    assert model.max_length == 24


def test_the_fingerprint_knows_what_is_no_weight(tmp_path: Path, llama_folder: Path):
    folder = tmp_path / "other"
    shutil.copytree(llama_folder, folder)
    same = HuggingFaceModel(folder).fingerprint
    assert same == HuggingFaceModel(llama_folder).fingerprint
    config = json.loads((folder / "config.json").read_text())
    config["rms_norm_eps"] = 0.1
    (folder / "config.json").write_text(json.dumps(config))
    assert HuggingFaceModel(folder).fingerprint != same


def test_a_tokenizer_without_bos_and_eos_is_refused(tmp_path: Path, llama_folder: Path):
    folder = tmp_path / "bare"
    shutil.copytree(llama_folder, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    for key in ("bos_token", "eos_token"):
        settings.pop(key, None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="names neither an eos_token nor a bos_token"):
        HuggingFaceModel(folder)


def test_models_without_partial_logits_or_cache_work_too(llama_folder: Path):
    model = HuggingFaceModel(llama_folder)
    model._keeps_some = model._caches = False
    check_consistency(model, reference_logits(llama_folder, TOKENS))


def test_padding_on_the_right_changes_nothing(model: DecoderModel, llama: LanguageModel):
    for some in (model, llama):
        alone = some.logits_at(TOKENS[1:, :5], torch.tensor([0]), torch.tensor([4]))
        padded = some.logits_at(TOKENS, torch.tensor([1]), torch.tensor([4]))
        torch.testing.assert_close(alone, padded, atol=1e-5, rtol=0)


def test_readout_in_parts_is_the_whole(model: DecoderModel, monkeypatch: pytest.MonkeyPatch):
    whole = model.target_log_probs(TOKENS, ROWS, POSITIONS, TARGETS)
    readout, sizes = model.decoder.logits, []
    monkeypatch.setattr(model.decoder, "logits", lambda hidden: sizes.append(len(hidden)) or readout(hidden))
    monkeypatch.setattr(language_model_module, "READOUT_ELEMENTS", 700)  # two rows of 300 at once
    parts = model.target_log_probs(TOKENS, ROWS, POSITIONS, TARGETS)
    assert sizes == [2, 2, 1]
    torch.testing.assert_close(whole, parts, atol=1e-5, rtol=0)


def test_a_big_vocabulary_is_scored_row_by_row(llama_folder: Path, monkeypatch: pytest.MonkeyPatch):
    model = HuggingFaceModel(llama_folder)
    whole = model.target_log_probs(TOKENS, ROWS, POSITIONS, TARGETS)
    vars(model)["_reads_out_apart"] = False
    shapes = []
    logits_at = model.logits_at
    monkeypatch.setattr(
        model, "logits_at", lambda tokens, *rest: shapes.append(tokens.shape) or logits_at(tokens, *rest)
    )
    monkeypatch.setattr(huggingface_module, "LOGITS_ELEMENTS", 8 * 300 + 1)
    parts = model.target_log_probs(TOKENS, ROWS, POSITIONS, TARGETS)
    assert shapes == [(1, 8), (1, 8)]
    torch.testing.assert_close(whole, parts, atol=1e-5, rtol=0)


def test_bfloat16_is_close_and_stays_float32_outside(decoder: Decoder, tokenizer: TextTokenizer):
    exact, rough = (DecoderModel(decoder, tokenizer, precision) for precision in ("float32", "bfloat16"))
    difference = exact.logits_at(TOKENS, ROWS, POSITIONS) - rough.logits_at(TOKENS, ROWS, POSITIONS)
    assert 0 < difference.abs().max() < 0.2
    cache = rough.new_cache(2, 8)
    assert rough.next_logits(TOKENS, cache).dtype == torch.float32


def test_scoring_leaves_the_model_fit_for_training(model: DecoderModel, decoder: Decoder):
    scored = model.logits_at(TOKENS, ROWS, POSITIONS)
    trained = decoder.logits(decoder(TOKENS))[ROWS, POSITIONS]
    (trained * scored).sum().backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())
    decoder.zero_grad(set_to_none=True)


def test_own_code_runs_only_when_trusted(tmp_path: Path, llama_folder: Path):
    for file in llama_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = read_json(tmp_path / "config.json")
    write_json(tmp_path / "config.json", config | {"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}})
    (tmp_path / "modeling_x.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UserError, match=r"modeling_x\.py.*--trust-remote-code"):
        load_model(tmp_path, "cpu")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"{", "not valid JSON"),
        ("config.json", b"{}", "cannot load the model"),
        ("model.safetensors", b"short", "cannot load the model"),
        ("model.safetensors", None, "cannot load the model"),
        ("tokenizer.json", None, "cannot load the tokenizer"),
    ],
)
def test_broken_hugging_face_folders(
    tmp_path: Path, llama_folder: Path, name: str, content: bytes | None, message: str
):
    for file in llama_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_model(tmp_path, "cpu")
