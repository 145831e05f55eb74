"""The text of a model card in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flyweight.inference import average_in_words
from flyweight.planning import Plan, plan_recipe
from flyweight.planning.rendering import format_duration
from flyweight.report.card_origin import data_text, limitations_text, repeat_text, trained_context
from flyweight.report.card_results import results_text
from flyweight.report.card_usage import knows_conversations, usage_text
from flyweight.report.markdown import inline, section, table
from flyweight.report.run import RunRecord
from flyweight.report.spending import caveat, energy_rows, time_rows


def card_body(
    record: RunRecord,
    export: Mapping[str, Any],
    folder: Path,
    images: Mapping[str, str],
    licence: str | None = None,
    base_model: str | None = None,
) -> str:
    """Everything under the metadata; what is not known has no line.

    Args:
        record: the run, up to the exported checkpoint.
        export: flyweight_export.json.
        folder: of the export.
        images: description to path of each drawing.
        licence: of the model.
        base_model: the repository that this model is made from.
    """
    plan = plan_recipe(record.recipe, record.corpus_tokens or None, realised=record.realised)
    chats = knows_conversations(export)
    parts = [
        f"# {inline(record.name)}",
        inline(record.recipe.description),
        _what_it_is(record, plan, export, licence, base_model),
        usage_text(export, folder, trained_context(record)),
        section("Results", results_text(record, export, plan.parameters["total"])),
        section("Parameters", _parameters(plan)),
        section("Data", data_text(record, plan)),
        section("Training", _training(record, plan, images)),
        section("Limitations", limitations_text(record, chats=chats)),
        section("How to repeat", repeat_text(record)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what_it_is(
    record: RunRecord, plan: Plan, export: Mapping[str, Any], licence: str | None, base_model: str | None
) -> str:
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
        ["Context", f"{trained_context(record):,} tokens"],
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
        rows.append(["Weights", f"{export['dtype']}, GGUF" if "file" in export else str(export["dtype"])])
    if base_model:
        rows.append(["Made from", base_model])
    if licence:
        rows.append(["Licence", licence])
    return table(["", "This model"], rows, left=2)


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
    return table(["Part", "Parameters"], [*rows, ["Total", f"{counts['total']:,}"]])


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
        loss, steps = record.last_loss
        mean = "not a number" if loss is None else f"{loss:.4f} nats per token"
        rows.append([f"Training loss, mean of the last {steps:,} steps", mean])
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
        energy = [[label.capitalize(), value] for label, value in energy_rows(record.spent)]
        rows += energy or [["Energy", "not measured"]]
        if spent := time_rows(record.spent):
            times = ["Where the time went:", table(["", "Time", "Share"], spent)]
            times += [missing] if (missing := caveat(record.spent)) else []
    return "\n\n".join([table(["", "Value"], rows), *drawn, *times])
