"""How far each source reaches: epochs, and windows met again after a change of sequence length."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flyweight.curriculum import Schedule
from flyweight.recipe import Recipe, Training

MANY_EPOCHS = 4.0
"""Up to about four epochs repeated tokens are worth nearly as much as new ones (arXiv 2305.16264, section 6)."""


MOST_BYTES_PER_TOKEN = 4.2
"""What vocabularies of 100,000 entries and more reach on English text and on code."""


@dataclass(frozen=True)
class Overlap:
    """What a change of sequence length is expected to bring back from one source."""

    source: str
    clock: int
    """Where the new sequence length begins."""
    sequence_length: int
    sequences: float
    """Windows of the new length expected to share at least one token with a window of another length."""
    tokens: float
    """Tokens expected to be seen again in them."""


def tokens_by_source(training: Training, schedule: Schedule) -> dict[str, int]:
    """Tokens that the plan takes from each source, in whole tokens that add up to the run's exactly.

    Largest remainders get the tokens that rounding down leaves over.
    """
    exact = {name: float(part.sum()) for name, part in _by_segment(training, schedule).items()}
    result = {name: math.floor(value) for name, value in exact.items()}
    order = sorted(exact, key=lambda name: result[name] - exact[name])
    missing = schedule.tokens - sum(result.values())
    # Sums of many floats may miss the total by more tokens than there are sources, either way.
    share, rest = divmod(missing, len(order))
    for index, name in enumerate(order):
        result[name] += share + (index < rest)
    return result


def epochs(drawn: Mapping[str, int], available: Mapping[str, int]) -> dict[str, float]:
    """How often each source is read through; one that holds nothing is left out."""
    return {name: tokens / available[name] for name, tokens in drawn.items() if available.get(name)}


def planned_tokens(training: Training, schedule: Schedule, begin: int, end: int) -> dict[str, float]:
    """Tokens that the plan takes from each source in the steps that start in [begin, end)."""
    clocks = schedule.step_clocks()
    chosen = (clocks >= begin) & (clocks < end)
    sizes = np.diff(np.append(clocks, schedule.tokens))[chosen]
    return {
        name: float((timeline.values(clocks[chosen]) * sizes).sum())
        for name, timeline in training.mixture_timelines().items()
    }


def assumed_bytes_per_token(vocab_size: int) -> float:
    """Roughly the bytes of text in one token, before a tokenizer has been tried on the text.

    Byte-level BPEs trained on textbooks, books, LaTeX and Python alike read 3.1 bytes of unseen documents
    in a token with 4,096 entries and 4.1 with 32,768 (2.8 to 3.3, and 3.5 to 4.2, by source); between
    and around them a line over the logarithm.
    """
    return max(1.0, min(MOST_BYTES_PER_TOKEN, 3.1 + (math.log2(vocab_size) - 12) / 3))


def text_needed(recipe: Recipe, drawn: Mapping[str, int]) -> dict[str, int]:
    """Bytes of training text by source that last for one epoch of what the plan draws, roughly."""
    size = assumed_bytes_per_token(recipe.tokenizer.vocab_size)
    return {name: round(tokens * size) for name, tokens in drawn.items()}


def least_epochs(recipe: Recipe, drawn: Mapping[str, int]) -> dict[str, float]:
    """How often each source with a limit is read through at least, before its corpus is prepared; roughly."""
    needed = text_needed(recipe, drawn)
    limits = {name: source.limit for name, source in recipe.sources.items()}
    return {name: needed[name] / limit for name, limit in limits.items() if limit and name in needed}


def expected_overlaps(training: Training, schedule: Schedule, available: Mapping[str, int]) -> list[Overlap]:
    """Windows that a change of sequence length is expected to bring back, by source.

    Windows of one length never repeat within an epoch. Those of another length are cut anew and
    drawn in another order, as good as independent: if n1 windows of T1 tokens were drawn from a ring of
    L, a token has been seen with probability p = min(1, n1 T1 / L), and a window of T2 touches
    T2/T1 + 1 of them on average, so it meets none with probability (1 - p)^(T2/T1 + 1).
    """
    by_segment = _by_segment(training, schedule)
    result = []
    for source, drawn in by_segment.items():
        length = available.get(source, 0)
        seen: dict[int, float] = {}
        for segment, tokens in zip(schedule.segments, drawn, strict=True):
            size = segment.sequence_length
            others = (
                {other: min(1.0, amount / length) for other, amount in seen.items() if other != size}
                if length
                else {}
            )
            new = 1 - math.prod(1 - share for share in others.values())
            untouched = math.prod((1 - share) ** (size / other + 1) for other, share in others.items())
            if tokens > 0 and new > 0:
                windows = float(tokens) / size
                result.append(
                    Overlap(source, segment.first_clock, size, windows * (1 - untouched), float(tokens) * new)
                )
            seen[size] = seen.get(size, 0.0) + float(tokens)
    return sorted(result, key=lambda overlap: overlap.clock)


def _by_segment(training: Training, schedule: Schedule) -> dict[str, np.ndarray]:
    """Planned tokens of each source in each segment, float64 (segments,); weights are read at step starts."""
    clocks = schedule.step_clocks()
    firsts = np.array([segment.first_step for segment in schedule.segments])
    sizes = np.array([segment.step_tokens for segment in schedule.segments], np.float64)
    return {
        name: np.add.reduceat(timeline.values(clocks), firsts) * sizes
        for name, timeline in training.mixture_timelines().items()
    }
