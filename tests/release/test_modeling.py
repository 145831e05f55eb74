"""What a user does with an exported folder, in this process: it loads what `export` writes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from huggingface_hub.errors import (
    StrictDataclassClassValidationError,
    StrictDataclassFieldValidationError,
)
from release_models import END_OF_TEXT, KINDS, make_decoder, make_recipe
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from flyweight.corpus import TextTokenizer
from flyweight.recipe import recipe_from_dict
from flyweight.release.checks import ExportError, judge, write_probe
from flyweight.release.huggingface import write_folder
from flyweight.release.load_back import measure

CUSTOM = [kind for kind, (model_class, _, _) in KINDS.items() if model_class.startswith("Flyweight")]


@pytest.fixture(scope="module", params=list(KINDS))
def exported(request, tmp_path_factory, tokenizer) -> SimpleNamespace:
    """A decoder and the folder that it becomes."""
    recipe = make_recipe(request.param)
    decoder = make_decoder(recipe)
    folder = tmp_path_factory.mktemp("export") / "folder"
    folder.mkdir()
    expected = write_folder(folder, decoder, recipe, tokenizer)
    return SimpleNamespace(kind=request.param, decoder=decoder, folder=folder, expected=expected)


def load(exported: SimpleNamespace, auto: Any = AutoModelForCausalLM, **options: Any) -> Any:
    custom = exported.expected.custom_code
    return auto.from_pretrained(exported.folder, trust_remote_code=custom, **options).eval()


def some_tokens(rows: int = 2, length: int = 40) -> torch.Tensor:
    return torch.randint(1, 320, (rows, length), generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def test_logits_are_the_decoders_with_every_attention_backend(exported) -> None:
    assert exported.expected.model_class == KINDS[exported.kind][0]
    tokens = some_tokens(length=96)
    reference = exported.decoder.logits(exported.decoder(tokens))
    # Where attention did not matter, the comparison would not see it.
    shuffled = exported.decoder.logits(exported.decoder(tokens[:, torch.randperm(96)]))
    assert (shuffled[:, -1] - reference[:, -1]).abs().max() > 0.05
    for backend in ("sdpa", "eager"):
        model = load(exported, attn_implementation=backend)
        assert (model(input_ids=tokens).logits - reference).abs().max() < 1e-4
        kept = torch.tensor([3, 17])
        assert (model(input_ids=tokens, logits_to_keep=kept).logits - reference[:, kept]).abs().max() < 1e-4
        last = model(input_ids=tokens, logits_to_keep=2).logits
        assert (last - reference[:, -2:]).abs().max() < 1e-4


@torch.no_grad()
def test_the_probe_finds_no_fault_and_finds_a_wrong_one(exported, tokenizer, tmp_path: Path) -> None:
    write_probe(tmp_path, exported.decoder, tokenizer, exported.expected)
    measured = measure(exported.folder, tmp_path)
    checks = judge(measured, exported.expected)
    assert checks.maximum_difference < 1e-4
    assert checks.tied == ("untied" not in exported.kind and exported.kind != "everything")
    faults = {
        "class is": {"model_class": "GPT2LMHeadModel"},
        "parameters": {"parameters": checks.parameters + 1},
        "missing": {"missing_weights": ["model.norm.weight"]},
        "no place": {"unexpected_weights": ["model.norm.bias"]},
        "tied": {"tied": not checks.tied},
        "logits differ": {"differences": checks.differences | {"random": 2e-4}},
        "logits differ by .*nan": {"differences": checks.differences | {"random": float("nan")}},
        "cache differs": {
            "generated": {"cached": [1, 2], "uncached": [1, 3]},
            "greedy_gaps": {"cached": 0.0, "uncached": 0.2},
        },
        "tokenizer differs": {"wrong_texts": ["é"]},
        "chat template gives other tokens": {"conversation_differs": True},
        "text ends at": {"stop_tokens": [1]},
        "special tokens are": {"special_tokens": [0, None, 0]},
        "does not take end_of_text for special": {"end_of_text_is_special": False},
    }
    for words, change in faults.items():
        with pytest.raises(ExportError, match=words):
            judge(measured | change, exported.expected)
    tie = {
        "generated": {"cached": [1, 2, 5], "uncached": [1, 3, 5]},
        "greedy_gaps": {"cached": 0.0, "uncached": 5e-5},
    }
    checks = judge(measured | tie, exported.expected)
    assert (checks.same_tokens, checks.generated_tokens) == (1, 3)


def test_a_wrong_turn_far_away_is_found_by_the_long_input(tokenizer, tmp_path: Path) -> None:
    """The configuration stretches the rotary positions of inputs that are longer than 256 tokens."""
    values = make_recipe("gqa").to_dict()
    values["model"] |= {"max_position_embeddings": 512}
    recipe = recipe_from_dict(values)
    decoder, folder, probe = make_decoder(recipe), tmp_path / "folder", tmp_path / "probe"
    folder.mkdir()
    probe.mkdir()
    expected = write_folder(folder, decoder, recipe, tokenizer)
    write_probe(probe, decoder, tokenizer, expected)
    judge(measure(folder, probe), expected)
    config = json.loads((folder / "config.json").read_text())
    stretched = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": recipe.model.rope_theta}
    config |= {"max_position_embeddings": 256, "rope_parameters": stretched}
    (folder / "config.json").write_text(json.dumps(config))
    measured = measure(folder, probe)
    wrong = {name for name, difference in measured["differences"].items() if difference > 1e-4}
    assert wrong == {"long"}
    with pytest.raises(ExportError, match="its logits differ by"):
        judge(measured, expected)


@torch.no_grad()
def test_generation_with_a_cache_equals_generation_without(exported) -> None:
    model = load(exported)
    prompts = some_tokens(rows=3, length=7)
    options = {"do_sample": False, "max_new_tokens": 30, "min_new_tokens": 30}
    mask = torch.ones_like(prompts)
    cached = model.generate(prompts, attention_mask=mask, **options)
    assert torch.equal(cached, model.generate(prompts, attention_mask=mask, use_cache=False, **options))
    static = model.generate(prompts, attention_mask=mask, cache_implementation="static", **options)
    assert torch.equal(cached, static)


@pytest.mark.slow
@torch.no_grad()
def test_our_own_code_compiled_in_one_graph_computes_the_same(exported) -> None:
    if exported.kind not in CUSTOM:
        pytest.skip("stock classes are transformers' own")
    torch._dynamo.reset()  # models compiled before in this process count against a limit
    model, tokens = load(exported), some_tokens()
    expected = model(input_ids=tokens, use_cache=False).logits
    compiled = torch.compile(model, fullgraph=True)
    assert (compiled(input_ids=tokens, use_cache=False).logits - expected).abs().max() < 1e-4
    longer = some_tokens(length=55)
    reference = model(input_ids=longer, use_cache=False).logits
    assert (compiled(input_ids=longer, use_cache=False).logits - reference).abs().max() < 1e-4


@torch.no_grad()
def test_every_sampling_option_of_the_cards_is_taken(exported, tokenizer) -> None:
    """The calls of their usage snippets: what the tokenizer gives goes into `generate` as it is."""
    model = load(exported)
    loaded = AutoTokenizer.from_pretrained(exported.folder, trust_remote_code=exported.expected.custom_code)
    inputs = loaded("The future of", return_tensors="pt", add_special_tokens=True)
    torch.manual_seed(0)
    output = model.generate(
        **inputs,
        max_new_tokens=40,
        do_sample=True,
        temperature=0.8,
        top_p=0.95,
        top_k=40,
        repetition_penalty=1.2,
        no_repeat_ngram_size=3,
        pad_token_id=loaded.eos_token_id,
    )
    written = output[0].tolist()
    triples = list(zip(written, written[1:], written[2:], strict=False))
    assert len(triples) == len(set(triples))
    assert loaded.decode(output[0], skip_special_tokens=True).startswith("The future of")


@torch.no_grad()
def test_a_prompt_may_come_in_pieces(exported) -> None:
    model, tokens = load(exported), some_tokens()
    whole = model(input_ids=tokens).logits
    first = model(input_ids=tokens[:, :11], use_cache=True)
    second = model(input_ids=tokens[:, 11:], past_key_values=first.past_key_values, use_cache=True)
    pieces = torch.cat([first.logits, second.logits], dim=1)
    assert (pieces - whole).abs().max() < 1e-4


@torch.no_grad()
def test_padding_on_the_left_changes_nothing(exported) -> None:
    short, long = some_tokens(rows=1, length=9), some_tokens(rows=1, length=20)
    batch = torch.cat([F.pad(short, (11, 0)), long])
    mask = torch.cat([F.pad(torch.ones_like(short), (11, 0)), torch.ones_like(long)])
    options = {"do_sample": False, "max_new_tokens": 12, "min_new_tokens": 12}
    for backend in ("sdpa", "eager"):
        model = load(exported, attn_implementation=backend)
        padded = model(input_ids=batch, attention_mask=mask).logits
        assert padded.isfinite().all()
        assert (padded[0, 11:] - model(input_ids=short).logits[0]).abs().max() < 1e-4
        assert (padded[1] - model(input_ids=long).logits[0]).abs().max() < 1e-4
        together = model.generate(batch, attention_mask=mask, **options)
        alone = model.generate(short, attention_mask=torch.ones_like(short), **options)
        assert torch.equal(together[0, 20:], alone[0, 9:])


@pytest.mark.parametrize("exported", CUSTOM, indirect=True)
def test_the_loss_is_ours_and_gradients_flow_with_and_without_checkpointing(exported) -> None:
    tokens = some_tokens()
    labels = tokens.clone()
    labels[0, :5] = -100
    logits = exported.decoder.logits(exported.decoder(tokens))[:, :-1]
    ours = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    ours.backward()
    for checkpointing in (False, True):
        model = load(exported)
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.train()
        model.zero_grad()
        loss = model(input_ids=tokens, labels=labels).loss
        assert abs(loss.item() - ours.item()) < 1e-5
        loss.backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        for name, parameter in exported.decoder.named_parameters():
            found = gradients[name if name.startswith("lm_head.") else f"model.{name}"]
            assert (found - parameter.grad).abs().max() < 1e-4 * (1 + parameter.grad.abs().max()), name
    exported.decoder.zero_grad()


@torch.no_grad()
@pytest.mark.parametrize("exported", CUSTOM[:1], indirect=True)
def test_what_our_own_code_gives_on_request(exported) -> None:
    tokens = some_tokens()
    model = load(exported, attn_implementation="eager")
    output = model(input_ids=tokens, output_attentions=True, output_hidden_states=True)
    assert len(output.hidden_states) == 4
    assert len(output.attentions) == 3
    weights = output.attentions[1]
    assert weights.shape == (2, 4, 40, 40)
    assert (weights.sum(dim=-1) - 1).abs().max() < 1e-5
    assert (weights.triu(1) == 0).all()
    assert torch.equal(model.lm_head(output.hidden_states[-1]), output.logits)
    rows = model.get_input_embeddings()(tokens)
    assert torch.equal(model(inputs_embeds=rows).logits, output.logits)
    assert isinstance(model(input_ids=tokens, return_dict=False), tuple)
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        model()
    body = load(exported, AutoModel)
    assert torch.allclose(body(input_ids=tokens).last_hidden_state, exported.decoder(tokens), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("exported", CUSTOM, indirect=True)
def test_in_bfloat16_our_own_code_rounds_where_the_decoder_does(exported) -> None:
    tokens = some_tokens()
    decoder = copy.deepcopy(exported.decoder).bfloat16()
    found = load(exported, dtype=torch.bfloat16)(input_ids=tokens).logits
    assert found.dtype == torch.bfloat16
    reference = decoder.logits(decoder(tokens)).float()
    assert (found.float() - reference).abs().max() < 0.04 * reference.abs().max()


@pytest.mark.parametrize("exported", CUSTOM[:1], indirect=True)
def test_a_second_save_keeps_the_code_and_the_logits(exported, tmp_path: Path) -> None:
    model, tokens = load(exported), some_tokens()
    model.save_pretrained(tmp_path)
    assert (tmp_path / "modeling_flyweight.py").is_file()
    again = AutoModelForCausalLM.from_pretrained(tmp_path, trust_remote_code=True).eval()
    with torch.no_grad():
        assert torch.equal(again(input_ids=tokens).logits, model(input_ids=tokens).logits)


@pytest.mark.parametrize("exported", CUSTOM[:1], indirect=True)
def test_our_own_code_does_not_run_unless_it_is_trusted(exported) -> None:
    with pytest.raises(ValueError, match="trust_remote_code"):
        AutoModelForCausalLM.from_pretrained(exported.folder, trust_remote_code=False)


@pytest.mark.parametrize("exported", CUSTOM[:1], indirect=True)
def test_a_wrong_configuration_is_refused(exported) -> None:
    config: Any = type(AutoConfig.from_pretrained(exported.folder, trust_remote_code=True))
    with pytest.raises(StrictDataclassClassValidationError, match="not divisible"):
        config(num_attention_heads=5)
    with pytest.raises(StrictDataclassFieldValidationError, match="hidden_size"):
        config(hidden_size="wide")


@pytest.mark.parametrize("exported", ["gqa", "gpt-x2", "gpt-s"], indirect=True)
def test_the_tokenizer_pads_prompts_on_the_left_with_end_of_text(exported, tokenizer) -> None:
    loaded = AutoTokenizer.from_pretrained(exported.folder, trust_remote_code=exported.expected.custom_code)
    batch = loaded(["one", "one and more"], padding=True)
    assert loaded.model_max_length == 96
    assert batch["input_ids"][0][0] == tokenizer.end_of_text
    assert batch["attention_mask"][0][0] == 0
    assert batch["input_ids"][1] == tokenizer.encode("one and more")
    assert loaded.decode(tokenizer.encode("a , b . c 's")) == "a , b . c 's"


def test_an_adopted_tokenizer_adds_nothing_that_training_did_not(tokenizer, tmp_path: Path) -> None:
    adopted = TextTokenizer.load(_saved(tokenizer, tmp_path), END_OF_TEXT)
    adopted.backend.post_processor = TemplateProcessing(
        single=f"{END_OF_TEXT} $A", special_tokens=[(END_OF_TEXT, 0)]
    )
    adopted = TextTokenizer(adopted.backend, END_OF_TEXT)
    recipe = make_recipe("gqa")
    write_folder(tmp_path, make_decoder(recipe), recipe, adopted)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded("one and more")["input_ids"] == adopted.encode("one and more")
    assert adopted.backend.encode("one").ids[0] == adopted.end_of_text


def _saved(tokenizer: TextTokenizer, folder: Path) -> Path:
    tokenizer.save(folder)
    return folder
