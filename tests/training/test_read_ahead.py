from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.training.read_ahead import ReadAhead


@given(
    places=st.lists(st.integers(0, 5), max_size=12),
    guesses=st.lists(st.integers(0, 5) | st.none(), min_size=12),
)
def test_whatever_is_guessed_the_batch_is_the_one_that_is_asked_for(places, guesses) -> None:
    ahead = ReadAhead(lambda place: place * place)
    found = [ahead.take(place, guess) for place, guess in zip(places, guesses, strict=False)]
    ahead.close()
    assert found == [place * place for place in places]


def test_reading_goes_on_while_the_caller_works() -> None:
    begun = threading.Event()

    def read(place: int) -> int:
        if place == 1:
            begun.set()
            time.sleep(0.05)
        return place

    ahead = ReadAhead(read)
    ahead.take(0, 1)
    assert begun.wait(5)
    time.sleep(0.1)
    waited = ahead.waited
    assert ahead.take(1, None) == 1
    assert ahead.waited - waited < 0.04
    ahead.close()


def test_an_error_comes_with_its_own_batch_only() -> None:
    def read(place: int) -> int:
        if place == 1:
            raise OSError("the shard is gone")
        return place

    ahead = ReadAhead(read)
    assert ahead.take(0, 1) == 0
    assert ahead.take(2, 1) == 2  # the guess was wrong, and so is its error
    with pytest.raises(OSError, match="shard is gone"):
        ahead.take(1, 3)
    assert ahead.take(3, None) == 3
    ahead.close()
