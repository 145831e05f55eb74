"""One- and two-sentence word problems: what is asked, in several wordings, and the expression behind it."""

# ruff: noqa: E501 (the wordings are easier to read in one line)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flyweight.corpus.generated.draws import Random, between, pick
from flyweight.corpus.generated.expressions import Expression

NAMES = (
    "Anna", "Ben", "Carla", "David", "Elena", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kira", "Leo",
    "Mina", "Nora", "Omar", "Paula", "Quinn", "Rosa", "Samir", "Tara", "Uma", "Victor", "Wanda", "Yusuf",
)  # fmt: skip
THINGS = (
    "apples", "pencils", "marbles", "stickers", "books", "coins", "shells", "cards", "cookies", "buttons",
    "stamps", "oranges", "beads", "balloons", "tickets", "flowers",
)  # fmt: skip
BOXES = ("boxes", "bags", "baskets", "jars", "shelves", "drawers", "crates", "trays")


@dataclass(frozen=True)
class Category:
    """A kind of word problem."""

    name: str
    numbers: Callable[[Random], tuple[int, ...]]
    """The numbers a, b, c of one problem."""
    expression: Callable[..., Expression]
    """The expression of these numbers; its value is the answer."""
    wordings: tuple[str, ...]
    """Texts with {a} {b} {c} for the numbers, {name} {other} for people, {things} {boxes} for objects."""


def fill(wording: str, numbers: tuple[int, ...], rng: Random) -> str:
    """A wording with numbers, people and objects put in."""
    name = pick(rng, NAMES)
    other = pick(rng, [candidate for candidate in NAMES if candidate != name])
    values = dict(zip("abc", numbers, strict=False))
    text = wording.format(name=name, other=other, things=pick(rng, THINGS), boxes=pick(rng, BOXES), **values)
    return text.replace(" 1 minutes", " 1 minute").replace(" 1 get off", " 1 gets off")


def _two(low_a: int, high_a: int, low_b: int, high_b: int) -> Callable[[Random], tuple[int, ...]]:
    return lambda rng: (between(rng, low_a, high_a), between(rng, low_b, high_b))


def _larger_first(low: int, high: int) -> Callable[[Random], tuple[int, ...]]:
    def numbers(rng: Random) -> tuple[int, ...]:
        a = between(rng, low + 1, high)
        return a, between(rng, low, a - 1)

    return numbers


def _divisible(rng: Random) -> tuple[int, ...]:
    b = between(rng, 2, 12)
    return b * between(rng, 2, 20), b


def _sum_divisible(rng: Random) -> tuple[int, ...]:
    c = between(rng, 2, 9)
    total = c * between(rng, 3, 15)
    a = between(rng, 1, total - 1)
    return a, total - a, c


def _sum_of_two_even(rng: Random) -> tuple[int, ...]:
    a = between(rng, 2, 60)
    return a, a + 2 * between(rng, 1, 20)


def _some_left(rng: Random) -> tuple[int, ...]:
    b, c = between(rng, 2, 9), between(rng, 2, 12)
    return b * c + between(rng, 1, 60), b, c


def _add_then_take(rng: Random) -> tuple[int, ...]:
    a, b = between(rng, 5, 60), between(rng, 2, 40)
    return a, b, between(rng, 1, a + b - 1)


def _three(rng: Random) -> tuple[int, ...]:
    return between(rng, 2, 12), between(rng, 2, 15), between(rng, 2, 40)


