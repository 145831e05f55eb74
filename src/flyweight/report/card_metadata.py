"""The YAML at the head of a model card, which the Hugging Face Hub reads."""

from __future__ import annotations

import re
from collections.abc import Sequence

from huggingface_hub import EvalResult, ModelCardData

from flyweight.report.results import bits_per_byte_rows, measurements
from flyweight.report.run import RunRecord

TASK = "text-generation"

METRIC_NAMES = {
    "acc": "accuracy",
    "acc_norm": "accuracy, length-normalised",
    "bits_per_byte": "bits per byte",
}


def front_matter(record: RunRecord, licence: str | None, language: Sequence[str]) -> str:
    """`---`, the metadata, `---`. Results are those of the record; without any there is no model-index."""
    results = _results(record)
    data = ModelCardData(
        language=list(language) or None,
        license=licence,
        library_name="transformers",
        pipeline_tag=TASK,
        tags=["flyweight", "small-language-model"],
        datasets=_datasets(record) or None,
        # The hub's library takes a name only together with results.
        model_name=record.name if results else None,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml().strip()}\n---\n"


def _datasets(record: RunRecord) -> list[str]:
    """Datasets of the Hub among the sources."""
    return list(dict.fromkeys(source.dataset for source in record.recipe.sources.values() if source.dataset))


def _results(record: RunRecord) -> list[EvalResult]:
    after = bits_per_byte_rows(record.results, record.bits_per_byte).get("after training", {})
    results = [
        _result(f"held-out-{_slug(source)}", f"Held-out text: {source}", "bits_per_byte", round(value, 4))
        for source, value in after.items()
    ]
    for row in measurements(record.results):
        if not row.grouped and not row.partial:
            name = " ".join([row.task, *row.part])
            error = {} if row.stderr is None else {"stderr": round(row.stderr, 5)}
            results.append(_result(_slug(name), name, row.metric, round(row.value, 5), error))
    return results


def _result(
    dataset: str, name: str, metric: str, value: float, arguments: dict[str, float] | None = None
) -> EvalResult:
    return EvalResult(
        task_type=TASK,
        dataset_type=dataset,
        dataset_name=name,
        metric_type=metric,
        metric_name=METRIC_NAMES.get(metric, metric),
        metric_value=value,
        metric_args=arguments or None,
    )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-")
