"""The benchmarks of the four systems: where lm-eval has them, what their local files look like, how they are quoted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """One benchmark."""

    task: str
    """lm-eval's name of the task or group."""
    folder: str
    """Where its files lie in lm-eval's folder of tasks."""
    metric: str
    """The metric that tables quote: length-normalised accuracy where the cards do."""
    chance: float | None
    """What guessing gives."""
    splits: Mapping[str, tuple[str, ...]]
    """The splits that it reads, and for each the names that a local file may have (without ending)."""
    fields: tuple[str, ...]
    """What each record must have."""
    group_folder: str | None = None
    """Where lm-eval has the group, if not in the folder of its tasks."""
    folders: tuple[str, ...] = ()
    """Names of its local folder besides its own name."""
    subset_field: str | None = None
    """The field that tells the subsets of one file apart; where it is missing each subset has a file."""
    shots_split: str | None = None
    """Split of the examples; None where they come with the task, or with the split that is scored."""
    shots: int = 0
    """Examples in lm-eval's own prompt, of those that come from `shots_split`."""
    adapt: Callable[[Record], Record | None] | None = None
    """Makes of a record of the original release the one that lm-eval expects; None leaves it out."""
    runs_code: bool = False
    """Whether scoring runs programs that the model wrote."""

    @property
    def scored_split(self) -> str:
        """The split whose items are scored: the first one."""
        return next(iter(self.splits))


def _boolq(record: Record) -> Record:
    """The original release has `answer` (true or false), SuperGLUE `label`."""
    return record if "label" in record else {**record, "label": int(record["answer"])}


def _mbpp(record: Record) -> Record | None:
    """Problems 11 to 510 are the test split of the whole file."""
    return record if 11 <= int(record["task_id"]) <= 510 else None


def _one(name: str, *others: str) -> tuple[str, ...]:
    return (name, *others)


_VALIDATION = {"validation": _one("validation", "valid", "val", "dev"), "train": _one("train")}
_TEST = {"test": _one("test"), "train": _one("train")}
_CHOICES = ("question", "choices", "answerKey")
_LETTERS = ("A", "B", "C", "D")
_MATH = ("problem", "solution")

BENCHMARKS: dict[str, Benchmark] = {
    "hellaswag": Benchmark(
        "hellaswag", "hellaswag", "acc_norm", 0.25, _VALIDATION,
        ("activity_label", "ctx_a", "ctx_b", "endings", "label"), shots_split="train",
    ),
    "arc_easy": Benchmark("arc_easy", "arc", "acc_norm", 0.25, _TEST, _CHOICES, shots_split="train"),
    "arc_challenge": Benchmark("arc_challenge", "arc", "acc_norm", 0.25, _TEST, _CHOICES, shots_split="train"),
    "piqa": Benchmark(
        "piqa", "piqa", "acc_norm", 0.5, _VALIDATION, ("goal", "sol1", "sol2", "label"), shots_split="train"
    ),
    "winogrande": Benchmark(
        "winogrande", "winogrande", "acc", 0.5, _VALIDATION, ("sentence", "option1", "option2", "answer"),
        shots_split="train",
    ),
    "blimp": Benchmark("blimp", "blimp", "acc", 0.5, {"train": _one("train")}, ("sentence_good", "sentence_bad")),
    "boolq": Benchmark(
        "boolq", "super_glue/boolq", "acc", 0.5, _VALIDATION, ("question", "passage", "label"), shots_split="train",
        adapt=_boolq,
    ),
    "openbookqa": Benchmark(
        "openbookqa", "openbookqa", "acc_norm", 0.25, _TEST, ("question_stem", "choices", "answerKey"),
        shots_split="train",
    ),
    "sciq": Benchmark(
        "sciq", "sciq", "acc_norm", 0.25, _TEST,
        ("support", "question", "distractor1", "distractor2", "distractor3", "correct_answer"), shots_split="train",
    ),
    "lambada_openai": Benchmark(
        "lambada_openai", "lambada", "acc", None, {"test": _one("test")}, ("text",), folders=("lambada",)
    ),
    "mmlu": Benchmark(
        "mmlu", "mmlu/default", "acc", 0.25, {"test": _one("test"), "dev": _one("dev")},
        ("question", "choices", "answer"), subset_field="subject", shots_split="dev",
    ),
    "cmmlu": Benchmark(
        "cmmlu", "cmmlu", "acc_norm", 0.25, {"test": _one("test"), "dev": _one("dev")},
        ("Question", *_LETTERS, "Answer"), subset_field="subject", shots_split="dev",
    ),
    "ceval-valid": Benchmark(
        "ceval-valid", "ceval", "acc_norm", 0.25, {"val": _one("val", "validation"), "dev": _one("dev")},
        ("question", *_LETTERS, "answer"), folders=("ceval",), subset_field="subject", shots_split="dev",
    ),
    "bbh": Benchmark(
        "bbh_cot_fewshot", "bbh/cot_fewshot", "exact_match,get-answer", None, {"test": _one("test")},
        ("input", "target"),
    ),
    "gsm8k": Benchmark(
        "gsm8k", "gsm8k", "exact_match,strict-match", None, _TEST, ("question", "answer"), shots_split="train",
        shots=5,
    ),
    "minerva_math": Benchmark(
        "minerva_math", "minerva_math", "exact_match", None, _TEST, _MATH, group_folder="benchmarks",
        folders=("math", "hendrycks_math"), subset_field="type",
    ),
    "minerva_math500": Benchmark(
        "minerva_math500", "minerva_math", "exact_match", None, {"test": _one("test")}, _MATH, folders=("math500",)
    ),
    "hendrycks_math": Benchmark(
        "hendrycks_math", "hendrycks_math", "exact_match", None, _TEST, _MATH, folders=("math", "minerva_math"),
        subset_field="type",
    ),
    "humaneval": Benchmark(
        "humaneval", "humaneval", "pass@1,create_test", None, {"test": _one("test", "HumanEval")},
        ("task_id", "prompt", "test", "entry_point"), runs_code=True,
    ),
    "mbpp": Benchmark(
        "mbpp", "mbpp", "pass_at_1", None, {"test": _one("test", "mbpp")}, ("task_id", "text", "test_list"),
        adapt=_mbpp, runs_code=True,
    ),
    "wikitext": Benchmark(
        "wikitext", "wikitext", "word_perplexity", None,
        {"test": _one("test"), "train": _one("train"), "validation": _one("validation", "valid")}, ("page",),
    ),
}  # fmt: skip
"""By the names that `flyweight evaluate --tasks` takes."""
