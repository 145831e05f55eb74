"""Loss by the place in the context, with the law that was fitted to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flyweight.evaluation.context_law import Law
from flyweight.plots import Fitted, FittedPanel, Series, fitted
from flyweight.report.figures import svg
from flyweight.report.markup import Html, beside, h, table
from flyweight.report.names import labelled, palette_of
from flyweight.report.results import number
from flyweight.report.run import RunRecord


def context_of(runs: Sequence[RunRecord]) -> list[Html]:
    """The law of context of every run that measured it: a figure with all of them, and the coefficients.

    One run is shown in nats per token, several in bits per byte, which compares across tokenizers.
    """
    found = {label: node for run, label in labelled(runs, "loss") if (node := _node(run)) is not None}
    if not found:
        return []
    several = len(runs) > 1
    unit = "bits per byte" if several else "nats per token"
    fits = [
        fit
        for label, node in found.items()
        if (fit := _fit(f"{label}: mean over windows" if not several else label, node, in_bits=several))
    ]
    marked = None
    if not several and (beyond := _beyond(next(iter(found.values())))) is not None:
        fit, marked = beyond
        fits.append(fit)
    if not fits:
        return []
    drawn = fitted(
        [FittedPanel("Loss by position in the context", fits, marked)],
        x_label="position of the token in its context",
        y_label=unit,
        columns=1,
        palette=palette_of(runs),
    )
    told = "; ".join(f"{label}: {_in_words(node)}" for label, node in found.items())
    shown = table(["", *(found if several else ["value"])], _rows(found), "The law L(t) = b + (t / c)^a")
    warnings = [
        h("p", f"{label}: {warning}." if several else f"{warning}.", class_="warning")
        for label, node in found.items()
        for warning in node.get("warnings") or ()
    ]
    texts = {tuple(node.get("files") or ()) for node in found.values()}
    if len(texts) > 1:
        warnings.append(h("p", "Measured on different texts: these curves do not compare.", class_="warning"))
    return [
        beside(svg(drawn, f"Loss by position in the context with its fitted law. {told}."), shown, *warnings)
    ]


def _node(run: RunRecord) -> Mapping[str, Any] | None:
    """What was measured, where a curve can be drawn from it."""
    node = run.results.get("context_law")
    if not isinstance(node, Mapping) or _law(node) is None or not _bins(node, in_fit=True):
        return None
    return node


def _law(node: Mapping[str, Any]) -> Law | None:
    law = node.get("law")
    values = [number(law.get(name)) for name in Law._fields] if isinstance(law, Mapping) else []
    known = [value for value in values if value is not None]
    return Law(*known) if len(known) == len(Law._fields) and known[2] > 0 else None


def _bins(node: Mapping[str, Any], *, in_fit: bool) -> list[Mapping[str, Any]]:
    """The bins of the fit, or those beyond the trained length."""
    pieces = [one for one in node.get("bins") or () if isinstance(one, Mapping)]
    known = [
        one for one in pieces if all(number(one.get(key)) is not None for key in ("first", "last", "loss"))
    ]
    if in_fit:
        return [one for one in known if one.get("in_fit")]
    trained = number(node.get("trained_length"))
    return [] if trained is None else [one for one in known if one["first"] > trained]


def _fit(label: str, node: Mapping[str, Any], *, in_bits: bool, beyond: bool = False) -> Fitted | None:
    law, bins = _law(node), _bins(node, in_fit=not beyond)
    factor = 1.0
    if in_bits:
        tokens_per_byte = number(node.get("tokens_per_byte"))
        if tokens_per_byte is None:
            return None
        factor = tokens_per_byte / math.log(2)
    if law is None or not bins:
        return None
    x = np.array([math.sqrt(one["first"] * one["last"]) for one in bins])
    errors = [number(one.get("stderr")) for one in bins]
    known = None if None in errors else factor * np.array(errors, np.float64)
    line = np.unique(np.geomspace(bins[0]["first"], bins[-1]["last"], 200))
    low, high = (_at(line, x, [number(one.get(key)) for one in bins], factor) for key in _BAND)
    curve = Series("", line, factor * law.loss(line), low, high)
    return Fitted(label, x, factor * np.array([one["loss"] for one in bins]), curve, beyond, known)


_BAND = ("fitted_low", "fitted_high")


def _at(line: np.ndarray, x: np.ndarray, values: Sequence[float | None], factor: float) -> np.ndarray | None:
    """The band at places between those where it is known; None in results of earlier versions, which lack it."""
    if None in values:
        return None
    return factor * np.interp(np.log(line), np.log(x), np.array(values, np.float64))


def _beyond(node: Mapping[str, Any]) -> tuple[Fitted, tuple[float, float, float]] | None:
    """Positions past the trained length, and the stretch that they take."""
    fit = _fit("beyond the trained length, not in the fit", node, in_bits=False, beyond=True)
    trained, length = number(node.get("trained_length")), number(node.get("length"))
    return None if fit is None or trained is None or length is None else (fit, (trained, trained, length))


def _rows(found: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    rows = [
        [name, *(_coefficient(node, key) for node in found.values())]
        for name, key in (("a, how fast it falls", "a"), ("b, the floor in nats", "b"), ("c, in tokens", "c"))
    ]
    rows.append(["b in bits per byte", *(_floor(node) for node in found.values())])
    for name, key in (
        ("misfit in standard errors", "residual_in_errors"),
        ("windows", "windows"),
        ("tokens of a window", "length"),
        ("trained length", "trained_length"),
    ):
        values = [number(node.get(key)) for node in found.values()]
        rows.append([name, *("" if value is None else f"{value:,.4g}" for value in values)])
    files = [
        ", ".join(str(file).rpartition("/")[2] for file in node.get("files") or ()) for node in found.values()
    ]
    rows.append(["text", *files])
    return [row for row in rows if any(row[1:])]


def _coefficient(node: Mapping[str, Any], key: str) -> str:
    law = _law(node)
    value = "" if law is None else f"{getattr(law, key):.4g}"
    interval = _section(node, "intervals").get(key)
    if isinstance(interval, Sequence) and len(interval) == 2:
        low, high = map(number, interval)
        if low is not None and high is not None:
            return f"{value} ({low:.4g} to {high:.4g})"
    return value


def _floor(node: Mapping[str, Any]) -> str:
    value = number(_section(node, "bits_per_byte").get("b"))
    return "" if value is None else f"{value:.3f}"


def _section(node: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = node.get(key)
    return found if isinstance(found, Mapping) else {}


def _in_words(node: Mapping[str, Any]) -> str:
    bins = _bins(node, in_fit=True)
    return (
        f"from {bins[0]['loss']:.3f} nats at position {bins[0]['first']} to {bins[-1]['loss']:.3f} at "
        f"{bins[-1]['last']}"
    )
