"""Requests are answered in parts, and what is copied or rendered on the way stays what it was."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from flyweight.evaluation.harness import adapter
from flyweight.evaluation.harness.loading import quick_and_quiet
from flyweight.evaluation.harness.rows import Rows
from flyweight.evaluation.harness.run import run_benchmark
from flyweight.evaluation.likelihood import Request, Scores
from flyweight.evaluation.tasks.task import TaskInput
from flyweight.inference import LanguageModel


def test_parts_do_not_cut_documents_and_change_no_score(
    model: LanguageModel, benchmarks_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    told: list[float] = []
    sizes: list[int] = []
    task = TaskInput(model, benchmarks_folder, None, 0, None, told.append)
    whole = run_benchmark("hellaswag", task)
    told.clear()
    score = adapter.score_requests

    def counted(model: LanguageModel, requests: list[Request], *rest: object) -> Scores:
        sizes.append(len(requests))
        return score(model, requests, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(adapter, "score_requests", counted)
    monkeypatch.setattr(adapter, "AT_ONCE", 6)
    parts = run_benchmark("hellaswag", task)
    assert sizes[:-1] == [8] * (len(sizes) - 1)  # four choices a document: the second document is finished
    assert len(sizes) > 1
    assert parts.fit == whole.fit
    for one, other in zip(parts.items["loglikelihoods"], whole.items["loglikelihoods"], strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)


def test_records_are_not_copied_with_a_tasks_configuration():
    rows = Rows([{"x": 1}])
    assert copy.deepcopy({"split": rows})["split"] is rows


def test_templates_render_as_lm_evals_own():
    from lm_eval import utils

    template = "{{question}} {{choices | join(', ')}}{% if range(2)|length == 2 %}!{% endif %}"
    doc = {"question": "Which?", "choices": ["a", "b"]}
    plain = utils.apply_template(template, doc)
    with quick_and_quiet():
        assert utils.apply_template(template, doc) == plain == "Which? a, b!"
        with pytest.raises(UndefinedError):
            utils.apply_template("{{nothing}}", doc)
