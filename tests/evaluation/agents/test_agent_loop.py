from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from flyweight.evaluation.agents.environment import Environment, Step
from flyweight.evaluation.agents.grammar import CallGrammar
from flyweight.evaluation.agents.layout import (
    WEBSHOP_THOUGHT,
    CommandLayout,
    NumberedLayout,
    Turn,
    Written,
)
from flyweight.evaluation.agents.loop import play, play_by
from flyweight.evaluation.agents.report import columns, measure, summary
from flyweight.evaluation.results import TaskResult
from flyweight.evaluation.tasks.task import TaskInput

Scripted = Callable[..., Any]


class Echo(Environment):
    """Says back what is said; over at Finish, right with `yes`."""

    grammar = CallGrammar({"Say": "words", "Finish": "answer"}, may_be_empty=["Finish"])
    step_limit = 4
    forced_finish = "Finish[]"

    def __init__(self, identity: str, layout: Any = None) -> None:
        super().__init__(identity, f"kind {int(identity) % 2}")
        self.layout = layout or NumberedLayout("Opening.\n", shots=2)
        self.finished: list[str] = []
        self.closed = 0

    def reset(self) -> str:
        self.finished = []
        return f"Task {self.identity}"

    def step(self, action: str) -> Step:
        name, argument = self.grammar.split(action) or ("", "")
        if name == "Finish":
            self.finished.append(argument)
            return Step("Over.", done=True)
        return Step(f"{argument}!", possible=argument != "what cannot be said")

    def scores(self) -> dict[str, float]:
        return {"success": float(self.finished == ["yes"])}

    def random_action(self, random: Random) -> str:
        return random.choice(["Say[a]", "Finish[no]", "Finish[yes]"])

    def close(self) -> None:
        self.closed += 1


def test_steps_are_numbered_and_prompts_hold_all_that_was_said(scripted: Scripted):
    texts = {
        "Thought 1:": " I greet.\nAction 1: Say[hello]\nObservation 1: mine",
        "Thought 2:": " I am done.\nAction 2: Finish[yes]",
    }
    writer = scripted(lambda prompt: texts[prompt.splitlines()[-1]])
    (episode,) = play([Echo("7")], writer)
    assert (episode.outcome, episode.scores, episode.calls) == ("finished", {"success": 1.0}, 2)
    assert writer.calls[0] == (["Opening.\nTask 7\nThought 1:"], ["\nObservation 1:"])
    assert writer.calls[1][0] == [
        "Opening.\nTask 7\nThought 1: I greet.\nAction 1: Say[hello]\nObservation 1: hello!\nThought 2:"
    ]
    assert episode.turns[1] == Turn(2, "I am done.", "Finish[yes]", "Over.")
    assert json.loads(json.dumps(episode.transcript())) == episode.transcript()


def test_a_step_without_action_is_asked_for_its_action_alone(scripted: Scripted):
    def answer(prompt: str) -> str:
        return " Finish[yes]\nand more" if prompt.endswith("Action 1:") else " I ramble\non and on"

    writer = scripted(answer)
    (episode,) = play([Echo("1")], writer)
    assert [stop for _, stop in writer.calls] == [["\nObservation 1:"], ["\n"]]
    assert writer.calls[1][0][0].endswith("Thought 1: I ramble\nAction 1:")
    assert episode.turns == [Turn(1, "I ramble", "Finish[yes]", "Over.", asked_again=True)]
    assert (episode.calls, episode.scores["success"]) == (2, 1.0)


def test_what_is_no_action_is_counted_answered_with_the_grammar_and_costs_a_step(scripted: Scripted):
    environment = Echo("1")
    (episode,) = play([environment], scripted(lambda prompt: " x\nAction 1: dance\nAction 2: dance"))
    assert episode.outcome == "step limit"
    assert len(episode.turns) == environment.step_limit
    # Steps 3 and 4 are malformed and answered nonsense too; none of it reaches the environment.
    assert [turn.valid for turn in episode.turns] == [False] * 4
    assert episode.turns[0].observation == "Invalid action. Expected Say[words] or Finish[answer]."
    # An agent that never finishes is made to, with an empty answer, once.
    assert environment.finished == [""]
    metrics = summary([episode])
    assert (metrics["invalid_actions"].value, metrics["invalid_actions"].n) == (1.0, 4)
    assert metrics["steps"].value == 4


def test_actions_that_cannot_be_done_are_told_apart_from_those_that_are_none():
    actions = iter(["Say[what cannot be said]", "nothing", "Say[a]", "Finish[yes]"])
    metrics = summary(play_by(lambda _: next(actions), [Echo("1")]))
    assert metrics["invalid_actions"].value == metrics["impossible_actions"].value == 0.25
    assert metrics["success"].value == 1.0


