"""The text of a model card in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from flyweight.inference import average_in_words
from flyweight.planning import Plan, plan_recipe
from flyweight.planning.rendering import format_duration
from flyweight.recipe import Recipe, format_tokens
from flyweight.report.results import Measurement, bits_per_byte_rows, measurements
from flyweight.report.run import RunRecord
from flyweight.report.sections import recipe_yaml, source_rows
from flyweight.report.spending import caveat, energy_rows, time_rows


def card_body(
    record: RunRecord, export: Mapping[str, Any], licence: str | None, images: Mapping[str, str]
) -> str:
    """Everything under the metadata; what is not known has no line.

    Args:
        record: the run, up to the exported checkpoint.
        export: flyweight_export.json.
        licence: of the model.
        images: description to path of each drawing.
    """
    plan = plan_recipe(record.recipe, record.corpus_tokens or None, realised=record.realised)
    parts = [
        f"# {_inline(record.name)}",
        _inline(record.recipe.description),
        _what_it_is(record, plan, export, licence),
        _how_to_load(record, export),
        _section("Results", _results(record)),
        _section("Parameters", _parameters(plan)),
        _section("Data", _data(record, plan)),
        _section("Training", _training(record, plan, images)),
        _section("Limitations", _limitations(record)),
        _section("How to repeat", _repeat(record)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _inline(text: str) -> str:
    """Text on one line that Markdown and HTML leave as it is."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(map(_inline, row)) + " |" for row in rows)])


