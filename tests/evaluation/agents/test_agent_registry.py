from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flyweight.base import UserError
from flyweight.evaluation.agents import AGENT_TASKS, missing
from flyweight.evaluation.tasks.task import TaskInput

OWN = "flyweight-household"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEBSHOP_URL", raising=False)
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("name", sorted(set(AGENT_TASKS) - {OWN}))
@pytest.mark.parametrize("given", [True, False])
def test_what_cannot_run_says_so_in_one_sentence_before_and_when_it_is_run(
    name: str, given: bool, tmp_path: Path, task_of: Callable[..., TaskInput]
):
    data = tmp_path if given else None
    reason = missing(name, data)
    assert reason is not None
    assert reason.endswith((".", ")."))
    assert "\n" not in reason
    with pytest.raises(UserError) as raised:
        AGENT_TASKS[name](task_of(data))
    assert reason in str(raised.value)
    assert name in str(raised.value)


def test_our_own_task_needs_nothing():
    assert missing(OWN, None) is None


def test_no_task_bears_the_name_of_a_benchmark_that_it_is_not():
    assert set(AGENT_TASKS).isdisjoint({"hotpotqa", "fever"})
    assert {name for name in AGENT_TASKS if name.startswith("hotpotqa")} == {
        "hotpotqa-distractor-react", "hotpotqa-corpus-react",
    }  # fmt: skip
