"""From episodes to a result: scores, and beside them what one needs to read them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from flyweight.base import derive_seed
from flyweight.evaluation.agents.environment import Environment
from flyweight.evaluation.agents.loop import DOES_NOT_FIT, Episode, play, play_by
from flyweight.evaluation.agents.writer import ModelWriter, Writer
from flyweight.evaluation.results import Metric, TaskResult
from flyweight.evaluation.statistics import mean, standard_error
from flyweight.evaluation.tasks.task import TaskInput


def measure(
    task: TaskInput, environments: Sequence[Environment], source: str, writer: Writer | None = None
) -> TaskResult:
    """Let the model, the random agent and, where there is one, the oracle play all environments.

    Args:
        task: the model, the seed of the random agent, where progress goes.
        environments: at least one; the same objects are played by all agents in turn.
        source: where the items come from, in words.
        writer: writes in place of `task.model`, which is then left alone.
    """
    baselines = {"random": summary(play_by(random_agent(task.seed), environments))}
    if all(environment.has_oracle for environment in environments):
        baselines["oracle"] = summary(play_by(oracle_agent, environments))
    episodes = play(environments, writer or ModelWriter(task.model), progress=task.progress)
    metrics = summary(episodes)
    main = next(iter(episodes[0].scores))
    openings = list(dict.fromkeys(environment.layout.opening for environment in environments))
    return TaskResult(
        metrics=metrics,
        items=columns(episodes),
        chance=baselines["random"][main].value,
        shots=max(environment.layout.shots for environment in environments),
        subsets=by_kind(episodes),
        fit={
            "requests": sum(episode.calls for episode in episodes),
            "truncated": 0,
            "did_not_fit": sum(episode.outcome == DOES_NOT_FIT for episode in episodes),
        },
        data={"source": source, "fingerprint": fingerprint(episodes)},
        details={
            "main_metric": main,
            "baselines": {
                name: {metric: value._asdict() for metric, value in values.items()}
                for name, values in baselines.items()
            },
            "step_limit": max(environment.step_limit for environment in environments),
            "max_new_tokens": max(environment.new_tokens for environment in environments),
            "grammar": environments[0].grammar.describe(),
            "openings": openings,
        },
    )


def random_agent(seed: int) -> Callable[[Environment], str]:
    """Draws from the actions that make sense, with a stream of its own for every task."""
    streams: dict[str, Random] = {}

    def choose(environment: Environment) -> str:
        name = environment.identity
        stream = streams.setdefault(name, Random(derive_seed(seed, "random agent", name)))
        return environment.random_action(stream)

    return choose


def oracle_agent(environment: Environment) -> str:
    """Does what the environment's solution says."""
    return environment.oracle_action()


def summary(episodes: Sequence[Episode]) -> dict[str, Metric]:
    """The environments' scores, then mean steps and the rates of what went wrong.

    `invalid_actions` is the share of all actions that were none by the grammar, `impossible_actions` of those
    that had the right form and could not be done, `does_not_fit` the share of the episodes that ended since
    the prompt did not fit.
    """
    metrics = {name: _mean([episode.scores[name] for episode in episodes]) for name in episodes[0].scores}
    actions = [turn for episode in episodes for turn in episode.turns if turn.action is not None]
    metrics["steps"] = _mean([len(episode.turns) for episode in episodes])
    metrics["invalid_actions"] = _share([not turn.valid for turn in actions])
    metrics["impossible_actions"] = _share([not turn.possible for turn in actions])
    metrics["does_not_fit"] = _mean([float(episode.outcome == DOES_NOT_FIT) for episode in episodes])
    return metrics


def columns(episodes: Sequence[Episode]) -> dict[str, list[Any]]:
    """What each episode came to."""
    names = list(episodes[0].scores)
    return {
        "id": [episode.environment.identity for episode in episodes],
        "kind": [episode.environment.kind for episode in episodes],
        **{name: [episode.scores[name] for episode in episodes] for name in names},
        "outcome": [episode.outcome for episode in episodes],
        "steps": [len(episode.turns) for episode in episodes],
        "invalid": [sum(not turn.valid for turn in episode.turns) for episode in episodes],
        "asked_again": [sum(turn.asked_again for turn in episode.turns) for episode in episodes],
        "transcript": [episode.transcript() for episode in episodes],
    }


def by_kind(episodes: Sequence[Episode]) -> dict[str, dict[str, Metric]]:
    """`summary` of each kind of task; empty where there is one kind only."""
    kinds = sorted({episode.environment.kind for episode in episodes})
    if len(kinds) == 1:
        return {}
    return {
        kind: summary([episode for episode in episodes if episode.environment.kind == kind]) for kind in kinds
    }


def fingerprint(episodes: Sequence[Episode]) -> str:
    """A hash of the tasks as agents see them."""
    digest = hashlib.sha256()
    for episode in episodes:
        digest.update(f"{episode.environment.identity}\x1f{episode.task}\x1e".encode())
    return digest.hexdigest()[:16]


def _mean(values: Sequence[float]) -> Metric:
    return Metric(mean(values), standard_error(values), len(values))


def _share(flags: Sequence[bool]) -> Metric:
    """Actions of one episode depend on each other, so that a share over actions has no simple error."""
    return Metric(sum(flags) / len(flags) if flags else 0.0, None, len(flags))
