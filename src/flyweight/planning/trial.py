"""What a dry run needs in place of a run: the stages of a recipe, tokens where there is no corpus, memory's peak."""

from __future__ import annotations

import contextlib
import itertools
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flyweight.base import derive_seed
from flyweight.corpus import OpenCorpus, TextTokenizer, TokenStream
from flyweight.corpus.manifest import FORMAT, Manifest, TokenizerManifest
from flyweight.corpus.tokenizers.bpe import train_bpe
from flyweight.curriculum import Batch, Schedule, Step, begins_of
from flyweight.recipe import Recipe

_LEAST_TOKENS = 1 << 16

_DOCUMENT_TOKENS = 500
"""Of a document, on average: about what pages of the web have."""


@dataclass(frozen=True)
class Stage:
    """Steps of a run between which nothing changes by a knot: batch, sequence length, optimizer, mixture."""

    step: Step
    """Its first one."""
    steps: int
    optimizer: str

    @property
    def tokens(self) -> int:
        """Of all its steps."""
        return self.steps * self.step.tokens


def stages(recipe: Recipe, schedule: Schedule) -> list[Stage]:
    """Every stage of a run, in order; together they are all its steps.

    A knot past the last step begins no stage: no step of the run would be in it.
    """
    knots = [knot.at for knot in (*recipe.training.optimizer, *recipe.training.mixture)]
    begins = {segment.first_step for segment in schedule.segments}
    begins |= {schedule.first_step_from(clock) for clock in knots}
    borders = [*sorted(begins - {schedule.steps}), schedule.steps]
    return [
        Stage(schedule.step(first), end - first, _optimizer(recipe, schedule.step(first).clock))
        for first, end in itertools.pairwise(borders)
    ]


def _optimizer(recipe: Recipe, clock: int) -> str:
    return [knot.kind for knot in recipe.training.optimizer if knot.at <= clock][-1]


def random_corpus(recipe: Recipe, folder: Path) -> OpenCorpus:
    """Random tokens of the recipe's sources in memory, and a tokenizer of single bytes, for trials without a corpus."""
    settings = recipe.tokenizer
    tokenizer = train_bpe([], 257, "qwen2", settings.end_of_text)
    longest = int(recipe.training.sequence_length.maximum)
    size = max(_LEAST_TOKENS, 4 * (longest + 1))
    streams = {}
    for name in recipe.sources:
        rng = np.random.default_rng(derive_seed(recipe.seed, "dry run", name))
        tokens = rng.integers(0, recipe.model.vocab_size, size)
        streams[name] = TokenStream([tokens], [_documents(rng, size)])
    return OpenCorpus(folder, _manifest(tokenizer, settings.end_of_text), tokenizer, streams, {})


def _documents(rng: np.random.Generator, size: int) -> np.ndarray:
    """Tokens and bytes of documents of some hundred tokens that fill `size` tokens, as beside a shard."""
    ends = np.append(np.cumsum(rng.integers(1, 2 * _DOCUMENT_TOKENS, size // _DOCUMENT_TOKENS)), size)
    lengths = np.diff(np.unique(np.minimum(ends, size)), prepend=0)
    return np.stack([lengths, 4 * lengths], axis=1).reshape(-1)


def _manifest(tokenizer: TextTokenizer, end_of_text: str) -> Manifest:
    entries = TokenizerManifest(tokenizer.vocab_size, end_of_text, tokenizer.fingerprint)
    configuration: dict[str, Any] = {}
    return Manifest(FORMAT, "", configuration, entries, {}, fingerprint="random tokens")


def rows(corpus: OpenCorpus, step: Step, count: int, documents: bool) -> Batch:
    """`count` sequences of a step's length, with documents if asked for: from every source in turn, its beginning.

    Not those that the run will read: finding these far into a long run takes as long as walking there.
    """
    streams = list(corpus.train.values())
    length = step.sequence_length
    places = [(streams[i % len(streams)], i // len(streams) * length) for i in range(count)]
    tokens = torch.from_numpy(np.stack([stream.read(start, length + 1) for stream, start in places]))
    if not documents:
        return Batch(tokens)
    borders = [stream.borders(start, length + 1) for stream, start in places]
    return Batch(tokens, begins_of(borders, length + 1))


class PeakMemory:
    """The most memory that was in use since it was made, above what was in use then.

    On CUDA what torch's allocator handed out; elsewhere the process's resident memory, so that buffers of
    libraries count too. Where the system cannot reset the process's peak (macOS), an earlier peak hides a lower
    later one.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._before = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            _reset_peak()
            self._before = _resident()

    @property
    def bytes(self) -> int:
        """So far."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return max(0, _peak() - self._before)


def _status(key: str) -> int | None:
    """A size of this process from /proc, in bytes; None where there is no such file."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _reset_peak() -> None:
    with contextlib.suppress(OSError):  # the peak then counts from the start of the process
        Path("/proc/self/clear_refs").write_text("5")


def _resident() -> int:
    return _status("VmRSS") or _peak()


def _peak() -> int:
    known = _status("VmHWM")
    if known is not None:
        return known
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
