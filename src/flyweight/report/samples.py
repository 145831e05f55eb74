"""What models wrote during training and after it, by prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flyweight.recipe import format_tokens
from flyweight.report.markup import Html, folded, h
from flyweight.report.names import titles_of
from flyweight.report.run import RunRecord

SHOWN = 2
"""The newest so many of a prompt; the others are folded away."""


def samples_of(run: RunRecord) -> list[Html]:
    """By prompt, the newest text first; before them what the finished model wrote."""
    parts = []
    sample = run.results.get("sample")
    if isinstance(sample, Mapping) and sample.get("text"):
        origin = sample.get("model")
        parts.append(_sample(f"{origin or 'after training'}", sample.get("prompt", ""), sample["text"]))
    for prompt, written in _by_prompt(run).items():
        shown = [_sample(_at(clock), prompt, text) for clock, text in reversed(written.items())]
        parts += [
            h("h3", _title(prompt)),
            *shown[:SHOWN],
            folded(f"{len(shown) - SHOWN} earlier ones", shown[SHOWN:]),
        ]
    return parts


def samples_side_by_side(runs: Sequence[RunRecord]) -> list[Html]:
    """By prompt, the newest text of every run that has one, beside each other."""
    by_run = [_by_prompt(run) for run in runs]
    parts = []
    for prompt in dict.fromkeys(prompt for written in by_run for prompt in written):
        columns = [
            _sample(f"{title}, {_at(clock)}", prompt, written[prompt][clock])
            for title, written in zip(titles_of(runs), by_run, strict=True)
            if prompt in written
            for clock in [max(written[prompt])]
        ]
        parts += [h("h3", _title(prompt)), h("div", columns, class_="beside")]
    return parts


def _by_prompt(run: RunRecord) -> dict[str, dict[int, str]]:
    """By prompt and clock, oldest first."""
    found: dict[str, dict[int, str]] = {}
    for event in run.of("sampled"):
        found.setdefault(event.get("prompt", ""), {})[event["clock"]] = event["text"]
    return found


def _title(prompt: str) -> str:
    return f"Going on from “{prompt}”" if prompt else "From nothing"


def _at(clock: int) -> str:
    return f"at {format_tokens(clock)} tokens"


def _sample(title: str, prompt: str, text: str) -> Html:
    quote = h("blockquote", h("em", prompt) if prompt else Html(), text or "(it wrote nothing)")
    return h("div", h("p", title, class_="quiet"), quote, class_="sample")
