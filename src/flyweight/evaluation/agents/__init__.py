"""Agents: one loop of thought, action and observation, environments, baselines."""

from flyweight.evaluation.agents.environment import Environment, Step
from flyweight.evaluation.agents.loop import Episode, play, play_by
from flyweight.evaluation.agents.registry import AGENT_TASKS, missing
from flyweight.evaluation.agents.report import measure
from flyweight.evaluation.agents.writer import ModelWriter, Writer

__all__ = [
    "AGENT_TASKS",
    "Environment",
    "Episode",
    "ModelWriter",
    "Step",
    "Writer",
    "measure",
    "missing",
    "play",
    "play_by",
]
