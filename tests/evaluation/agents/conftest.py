from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flyweight.evaluation.tasks.task import TaskInput
from flyweight.inference import LanguageModel


class ScriptedWriter:
    """Writes what a function of the prompt says; a token is a word."""

    def __init__(self, answer: Callable[[str], str], max_length: int = 100_000) -> None:
        self.answer, self.max_length = answer, max_length
        self.calls: list[tuple[list[str], list[str]]] = []

    def tokens(self, text: str) -> int:
        return len(text.split())

    def write(self, prompts: list[str], stop: list[str], max_new_tokens: int) -> list[str]:
        self.calls.append((prompts, stop))
        return [self._until(self.answer(prompt), stop) for prompt in prompts]

    @staticmethod
    def _until(text: str, stop: list[str]) -> str:
        for word in stop:
            text = text.partition(word)[0]
        return text


@pytest.fixture
def scripted() -> Callable[..., ScriptedWriter]:
    return ScriptedWriter


@pytest.fixture
def task_of(uniform: LanguageModel) -> Callable[..., TaskInput]:
    """The input of a task whose texts a scripted writer writes."""

    def make(data: Path | None = None, limit: int | None = None, seed: int = 0) -> TaskInput:
        return TaskInput(uniform, data, limit, seed, None, None)

    return make
