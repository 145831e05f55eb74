"""Games of TextWorld (arXiv 1806.11532) that the user has, played through the package `textworld`.

A game is a story file (.z8, .ulx) with the .json that TextWorld writes beside it, which says what can be done
and how to win. What a player reads comes out of the story file's own program, so that nothing but an
interpreter for it plays the game: without the package nothing is played.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from flyweight.base import UserError
from flyweight.evaluation.agents.data import find_file, lacking, need_file
from flyweight.evaluation.agents.environment import Environment, Step
from flyweight.evaluation.agents.grammar import CommandGrammar
from flyweight.evaluation.agents.layout import CommandLayout
from flyweight.evaluation.agents.report import measure
from flyweight.evaluation.agents.writer import Writer
from flyweight.evaluation.results import TaskResult
from flyweight.evaluation.tasks.task import TaskInput

TASK = "textworld-games"
FOLDER = "textworld"
STORIES = (".z8", ".ulx")
STEP_LIMIT = 50
INSTRUCTION = (
    "You play a text adventure. Each line after > is a command: {forms}. A line that begins with think: is a "
    "thought.\n"
)


class TextWorldGame(Environment):
    """One game."""

    step_limit = STEP_LIMIT
    has_oracle = True

    def __init__(self, file: Path) -> None:
        """Open the game of a story file.

        Raises:
            UserError: it is no game, or the .json beside it is missing.
        """
        super().__init__(file.stem)
        self.file = file
        if not file.with_suffix(".json").is_file():
            raise UserError(
                f"{file}: no {file.stem}.json beside it; expected the file that TextWorld writes with a game, "
                "which says what can be done and how to win."
            )
        self._game: Any = None
        self.reset()
        templates = sorted(template for template in self._state.command_templates)
        self.grammar = CommandGrammar(templates)
        self.layout = CommandLayout(INSTRUCTION.format(forms=self.grammar.describe()))
        self.close()

    def reset(self) -> str:
        """See `Environment`."""
        import textworld  # pyright: ignore[reportMissingImports]

        self.close()
        wanted = textworld.EnvInfos(
            admissible_commands=True, policy_commands=True, command_templates=True, objective=True,
            description=True, max_score=True, score=True, won=True, lost=True,
        )  # fmt: skip
        try:
            self._game = textworld.start(str(self.file), wanted)
            self._state = self._game.reset()
        except Exception as error:  # whatever an interpreter says about a file that is no game
            raise UserError(f"{self.file}: TextWorld cannot play this file ({error}).") from error
        return f"{tidy(self._state.objective)}\n{tidy(self._state.description)}"

    def step(self, action: str) -> Step:
        """See `Environment`."""
        possible = action in self._state.admissible_commands
        self._state, _, done = self._game.step(action)
        return Step(tidy(self._state.feedback), bool(done), possible)

    def scores(self) -> dict[str, float]:
        """`success`: won; `score`: points of the game's most."""
        most = self._state.max_score or 1
        return {"success": float(bool(self._state.won)), "score": (self._state.score or 0) / most}

    def random_action(self, random: Random) -> str:
        """One of the admissible ones."""
        return random.choice(sorted(self._state.admissible_commands))

    def oracle_action(self) -> str:
        """The first command of the walkthrough from here."""
        return self._state.policy_commands[0]

    def close(self) -> None:
        """See `Environment`."""
        if self._game is not None:
            self._game.close()
            self._game = None


def tidy(text: str | None) -> str:
    """What a game prints, on one line."""
    return " ".join((text or "").split())


def run_textworld(task: TaskInput, writer: Writer | None = None) -> TaskResult:
    """`textworld-games`: share of the user's games won within 50 steps, and of their points."""
    reason = package_missing()
    if reason is not None:
        raise UserError(f"the task {TASK} cannot run: {reason}")
    folder = need_file(TASK, task.data, FOLDER)
    files = _stories(folder)
    if not files:
        raise UserError(f"{folder}: no games here; expected files such as NAME.z8 with NAME.json.")
    games = files[: task.limit]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in games)).hexdigest()[:16]
    return measure(task, [TextWorldGame(file) for file in games], f"{FOLDER}/ (games {digest})", writer)


def missing_textworld(data: Path | None) -> str | None:
    """Why the task cannot run here; None where it can."""
    folder = find_file(data, (FOLDER,))
    if folder is not None and not _stories(folder):
        return f"{folder}: no games here; expected files such as NAME.z8 with NAME.json."
    return package_missing() or lacking(data, FOLDER)


def package_missing() -> str | None:
    """Why games cannot be played; None where they can."""
    if find_spec("textworld") is None:
        return "the package textworld is not installed; pip install textworld (Linux and macOS)."
    return None


def _stories(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in STORIES) if folder.is_dir() else []
