"""lm-eval's view of a model: its requests answered by our engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from flyweight.base import UserError
from flyweight.evaluation.harness.encoding import encode_pairs, encode_texts
from flyweight.evaluation.likelihood import Request, score_requests
from flyweight.inference import LanguageModel
from flyweight.inference.batched import Prompt, write_batched

AT_ONCE = 4_096
"""Requests that are encoded and scored together: enough to find what they share and to fill batches, few enough that
the first of many are answered while the others still are text."""

MAX_NEW_TOKENS = 256
"""lm-eval's default where a task sets no limit."""


class HarnessModel(LM):
    """Answers lm-eval's requests about a `LanguageModel`, and counts what did not fit."""

    def __init__(
        self,
        model: LanguageModel,
        batch_tokens: int | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.batch_tokens, self.progress = model, batch_tokens, progress
        self.fit: Counter[str] = Counter()
        """`requests`, `truncated`, `tokens_lost`, and for generation `shortened`, `unfinished`."""
        self.work: Counter[str] = Counter()
        """What scoring computed (`likelihood.Work`), summed."""

    def loglikelihood(self, requests: list[Instance], **_: Any) -> list[tuple[float, bool]]:
        """The log-likelihood of each continuation, and whether greedy decoding would write it."""
        answers: list[tuple[float, bool]] = []
        for some in _documents(requests):
            encoded = encode_pairs(self.model, [_pair(request) for request in some])
            if encoded.split_apart:
                self.fit["split_apart"] += encoded.split_apart
            answers += self._score(encoded.requests, len(answers) / len(requests), len(some) / len(requests))
        return answers

    def loglikelihood_rolling(self, requests: list[Instance], **_: Any) -> list[float]:
        """The log-likelihood of whole texts, in blocks of the model's length."""
        texts = [request.args[0] for request in requests]
        tokens = encode_texts(self.model, texts)
        windows = [
            [
                make_disjoint_window(window)
                for window in get_rolling_token_windows(
                    token_list=tokens[text],
                    prefix_token=self.model.prefix_token,
                    max_seq_len=self.model.max_length,
                    context_len=1,
                )
            ]
            for text in texts
        ]
        scored = iter(self._score([window for some in windows for window in some]))
        return [sum(next(scored)[0] for _ in some) for some in windows]

    def _score(
        self, requests: list[Request], before: float = 0.0, share: float = 1.0
    ) -> list[tuple[float, bool]]:
        """Score `requests`, which are this share of all, with this share done before them."""
        progress = self.progress
        told = None if progress is None else lambda done: progress(before + share * done)
        scores = score_requests(self.model, requests, self.batch_tokens, told)
        self.fit.update(requests=len(requests), truncated=scores.truncated, tokens_lost=scores.tokens_lost)
        self.work.update(scores.work._asdict())
        return list(zip(scores.values, scores.greedy, strict=True))

    def generate_until(self, requests: list[Instance], **_: Any) -> list[str]:
        """What the model writes after each prompt, up to the first stop string.

        A prompt loses its first tokens where the model has no room for it and for the new tokens, as in lm-eval.
        Where the new tokens alone would fill the model, which makes lm-eval stop, they get half of it.
        """
        model = self.model
        contexts = encode_texts(model, (request.args[0] for request in requests))
        end = model.tokenizer.decode([model.tokenizer.end_of_text])
        prompts, stops = [], []
        for request in requests:
            text, settings = _pair(request)
            options: Any = normalize_gen_kwargs(settings, MAX_NEW_TOKENS)
            if options["do_sample"]:
                raise UserError(
                    f"{request.task_name}: this task samples its answers; greedy ones are supported."
                )
            wanted = options["max_gen_toks"]
            new = wanted if wanted < model.max_length else model.max_length // 2
            tokens = contexts[text] or [model.prefix_token]
            lost = max(0, len(tokens) + new - model.max_length)
            self.fit.update(
                requests=1, truncated=int(lost > 0), tokens_lost=lost, shortened=int(new < wanted)
            )
            stop = handle_stop_sequences(options.get("until"), eos=end)
            prompts.append(Prompt(tokens[lost:], new, tuple(text for text in stop if text)))
            stops.append(stop)
        written = write_batched(model, prompts, progress=self.progress)
        self.fit["unfinished"] += sum(one.reason == "length" for one in written)
        return [
            postprocess_generated_text(one.text, stop, None) for one, stop in zip(written, stops, strict=True)
        ]


def _documents(requests: list[Instance]) -> Iterator[list[Instance]]:
    """Runs of about AT_ONCE requests; those of one document, which share most, stay together."""
    start = 0
    for end in range(1, len(requests) + 1):
        if end == len(requests) or (
            end - start >= AT_ONCE and requests[end].doc_id != requests[end - 1].doc_id
        ):
            yield requests[start:end]
            start = end


def _pair(request: Instance) -> tuple[Any, Any]:
    """A request's two arguments: context and continuation, or prompt and settings."""
    first, second = request.arguments
    return first, second
