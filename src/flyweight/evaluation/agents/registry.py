"""The agent tasks by name, and why one cannot run here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flyweight.evaluation.agents import (
    alfworld_games,
    fever,
    hotpotqa,
    household_tasks,
    textworld_games,
    webshop,
)
from flyweight.evaluation.results import TaskResult
from flyweight.evaluation.tasks.task import TaskInput

HOUSEHOLD = "flyweight-household"

AGENT_TASKS: dict[str, Callable[[TaskInput], TaskResult]] = {
    HOUSEHOLD: household_tasks.run_household,
    hotpotqa.DISTRACTOR: hotpotqa.run_distractor,
    hotpotqa.CORPUS: hotpotqa.run_corpus,
    fever.CORPUS: fever.run_corpus,
    fever.CLAIM_ONLY: fever.run_claim_only,
    textworld_games.TASK: textworld_games.run_textworld,
    alfworld_games.TASK: alfworld_games.run_alfworld,
    webshop.TASK: webshop.run_webshop,
}
"""All but `fever-claim-only` take a `Writer` as a second argument, in place of the model's own."""

NEEDS: dict[str, Callable[[Path | None], str | None]] = {
    hotpotqa.DISTRACTOR: hotpotqa.missing_distractor,
    hotpotqa.CORPUS: hotpotqa.missing_corpus,
    fever.CORPUS: fever.missing_corpus,
    fever.CLAIM_ONLY: fever.missing_claim_only,
    textworld_games.TASK: textworld_games.missing_textworld,
    alfworld_games.TASK: alfworld_games.missing_alfworld,
    webshop.TASK: webshop.missing_webshop,
}


def missing(name: str, data: Path | None) -> str | None:
    """One sentence that says why the task `name` cannot run here; None where it can."""
    assert name in AGENT_TASKS, name
    needs = NEEDS.get(name)
    return None if needs is None else needs(data)
