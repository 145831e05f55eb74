"""ALFWorld (arXiv 2010.03768): its text games, where the package and its data are installed.

Played as the ReAct reference does: the unseen games (134), two examples of the same kind of task before each,
the second of them first, 50 steps, thoughts answered "OK.", what cannot be done answered "Nothing happens.".
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from flyweight.base import UserError
from flyweight.evaluation.agents.data import find_file, read_json_file
from flyweight.evaluation.agents.environment import Environment, Step
from flyweight.evaluation.agents.grammar import CommandGrammar
from flyweight.evaluation.agents.layout import CommandLayout, Layout
from flyweight.evaluation.agents.report import measure
from flyweight.evaluation.agents.writer import Writer
from flyweight.evaluation.results import TaskResult
from flyweight.evaluation.tasks.task import TaskInput

TASK = "alfworld"
GAMES = "json_2.1.1/valid_unseen"
GAME_FILE = "game.tw-pddl"
PUBLISHED_GAMES = 134
STEP_LIMIT = 50
PROMPT_FILES = ("alfworld_3prompts.json", "alfworld.json")
KINDS = {
    "pick_and_place_simple": "put",
    "pick_clean_then_place_in_recep": "clean",
    "pick_heat_then_place_in_recep": "heat",
    "pick_cool_then_place_in_recep": "cool",
    "look_at_obj_in_light": "examine",
    "pick_two_obj_and_place": "puttwo",
}
"""ALFWorld's kinds of task, and how ReAct's prompts name them."""
NOTHING = "Nothing happens."
PUT, MOVE = "put {thing} in/on {place}", "move {thing} to {place}"
GRAMMAR = CommandGrammar(
    [
        "look", "inventory", "help", "go to {place}", "open {place}", "close {place}",
        "take {thing} from {place}", PUT, MOVE, "use {thing}", "examine {thing}",
        "heat {thing} with {place}", "cool {thing} with {place}", "clean {thing} with {place}",
        "slice {thing} with {thing}",
    ]
)  # fmt: skip


class AlfworldGame(Environment):
    """One game of ALFWorld."""

    grammar = GRAMMAR
    step_limit = STEP_LIMIT

    def __init__(self, file: Path, layout: Layout) -> None:
        """Take the game at .../KIND-.../trial_.../game.tw-pddl."""
        super().__init__("/".join(file.parts[-3:-1]), game_kind(file) or "")
        self.file, self.layout = file, layout
        self._solution: list[str] = read_json_file(file, dict).get("walkthrough") or []
        self._steps = 0
        self.has_oracle = bool(self._solution)
        self._game: Any = None
        self._state: Any = None

    def reset(self) -> str:
        """See `Environment`."""
        import textworld  # pyright: ignore[reportMissingImports]
        from alfworld.agents.environment.alfred_tw_env import (  # pyright: ignore[reportMissingImports]
            AlfredDemangler,
        )

        self.close()
        wanted = textworld.EnvInfos(won=True, admissible_commands=True)
        # shuffle=False as in ALFWorld's own evaluation: names keep the numbers of the data.
        self._game = textworld.start(str(self.file), wanted, wrappers=[AlfredDemangler(shuffle=False)])
        self._state = self._game.reset()
        self._steps = 0
        # The first paragraph greets.
        return "\n".join(self._state.feedback.split("\n\n")[1:]).strip()

    def step(self, action: str) -> Step:
        """See `Environment`."""
        commands = self._state.admissible_commands
        command = as_known(action, commands)
        possible = command in commands
        self._state, _, done = self._game.step(command)
        self._steps += 1
        observation = self._state.feedback.strip()
        if observation.startswith("You arrive at "):  # ReAct's examples show what comes after
            observation = observation.partition(". ")[2]
        return Step(observation, bool(done), possible)

    def scores(self) -> dict[str, float]:
        """`success`: won."""
        return {"success": float(bool(self._state.won))}

    def random_action(self, random: Random) -> str:
        """One of the admissible ones."""
        return random.choice(sorted(self._state.admissible_commands))

    def oracle_action(self) -> str:
        """The next command of the game file's walkthrough; `look` where it does not win."""
        return self._solution[self._steps] if self._steps < len(self._solution) else "look"

    def invalid_observation(self) -> str:
        """What ALFWorld says itself."""
        return NOTHING

    def close(self) -> None:
        """See `Environment`."""
        if self._game is not None:
            self._game.close()
            self._game = None


