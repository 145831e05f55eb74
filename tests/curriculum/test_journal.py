"""What is passed over is never drawn again, and nothing else changes."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import asdict

from hypothesis import given, settings
from hypothesis import strategies as st
from test_order import SIZES, recipe

from flyweight.curriculum import Order, OrderState

CHANGING = recipe(
    batch=[{"at": 0, "value": 6}, {"at": 9_000, "value": 10}],
    length=[{"at": 0, "value": 16}, {"at": 20_000, "value": 24}, {"at": 40_000, "value": 16}],
)


def walk(order: Order, steps: int, rng: random.Random | None, chance: float = 0.2):
    """Take `steps` steps, passing over some on the way and going back now and then.

    Returns what was drawn and by which step, in the order of drawing, and what was trained on in the end.
    """
    drawn, trained, saved, number = [], {}, (0, order.journal), 0
    while number < steps:
        step = order.schedule.step(number)
        batch = order.step_sequences(step)
        drawn += batch
        if rng and rng.random() < chance:
            order.pass_over(step)
            if rng.random() < 0.3:
                then = order.schedule.step(saved[0])
                order.go_back(then.sequence, saved[1], step.sequence)
                number = saved[0]
                trained = {key: value for key, value in trained.items() if key < number}
                saved = (number, order.journal)
            continue
        trained[number] = batch
        number += 1
        if rng and rng.random() < 0.1:
            saved = (number, order.journal)
    return drawn, [item for key in sorted(trained) for item in trained[key]]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_nothing_that_was_drawn_is_drawn_again_within_its_epoch(seed):
    order = Order(CHANGING, SIZES)
    drawn, trained = walk(order, 400, random.Random(seed))
    seen = Counter((item.source, item.length, item.epoch, item.window) for item in drawn)
    assert max(seen.values()) == 1
    draws = defaultdict(list)
    for item in drawn:
        draws[item.source, item.length].append(item.draw)
    assert all(numbers == list(range(len(numbers))) for numbers in draws.values())  # and none is left out
    assert [item.number for item in trained] == list(range(len(trained)))
    counted = Counter(item.source for item in trained)
    assert order.realised(len(trained)) == {name: counted[name] for name in order.mixture.sources}


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 399))
def test_the_run_so_far_is_a_function_of_its_journal(seed, number):
    """A fresh order with the journal draws what was trained on, and a restored one goes on alike."""
    order = Order(CHANGING, SIZES)
    _, trained = walk(order, 400, random.Random(seed))
    step = order.schedule.step(number)
    end = order.schedule.step(400).sequence
    for state in (order.state(end), OrderState(skipped=order.journal.rows())):
        fresh = Order(CHANGING, SIZES)
        fresh.restore(OrderState(**asdict(state)))
        assert fresh.step_sequences(step) == trained[step.sequence : step.sequence + step.batch_size]
        following = order.schedule.step(400)
        assert fresh.step_sequences(following) == order.step_sequences(following)
        assert fresh.state(end) == order.state(end)


def test_a_skip_at_the_border_of_a_stage_belongs_to_the_stage_that_drew_it():
    order = Order(CHANGING, SIZES)
    border = next(s for s in order.schedule.segments if s.sequence_length == 24)
    step = order.schedule.step(border.first_step)
    first = order.step_sequences(step)
    order.pass_over(step)
    second = order.step_sequences(step)
    assert [item.length for item in second] == [24] * step.batch_size
    assert not {(i.source, i.window) for i in first} & {(i.source, i.window) for i in second}


def test_steps_past_the_planned_end_of_the_order_are_drawn_too():
    order = Order(CHANGING, SIZES)
    last = order.schedule.step(order.schedule.steps - 1)
    for _ in range(20):
        order.pass_over(last)
    assert len(order.step_sequences(last)) == last.batch_size
