"""One self-contained page about one or several runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flyweight import __version__
from flyweight.base import UserError, atomic_write
from flyweight.planning import plan_recipe
from flyweight.report import figures
from flyweight.report.markup import Html, h, section, table
from flyweight.report.results import measurements
from flyweight.report.run import RunRecord, read_run
from flyweight.report.sections import headline, run_sections
from flyweight.report.style import CSS


def write_report(runs: Sequence[Path], out: Path) -> None:
    """Write a page about `runs` to `out`. It loads nothing: styles and drawings are inside.

    Several runs are laid side by side first, then told one by one.

    Raises:
        UserError: no runs, or a folder that is not a run's.
    """
    if not runs:
        raise UserError("there is no run to report on; name at least one run folder.")
    page = render_page([read_run(Path(folder)) for folder in runs])
    with atomic_write(out) as file:
        file.write(page)


def render_page(runs: Sequence[RunRecord]) -> str:
    """The page as text."""
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs side by side"
    head = h(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        h("title", f"{title} - Flyweight"),
        h("style", Html(CSS)),
    )
    body = h("body", _one(runs[0]) if len(runs) == 1 else _several(runs), _foot())
    return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'


def _one(run: RunRecord) -> Html:
    return h("main", h("header", h("h1", run.name), _introduction(run)), run_sections(run))


def _several(runs: Sequence[RunRecord]) -> Html:
    titles = [figures.title_of(run, runs) for run in runs]
    articles = [
        h("article", h("header", h("h1", title), _introduction(run)), run_sections(run))
        for title, run in zip(titles, runs, strict=True)
    ]
    return h(
        "main",
        h("h1", f"{len(runs)} runs side by side"),
        section("In numbers", _comparison(runs, titles)),
        section("Training", figures.grid(figures.training_figures(runs))),
        articles,
    )


def _introduction(run: RunRecord) -> list[Html]:
    state = "" if run.state == "finished" else f"This run is not finished: {run.state}."
    return [
        h("p", line, class_="quiet") for line in (run.recipe.description, run.hardware or "", state) if line
    ]


def _comparison(runs: Sequence[RunRecord], titles: Sequence[str]) -> Html:
    """One row a number, one column a run; a number that a run does not have leaves its cell empty."""
    columns = []
    for run in runs:
        column = dict(headline(run, plan_recipe(run.recipe)))
        column |= {f"bits per byte, {source}": f"{bits:.3f}" for source, bits in run.bits_per_byte.items()}
        for row in measurements(run.results):
            if not row.grouped:
                name = " ".join([row.task, *row.part, row.metric])
                column[name] = " ".join(filter(None, [row.text(), row.stderr_text()]))
        columns.append(column)
    labels = dict.fromkeys(label for column in columns for label in column)
    return table(["", *titles], [[label, *(column.get(label, "") for column in columns)] for label in labels])


def _foot() -> Html:
    return h("footer", h("p", f"Written by Flyweight {__version__}.", class_="quiet"))
