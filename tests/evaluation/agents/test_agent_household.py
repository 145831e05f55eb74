from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyweight.evaluation.agents.household import GRAMMAR, IMPOSSIBLE, Goal, Household, World
from flyweight.evaluation.agents.household_tasks import (
    LEVELS,
    TASKS_A_LEVEL,
    household_layout,
    household_tasks,
    make_world,
    run_household,
)
from flyweight.evaluation.agents.layout import CommandLayout
from flyweight.evaluation.agents.loop import play, play_by
from flyweight.evaluation.agents.report import oracle_agent, random_agent, summary
from flyweight.evaluation.tasks.task import TaskInput

BARE = CommandLayout("")


@given(level=st.sampled_from(sorted(LEVELS)), seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_every_task_begins_unsolved_and_can_be_solved(level: int, seed: int):
    world = make_world(level, seed)
    household = Household("one", "", world, BARE)
    household.reset()
    assert household.scores() == {"success": 0.0}
    (episode,) = play_by(oracle_agent, [household])
    assert episode.outcome == "finished"
    assert episode.scores == {"success": 1.0}
    assert all(turn.valid and turn.possible for turn in episode.turns)
    assert make_world(level, seed) == world


@given(seed=st.integers(0, 2**32), level=st.sampled_from(sorted(LEVELS)))
@settings(max_examples=25, deadline=None)
def test_what_is_admissible_is_exactly_what_can_be_done(seed: int, level: int):
    household = Household("one", "", make_world(level, seed), BARE)
    (episode,) = play_by(random_agent(seed), [household])
    assert all(turn.valid and turn.possible for turn in episode.turns)
    admissible = set(household.admissible())
    assert all(GRAMMAR.parse(action) == action for action in admissible)
    others = {
        f"{verb} {place}" for verb in ("go to", "open", "close") for place in household.world.places
    } - admissible
    for action in sorted(others):
        assert household.step(action) == (IMPOSSIBLE, False, False)


@given(texts=st.lists(st.text(max_size=30), max_size=5), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_commands_about_things_that_are_not_there_change_nothing(texts: list[str], seed: int):
    household = Household("one", "", make_world(5, seed), BARE)
    household.reset()
    before = household.admissible()
    for action in filter(None, (GRAMMAR.parse(f"take {text} from {text}") for text in texts)):
        assert not household.step(action).possible
    assert household.admissible() == before


def test_a_walk_through_the_rules():
    world = World(
        ("box 1", "sink 1", "table 1"),
        {"cup 1": "box 1", "cup 2": "table 1"},
        Goal("cup", "wash", 1, "table 1"),
    )
    household = Household("one", "", world, BARE)
    assert household.reset() == (
        "You are in the middle of the room. There is box 1, sink 1, table 1.\n"
        "Your task: put a washed cup in table 1."
    )
    for action, observation in (
        ("take cup 2 from table 1", IMPOSSIBLE),  # not there yet
        ("go to box 1", "box 1 is closed."),
        ("take cup 1 from box 1", IMPOSSIBLE),  # closed
        ("open box 1", "In box 1 you see cup 1."),
        ("take cup 1 from box 1", "You take cup 1."),
        ("inventory", "You carry cup 1."),
        ("wash cup 1", IMPOSSIBLE),  # not at a sink
        ("go to table 1", "In table 1 you see cup 2."),
        ("take cup 2 from table 1", IMPOSSIBLE),  # hands are full
        ("go to sink 1", "In sink 1 you see nothing."),
        ("wash cup 1", "You wash cup 1."),
        ("go to table 1", "In table 1 you see cup 2."),
    ):
        assert household.step(action)[:2] == (observation, False)
        assert household.scores()["success"] == 0.0
    assert household.step("put cup 1 in table 1") == ("You put cup 1 in table 1.", True, True)
    assert household.scores()["success"] == 1.0


def test_the_oracle_solves_all_random_few_and_harder_levels_need_more_steps():
    environments = household_tasks(seed=0)
    assert len(environments) == TASKS_A_LEVEL * len(LEVELS)
    oracle, random = play_by(oracle_agent, environments), play_by(random_agent(0), environments)
    assert summary(oracle)["success"].value == 1.0
    assert summary(random)["success"].value < 0.3
    steps = [
        summary([episode for episode in oracle if episode.environment.kind == f"level {level}"])[
            "steps"
        ].value
        for level in LEVELS
    ]
    assert steps == sorted(steps)


def test_tasks_are_the_same_every_time_and_others_with_another_seed():
    def texts(seed: int, limit: int | None = None) -> list[str]:
        return [environment.reset() for environment in household_tasks(seed, limit)]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)
    assert texts(1, limit=2) == [text for start in range(0, 100, 20) for text in texts(1)[start : start + 2]]


def test_the_prompts_example_is_a_solved_task():
    opening = household_layout().opening
    assert "> put" in opening
    assert opening.endswith("Here is your task.\n")
    assert len(opening.split()) < 150  # tokens are dear in short contexts


def test_a_writer_that_copies_the_oracle_gets_the_oracles_score(
    scripted: Callable[..., Any], task_of: Callable[..., TaskInput]
):
    environments = household_tasks(0, limit=2)
    solutions = {
        environment.reset(): [turn.action for turn in play_by(oracle_agent, [environment])[0].turns]
        for environment in environments
    }

    def answer(prompt: str) -> str:
        own = prompt.rpartition("Here is your task.\n")[2]
        task = "\n".join(own.split("\n")[:2])
        return f" {solutions[task][own.count('> ')]}"

    result = run_household(task_of(limit=2), scripted(answer))
    assert result.metrics["success"].value == result.details["baselines"]["oracle"]["success"]["value"] == 1.0
    assert result.metrics["steps"].value == result.details["baselines"]["oracle"]["steps"]["value"]
    assert result.chance is not None
    assert result.chance < 0.3
    assert set(result.subsets) == {f"level {level}" for level in LEVELS}


@pytest.mark.parametrize("text", ["", " think: hm", " dance", " go to the moon 1"])
def test_writers_of_nonsense_get_nothing(scripted: Callable[..., Any], text: str):
    episodes = play(household_tasks(0, limit=1), scripted(lambda prompt: text))
    assert [episode.outcome for episode in episodes] == ["step limit"] * 5
    assert summary(episodes)["success"].value == 0.0
    assert summary(episodes)["steps"].value == 30
