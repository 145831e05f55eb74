"""HTML that cannot be unescaped by accident: text is escaped unless it is already `Html`."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | Iterable[str]


def h(tag: str, *children: Content, **attributes: str) -> Html:
    """An element: `h("td", "a < b", class_="number")`. Plain strings are escaped, `Html` is not."""
    inside = "".join(text(child) for child in children)
    named = "".join(f' {key.rstrip("_")}="{html.escape(value)}"' for key, value in attributes.items())
    return Html(f"<{tag}{named}>{inside}</{tag}>")


def text(content: Content) -> Html:
    """Escape a string, or join pieces, each escaped unless it is `Html`."""
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return Html(html.escape(content))
    return Html("".join(text(piece) for piece in content))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> Html:
    """A table whose first column is text and whose other columns are numbers."""
    body = [h("tr", h("th", row[0], scope="row"), [h("td", cell) for cell in row[1:]]) for row in rows]
    head = h("thead", h("tr", [h("th", cell, scope="col") for cell in header])) if any(header) else Html()
    title = h("caption", caption) if caption else Html()
    return h("div", h("table", title, head, h("tbody", body)), class_="table")


def pairs(rows: Iterable[tuple[str, str]]) -> Html:
    """A list of terms and what they are."""
    return h("dl", [h("div", h("dt", term), h("dd", value)) for term, value in rows])


def figure(svg: str, caption: str = "") -> Html:
    """A drawing from `to_svg_text`, which escapes what it draws."""
    return h("figure", Html(svg), h("figcaption", caption) if caption else Html())


def section(title: str, *children: Content) -> Html:
    """A part of the page with a heading; nothing at all where there is nothing to say."""
    inside = [child for child in map(text, children) if child]
    return h("section", h("h2", title), inside) if inside else Html()
