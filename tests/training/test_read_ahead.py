from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_run import STEP, changed

from flyweight.curriculum import Order
from flyweight.events import read_events
from flyweight.training import train
from flyweight.training.read_ahead import ReadAhead


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


@given(
    places=st.lists(st.integers(0, 5), max_size=12),
    guesses=st.lists(st.integers(0, 5) | st.none(), min_size=12),
)
def test_whatever_is_guessed_the_batch_is_the_one_that_is_asked_for(places, guesses) -> None:
    with ReadAhead(lambda place: place * place) as ahead:
        found = [ahead.take(place, guess) for place, guess in zip(places, guesses, strict=False)]
    assert found == [place * place for place in places]
    assert not reading_threads()


def test_reading_goes_on_while_the_caller_works() -> None:
    begun = threading.Event()

    def read(place: int) -> int:
        if place == 1:
            begun.set()
            time.sleep(0.1)
        return place

    with ReadAhead(read) as ahead:
        ahead.take(0, 1)
        assert begun.wait(5)
        time.sleep(0.3)
        waited = ahead.waited
        assert ahead.take(1, None) == 1
        assert ahead.waited - waited < 0.08


def test_an_error_comes_with_its_own_batch_only() -> None:
    def read(place: int) -> int:
        if place == 1:
            raise OSError("the shard is gone")
        return place

    with ReadAhead(read) as ahead:
        assert ahead.take(0, 1) == 0
        assert ahead.take(2, 1) == 2  # the guess was wrong, and so is its error
        with pytest.raises(OSError, match="shard is gone"):
            ahead.take(1, 3)
        assert ahead.take(3, None) == 3


def test_the_thread_ends_with_an_exception_of_the_caller() -> None:
    def train() -> None:
        with ReadAhead(lambda place: place) as ahead:
            ahead.take(0, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert not reading_threads()


def test_a_batch_drawn_for_another_journal_is_another_batch(recipe, corpus) -> None:
    """What a thread draws depends on the journal that it was told, not on the order's own at that moment."""
    order = Order(recipe, {name: stream.tokens for name, stream in corpus.train.items()})
    step = order.schedule.step(3)
    before = order.journal
    expected = order.step_sequences(step)
    order.pass_over(step)
    assert order.step_sequences(step) != expected
    assert order.step_sequences(step, journal=before) == expected


def test_two_threads_that_ask_the_same_order_hear_what_one_would(recipe, corpus) -> None:
    long = changed(recipe, training={"tokens": 20_000 * STEP})
    tokens = {name: stream.tokens for name, stream in corpus.train.items()}
    alone, shared = Order(long, tokens), Order(long, tokens)
    steps = [alone.schedule.step(number) for number in range(0, 6_000, 997)]
    expected = [alone.step_sequences(step) for step in steps]
    counts = [alone.realised(step.sequence) for step in steps]
    with ReadAhead(lambda number: shared.step_sequences(steps[number])) as ahead:
        for number in range(len(steps)):
            found = ahead.take(number, number + 1 if number + 1 < len(steps) else None)
            assert found == expected[number]
            assert shared.realised(steps[-1 - number].sequence) == counts[-1 - number]


def test_a_run_says_how_long_it_waited_and_leaves_no_thread(recipe, corpus, tmp_path) -> None:
    train(recipe, corpus, tmp_path / "run", sinks=[], stop_after=6 * STEP)
    assert not reading_threads()
    lines = [event for event in read_events(tmp_path / "run") if event["kind"] == "step"]
    assert all(0 < line["data_seconds"] < line["seconds"] for line in lines)