CATEGORIES = (
    Category("addition", _two(2, 90, 2, 90), lambda a, b: ("+", a, b), (
        "{name} has {a} {things} and finds {b} more. How many {things} does {name} have now?",
        "There are {a} {things} on the table. {name} puts {b} more beside them. How many {things} are there in all?",
        "{name} collected {a} {things} on Monday and {b} on Tuesday. How many {things} is that altogether?",
    )),
    Category("subtraction", _larger_first(2, 120), lambda a, b: ("-", a, b), (
        "{name} had {a} {things} and gave {b} of them to {other}. How many {things} does {name} have left?",
        "Of {a} {things}, {b} were sold. How many {things} remain?",
        "{name} has {a} {things} but loses {b}. How many {things} are left?",
    )),
    Category("comparison", _larger_first(2, 120), lambda a, b: ("-", a, b), (
        "{name} has {a} {things} and {other} has {b}. How many more {things} does {name} have?",
        "{other} counted {b} {things}, while {name} counted {a}. What is the difference?",
    )),
    Category("groups", _two(2, 15, 2, 20), lambda a, b: ("*", a, b), (
        "There are {a} {boxes} with {b} {things} in each. How many {things} are there in total?",
        "{name} fills {a} {boxes} and puts {b} {things} into every one. How many {things} does {name} need?",
        "Each of {a} friends brings {b} {things}. How many {things} do they bring together?",
    )),
    Category("sharing", _divisible, lambda a, b: ("/", a, b), (
        "{name} shares {a} {things} equally among {b} friends. How many {things} does each friend get?",
        "{a} {things} are packed evenly into {b} {boxes}. How many {things} go into each?",
    )),
    Category("money total", _three, lambda a, b, c: ("+", ("*", a, b), c), (
        "{name} buys {a} tickets for {b} dollars each and a book for {c} dollars. How many dollars does {name} spend?",
        "A meal costs {b} dollars. {name} pays for {a} meals and leaves a tip of {c} dollars. How much is that in dollars?",
    )),
    Category("change", _some_left, lambda a, b, c: ("-", a, ("*", b, c)), (
        "{name} has {a} dollars and buys {b} notebooks for {c} dollars each. How many dollars are left?",
        "With {a} dollars, {name} pays for {b} tickets at {c} dollars each. How much change does {name} get?",
    )),
    Category("distance", _two(2, 12, 5, 90), lambda a, b: ("*", a, b), (
        "A train travels {b} kilometres an hour for {a} hours. How many kilometres does it cover?",
        "{name} drives at {b} miles per hour. How many miles does {name} drive in {a} hours?",
    )),
    Category("speed", _divisible, lambda a, b: ("/", a, b), (
        "A cyclist covers {a} kilometres in {b} hours. What is the speed in kilometres per hour?",
        "{name} walks {a} kilometres in {b} days, the same way every day. How many kilometres is that a day?",
    )),
    Category("age", _two(3, 60, 2, 40), lambda a, b: ("+", a, b), (
        "{name} is {a} years old. {other} is {b} years older. How old is {other}?",
        "{name} is {a} years old now. How old will {name} be in {b} years?",
    )),
    Category("area", _two(2, 30, 2, 30), lambda a, b: ("*", a, b), (
        "A rectangle is {a} metres long and {b} metres wide. What is its area in square metres?",
        "{name} tiles a floor of {a} rows with {b} tiles in each row. How many tiles does the floor have?",
    )),
    Category("perimeter", _two(2, 40, 2, 40), lambda a, b: ("*", 2, ("+", a, b)), (
        "A garden is {a} metres long and {b} metres wide. How many metres of fence go around it?",
        "What is the perimeter of a rectangle with sides of {a} and {b} metres, in metres?",
    )),
    Category("minutes", _two(2, 9, 1, 59), lambda a, b: ("+", ("*", a, 60), b), (
        "A film lasts {a} hours and {b} minutes. How many minutes is that?",
        "{name} worked for {a} hours and {b} minutes. For how many minutes did {name} work?",
    )),
    Category("pages left", _some_left, lambda a, b, c: ("-", a, ("*", b, c)), (
        "A book has {a} pages. {name} reads {b} pages a day for {c} days. How many pages are left?",
        "{name} must fold {a} letters and folds {b} in each of {c} hours. How many letters remain?",
    )),
    Category("two steps", _add_then_take, lambda a, b, c: ("-", ("+", a, b), c), (
        "{name} has {a} {things}, gets {b} more and then gives away {c}. How many {things} does {name} have now?",
        "A bus carries {a} people. At a stop {b} people get on and {c} get off. How many people are on the bus?",
    )),
    Category("sharing a sum", _sum_divisible, lambda a, b, c: ("/", ("+", a, b), c), (
        "{name} and {other} put their {a} and {b} {things} together and divide them equally into {c} {boxes}. "
        "How many {things} are in each?",
        "{a} red and {b} blue {things} are shared equally by {c} children. How many {things} does each child get?",
    )),
    Category("average", _sum_of_two_even, lambda a, b: ("/", ("+", a, b), 2), (
        "{name} scored {a} points in the first game and {b} in the second. What is the average?",
        "Two parcels weigh {a} and {b} kilograms. What is their mean weight in kilograms?",
    )),
)  # fmt: skip
