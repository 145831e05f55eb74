"""The one loop of thought, action and observation (ReAct, arXiv 2210.03629), over many episodes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flyweight.evaluation.agents.environment import Environment
from flyweight.evaluation.agents.layout import Ask, Turn, Written
from flyweight.evaluation.agents.writer import Writer

TOGETHER = 64
"""Episodes that advance side by side."""
THOUGHT_ANSWER = "OK."
"""What a step that was a thought only is answered."""

FINISHED = "finished"
STEP_LIMIT = "step limit"
DOES_NOT_FIT = "does not fit"


@dataclass
class Episode:
    """One try at a task, and all that was said in it."""

    environment: Environment
    task: str
    """What the environment said at first."""
    turns: list[Turn] = field(default_factory=list)
    outcome: str = ""
    """`finished`, `step limit` or `does not fit`; empty while the episode runs."""
    scores: dict[str, float] = field(default_factory=dict)
    """The environment's, once the episode is over."""
    calls: int = 0
    """Texts that a model was asked for."""

    def take(self, written: Written, asked_again: bool = False) -> None:
        """Do what the agent wrote, as the next step."""
        number = len(self.turns) + 1
        thought, action = written
        if action is None:
            self.turns.append(Turn(number, thought, None, THOUGHT_ANSWER))
            done = False
        else:
            parsed = self.environment.grammar.parse(action)
            if parsed is None:
                observation, done, possible = self.environment.invalid_observation(), False, True
            else:
                observation, done, possible = self.environment.step(parsed)
            self.turns.append(
                Turn(number, thought, action, observation, parsed is not None, possible, asked_again)
            )
        if done:
            self.end(FINISHED)
        elif number >= self.environment.step_limit:
            self.end(STEP_LIMIT)

    def end(self, outcome: str) -> None:
        """Close the episode; an agent that did not finish by itself is made to, where that means something."""
        if outcome != FINISHED and self.environment.forced_finish is not None:
            self.environment.step(self.environment.forced_finish)
        self.outcome = outcome
        self.scores = self.environment.scores()
        self.environment.close()

    def prompt(self, ask: Ask) -> str:
        """All that a model is shown: opening, task, the steps so far, the question."""
        layout = self.environment.layout
        steps = "".join(layout.record(turn) for turn in self.turns)
        return f"{layout.opening}{self.task}\n{steps}{ask.cue}"

    def transcript(self) -> dict[str, Any]:
        """Ready for JSON; with the layout's opening it says every prompt."""
        return {"task": self.task, "turns": [turn.to_json() for turn in self.turns]}


def begin(environment: Environment) -> Episode:
    """A new episode."""
    return Episode(environment, environment.reset())


def play(
    environments: Sequence[Environment],
    writer: Writer,
    together: int = TOGETHER,
    progress: Callable[[float], None] | None = None,
) -> list[Episode]:
    """One episode of each environment, with the model's texts as thoughts and actions.

    Episodes advance step by step together, so that the writer gets many prompts at once. A prompt that
    would not leave room for the environment's `new_tokens` ends its episode as `does not fit`; none is ever cut.

    Args:
        environments: all of one benchmark.
        writer: writes the texts, greedily.
        together: how many episodes run side by side.
        progress: called with the share of the episodes that are over.
    """
    episodes: list[Episode] = []
    for start in range(0, len(environments), together):
        wave = [begin(environment) for environment in environments[start : start + together]]
        number = 1
        while running := [episode for episode in wave if not episode.outcome]:
            _advance(running, number, writer)
            number += 1
            if progress is not None:
                progress((start + sum(bool(episode.outcome) for episode in wave)) / len(environments))
        episodes += wave
    return episodes


def play_by(choose: Callable[[Environment], str], environments: Iterable[Environment]) -> list[Episode]:
    """One episode of each environment, with the actions that `choose` says: a baseline."""
    episodes = []
    for environment in environments:
        episode = begin(environment)
        while not episode.outcome:
            episode.take(Written("", choose(environment)))
        episodes.append(episode)
    return episodes


def _advance(running: list[Episode], number: int, writer: Writer) -> None:
    """One step of every episode that runs."""
    asks = [(episode, episode.environment.layout.ask(number)) for episode in running]
    malformed: list[tuple[Episode, str, Ask]] = []
    for episode, text in _write(asks, writer):
        layout = episode.environment.layout
        written = layout.read(number, text)
        again = None if written.action is not None else layout.ask_again(number, written.thought)
        if again is None:
            episode.take(written)
        else:
            malformed.append((episode, written.thought, again))
    thoughts = {id(episode): thought for episode, thought, _ in malformed}
    for episode, text in _write([(episode, ask) for episode, _, ask in malformed], writer):
        lines = text.strip().splitlines()
        episode.take(Written(thoughts[id(episode)], lines[0] if lines else ""), asked_again=True)


def _write(asks: list[tuple[Episode, Ask]], writer: Writer) -> list[tuple[Episode, str]]:
    """The texts for those whose prompts fit; the others' episodes end. What ends alike is written together."""
    groups: dict[tuple[tuple[str, ...], int], list[tuple[Episode, str]]] = {}
    for episode, ask in asks:
        prompt, new_tokens = episode.prompt(ask), episode.environment.new_tokens
        episode.calls += 1
        if writer.tokens(prompt) + new_tokens > writer.max_length:
            episode.end(DOES_NOT_FIT)
        else:
            groups.setdefault((ask.stop, new_tokens), []).append((episode, prompt))
    texts: list[tuple[Episode, str]] = []
    for (stop, new_tokens), group in groups.items():
        written = writer.write([prompt for _, prompt in group], list(stop), new_tokens)
        texts += [(episode, text) for (episode, _), text in zip(group, written, strict=True)]
    return texts
