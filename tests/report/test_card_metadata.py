"""The Hub's own library reads the metadata back as it was meant, whatever names and licences there are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flyweight.base import UserError
from flyweight.recipe import Recipe
from flyweight.report.card_metadata import LICENCES, front_matter
from flyweight.report.run import RunRecord

HF: dict[str, Any] = {"model_class": "LlamaForCausalLM", "custom_code": False}
GGUF: dict[str, Any] = {"model_class": "LlamaForCausalLM", "file": "tiny-F16.gguf", "dtype": "f16"}
ODD = (
    "a: b", "# c", "- d", "---", "no", "'\"", "日本語", "🙂", "{x}", "[1]", "a\\b", "%", "&x", "*x", "!x", "null",
    "1e3", "~", "a - b", "<b>", "|", ">", "@", "`", "=",
)  # fmt: skip


def metadata(text: str) -> dict[str, Any]:
    """As the Hub's library reads it from a card, held against a plain reading of the YAML."""
    card = ModelCard(text + "\n# A title\n\n---\n\ntext: with a line\n")
    found = card.data.to_dict()
    assert found == yaml.safe_load(text.removeprefix("---\n").removesuffix("\n---\n"))
    return found


def record_of(
    recipe: Recipe, name: str = "tiny", tasks: dict[str, Any] | None = None, bits: Any = None
) -> RunRecord:
    results = {"tasks": tasks or {}, "bits_per_byte": {"after": bits or {}}}
    return RunRecord(name, recipe, "run", results=results)


def a_task(value: float) -> dict[str, Any]:
    return {"metrics": {"acc": {"value": value, "stderr": 0.012345678, "n": 7}}}


NAMES = st.sampled_from(ODD) | st.text(min_size=1, max_size=12).filter(
    lambda text: text.isprintable() and " ".join(text.split()) == text
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=NAMES,
    tasks=st.lists(NAMES, max_size=5, unique=True),
    sources=st.lists(st.sampled_from(ODD), max_size=3, unique=True),
    licence=st.sampled_from(ODD) | st.none() | st.text(max_size=8),
    language=st.lists(st.sampled_from(["en", "no", "zh", "yes"]), unique=True),
)
def test_any_names_come_back(
    recipe: Recipe, name: str, tasks: list[str], sources: list[str], licence: str | None, language: list[str]
) -> None:
    values = {task: round(number / 10, 5) for number, task in enumerate(tasks)}
    bits = {source: 1.0 + number for number, source in enumerate(sources)}
    record = record_of(recipe, name, {task: a_task(value) for task, value in values.items()}, bits)
    found = metadata(front_matter(record, HF, licence, language))
    assert found.get("language", []) == language
    if not values and not bits:
        assert "model-index" not in found
        return
    model, results = model_index_to_eval_results(found["model-index"])
    assert model == name
    # What is written is what the library itself would write of what it read: the round trip loses nothing.
    assert eval_results_to_model_index(model, results) == found["model-index"]
    read = {(result.dataset_name, result.metric_type): result.metric_value for result in results}
    said = {(task, "acc"): value for task, value in values.items()}
    said |= {(f"Held-out text: {source}", "bits_per_byte"): value for source, value in bits.items()}
    assert read == said
    types = {result.dataset_name: result.dataset_type for result in results}
    assert len(set(types.values())) == len(types)  # the Hub merges what has the same type
    assert all(types.values())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(min_size=1), task=st.text(min_size=1))
def test_no_character_breaks_the_yaml(recipe: Recipe, name: str, task: str) -> None:
    found = metadata(front_matter(record_of(recipe, name, {task: a_task(0.5)}), HF, name, []))
    model, (result,) = model_index_to_eval_results(found["model-index"])
    assert model
    assert result.metric_value == 0.5


def test_no_results_no_index(recipe: Recipe) -> None:
    found = metadata(front_matter(record_of(recipe), HF, None, []))
    assert set(found) == {"library_name", "pipeline_tag", "tags"}


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        (None, {}),
        ("  ", {}),
        ("apache-2.0", {"license": "apache-2.0"}),
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("openrail++", {"license": "openrail++"}),
        ("My Licence 1.0", {"license": "other", "license_name": "my-licence-1.0"}),
        ("Apache 2.0", {"license": "apache-2.0"}),
        ("自由", {"license": "other", "license_name": "other"}),
        (
            "https://example.org/terms/Model-Licence.txt",
            {
                "license": "other",
                "license_name": "model-licence",
                "license_link": "https://example.org/terms/Model-Licence.txt",
            },
        ),
        ("mit\nlicense_link: x", {"license": "other", "license_name": "mit-license_link-x"}),
    ],
)
def test_licences(recipe: Recipe, licence: str | None, expected: dict[str, str]) -> None:
    found = metadata(front_matter(record_of(recipe), HF, licence, []))
    assert {key: value for key, value in found.items() if key.startswith("license")} == expected


def test_identifiers_are_the_hubs() -> None:
    assert {"apache-2.0", "mit", "cc-by-sa-4.0", "cdla-sharing-1.0", "llama3.1", "openrail++"} <= LICENCES
    assert "other" not in LICENCES  # it needs a name
    assert all(name == name.lower().strip() for name in LICENCES)


def test_a_gguf_file_is_told_as_one(recipe: Recipe) -> None:
    record = record_of(recipe, tasks={"piqa": a_task(0.5)})
    found = metadata(front_matter(record, GGUF, "mit", ["en"], "me/tiny"))
    assert found["library_name"] == "gguf"
    assert "gguf" in found["tags"]
    assert found["base_model"] == "me/tiny"
    assert found["base_model_relation"] == "quantized"
    assert "model-index" not in found  # measured is the checkpoint, not the rounded file
    assert metadata(front_matter(record, HF, None, [], "me/tiny"))["base_model_relation"] == "finetune"
    for name in ("tiny", "../tiny", "https://hub/me/tiny", "me/tiny\nlicense: mit"):
        with pytest.raises(UserError, match="expected OWNER/NAME"):
            front_matter(record, GGUF, None, [], name)


def test_datasets_of_the_hub_are_named_once(recipe: Recipe) -> None:
    source = recipe.sources["english"].model_copy(
        update={"kind": "hub", "dataset": "owner/data", "builtin": None}
    )
    changed = recipe.model_copy(update={"sources": {"a": source, "b": source, **recipe.sources}})
    record = replace(record_of(recipe), recipe=changed)
    assert metadata(front_matter(record, HF, None, []))["datasets"] == ["owner/data"]


def test_own_code_has_its_tag(recipe: Recipe) -> None:
    assert "custom_code" in metadata(front_matter(record_of(recipe), {"custom_code": True}, None, []))["tags"]
    assert "custom_code" not in metadata(front_matter(record_of(recipe), HF, None, []))["tags"]


def test_a_card_on_disk_is_read_by_the_library(recipe: Recipe, tmp_path: Path) -> None:
    text = front_matter(record_of(recipe, "a: # b", {"x: y": a_task(0.25)}), HF, "mit", ["no"])
    (tmp_path / "README.md").write_text(text + "\n# Card\n", encoding="utf-8")
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.to_dict()["language"] == ["no"]
    assert card.data.to_dict()["model-index"][0]["name"] == "a: # b"
    assert card.text.strip() == "# Card"
