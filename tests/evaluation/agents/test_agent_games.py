from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from flyweight.base import UserError
from flyweight.evaluation.agents import alfworld_games
from flyweight.evaluation.agents.alfworld_games import (
    AlfworldGame,
    as_known,
    find_games,
    kind_layouts,
    run_alfworld,
)
from flyweight.evaluation.agents.layout import CommandLayout
from flyweight.evaluation.agents.loop import play_by
from flyweight.evaluation.agents.report import oracle_agent
from flyweight.evaluation.agents.textworld_games import missing_textworld, run_textworld, tidy
from flyweight.evaluation.tasks.task import TaskInput

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "agents"
TaskOf = Callable[..., TaskInput]
with_textworld = pytest.mark.skipif(
    find_spec("textworld") is None, reason="the package textworld is not installed"
)
with_alfworld = pytest.mark.skipif(
    find_spec("alfworld") is None, reason="the package alfworld is not installed"
)
shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no files for agents at {SHARED}")

PROBLEM = """
(define (problem mugs) (:domain alfred)
 (:objects agent1 - agent loc_bar_0 loc_bar_1 loc_bar_2 - location
  Cabinet_bar__plus_01 Countertop_bar__plus_02 - receptacle Mug_bar__plus_03 - object
  CabinetType CountertopType - rtype MugType - otype)
 (:init (atLocation agent1 loc_bar_0) (openable Cabinet_bar__plus_01)
  (receptacleAtLocation Cabinet_bar__plus_01 loc_bar_1) (receptacleAtLocation Countertop_bar__plus_02 loc_bar_2)
  (inReceptacle Mug_bar__plus_03 Countertop_bar__plus_02) (objectAtLocation Mug_bar__plus_03 loc_bar_2)
  (pickupable Mug_bar__plus_03) (objectType Mug_bar__plus_03 MugType)
  (receptacleType Cabinet_bar__plus_01 CabinetType) (receptacleType Countertop_bar__plus_02 CountertopType)
  (canContain CabinetType MugType) (canContain CountertopType MugType) (= (total-cost) 0))
 (:goal (exists (?r - receptacle) (exists (?o - object)
  (and (inReceptacle ?o ?r) (objectType ?o MugType) (receptacleType ?r CabinetType)))))
 (:metric minimize (total-cost)))
"""
SOLUTION = [
    "go to countertop 1", "take mug 1 from countertop 1", "go to cabinet 1", "open cabinet 1",
    "put mug 1 in/on cabinet 1",
]  # fmt: skip


def steps(text: str) -> int:
    return text.count("\n> ")


