"""WebShop's pages as text, with what can be clicked."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import NamedTuple

SHOWN_PRODUCTS = 3
"""Of a page of results, as in the ReAct reference."""
SCORE_TITLE = "Your score (min 0.0, max 1.0)"
UNSEEN = frozenset({"style", "script", "head", "title"})
BLOCKS = frozenset({"h1", "h2", "h3", "h4", "h5", "p", "div", "button", "pre", "br", "li"})
"""Elements that begin a line; WebShop closes headings of one size with tags of another."""


class Page(NamedTuple):
    """What a shopper sees."""

    text: str
    links: dict[str, str]
    """Where each thing that can be clicked leads, by what stands on it."""
    search: str | None
    """Where a search goes; None on a page without a field for one."""
    score: float | None
    """On the last page."""


class _Reader(HTMLParser):
    """Collects pieces of text with what they stand on."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[tuple[str, str]] = []
        """(kind, text): kind is `text`, `button`, `product` or `option`."""
        self.links: dict[str, str] = {}
        self.search: str | None = None
        self._form = self._link = self._radio = ""
        self._kind = "text"
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._unseen += tag in UNSEEN
        if tag == "form":
            self._form = given.get("action", "")
        elif tag == "input":
            self._radio = given.get("data-url", "")
            if given.get("name") == "search_query":
                self.search = self._form
        elif tag == "button":
            self._kind = "button"
        elif tag == "label":
            self._kind = "option"
        elif tag == "a" and "product-link" in given.get("class", "").split():
            self._kind, self._link = "product", given.get("href", "")
        elif tag in BLOCKS:
            self.pieces.append(("line", ""))

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in UNSEEN
        if tag == "form":
            self._form = ""
        if tag in ("button", "label", "a"):
            self._kind = "text"

    def handle_data(self, data: str) -> None:
        words = " ".join(data.split())
        if not words or self._unseen:
            return
        self.pieces.append((self._kind, words))
        if self._kind != "text":
            place = {"button": self._form, "product": self._link, "option": self._radio}[self._kind]
            self.links.setdefault(words.lower(), place)


def read_page(html: str) -> Page:
    """The page of some HTML.

    Buttons and products stand on lines of their own, options behind their name, all in brackets; of products
    the first three are shown and can be clicked. The instruction is shown where one searches, not again at the
    top of every other page, and of the last page the score.

    Raises:
        ValueError: a page that announces a score and has none.
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    links, lines = dict(reader.links), list[str]()
    products, fresh, score = 0, True, None
    shown_products: set[str] = set()  # one may stand on the page again, further down
    for place, (kind, words) in enumerate(reader.pieces):
        if words == SCORE_TITLE:
            score = _number_after(reader.pieces[place + 1 :])
        products += kind == "product"
        if kind == "product" and products <= SHOWN_PRODUCTS:
            shown_products.add(words)
        if products > SHOWN_PRODUCTS:
            if kind == "product" and words not in shown_products:
                links.pop(words.lower(), None)
            continue
        if kind == "line":
            fresh = True
            continue
        if reader.search is None and words.startswith(("Instruction:", "Current Query:")):
            continue
        shown = words if kind == "text" else f"[{words}]"
        if lines and (kind == "option" or (kind == "text" and not fresh)):
            lines[-1] += f" {shown}"
        else:
            lines.append(shown)
        fresh = kind in ("button", "product")
    if reader.search is not None:
        links.pop("search", None)  # what is searched for has to be said
    text = "\n".join(lines) if score is None else f"{SCORE_TITLE}: {score}"
    return Page(text, links, reader.search, score)


def _number_after(pieces: list[tuple[str, str]]) -> float:
    return float(next((words for kind, words in pieces if kind != "line"), "no score"))
