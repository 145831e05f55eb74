"""What runs, sources and tasks are called where there is little room: short, and all different."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flyweight.plots import colors
from flyweight.report.run import RunRecord

LONGEST = 30
"""Characters that a legend has room for on a phone."""


def short(name: str, longest: int = LONGEST) -> str:
    """The name, of a long one its beginning and its end, which versions of a name often differ in."""
    return name if len(name) <= longest else f"{name[: longest - 9]}…{name[-8:]}"


def short_names(names: Iterable[str]) -> dict[str, str]:
    """By name, its short form; forms that are the same are numbered."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        label, number = short(name), 1
        while label in taken:
            number += 1
            label = f"{short(name)} #{number}"
        found[name] = label
        taken.add(label)
    return found


def titles_of(runs: Sequence[RunRecord]) -> list[str]:
    """The runs' names, all different: with the folder's name, then with a number, where names are the same."""
    names = [run.name for run in runs]
    full = [f"{run.name} ({run.folder})" if names.count(run.name) > 1 else run.name for run in runs]
    shortened = [short(name) for name in full]
    counted: dict[str, int] = {}
    titles = []
    for name in shortened:
        counted[name] = counted.get(name, 0) + 1
        titles.append(f"{name} #{counted[name]}" if shortened.count(name) > 1 else name)
    return titles


def labelled(runs: Sequence[RunRecord], alone: str = "") -> list[tuple[RunRecord, str]]:
    """Each run and what legends call it: `alone` where it is the only one, else its title."""
    return list(zip(runs, [alone] if len(runs) == 1 else titles_of(runs), strict=True))


def palette_of(runs: Sequence[RunRecord]) -> dict[str, str]:
    """Of several runs, a colour by title: a run has the same in every figure, also where others are missing."""
    return dict(zip(titles_of(runs), colors(len(runs)), strict=True)) if len(runs) > 1 else {}
