"""What a run measures about its model on the way: bits per byte on held-out text, and samples of its writing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor

from flyweight.base import derive_seed
from flyweight.corpus import OpenCorpus, TextTokenizer
from flyweight.evaluation import BitsPerByte, bits_per_byte
from flyweight.events import Sampled, Validated
from flyweight.inference import DecoderModel, Precision, generate
from flyweight.model import Decoder, KVCache
from flyweight.training.parallel import Ranks
from flyweight.training.tiers import uncompiled

if TYPE_CHECKING:
    from flyweight.training.loop import Trainer

_TOP_P = 0.95


def validate(trainer: Trainer, full: bool = False) -> dict[str, BitsPerByte]:
    """Measure bits per byte on each source's held-out text, and let the model write a little."""
    begin = time.perf_counter()
    evaluation = trainer.recipe.evaluation
    limit = evaluation.final_tokens or None if full else evaluation.tokens
    length, precision = trainer.step.sequence_length, trainer.plan.precision
    with trainer.objective.gathered():  # every rank measures all of it: they stay in step
        results = measure_held_out(trainer.decoder, trainer.corpus, precision, length, limit)
    trainer.sinks.emit(
        Validated(
            step=trainer.step.step,
            clock=trainer.step.clock,
            bits_per_byte={name: result.bits_per_byte for name, result in results.items()},
            loss={name: result.loss for name, result in results.items()},
            full=full,
            seconds=time.perf_counter() - begin,
        )
    )
    if trainer.step.step:
        for prompt in evaluation.samples.prompts:
            with trainer.objective.gathered():
                trainer.sinks.emit(_written(trainer, prompt))
    trainer.accounts.validation_seconds += time.perf_counter() - begin
    return results


def measure_held_out(
    decoder: Decoder, corpus: OpenCorpus, precision: Precision, length: int, limit: int | None
) -> dict[str, BitsPerByte]:
    """Bits per byte on each source's held-out text, of at most `limit` tokens each, in windows of `length`."""
    with evaluated(decoder):
        model = DecoderModel(decoder, corpus.tokenizer, precision, max_length=length)
        return {name: bits_per_byte(model, held_out, limit) for name, held_out in corpus.held_out.items()}


def _written(trainer: Trainer, prompt: str) -> Sampled:
    """A little text that the model writes after `prompt`; the same for the same weights, seed and clock."""
    samples, clock = trainer.recipe.evaluation.samples, trainer.step.clock
    with evaluated(trainer.decoder):
        model = _AgreedModel(
            trainer.ranks,
            trainer.decoder,
            trainer.corpus.tokenizer,
            trainer.plan.precision,
            max_length=trainer.step.sequence_length,
        )
        text = generate(
            model,
            prompt,
            max_new_tokens=samples.tokens,
            temperature=samples.temperature,
            top_p=_TOP_P,
            seed=derive_seed(trainer.recipe.seed, "sample", clock),
        )
    return Sampled(clock, prompt, text)


class _AgreedModel(DecoderModel):
    """Rank 0's logits on every rank: all of them write the same text, and so stay in step."""

    def __init__(
        self,
        ranks: Ranks,
        decoder: Decoder,
        tokenizer: TextTokenizer,
        precision: Precision,
        *,
        max_length: int,
    ) -> None:
        super().__init__(decoder, tokenizer, precision, max_length=max_length)
        self._ranks = ranks

    def next_logits(self, tokens: Tensor, cache: KVCache, valid: Tensor | None = None) -> Tensor:
        """See `LanguageModel`."""
        return self._ranks.same(super().next_logits(tokens, cache, valid))


@contextlib.contextmanager
def evaluated(decoder: Decoder) -> Iterator[None]:
    """While open, `decoder` is in eval mode and as written: compiled blocks would be compiled anew for every length."""
    training = decoder.training
    decoder.eval()
    try:
        with uncompiled():
            yield
    finally:
        decoder.train(training)
