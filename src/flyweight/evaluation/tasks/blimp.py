"""BLiMP: which of two sentences is the grammatical one (arXiv 1912.00582), scored as lm-eval does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from flyweight.base import UserError
from flyweight.evaluation.items import read_json_lines
from flyweight.evaluation.likelihood import Request, score_requests
from flyweight.evaluation.statistics import mean, standard_error, standard_error_of_mean_of_means
from flyweight.evaluation.tasks.task import TaskInput

OFFICIAL_SUBSETS = 67
"""Paradigms of the published set, of 1,000 pairs each; a mean over fewer is not comparable."""


class Pair(NamedTuple):
    """A minimal pair."""

    good: str
    """The grammatical sentence."""
    bad: str
    """The ungrammatical one."""


def read_blimp(folder: Path | None) -> dict[str, list[Pair]]:
    """The pairs by UID from `folder`/blimp/UID.jsonl or `folder`/UID.jsonl.

    Raises:
        UserError: no such files, or a line without `sentence_good` and `sentence_bad`.
    """
    if folder is None:
        raise UserError("the task blimp needs its files: give a folder with blimp/UID.jsonl (--data DIR).")
    inside = folder / "blimp"
    place = inside if inside.is_dir() else folder
    files = sorted(place.glob("*.jsonl")) if place.is_dir() else []
    if not files:
        raise UserError(
            f"{place}: no BLiMP files here; expected UID.jsonl files such as adjunct_island.jsonl."
        )
    return {file.stem: _read_pairs(file) for file in files}


def _read_pairs(file: Path) -> list[Pair]:
    pairs = []
    for number, item in enumerate(read_json_lines(file), 1):
        good, bad = item.get("sentence_good"), item.get("sentence_bad")
        if not (isinstance(good, str) and isinstance(bad, str) and good and bad):
            raise UserError(
                f"{file}, item {number}: not a BLiMP pair; expected the texts sentence_good and sentence_bad."
            )
        pairs.append(Pair(good, bad))
    if not pairs:
        raise UserError(f"{file}: no BLiMP pairs in this file.")
    return pairs


def run_blimp(task: TaskInput) -> dict[str, Any]:
    """Accuracy by UID and their plain mean.

    Both sentences, each with a space before it, continue the prefix token; the grammatical one has
    to have the larger summed log-likelihood. A tie counts as right, as in lm-eval. A limit takes the
    first pairs of each UID.
    """
    subsets = {uid: pairs[: task.limit] for uid, pairs in read_blimp(task.data).items()}
    sentences = [f" {text}" for pairs in subsets.values() for pair in pairs for text in pair]
    requests: list[Request] = [([], tokens) for tokens in task.model.tokenizer.encode_batch(sentences)]
    scores = score_requests(task.model, requests, progress=task.progress)
    good, bad = scores.values[0::2], scores.values[1::2]
    right = [float(first >= second) for first, second in zip(good, bad, strict=True)]
    results, start = {}, 0
    for uid, pairs in subsets.items():
        part = right[start : start + len(pairs)]
        results[uid] = {"acc": mean(part), "acc_stderr": standard_error(part), "n": len(part)}
        start += len(pairs)
    return {
        "acc": mean([result["acc"] for result in results.values()]),
        "acc_stderr": standard_error_of_mean_of_means([result["acc_stderr"] for result in results.values()]),
        "chance": 0.5,
        "n": len(right),
        "subsets": len(subsets),
        "complete": len(subsets) == OFFICIAL_SUBSETS and task.limit is None,
        "truncated": scores.truncated,
        "by_uid": results,
    }