@pytest.fixture
def alfworld_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ALFWorld's own rules with a room of ours, and examples in the form of ReAct's."""
    import alfworld  # pyright: ignore[reportMissingImports]

    rules = Path(alfworld.__file__).parent / "data"
    game = {
        "pddl_domain": (rules / "alfred.pddl").read_text(),
        "grammar": (rules / "alfred.twl2").read_text().replace("UNKNOWN GOAL", "put some mug in cabinet"),
        "pddl_problem": PROBLEM,
        "solvable": True,
        "walkthrough": SOLUTION,
    }
    unseen = tmp_path / "data" / "json_2.1.1" / "valid_unseen"
    for name, changes in (
        ("pick_and_place_simple-Mug-None-Cabinet-1/trial_1", {}),
        ("pick_and_place_simple-Mug-None-Cabinet-1/trial_2", {}),
        ("pick_and_place_simple-Mug-None-Cabinet-2/trial_3", {"solvable": False}),
        ("pick_and_place_with_movable_recep-Mug-Pan-Cabinet-3/trial_4", {}),
    ):
        file = unseen / name / "game.tw-pddl"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(game | changes))
    prompts = {
        f"react_{kind}_{number}": f"Example {kind} {number}.\n"
        for kind in alfworld_games.KINDS.values()
        for number in range(3)
    }
    (tmp_path / "alfworld_3prompts.json").write_text(json.dumps(prompts))
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "data"))
    return tmp_path


@with_alfworld
@with_textworld
def test_a_game_under_alfworlds_own_rules_is_played_as_react_plays_it(
    alfworld_data: Path, scripted: Callable[..., Any], task_of: TaskOf
):
    lines = ["think: a mug is on the countertop.", *SOLUTION]

    def answer(prompt: str) -> str:
        return f" {lines[steps(prompt)]}"

    result = run_alfworld(task_of(alfworld_data), scripted(answer))
    assert result.items["id"] == [f"pick_and_place_simple-Mug-None-Cabinet-1/trial_{n}" for n in (1, 2)]
    assert result.metrics["success"].value == 1.0
    assert result.details["baselines"]["oracle"]["success"]["value"] == 1.0
    assert result.details["baselines"]["oracle"]["steps"]["value"] == 5
    assert result.details["complete"] is False
    (opening,) = result.details["openings"]
    assert opening.endswith("examples.\nExample put 1.\nExample put 0.\n\nHere is the task.\n")
    first = result.items["transcript"][0]
    assert first["task"].endswith(
        "you see a cabinet 1, and a countertop 1.\nYour task is to: put some mug in cabinet."
    )
    assert first["turns"][0]["observation"] == "OK."
    assert first["turns"][1]["observation"] == "On the countertop 1, you see a mug 1."
    assert len(run_alfworld(task_of(alfworld_data, limit=1), scripted(answer)).items["id"]) == 1


@with_alfworld
@with_textworld
def test_what_alfworld_cannot_do_is_answered_in_its_words(alfworld_data: Path):
    (file, _) = find_games(alfworld_data / "data")
    game = AlfworldGame(file, CommandLayout(""))
    actions = iter(["dance", "open fridge 1", *SOLUTION])
    (episode,) = play_by(lambda _: next(actions), [game])
    assert [turn.observation for turn in episode.turns[:2]] == ["Nothing happens."] * 2
    assert [(turn.valid, turn.possible) for turn in episode.turns[:2]] == [(False, True), (True, False)]
    assert episode.scores["success"] == 1.0


def test_putting_and_moving_are_the_same_where_only_one_is_known():
    assert as_known("put mug 1 in/on desk 1", ["move mug 1 to desk 1"]) == "move mug 1 to desk 1"
    assert as_known("move mug 1 to desk 1", ["put mug 1 in/on desk 1"]) == "put mug 1 in/on desk 1"
    for action, commands in (
        ("put mug 1 in/on desk 1", ["put mug 1 in/on desk 1", "move mug 1 to desk 1"]),
        ("put mug 1 in/on desk 1", ["move mug 2 to desk 1"]),
        ("look", []),
    ):
        assert as_known(action, commands) == action


def test_examples_that_are_not_in_the_file_are_told(tmp_path: Path):
    (tmp_path / "p.json").write_text('{"react_put_1": "x"}')
    with pytest.raises(
        UserError, match=r"p\.json: no example 'react_put_0'; expected ReAct's prompts for ALFWorld"
    ):
        kind_layouts(tmp_path / "p.json")


@pytest.mark.shared
@shared
def test_reacts_prompts_for_alfworld_load():
    for name in alfworld_games.PROMPT_FILES:
        layouts = kind_layouts(SHARED / name)
        assert all(layout.opening.count("Your task is to:") == 2 for layout in layouts.values())
        # The file's own commands are actions by the grammar.
        for layout in layouts.values():
            lines = [line[2:] for line in layout.opening.splitlines() if line.startswith("> ")]
            commands = [line for line in lines if not line.startswith("think:")]
            assert all(alfworld_games.GRAMMAR.parse(command) for command in commands)


@with_textworld
def test_files_that_are_no_games_are_told(tmp_path: Path, task_of: TaskOf):
    folder = tmp_path / "agents" / "textworld"
    folder.mkdir(parents=True)
    with pytest.raises(UserError, match="no games here; expected files such as"):
        run_textworld(task_of(tmp_path))
    (folder / "a.z8").write_bytes(b"no story")
    with pytest.raises(UserError, match=r"a\.z8: no a\.json beside it"):
        run_textworld(task_of(tmp_path))


def test_a_missing_package_or_folder_of_games_is_told(tmp_path: Path, task_of: TaskOf):
    reason = missing_textworld(tmp_path)
    assert reason is not None
    assert "pip install textworld" in reason or "no file" in reason
    if find_spec("textworld") is None:
        with pytest.raises(
            UserError, match="the task textworld-games cannot run: the package textworld is not installed"
        ):
            run_textworld(task_of(tmp_path))


def test_what_a_game_prints_becomes_one_line():
    assert tidy("\n-= Kitchen =-\nA  room.\n\n> ") == "-= Kitchen =- A room. >"
    assert tidy(None) == ""


@with_textworld
@pytest.mark.shared
@shared
def test_the_three_games_are_won_by_their_walkthroughs(scripted: Callable[..., Any], task_of: TaskOf):
    from flyweight.evaluation.agents.textworld_games import TextWorldGame

    files = sorted((SHARED / "textworld").glob("*.z8"))
    assert len(files) == 3
    games = [TextWorldGame(file) for file in files]
    solutions = {game.identity: [turn.action for turn in episode.turns]
                 for game, episode in zip(games, play_by(oracle_agent, games), strict=True)}  # fmt: skip
    assert [len(solutions[file.stem]) for file in files] == [9, 12, 12]
    openings = {game.reset(): game.identity for game in games}

    def answer(prompt: str) -> str:
        own = next(opening for opening in openings if opening in prompt)
        return f" {solutions[openings[own]][steps(prompt.partition(own)[2])]}"

    result = run_textworld(task_of(SHARED.parent), scripted(answer))
    assert result.metrics["success"].value == result.metrics["score"].value == 1.0
    baselines = result.details["baselines"]
    assert baselines["oracle"]["success"]["value"] == 1.0
    assert baselines["random"]["score"]["value"] < 1.0
    assert baselines["random"]["invalid_actions"]["value"] == 0.0
    assert baselines["random"]["impossible_actions"]["value"] == 0.0
    assert run_textworld(task_of(SHARED.parent), scripted(answer)) == result
