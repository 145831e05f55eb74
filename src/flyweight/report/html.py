"""One self-contained page about one or several runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from flyweight import __version__
from flyweight.base import UserError, atomic_write
from flyweight.plots import figure_width
from flyweight.report.comparison import common_parts
from flyweight.report.markup import Html, contents, h, sections
from flyweight.report.names import titles_of
from flyweight.report.run import RunRecord, read_run
from flyweight.report.sections import run_parts
from flyweight.report.style import CSS

WIDTH = 4.2
"""Inches of a figure: drawn 360 px wide, on a phone or three in a row, its text is still about 10 px high."""


def write_report(runs: Sequence[Path], out: Path) -> None:
    """Write a page about `runs` to `out`. It loads nothing: styles and drawings are inside.

    Several runs are laid side by side first, then told one by one.

    Raises:
        UserError: no runs, a folder that is not a run's, or `out` is a file that is no HTML page.
    """
    if not runs:
        raise UserError("there is no run to report on; name at least one run folder.")
    _refuse_other_files(out)
    page = render_page([read_run(Path(folder)) for folder in runs])
    with atomic_write(out) as file:
        file.write(page)


def _refuse_other_files(out: Path) -> None:
    if out.suffix.lower() in (".html", ".htm") or not out.is_file():
        return
    with out.open("rb") as file:
        begin = file.read(1024).lstrip().lower()
    if begin and not begin.startswith((b"<!doctype html", b"<html")):
        raise UserError(
            f"{out}: this file is not an HTML page and stays as it is; name another file for the report."
        )


def render_page(runs: Sequence[RunRecord]) -> str:
    """The page as text."""
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs side by side"
    head = h(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<link rel="icon" href="data:,">'),  # else a browser asks the server for one
        h("title", f"{title} - Flyweight"),
        h("style", Html(CSS)),
    )
    with figure_width(WIDTH):
        body = h("body", _one(runs[0]) if len(runs) == 1 else _several(runs), _foot())
    return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'


def _one(run: RunRecord) -> Html:
    tiles, parts = run_parts(run)
    return h(
        "main", h("header", h("h1", run.name), _introduction(run)), tiles, contents(parts), sections(parts)
    )


def _several(runs: Sequence[RunRecord]) -> Html:
    titles, common = titles_of(runs), common_parts(runs)
    articles = [
        _article(run, title, f"run-{place}")
        for place, (run, title) in enumerate(zip(runs, titles, strict=True))
    ]
    more = [(title, f"run-{place}") for place, title in enumerate(titles)]
    return h(
        "main",
        h("h1", f"{len(runs)} runs side by side"),
        contents(common, more=more),
        sections(common),
        articles,
    )


def _article(run: RunRecord, title: str, name: str) -> Html:
    """One of several runs, under headings one level lower."""
    tiles, parts = run_parts(run)
    prefix = f"{name}-"
    head = h("header", h("h2", title, id=name), _introduction(run))
    inside = [_own_names(section, prefix) for section in sections(parts, level=3, prefix=prefix)]
    return h("article", head, tiles, contents(parts, prefix=prefix), inside)


def _own_names(section: Html, prefix: str) -> Html:
    """Drawings that are the same in two runs, such as their plans, define the same names: each gets its own."""
    return Html(re.sub(r'(\bid="|url\(#|href="#)(f[0-9a-f]{8}-)', rf"\1{prefix}\2", section))


def _introduction(run: RunRecord) -> list[Html]:
    lines = [h("p", line, class_="quiet") for line in (run.recipe.description, run.hardware or "") if line]
    if run.state == "finished":
        return lines
    return [*lines, h("p", f"This run is not finished: {run.state}.", class_="warning")]


def _foot() -> Html:
    return h("footer", h("p", f"Written by Flyweight {__version__}.", class_="quiet"))