def as_known(action: str, commands: list[str]) -> str:
    """`action`, or the same said as the installed version says it.

    ALFWorld 0.4 calls `move A to B` what it called `put A in/on B` before, and what ReAct's examples say.
    """
    if action in commands:
        return action
    parts = GRAMMAR.split(action)
    if parts is not None and parts[0] in (PUT, MOVE):
        thing, place = parts[1]
        for other in (f"move {thing} to {place}", f"put {thing} in/on {place}"):
            if other in commands:
                return other
    return action


def game_kind(file: Path) -> str | None:
    """The kind of task, from the name of the game's folder; None for one that ALFWorld leaves out."""
    name = file.parts[-3]
    if "movable" in str(file.parent) or "Sliced" in str(file.parent):
        return None
    return next((kind for kind in KINDS if name.startswith(f"{kind}-")), None)


def find_games(folder: Path) -> list[Path]:
    """The solvable games below `folder`, in the order of their names."""
    files = sorted(file for file in folder.rglob(GAME_FILE) if game_kind(file) is not None)
    return [file for file in files if read_json_file(file, dict).get("solvable")]


def kind_layouts(file: Path) -> dict[str, Layout]:
    """The prompt of each kind of task, from ReAct's file.

    Raises:
        UserError: one of the examples is not in it.
    """
    prompts = read_json_file(file, dict)
    layouts: dict[str, Layout] = {}
    for kind, name in KINDS.items():
        keys = (f"react_{name}_1", f"react_{name}_0")
        for key in keys:
            if not isinstance(prompts.get(key), str):
                raise UserError(f"{file}: no example {key!r}; expected ReAct's prompts for ALFWorld.")
        shown = "".join(prompts[key] for key in keys)
        opening = (
            f"Interact with a household to solve a task. Here are two examples.\n{shown}\nHere is the task.\n"
        )
        layouts[kind] = CommandLayout(opening, shots=2)
    return layouts


def run_alfworld(task: TaskInput, writer: Writer | None = None) -> TaskResult:
    """`alfworld`: success rate on the unseen games, by kind of task; a limit takes the first of each kind."""
    reason = missing_alfworld(task.data)
    if reason is not None:
        raise UserError(f"the task {TASK} cannot run: {reason}")
    prompts = find_file(task.data, PROMPT_FILES)
    assert prompts is not None
    layouts, taken = kind_layouts(prompts), dict.fromkeys(KINDS, 0)
    games: list[Environment] = []
    for file in find_games(_folder()):
        kind = game_kind(file)
        assert kind is not None
        if task.limit is None or taken[kind] < task.limit:
            taken[kind] += 1
            games.append(AlfworldGame(file, layouts[kind]))
    if not games:
        raise UserError(f"{_folder()}: no solvable games here; run alfworld-download.")
    result = measure(task, games, f"ALFWorld {GAMES}", writer)
    result.details["complete"] = len(games) == PUBLISHED_GAMES
    return result


def missing_alfworld(data: Path | None) -> str | None:
    """Why the task cannot run here; None where it can."""
    if find_spec("alfworld") is None or find_spec("textworld") is None:
        return "the package alfworld is not installed; pip install alfworld."
    if not os.environ.get("ALFWORLD_DATA"):
        return "ALFWORLD_DATA is not set; run alfworld-download and set it to the folder with json_2.1.1."
    if not _folder().is_dir():
        return f"no folder {_folder()}; run alfworld-download, or set ALFWORLD_DATA to where its data lies."
    if find_file(data, PROMPT_FILES) is None:
        return f"it needs ReAct's examples, agents/{PROMPT_FILES[0]}; give the folder that holds it with --data DIR."
    return None


def _folder() -> Path:
    return Path(os.path.expandvars(os.environ.get("ALFWORLD_DATA", ""))).expanduser() / GAMES
