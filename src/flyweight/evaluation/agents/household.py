"""A small household in words: places that open and close, things that can be carried, washed, warmed, cooled.

It is ours, made for tests, demonstrations and small models: it is not ALFWorld, and its scores say nothing
about ALFWorld's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from flyweight.evaluation.agents.environment import Environment, Step
from flyweight.evaluation.agents.grammar import CommandGrammar, fill
from flyweight.evaluation.agents.layout import Layout

STEP_LIMIT = 30
NEW_TOKENS = 32
"""A command is short, and so are the contexts of small models."""
TREATMENTS = {"wash": ("washed", "sink"), "warm": ("warmed", "oven"), "cool": ("cooled", "fridge")}
"""By command: what the thing is then, and the kind of place where one does it."""
CLOSABLE = frozenset({"box", "cupboard", "drawer", "oven", "fridge"})
"""Kinds of places that have a door or a lid."""

LOOK, INVENTORY = "look", "inventory"
GO, OPEN, CLOSE = "go to {place}", "open {place}", "close {place}"
TAKE, PUT = "take {thing} from {place}", "put {thing} in {place}"
TREAT = {f"{command} {{thing}}": command for command in TREATMENTS}
GRAMMAR = CommandGrammar([LOOK, INVENTORY, GO, OPEN, CLOSE, TAKE, PUT, *TREAT])

IMPOSSIBLE = "Nothing happens."


class Goal(NamedTuple):
    """What has to lie where."""

    kind: str
    """Of thing, such as `cup`."""
    command: str | None
    """What has to be done to it before: a key of TREATMENTS."""
    wanted: int
    """How many."""
    place: str

    def text(self) -> str:
        """In words."""
        state = "" if self.command is None else f"{TREATMENTS[self.command][0]} "
        what = f"a {state}{self.kind}" if self.wanted == 1 else f"{self.wanted} {state}{self.kind}s"
        return f"put {what} in {self.place}"


@dataclass(frozen=True)
class World:
    """How a task begins."""

    places: tuple[str, ...]
    """Such as `box 1`, all closed that can be."""
    things: dict[str, str]
    """Where each thing lies, by its name, such as `cup 2`."""
    goal: Goal


@dataclass
class _State:
    at: str | None = None
    held: str | None = None
    where: dict[str, str] = field(default_factory=dict)
    opened: set[str] = field(default_factory=set)
    treated: set[tuple[str, str]] = field(default_factory=set)
    """(thing, command) that has been done to it."""


class Household(Environment):
    """One task in one world."""

    grammar = GRAMMAR
    step_limit = STEP_LIMIT
    new_tokens = NEW_TOKENS
    has_oracle = True

    def __init__(self, identity: str, kind: str, world: World, layout: Layout) -> None:
        """Set up `world`; see `Environment`."""
        super().__init__(identity, kind)
        self.world = world
        self.layout = layout
        self._state = _State(where=dict(world.things))

    def reset(self) -> str:
        """See `Environment`."""
        self._state = _State(where=dict(self.world.things))
        return f"{self._look()}\nYour task: {self.world.goal.text()}."

    def step(self, action: str) -> Step:
        """See `Environment`."""
        parts = GRAMMAR.split(action)
        assert parts is not None, f"{action!r} is no action"
        template, names = parts
        if template == LOOK:
            return Step(self._look())
        if template == INVENTORY:
            return Step(
                "You carry nothing." if self._state.held is None else f"You carry {self._state.held}."
            )
        if not self._possible(template, names):
            return Step(IMPOSSIBLE, possible=False)
        observation = self._do(template, names)
        return Step(observation, self._solved())

    def scores(self) -> dict[str, float]:
        """`success`: 1 or 0."""
        return {"success": float(self._solved())}

    def admissible(self) -> list[str]:
        """All actions that are possible now."""
        places, things = self.world.places, sorted(self.world.things)
        return [
            LOOK,
            INVENTORY,
            *(fill(template, [place]) for template in (GO, OPEN, CLOSE) for place in places
              if self._possible(template, (place,))),
            *(fill(template, [thing, place]) for template in (TAKE, PUT) for thing in things
              for place in places if self._possible(template, (thing, place))),
            *(fill(template, [thing]) for template in TREAT for thing in things
              if self._possible(template, (thing,))),
        ]  # fmt: skip

    def random_action(self, random: Random) -> str:
        """One of the admissible ones."""
        return random.choice(self.admissible())

    def oracle_action(self) -> str:
        """The next action of one who knows where all things are."""
        state, goal = self._state, self.world.goal
        thing = state.held or self._next_thing()
        if state.held is not None and kind_of(state.held) != goal.kind:
            return self._put_into(state.at or self.world.places[0])
        if state.held is None:
            return self._reach(state.where[thing]) or fill(TAKE, [thing, state.where[thing]])
        if goal.command is not None and (thing, goal.command) not in state.treated:
            device = next(p for p in self.world.places if kind_of(p) == TREATMENTS[goal.command][1])
            return self._go(device) or f"{goal.command} {thing}"
        return self._put_into(goal.place)

    def _next_thing(self) -> str:
        goal, state = self.world.goal, self._state
        return next(
            thing
            for thing in sorted(self.world.things)
            if kind_of(thing) == goal.kind and not self._rests(thing, goal) and thing in state.where
        )

    def _put_into(self, place: str) -> str:
        assert self._state.held is not None
        return self._reach(place) or fill(PUT, [self._state.held, place])

    def _go(self, place: str) -> str | None:
        return None if self._state.at == place else fill(GO, [place])

    def _reach(self, place: str) -> str | None:
        return self._go(place) or (None if self._is_open(place) else fill(OPEN, [place]))

    def _is_open(self, place: str) -> bool:
        return kind_of(place) not in CLOSABLE or place in self._state.opened

    def _possible(self, template: str, names: tuple[str, ...]) -> bool:
        state = self._state
        if template == GO:
            return names[0] in self.world.places and names[0] != state.at
        if template in (OPEN, CLOSE):
            here = names[0] == state.at and kind_of(names[0]) in CLOSABLE
            return here and (names[0] in state.opened) == (template == CLOSE)
        if template == TAKE:
            lies = state.where.get(names[0]) == names[1]
            return state.held is None and names[1] == state.at and self._is_open(names[1]) and lies
        if template == PUT:
            return names[0] == state.held and names[1] == state.at and self._is_open(names[1])
        device = TREATMENTS[TREAT[template]][1]
        return names[0] == state.held and state.at is not None and kind_of(state.at) == device

    def _do(self, template: str, names: tuple[str, ...]) -> str:
        state = self._state
        if template == GO:
            state.at = names[0]
            return self._contents(names[0])
        if template == OPEN:
            state.opened.add(names[0])
            return self._contents(names[0])
        if template == CLOSE:
            state.opened.discard(names[0])
            return f"You close {names[0]}."
        if template == TAKE:
            state.held = names[0]
            del state.where[names[0]]
            return f"You take {names[0]}."
        if template == PUT:
            state.held = None
            state.where[names[0]] = names[1]
            return f"You put {names[0]} in {names[1]}."
        state.treated.add((names[0], TREAT[template]))
        return f"You {TREAT[template]} {names[0]}."

    def _rests(self, thing: str, goal: Goal) -> bool:
        done = goal.command is None or (thing, goal.command) in self._state.treated
        return self._state.where.get(thing) == goal.place and done

    def _solved(self) -> bool:
        goal = self.world.goal
        there = [t for t in self.world.things if kind_of(t) == goal.kind and self._rests(t, goal)]
        return len(there) >= goal.wanted

    def _look(self) -> str:
        where = "in the middle of the room" if self._state.at is None else f"at {self._state.at}"
        return f"You are {where}. There is {', '.join(self.world.places)}."

    def _contents(self, place: str) -> str:
        if not self._is_open(place):
            return f"{place} is closed."
        inside = sorted(thing for thing, where in self._state.where.items() if where == place)
        return f"In {place} you see {', '.join(inside) or 'nothing'}."


def kind_of(name: str) -> str:
    """`cup` of `cup 2`."""
    return name.rsplit(" ", 1)[0]
