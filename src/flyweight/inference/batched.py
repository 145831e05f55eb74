"""Greedy text after many prompts at once: rows that are finished make room for new ones.

Rows end together and are padded on the left. When half of them are finished (or at once, where nothing waits), they
are taken out of the cache, and rows of new prompts are put beside those that go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from flyweight.base import UserError
from flyweight.inference.language_model import BROKEN, LanguageModel

ROWS = 32
"""Rows that are continued together, at most."""
CACHED_TOKENS = 65_536
"""Tokens of all rows together, at most: long prompts are continued fewer at a time."""

_LOOK_BACK = 16
"""Tokens at the end of a text that are decoded to look for a stop string, besides one for each of its bytes."""


class Prompt(NamedTuple):
    """What is to be continued."""

    tokens: list[int]
    """At least one; with the new tokens at most the model's `max_length`."""
    max_new_tokens: int
    """Where writing ends at the latest."""
    stop: tuple[str, ...] = ()
    """Writing ends when one of these is in the text."""


class Written(NamedTuple):
    """What was written after a prompt."""

    text: str
    """Without the token that ended it; the stop string and what came with it in one token is still there."""
    tokens: int
    """How many new tokens."""
    reason: Literal["end", "stop", "length"]
    """A token that ends texts, a stop string, or neither of them in `max_new_tokens`."""


@dataclass
class _Line:
    """One prompt on its way."""

    place: int
    prompt: Prompt
    new: list[int] = field(default_factory=list)
    reason: Literal["end", "stop", "length"] | None = None


def write_batched(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    rows: int = ROWS,
    progress: Callable[[float], None] | None = None,
) -> list[Written]:
    """The most likely token after each prompt, again and again, in the order of the prompts.

    Args:
        model: writes.
        prompts: what is to be continued.
        rows: how many are continued together, at most; it does not change the texts but for rounding.
        progress: called with the share of the prompts that are done.

    Raises:
        UserError: the model's logits are no numbers.
    """
    # The longest first, so that neighbours are alike and memory runs out at once if it does.
    waiting = sorted(
        (_Line(place, prompt) for place, prompt in enumerate(prompts)),
        key=lambda line: len(line.prompt.tokens),
    )
    written: dict[int, Written] = {}
    group: _Group | None = None
    while waiting or group is not None:
        most = _most_rows(group, waiting, rows)
        if group is None or (group.active() <= most // 2 and waiting and group.joins()):
            group = _admit(model, group, waiting, most)
        for line in group.step():
            written[line.place] = Written(_text(model, line.new), len(line.new), line.reason or "length")
            if progress is not None:
                progress(len(written) / len(prompts))
        if not group.active():
            group = None
        elif group.active() <= len(group.lines) // 2 and group.joins():
            group.drop_finished()
    return [written[place] for place in range(len(prompts))]


def _most_rows(group: _Group | None, waiting: list[_Line], rows: int) -> int:
    """How many rows may go on together: each takes the room of the longest."""
    lines = [*(group.lines if group else ()), *waiting[-1:]]
    longest = max(len(line.prompt.tokens) + line.prompt.max_new_tokens for line in lines)
    return max(1, min(rows, CACHED_TOKENS // longest))


def _admit(model: LanguageModel, group: _Group | None, waiting: list[_Line], rows: int) -> _Group:
    """Begin the next prompts, beside the rows that go on."""
    if group is not None:
        group.drop_finished()
    free = rows - (group.active() if group else 0)
    new = _Group(model, [waiting.pop() for _ in range(min(free, len(waiting)))])
    return new if group is None else group.beside(new)


class _Group:
    """Rows that are continued together."""

    def __init__(self, model: LanguageModel, lines: list[_Line]) -> None:
        self.model, self.lines = model, lines
        longest = max(len(line.prompt.tokens) for line in lines)
        room = longest + max(line.prompt.max_new_tokens for line in lines)
        padding = [longest - len(line.prompt.tokens) for line in lines]
        tokens = [[0] * gap + line.prompt.tokens for gap, line in zip(padding, lines, strict=True)]
        self.cache: Any = model.new_cache(len(lines), room)
        self.valid = torch.arange(longest) >= torch.tensor(padding)[:, None]
        self._next = self._greedy(torch.tensor(tokens, device=model.device))

    def _greedy(self, tokens: Tensor) -> list[int]:
        valid = None if bool(self.valid.all()) else self.valid.to(self.model.device)
        # Over the whole vocabulary, as transformers does it: where it is padded past the tokenizer's entries, such a
        # token stands for no text.
        best = self.model.next_logits(tokens, self.cache, valid).max(dim=1)
        if bool(best.values.isnan().any()):
            raise UserError(BROKEN.format(self.model.name))
        return best.indices.tolist()

    def active(self) -> int:
        """Rows that are not finished."""
        return sum(line.reason is None for line in self.lines)

    def joins(self) -> bool:
        """Whether rows can be taken out and put in."""
        return self.model.joins(self.cache)

    def step(self) -> list[_Line]:
        """Take in the next token of every row, and compute the one after it where a row goes on.

        Returns the rows that this finished.
        """
        going = [
            (line, token) for line, token in zip(self.lines, self._next, strict=True) if line.reason is None
        ]
        for line, token in going:
            _take(self.model, line, token)
        if self.active():
            self.valid = torch.cat([self.valid, torch.ones(len(self.lines), 1, dtype=torch.bool)], dim=1)
            self._next = self._greedy(torch.tensor(self._next, device=self.model.device)[:, None])
        return [line for line, _ in going if line.reason is not None]

    def drop_finished(self) -> None:
        """Take finished rows out of the cache, and the padding that only they needed."""
        kept = [number for number, line in enumerate(self.lines) if line.reason is None]
        if len(kept) == len(self.lines):
            return
        valid = self.valid[kept]
        begin = int(valid.any(dim=0).int().argmax())
        self.cache = self.cache.select(torch.tensor(kept, device=self.model.device), begin)
        self.valid = valid[:, begin:]
        self.lines = [self.lines[number] for number in kept]
        self._next = [self._next[number] for number in kept]

    def beside(self, other: _Group) -> _Group:
        """The rows of both in one group."""
        self.cache = self.cache.beside(other.cache)
        length = max(self.valid.shape[1], other.valid.shape[1])
        self.valid = torch.cat(
            [
                torch.nn.functional.pad(valid, (length - valid.shape[1], 0))
                for valid in (self.valid, other.valid)
            ]
        )
        self.lines, self._next = self.lines + other.lines, self._next + other._next
        return self


def _take(model: LanguageModel, line: _Line, token: int) -> None:
    """Put `token` behind a row, and see whether that ends it."""
    if token in model.stop_tokens:
        line.reason = "end"
        return
    line.new.append(token)
    stop = line.prompt.stop
    if stop:
        reach = _LOOK_BACK + max(len(text.encode()) for text in stop)
        tail = _text(model, line.new[-reach:])
        if any(text in tail for text in stop):
            line.reason = "stop"
            return
    if len(line.new) == line.prompt.max_new_tokens:
        line.reason = "length"


def _text(model: LanguageModel, tokens: list[int]) -> str:
    return model.tokenizer.decode(tokens, special=False)
