from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.evaluation.agents.household_tasks import run_household
from flyweight.evaluation.agents.writer import ModelWriter, until
from flyweight.evaluation.tasks.task import TaskInput
from flyweight.inference import DecoderModel, generate


def test_a_models_text_is_the_greedy_one_up_to_a_stop(model: DecoderModel):
    writer = ModelWriter(model)
    text = generate(model, "abc", 8, temperature=0)
    assert len(text) > 3
    assert writer.write(["abc", "abc"], [], 8) == [text, text]
    assert writer.write(["abc"], [text[2:4]], 8) == [text[: text.index(text[2:4])]]
    assert writer.tokens("abc") == 4  # bytes and the prefix token


def test_a_prompt_that_does_not_fit_never_gets_to_the_model(model: DecoderModel):
    writer = ModelWriter(model)
    prompt = "a" * (writer.max_length - 9)
    writer.write([prompt], [], 8)
    with pytest.raises(AssertionError):
        writer.write([prompt + "a"], [], 8)


@given(
    whole=st.text("ab\n", max_size=24),
    stop=st.lists(st.text("ab\n", min_size=1, max_size=2)),
)
def test_text_ends_before_the_first_stop(whole: str, stop: list[str]):
    text = until(whole, stop)
    assert whole.startswith(text)
    assert not any(word in text for word in stop)
    assert text == whole or whole[len(text) :].startswith(tuple(stop))


def test_a_real_model_plays_and_what_does_not_fit_is_counted(
    model: DecoderModel, task_of: Callable[..., TaskInput]
):
    result = run_household(TaskInput(model, None, 1, 0, None, None))
    # The instructions alone are longer than this model's 24 tokens.
    assert result.metrics["does_not_fit"].value == 1.0
    assert result.fit == {"requests": 5, "truncated": 0, "did_not_fit": 5}
    assert result.metrics["success"].value == 0.0
