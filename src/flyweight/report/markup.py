"""HTML that cannot be unescaped by accident: text is escaped unless it is already `Html`."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | Iterable[str]


def h(tag: str, *children: Content, **attributes: str) -> Html:
    """An element: `h("td", "a < b", class_="number")`. Plain strings are escaped, `Html` is not.

    `_` at the end of an attribute's name is left out, others become `-`.
    """
    inside = "".join(text(child) for child in children)
    named = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items()
    )
    return Html(f"<{tag}{named}>{inside}</{tag}>")


def text(content: Content) -> Html:
    """Escape a string, or join pieces, each escaped unless it is `Html`."""
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return Html(html.escape(content))
    return Html("".join(text(piece) for piece in content))


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    caption: str = "",
    *,
    words: Collection[int] = (),
    name: str = "",
) -> Html:
    """A table whose first column is text and whose other columns are numbers, in a box that scrolls.

    Args:
        header: of each column.
        rows: of cells, as many as there are columns.
        caption: over the table.
        words: columns that hold sentences: set from the left, and broken where the page ends.
        name: what the box is called for readers who cannot see it; the caption when left out.
    """
    kinds = {column: {"class_": "words"} for column in words}
    body = [
        h(
            "tr",
            h("th", row[0], scope="row"),
            [h("td", cell, **kinds.get(column, {})) for column, cell in enumerate(row[1:], 1)],
        )
        for row in rows
    ]
    cells = [
        h("th", cell, scope="col", **kinds.get(column, {})) if cell else h("td")
        for column, cell in enumerate(header)
    ]
    head = h("thead", h("tr", cells)) if any(header) else Html()
    title = h("caption", caption) if caption else Html()
    label = name or caption or "table"
    # A box that scrolls must be reached with the keyboard.
    return h(
        "div",
        h("table", title, head, h("tbody", body)),
        class_="table",
        role="group",
        tabindex="0",
        aria_label=label,
    )


def pairs(rows: Iterable[tuple[str, str]]) -> Html:
    """A list of terms and what they are."""
    items = [h("div", h("dt", term), h("dd", value)) for term, value in rows]
    return h("dl", items, class_="long") if len(items) > _LONG else h("dl", items)


_LONG = 9
"""A list with more rows is set in two columns where the page is wide."""


def figure(svg: str, caption: str = "") -> Html:
    """A drawing from `to_svg_text`, which escapes what it draws."""
    return h("figure", Html(svg), h("figcaption", caption) if caption else Html())


def grid(figures: Sequence[Html], *, small: bool = False) -> Html:
    """Figures beside and under each other, as the page's width allows."""
    return h("div", figures, class_="figures small" if small else "figures") if figures else Html()


def beside(drawn: Html, *others: Html) -> Html:
    """A figure and what belongs to it, beside each other where the page is wide."""
    return h("div", drawn, h("div", others), class_="side")


def folded(summary: str, *children: Content) -> Html:
    """What is shown once it is asked for; nothing where there is nothing."""
    inside = text(
        itertools.chain.from_iterable([child] if isinstance(child, str) else child for child in children)
    )
    return h("details", h("summary", summary), inside) if inside else Html()


@dataclass(frozen=True)
class Part:
    """A part of the page under a heading."""

    title: str
    content: Html

    @classmethod
    def of(cls, title: str, *children: Content) -> Part:
        """A part of these pieces."""
        return cls(title, text(text(child) for child in children))


def sections(parts: Iterable[Part], *, level: int = 2, prefix: str = "") -> list[Html]:
    """The parts that have something to say, each under a heading of this level and with a name of its own."""
    return [
        h("section", h(f"h{level}", part.title, id=anchor(part.title, prefix)), _lowered(part.content, level))
        for part in parts
        if part.content
    ]


def _lowered(content: Html, level: int) -> Html:
    """The headings inside of a part, which are written as `h3`, one level below its own."""
    under = f"h{level + 1}"
    return Html(content.replace("<h3>", f"<{under}>").replace("</h3>", f"</{under}>"))


def contents(parts: Iterable[Part], *, prefix: str = "", more: Iterable[tuple[str, str]] = ()) -> Html:
    """Links to these parts, and to `more` (title, anchor)."""
    links = [(part.title, anchor(part.title, prefix)) for part in parts if part.content]
    items = [h("li", h("a", title, href=f"#{place}")) for title, place in [*links, *more]]
    return h("nav", h("ul", items), aria_label="Parts of this page")


def anchor(title: str, prefix: str = "") -> str:
    """The name of a part in links."""
    return prefix + re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
