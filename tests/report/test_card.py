"""The card holds real numbers and only those, and the Hub's own library reads it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results

from flyweight.base import UserError, write_json
from flyweight.recipe import Recipe, load_recipe
from flyweight.report import CardFacts, card_for_export, write_model_card


@pytest.fixture
def export(run: Path, recipe: Recipe, export_record: Any, tmp_path: Path) -> Path:
    return export_record(tmp_path / "export", recipe, 16384)


def _prose(card: Path) -> str:
    """The card without its code blocks and metadata."""
    text = card.read_text(encoding="utf-8").split("\n---\n", 1)[1]
    return re.sub(r"(`{3,})\w*\n.*?\n\1(?=\n|$)", "", text, flags=re.DOTALL)


def test_the_hub_reads_the_metadata(run: Path, export: Path):
    card = write_model_card(run, export, CardFacts("apache-2.0", ["en"]))
    assert card == export / "README.md"
    metadata = metadata_load(card)
    assert metadata is not None
    assert metadata["license"] == "apache-2.0"
    assert metadata["language"] == ["en"]
    assert metadata["library_name"] == "transformers"
    assert metadata["pipeline_tag"] == "text-generation"
    name, results = model_index_to_eval_results(metadata["model-index"])
    assert name == "tiny"
    values = {(result.dataset_name, result.metric_type): result.metric_value for result in results}
    assert values == {
        ("Held-out text: english", "bits_per_byte"): 1.777,
        ("Held-out text: mine", "bits_per_byte"): 2.888,
        ("arithmark-gen", "acc,v1"): 0.3125,
        ("arithmark-gen", "acc,v2"): 0.415,
        ("blimp", "acc"): 0.7211,
        ("other", "perplexity"): 12.34568,
    }
    loaded = ModelCard.load(card)
    assert "model-index" in loaded.data.to_dict()
    assert loaded.data.to_dict()["tags"] == ["flyweight", "small-language-model", "custom_code"]
    assert yaml.safe_load(card.read_text(encoding="utf-8").split("---\n")[1]) == metadata


def test_the_card_holds_the_numbers(run: Path, export: Path):
    prose = _prose(write_model_card(run, export, CardFacts("apache-2.0")))
    for number in (
        "10,256", "4,800", "2 blocks of 2,720", "16,384 tokens", "32 tokens",
        "| arithmark-gen operands 2 | acc,v2 | 51.0% | ± 3.5% | 25.0% | 200 |",
        "| zstd -19 | 2.345 | 2.111 |", "62.50%", "mit", "AdamW then Muon", "2.0076 nats", "Test CPU",
            "mean of the last 3 steps",
        "| Seed | 7 |", "512 tokens per second", "32 s", "FlyweightForCausalLM", "3.2e-06", "2.13.0",
    ):  # fmt: skip
        assert number in prose, number
    assert "uid_3" not in prose  # the single paradigms are in the report


def test_drawings_lie_beside_the_card(run: Path, export: Path):
    text = write_model_card(run, export).read_text(encoding="utf-8")
    links = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert links == ["assets/loss.png", "assets/mixture.png"]
    for link in links:
        assert (export / link).read_bytes().startswith(b"\x89PNG")


def test_a_score_like_guessing_is_said_to_be_one(run: Path, export: Path, results: dict[str, Any]):
    assert "no better than guessing" not in _prose(write_model_card(run, export))
    poor = {"metrics": {"acc": {"value": 0.26, "stderr": 0.01, "n": 1400}}, "chance": 0.25}
    write_json(run / "results.json", {**results, "tasks": {"arithmark-gen": poor}})
    line = "it does no better than guessing on arithmark-gen (acc 26.0% ± 1.0%, guessing 25.0%, 1,400 items)."
    assert line in _prose(write_model_card(run, export))


def test_an_own_text_has_a_name_and_stands_beside_compressors(
    run: Path, export: Path, results: dict[str, Any]
):
    text = {
        "metrics": {"bits_per_byte": {"value": 2.7917, "stderr": 0.0144, "n": 61}},
        "data": {"source": "/home/somebody/glosses.jsonl"},
        "details": {"compressors": {"zstd-19": 2.36438, "lzma": None}},
    }
    write_json(run / "results.json", {**results, "tasks": {"text": text}})
    prose = _prose(write_model_card(run, export))
    assert "| text glosses.jsonl | bits\\_per\\_byte | 2.792 |" in prose
    assert "General compressors take of the same text, in bits per byte: zstd-19 2.364." in prose
    assert "/home/somebody" not in prose


def test_own_code_needs_trust_and_a_stock_class_does_not(
    run: Path, recipe: Recipe, export_record: Any, tmp_path: Path
):
    own = export_record(tmp_path / "own", recipe, 16384)
    stock = export_record(tmp_path / "stock", recipe, 16384, custom_code=False)
    assert "from_pretrained(folder, trust_remote_code=True)" in write_model_card(run, own).read_text()
    text = write_model_card(run, stock).read_text()
    assert "trust_remote_code" not in text
    assert "LlamaForCausalLM" in text


def test_what_is_not_known_has_no_line(run: Path, export: Path):
    (run / "results.json").unlink()
    (run / "plan.json").unlink()
    card = write_model_card(run, export)
    metadata = metadata_load(card)
    assert metadata is not None
    assert "license" not in metadata
    assert "language" not in metadata  # one source is the user's own: nobody said what it is written in
    prose = _prose(card)
    for word in ("Hardware", "Precision", "\n| Licence", "arithmark", "zstd", "Epochs", "None", "nan"):
        assert word not in prose, word
    assert "No task was measured." in prose
    assert "after training" in prose


def test_builtin_prose_is_english(run: Path, recipe: Recipe, export: Path):
    text = (run / "recipe.yaml").read_text(encoding="utf-8")
    text = text.replace("kind: files", "kind: builtin").replace("builtin: null", "builtin: python")
    (run / "recipe.yaml").write_text(text.replace("path: /home/somebody/secret/notes.txt", "path: null"))
    metadata = metadata_load(write_model_card(run, export))
    assert metadata is not None
    assert metadata["language"] == ["en"]


def test_the_card_is_of_the_checkpoint_that_was_exported(
    run: Path, recipe: Recipe, export_record: Any, tmp_path: Path
):
    card = write_model_card(run, export_record(tmp_path / "half", recipe, 8192))
    prose = _prose(card)
    assert "8,192 of 16,384 planned" in prose
    assert "this checkpoint has seen 8.192K" in prose
    assert "arithmark-gen" not in prose  # measured on the end of the run
    assert "1.777" not in prose


def test_the_card_of_an_average_says_of_what(run: Path, export: Path):
    assert "Averaged" not in _prose(write_model_card(run, export))
    record = json.loads((export / "flyweight_export.json").read_text())
    record["source"]["average"] = {"kind": "mean", "clocks": [8192, 16384]}
    write_json(export / "flyweight_export.json", record)
    assert "mean of the checkpoints at 8,192, 16,384 tokens" in _prose(write_model_card(run, export))
    record["source"]["average"] = {"kind": "ema", "clocks": [16384], "half_life": 4000}
    write_json(export / "flyweight_export.json", record)
    assert "moving average with a half-life of 4,000 tokens" in _prose(write_model_card(run, export))


def test_the_recipe_in_the_card_is_whole_and_keeps_paths_to_itself(
    run: Path, recipe: Recipe, export: Path, tmp_path: Path
):
    text = write_model_card(run, export).read_text(encoding="utf-8")
    assert "/home/somebody" not in text
    block = re.search(r"(`{3,})yaml\n(.*?)\n\1", text, flags=re.DOTALL)
    assert block is not None
    (tmp_path / "again.yaml").write_text(block[2], encoding="utf-8")
    again = load_recipe(tmp_path / "again.yaml")
    mine = recipe.sources["mine"].model_copy(update={"path": "notes.txt"})
    assert again == recipe.model_copy(update={"sources": {**recipe.sources, "mine": mine}})


def test_hostile_text_stays_text(run: Path, export: Path):
    prose = _prose(write_model_card(run, export))
    assert "<script>" not in prose
    assert "\\<script\\>" in prose
    for line in prose.splitlines():
        if line.startswith("| "):
            assert re.fullmatch(r"\|( ([^|\\]|\\.)* \|)+|\|( [^|]*\|)+", line), line


def test_a_run_without_an_export_is_a_mistake(run: Path, tmp_path: Path):
    with pytest.raises(UserError, match="no such record of an export"):
        write_model_card(run, tmp_path)


def test_the_card_for_a_checkpoint_finds_its_run(run: Path, export: Path, checkpoint: Any):
    checkpoint(run / "checkpoints" / "tokens-000000000016384")
    assert "51.0%" in _prose(card_for_export(run, export))
    half = checkpoint(run / "checkpoints" / "tokens-000000000008192")
    assert "51.0%" in _prose(card_for_export(half, export))  # the export says of which clock it is


def test_the_card_for_a_lone_checkpoint_knows_the_recipe(export: Path, checkpoint: Any, tmp_path: Path):
    lone = checkpoint(tmp_path / "somewhere" / "tokens-000000000016384")
    prose = _prose(card_for_export(lone, export, CardFacts("mit")))
    assert "10,256" in prose
    assert "Steps" not in prose
    assert "loss.png" not in prose


def test_a_gguf_card_says_how_llama_cpp_takes_it(run: Path, export: Path):
    record = json.loads((export / "flyweight_export.json").read_text())
    record |= {"file": "tiny-Q8_0.gguf", "dtype": "q8_0", "checks": None}
    write_json(export / "flyweight_export.json", record)
    (export / "tiny-Q8_0.gguf").write_bytes(bytes(2_000_000))
    card = write_model_card(run, export, CardFacts("mit", base_model="me/tiny"))
    text = card.read_text(encoding="utf-8")
    metadata = metadata_load(card)
    assert metadata is not None
    assert metadata["library_name"] == "gguf"
    assert metadata["base_model"] == "me/tiny"
    assert "llama-completion -m tiny-Q8_0.gguf -c 32 " in text
    assert "-cnv -st" not in text
    assert 'Llama("tiny-Q8_0.gguf", n_ctx=32' in text
    assert "| tiny-Q8\\_0.gguf | weights in q8\\_0, tokenizer and settings in one file | 2MB |" in text
    assert "Nobody has loaded this file yet" in text
    assert "Measured is the checkpoint, not this file, whose weights are in `q8_0`." in text
    assert "from_pretrained" not in text
    record["checks"] = {"differences": {"random": 0.001, "text": 0.002}, "largest_logit": 8.25}
    write_json(export / "flyweight_export.json", record)
    prose = _prose(write_model_card(run, export))
    assert "differed from the checkpoint's by 2.0e-03 at most (the largest logit is 8.2)" in prose


def test_a_chat_template_brings_an_example_and_another_limitation(run: Path, export: Path):
    text = write_model_card(run, export).read_text(encoding="utf-8")
    assert "apply_chat_template" not in text
    assert "It was not taught to follow instructions" in text
    record = json.loads((export / "flyweight_export.json").read_text())
    write_json(export / "flyweight_export.json", record | {"chat_template": True})
    text = write_model_card(run, export).read_text(encoding="utf-8")
    assert "apply_chat_template" in text
    assert "It was not taught to follow instructions" not in text
    write_json(export / "flyweight_export.json", record | {"chat_template": True, "file": "tiny-F32.gguf"})
    text = write_model_card(run, export).read_text(encoding="utf-8")
    assert '-cnv -st -p "What is the sea?"' in text
    assert "model.create_chat_completion(messages, **sampling)" in text
    assert "It was not taught to follow instructions" not in text


def test_the_examples_sampling_options_are_all_there(run: Path, export: Path):
    text = write_model_card(run, export).read_text(encoding="utf-8")
    for option in (
        "do_sample=True",
        "temperature=",
        "top_p=",
        "repetition_penalty=",
        "no_repeat_ngram_size=",
    ):
        assert option in text
    assert "max_new_tokens=16," in text  # half of the context that it was trained with


def test_where_the_text_is_from_and_under_which_licence(run: Path, export: Path):
    prose = _prose(write_model_card(run, export))
    assert "- `english`: help texts and docstrings of the Python packages" in prose
    assert "- `mine`: files of the one who trained it, `notes.txt`" in prose
    assert "Nobody has said under which licence the text of `english` stands." in prose
    assert "Removed from it: duplicates. It was not searched for the questions of the tasks" in prose
    text = (run / "recipe.yaml").read_text(encoding="utf-8")
    text = text.replace("kind: builtin", "kind: hub").replace("builtin: english", "builtin: null")
    text = text.replace("dataset: null", "dataset: owner/some_data", 1).replace(
        "revision: null", "revision: v1.0", 1
    )
    text = text.replace("decontaminate: {}", "decontaminate: {piqa: {path: /home/somebody/eval/piqa.jsonl}}")
    (run / "recipe.yaml").write_text(text)
    card = write_model_card(run, export)
    prose = _prose(card)
    link = (
        "[owner/some\\_data](https://huggingface.co/datasets/owner/some_data), split `train`, revision `v1.0`"
    )
    assert f"- `english`: {link}" in prose
    assert "share a run of 13 words with one of these sets were left out: piqa." in prose
    assert "/home/somebody" not in card.read_text(encoding="utf-8")


def test_what_the_run_said_of_places_on_a_disk_is_left_out(run: Path, export: Path):
    told = ["3/4 of them at 5 tokens/s, and/or less. Or 1.5/2", "not compiled: on or off", "it ends."]
    places = [
        "/home/my name/data/x.jsonl", "~/data", "../secret/corp", "./x", "data/x.jsonl", "runs/mine/checkpoints",
        "C:\\Users\\me", "--data=/srv/x", "'/srv/x'",
    ]  # fmt: skip
    notes = [*told, *(f"the shards are in {place} now" for place in places)]
    lines = [json.dumps({"kind": "notice", "attempt": "a1", "time": 0, "message": note}) for note in notes]
    events = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    (run / "events.jsonl").write_text("\n".join([events[0], *lines, *events[1:]]) + "\n")
    prose = _prose(write_model_card(run, export))
    for line in told:
        assert f"- {line}" in prose
    assert "the shards are in" not in prose


def test_energy_that_was_not_measured_is_said_to_be_so(run: Path, export: Path):
    assert "| Energy | not measured |" in _prose(write_model_card(run, export))


def test_facts_that_cannot_be_are_refused_before_anything_is_exported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected OWNER/NAME"):
        CardFacts(base_model="no repository")
    with pytest.raises(UserError, match="no such file or folder"):
        CardFacts(results=tmp_path / "nowhere")
