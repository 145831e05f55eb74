"""The YAML at the head of a model card, which the Hugging Face Hub reads."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from flyweight.base import UserError
from flyweight.release.publish import is_repository
from flyweight.report.results import exported_bits, measurements
from flyweight.report.run import RunRecord

TASK = "text-generation"

METRIC_NAMES = {
    "acc": "accuracy",
    "acc_norm": "accuracy, length-normalised",
    "bits_per_byte": "bits per byte",
}

LICENCES = {
    "afl-3.0", "agpl-3.0", "apache-2.0", "apple-amlr", "apple-ascl", "artistic-2.0",
    "bigcode-openrail-m", "bigscience-bloom-rail-1.0", "bigscience-openrail-m", "bsd", "bsd-2-clause",
    "bsd-3-clause", "bsd-3-clause-clear", "bsl-1.0", "c-uda", "cc", "cc-by-2.0", "cc-by-2.5",
    "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0",
    "cdla-sharing-1.0", "creativeml-openrail-m", "deepfloyd-if-license", "ecl-2.0", "epl-1.0", "epl-2.0",
    "etalab-2.0", "eupl-1.1", "eupl-1.2", "gemma", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "h-research",
    "intel-research", "isc", "lgpl", "lgpl-2.1", "lgpl-3.0", "lgpl-lr", "llama2", "llama3", "llama3.1",
    "llama3.2", "llama3.3", "llama4", "lppl-1.3c", "mit", "mpl-2.0", "ms-pl", "mspl", "ncsa", "odbl",
    "odc-by", "ofl-1.1", "openrail", "openrail++", "osl-3.0", "pddl", "postgresql", "unknown",
    "unlicense", "wtfpl", "zlib",
}  # fmt: skip
"""The Hub's identifiers (huggingface.co/docs/hub/repositories-licenses); any other one is `other` with a name."""


def front_matter(
    record: RunRecord,
    export: Mapping[str, Any],
    licence: str | None,
    language: Sequence[str],
    base_model: str | None = None,
) -> str:
    """`---`, the metadata, `---`. Results are those of the record; without any there is no model-index, nor has a
    GGUF file one: what was measured is the checkpoint.

    Args:
        record: the run.
        export: flyweight_export.json.
        licence: of the model: an identifier of the Hub, or the name or address of another licence.
        language: codes.
        base_model: the repository that this model is made from.

    Raises:
        UserError: a base model that is no name of a repository.
    """
    gguf = "file" in export
    results = [] if gguf else _results(record, export)  # nobody measured the file with its rounded weights
    data = ModelCardData(
        language=list(language) or None,
        library_name="gguf" if gguf else "transformers",
        pipeline_tag=TASK,
        tags=[
            "flyweight",
            "small-language-model",
            *(["gguf", "llama.cpp"] if gguf else []),
            *(["custom_code"] if export.get("custom_code") else []),
        ],
        datasets=_datasets(record) or None,
        # The hub's library takes a name only together with results.
        model_name=_plain(record.name) if results else None,
        eval_results=results or None,
        **_licence(licence),
        **_base(base_model, gguf=gguf),
    )
    return f"---\n{data.to_yaml().strip()}\n---\n"


def _licence(licence: str | None) -> dict[str, Any]:
    """The keys for a licence; one that the Hub does not know has a name, and an address if that was given."""
    if licence is None or not licence.strip():
        return {}
    licence = licence.strip()
    for known in (licence.lower(), _slug(licence)):  # "Apache 2.0" is one too
        if known in LICENCES:
            return {"license": known}
    if re.match(r"https?://\S+$", licence):
        name = re.sub(r"\.\w{1,4}$", "", licence.rstrip("/").rpartition("/")[2])
        return {"license": "other", "license_name": _slug(name) or "other", "license_link": licence}
    return {"license": "other", "license_name": _slug(licence) or "other"}


def check_base_model(base_model: str | None) -> None:
    """Nothing, or the name of a repository.

    Raises:
        UserError: something else.
    """
    if base_model is not None and not is_repository(base_model):
        raise UserError(f"--base-model {base_model}: expected OWNER/NAME, a repository of the hub.")


def _base(base_model: str | None, *, gguf: bool) -> dict[str, Any]:
    check_base_model(base_model)
    if base_model is None:
        return {}
    # Without it the Hub guesses, and takes any other model for one that was trained further.
    return {"base_model": base_model, "base_model_relation": "quantized" if gguf else "finetune"}


def _datasets(record: RunRecord) -> list[str]:
    """Datasets of the Hub among the sources."""
    return list(dict.fromkeys(source.dataset for source in record.recipe.sources.values() if source.dataset))


def _results(record: RunRecord, export: Mapping[str, Any]) -> list[EvalResult]:
    types = _Types()
    after = exported_bits(record, export).get("after training", {})
    results = [
        _result(types.of(f"held-out-{source}"), f"Held-out text: {source}", "bits_per_byte", round(value, 4))
        for source, value in after.items()
    ]
    for row in measurements(record.results):
        if not row.grouped and not row.partial:
            name = " ".join([row.named, *row.part])
            error = {} if row.stderr is None else {"stderr": round(row.stderr, 5)}
            results.append(_result(types.of(name), name, row.metric, round(row.value, 5), error))
    return results


class _Types:
    """An identifier for each name: the Hub takes results of the same one for results on the same data."""

    def __init__(self) -> None:
        self._of: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The same for the same name, different for different ones."""
        if name not in self._of:
            slug = found = _slug(name) or "data"
            numbers = itertools.count(2)
            while found in self._of.values():
                found = f"{slug}-{next(numbers)}"
            self._of[name] = found
        return self._of[name]


def _result(
    dataset: str, name: str, metric: str, value: float, arguments: dict[str, float] | None = None
) -> EvalResult:
    return EvalResult(
        task_type=TASK,
        dataset_type=dataset,
        dataset_name=_plain(name),
        metric_type=metric,
        metric_name=METRIC_NAMES.get(metric, metric),
        metric_value=value,
        metric_args=arguments or None,
    )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-")


def _plain(name: str) -> str:
    """A name on one line: YAML folds other line breaks, and readers differ about control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in name).split()) or "unnamed"