def _fenced(text: str, language: str) -> str:
    """A code block with a fence longer than any that the text holds."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _what_it_is(record: RunRecord, plan: Plan, export: Mapping[str, Any], licence: str | None) -> str:
    model = record.recipe.model
    features = [
        "rotary positions", "RMSNorm", "SwiGLU",
        f"{model.num_attention_heads} query and {model.num_key_value_heads} key/value heads of {model.head_dim}",
        *(["QK-norm"] if model.qk_norm else []),
        *(["exclusive attention (XGQA, arXiv 2603.09078)"] if model.exclusive_attention else []),
        "tied embeddings" if model.tie_word_embeddings else "untied embeddings",
    ]  # fmt: skip
    rows = [
        ["Parameters", f"{plan.parameters['total']:,}"],
        ["Architecture", f"decoder, {model.num_hidden_layers} layers, width {model.hidden_size}, feed-forward "
                         f"{model.intermediate_size}; {', '.join(features)}"],
        ["Vocabulary", f"{model.vocab_size:,}"],
        ["Context", f"{_trained_context(record):,} tokens"],
    ]  # fmt: skip
    clock = export.get("source", {}).get("clock")
    if clock:
        rows.append(["Trained on", f"{clock:,} tokens"])
    average = export.get("source", {}).get("average")
    if average:
        rows.append(["Averaged", average_in_words(average)])
    if "model_class" in export:
        rows.append(["Class", str(export["model_class"])])
    if "dtype" in export:
        rows.append(["Weights", str(export["dtype"])])
    if licence:
        rows.append(["Licence", licence])
    return _table(["", "This model"], rows).replace(" ---: |", " --- |")


def _trained_context(record: RunRecord) -> int:
    """The longest sequence that the model has seen."""
    if record.steps:
        return max(step["sequence_length"] for step in record.steps)
    return int(record.recipe.training.sequence_length.maximum)


def _how_to_load(record: RunRecord, export: Mapping[str, Any]) -> str:
    own = bool(export.get("custom_code"))
    trust = ", trust_remote_code=True" if own else ""
    why = (
        "The model comes with its own modeling code in this folder, so transformers asks for "
        "`trust_remote_code=True`; read the code first."
        if own
        else f"The weights fit the stock class `{export.get('model_class')}`, so nothing but transformers is needed."
    )
    code = f"""from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this folder, or the name of its repository
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder{trust})
inputs = tokenizer("Once upon a time", return_tensors="pt")
output = model.generate(**inputs, max_new_tokens=64, do_sample=True, temperature=0.8, top_p=0.95)
print(tokenizer.decode(output[0], skip_special_tokens=True))"""
    checks = export.get("checks")
    checked = ""
    if isinstance(checks, Mapping) and isinstance(checks.get("maximum_difference"), int | float):
        difference = checks["maximum_difference"]
        by = (
            f"differed from the checkpoint's by {difference:.1e} at most"
            if difference
            else "were the checkpoint's exactly"
        )
        checked = f"\n\nLoaded back in a fresh process after the export, its logits {by}."
    return _section("How to load", f"{why}\n\n{_fenced(code, 'python')}{checked}")


def _results(record: RunRecord) -> str:
    parts = []
    bits = bits_per_byte_rows(record.results, record.bits_per_byte)
    sources = list(dict.fromkeys(source for row in bits.values() for source in row))
    if sources:
        rows = [
            [label, *(f"{row[s]:.3f}" if s in row else "" for s in sources)] for label, row in bits.items()
        ]
        parts.append(
            "Bits per byte on held-out text (less is better):\n\n"
            + _table(["", *map(_inline, sources)], rows)
        )
    if bits.keys() - {"before training", "after training"}:
        parts.append("The compressors start knowing nothing and learn from this text as it goes by.")
    rows = [
        [
            " ".join([row.task, *row.part]) + (", a part of the set" if row.partial else ""),
            row.metric,
            row.text(),
            row.stderr_text(),
            row.chance_text(),
            "" if row.n is None else f"{row.n:,}",
        ]
        for row in measurements(record.results)
        if not row.grouped or row.part[-1].startswith("operands ")
    ]
    if rows:
        parts.append(_table(["Task", "Metric", "Value", "Standard error", "Chance", "Items"], rows))
    return "\n\n".join(parts)


def _parameters(plan: Plan) -> str:
    counts = plan.parameters
    blocks = f"{counts['blocks'] // counts['per_block']} blocks of {counts['per_block']:,}"
    named = [
        ("Embedding", "embedding"),
        (blocks, "blocks"),
        ("Final norm", "final_norm"),
        ("Readout", "lm_head"),
    ]
    rows = [[label, f"{counts[key]:,}"] for label, key in named if counts[key]]
    return _table(["Part", "Parameters"], [*rows, ["Total", f"{counts['total']:,}"]])


def _data(record: RunRecord, plan: Plan) -> str:
    header, rows = source_rows(record, plan)
    return _table([name.capitalize() for name in header], rows)


def _training(record: RunRecord, plan: Plan, images: Mapping[str, str]) -> str:
    training = record.recipe.training
    optimizers = " then ".join(
        dict.fromkeys({"adamw": "AdamW", "muon": "Muon"}[k.kind] for k in training.optimizer)
    )
    rows = [["Optimizer", optimizers], ["Peak learning rate", f"{training.learning_rate.maximum:g}"]]
    if record.steps:
        last = record.steps[-1]
        rows.append(["Tokens", f"{record.clock:,} of {plan.tokens['total']:,} planned"])
        rows.append(["Steps", f"{last['step']:,} of {plan.steps:,} planned"])
        rows.append(["Training loss at the end", f"{last['loss']:.4f} nats per token"])
        rows.append(["Compute", f"{plan.flops_per_token * record.clock:.3g} FLOPs"])
    if record.hardware:
        rows.append(["Hardware", record.hardware])
    if "precision" in record.execution:
        rows.append(["Precision", str(record.execution["precision"])])
    if record.training_seconds is not None:
        rows.append(["Time in training steps", format_duration(record.training_seconds)])
    if record.tokens_per_second is not None:
        rows.append(["Speed, median", f"{record.tokens_per_second:,.0f} tokens per second"])
    if record.share_of_peak is not None:
        peak_from = record.execution.get("peak_from", "a matrix product measured here")
        rows.append(["Model FLOPs utilisation", f"{record.share_of_peak:.1%} of {peak_from}"])
    rows.append(["Seed", str(record.recipe.seed)])
    drawn = [f"![{description}]({path})" for description, path in images.items()]
    times = []
    if record.spent is not None:
        rows += [[label.capitalize(), value] for label, value in energy_rows(record.spent)]
        if spent := time_rows(record.spent):
            times = ["Where the time went:", _table(["", "Time", "Share"], spent)]
            times += [missing] if (missing := caveat(record.spent)) else []
    return "\n\n".join([_table(["", "Value"], rows), *drawn, *times])


def _limitations(record: RunRecord) -> str:
    guesses = [row for row in measurements(record.results) if not row.part and _like_guessing(row)]
    lines = [
        "A base model: it continues text. It was not taught to follow instructions, to be helpful or to be safe.",
        "It says false things fluently, and repeats what its training text holds, biases included.",
        f"It has not seen sequences longer than {_trained_context(record):,} tokens.",
    ]
    sources = record.recipe.sources.values()
    if any(source.kind == "builtin" for source in sources):
        lines.append(
            "Some of its text was read from the Python packages of the machine it was trained on: technical English "
            "and code, not the breadth of the language."
        )
    if record.clock and record.clock < record.recipe.training.tokens * 0.99:
        lines.append(
            f"The run was to see {format_tokens(record.recipe.training.tokens)} tokens; this checkpoint has seen "
            f"{format_tokens(record.clock)}."
        )
    lines += [
        f"On {_inline(row.task)} ({_inline(row.metric)} {row.text()} {row.stderr_text()}) it does no better than "
        f"guessing ({row.chance_text()}), as far as {row.n or 'the'} items tell."
        for row in guesses
    ]
    if not measurements(record.results):
        lines.append("No task was measured.")
    return "\n".join(f"- {line}" for line in lines)


def _like_guessing(row: Measurement) -> bool:
    """Whether the value lies less than two standard errors above chance."""
    return row.chance is not None and row.stderr is not None and row.value - row.chance < 2 * row.stderr


def _repeat(record: RunRecord) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    said = f"Trained with {versions}. " if versions else ""
    lines = [
        f"{said}Save the recipe below as `recipe.yaml`, then:",
        _fenced("flyweight train recipe.yaml", "sh"),
    ]
    notes = [event["message"] for event in record.of("notice")]
    if notes:
        listed = "\n".join(f"- {_inline(note)}" for note in dict.fromkeys(notes))
        lines.append(f"What the run said about itself:\n\n{listed}")
    block = _fenced(recipe_yaml(_without_paths(record.recipe)), "yaml")
    lines.append(f"<details>\n<summary>The exact recipe</summary>\n\n{block}\n\n</details>")
    return "\n\n".join(lines)


def _without_paths(recipe: Recipe) -> Recipe:
    """The recipe with names for paths: where things lie on somebody's disk is nobody else's business."""
    sources = {
        name: source.model_copy(update={"path": PurePath(source.path).name}) if source.path else source
        for name, source in recipe.sources.items()
    }
    tokenizer = recipe.tokenizer
    if tokenizer.path:
        tokenizer = tokenizer.model_copy(update={"path": PurePath(tokenizer.path).name})
    return recipe.model_copy(update={"sources": sources, "tokenizer": tokenizer})