def test_a_prompt_that_does_not_fit_ends_its_episode_and_is_never_cut(scripted: Scripted):
    seen: list[int] = []

    def answer(prompt: str) -> str:
        seen.append(len(prompt.split()))
        number = prompt.splitlines()[-1].removeprefix("Thought ").rstrip(":")
        return f" t\nAction {number}: Say[{'a ' * 20}]"

    # 5 words of a first prompt + 100 fit into 110; after 20 more words nothing does.
    writer = scripted(answer, max_length=110)
    environments = [Echo("1"), Echo("2")]
    episodes = play(environments, writer)
    assert seen == [5, 5]
    assert [episode.outcome for episode in episodes] == ["does not fit"] * 2
    assert [len(episode.turns) for episode in episodes] == [1, 1]
    assert all(environment.finished == [""] for environment in environments)
    assert summary(episodes)["does_not_fit"].value == 1.0
    one = play([Echo("1")], scripted(answer, max_length=104))
    assert (one[0].outcome, one[0].turns, summary(one)["steps"].value) == ("does not fit", [], 0)
    assert summary(one)["invalid_actions"] == (0.0, None, 0)


def test_the_second_question_of_a_step_may_be_what_does_not_fit(scripted: Scripted):
    (episode,) = play([Echo("1")], scripted(lambda prompt: " one two three", max_length=107))
    assert (episode.outcome, episode.calls, episode.turns) == ("does not fit", 2, [])


def test_episodes_advance_together_and_come_back_in_order_whatever_the_batch(scripted: Scripted):
    def answer(prompt: str) -> str:
        number = prompt.splitlines()[-1].removeprefix("Thought ").rstrip(":")
        identity = int(prompt.splitlines()[1].removeprefix("Task "))
        action = "Finish[yes]" if int(number) > identity % 4 else f"Say[{identity}]"
        return f" t\nAction {number}: {action}"

    outcomes = []
    for together in (1, 3, 64):
        writer, shares = scripted(answer), []
        environments = [Echo(str(number)) for number in range(8)]
        episodes = play(environments, writer, together=together, progress=shares.append)
        assert [episode.environment.identity for episode in episodes] == [str(n) for n in range(8)]
        assert max(len(prompts) for prompts, _ in writer.calls) == min(together, 8)
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
        assert [environment.closed for environment in environments] == [1] * 8
        outcomes.append(columns(episodes))
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_thoughts_in_the_command_layout_are_steps_answered_ok(scripted: Scripted):
    lines = iter(["think: where is it?", "Say[a]\nSay[b]", "Finish[yes]"])
    writer = scripted(lambda prompt: f" {next(lines)}")
    (episode,) = play([Echo("1", CommandLayout("Opening.\n"))], writer)
    assert [turn.observation for turn in episode.turns] == ["OK.", "a!", "Over."]
    assert writer.calls[-1] == (["Opening.\nTask 1\n> think: where is it?\nOK.\n> Say[a]\na!\n>"], ["\n"])
    # A thought is no action: neither invalid nor in the count of actions.
    assert summary([episode])["invalid_actions"] == (0.0, None, 2)
    assert summary([episode])["steps"].value == 3


def test_layouts_read_what_they_record():
    shop = CommandLayout("", 0, "Action:", "Observation: {observation}\n\n", WEBSHOP_THOUGHT)
    for layout in (CommandLayout(""), shop):
        for written in (Written("I think so", None), Written("", "Say[x]")):
            record = layout.record(Turn(1, written.thought, written.action, "{observation}"))
            assert layout.read(1, record.removeprefix(layout.cue)) == written
    numbered = NumberedLayout("")
    written = Written("I think", "Say[x]")
    record = numbered.record(Turn(3, *written, "seen"))
    assert numbered.read(3, record.removeprefix("Thought 3:").partition("\nObservation 3:")[0]) == written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Written("", None)),
        (" \n ", Written("", None)),
        (" a\nAction 1:", Written("a", "")),
        ("Action 1: Say[x]", Written("", "Say[x]")),
        (" a\nAction 2: Say[x]", Written("a", None)),
        (" a\nb\nAction 1: Say[x]\nThought 2: c", Written("a", "Say[x]")),
    ],
)
def test_odd_texts_are_read_without_a_crash(text: str, expected: Written):
    assert NumberedLayout("").read(1, text) == expected


def test_a_result_has_baselines_counts_and_transcripts(scripted: Scripted, task_of: Callable[..., TaskInput]):
    environments = [Echo(str(number)) for number in range(6)]
    # The right answer for half of them, nonsense for the others.
    writer = scripted(
        lambda prompt: " t\nAction 1: Finish[yes]" if int(prompt.split()[2]) % 2 else " t\nAction 9: no"
    )
    result = measure(task_of(seed=3), environments, "made here", writer)
    assert result.metrics["success"].value == 0.5
    assert result.metrics["steps"].value == (1 + 4) / 2
    assert result.shots == 2
    random = result.details["baselines"]["random"]
    assert result.chance == random["success"]["value"]
    assert "oracle" not in result.details["baselines"]
    assert result.fit == {"requests": 3 * 1 + 3 * 8, "truncated": 0, "did_not_fit": 0}
    assert result.subsets["kind 1"]["success"].value == 1.0
    assert {len(column) for column in result.items.values()} == {6}
    assert result.items["invalid"] == [4, 0] * 3
    again = TaskResult.from_json(json.loads(json.dumps(result.to_json())))
    assert again == result
    assert measure(task_of(seed=3), environments, "made here", writer) == result
