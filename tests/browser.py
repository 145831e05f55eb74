"""Pages in a real browser: what goes wrong on them, and pictures of them.

As a script it takes a picture, such as those in docs/images:

    python tests/browser.py runs/mine/report.html docs/images/report.png --width 1280 --scheme dark
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

Scheme = Literal["light", "dark"]

PHONE, DESKTOP = 390, 1280
"""Widths that every page is looked at in, in CSS pixels."""

_OWN_HOSTS = ("127.0.0.1", "localhost", "::1")
_WITHOUT_HOST = ("file", "data", "blob", "about")

_OVERFLOWING = """() => {
    const wide = document.documentElement.clientWidth;
    const scrolls = element => {
        for (let one = element.parentElement; one; one = one.parentElement)
            if (one !== document.documentElement && one !== document.body
                && ['auto', 'scroll', 'hidden'].includes(getComputedStyle(one).overflowX)) return true;
        return false;
    };
    return [...document.body.querySelectorAll('*')]
        .filter(one => one.getBoundingClientRect().right > wide + 1 && !scrolls(one))
        .map(one => one.outerHTML.slice(0, 120));
}"""


@dataclass
class Visit:
    """A page that is open, and what went wrong on it."""

    page: Any
    """Playwright's page."""
    problems: list[str] = field(default_factory=list)
    """Errors and warnings of the console, uncaught exceptions, requests that failed, requests to other machines."""
    requests: list[str] = field(default_factory=list)
    """Everything that was asked for, the page itself first."""

    def overflowing(self) -> list[str]:
        """The elements that reach over the page's right edge, those inside a box that scrolls left out."""
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            "the page scrolls sideways"
        )
        return self.page.evaluate(_OVERFLOWING)


@dataclass
class Browser:
    """Opens pages, each in a context of its own: no page knows of another's storage."""

    chromium: Any
    visits: list[Visit] = field(default_factory=list)

    def open(
        self,
        address: str | Path,
        *,
        width: int = DESKTOP,
        height: int = 900,
        scheme: Scheme = "light",
        scale: float = 1.0,
    ) -> Visit:
        """Open a file or a page of a server on this machine.

        Requests to any other machine are recorded as problems and not carried out.

        Args:
            address: a file, or an address that begins with http.
            width: of the window, in CSS pixels.
            height: of the window.
            scheme: the colour scheme that the reader prefers.
            scale: device pixels to a CSS pixel.
        """
        context = self.chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=scale
        )
        visit = Visit(context.new_page())
        _watch(context, visit)
        self.visits.append(visit)
        target = address.resolve().as_uri() if isinstance(address, Path) else address
        visit.page.goto(target, wait_until="load")
        return visit

    def close(self) -> None:
        """Close what is open."""
        for visit in self.visits:
            visit.page.context.close()
        self.visits.clear()


def _watch(context: Any, visit: Visit) -> None:
    def route(handler: Any) -> None:
        parts = urlsplit(handler.request.url)
        if parts.scheme in _WITHOUT_HOST or parts.hostname in _OWN_HOSTS:
            handler.continue_()
        else:
            visit.problems.append(f"request to another machine: {handler.request.url}")
            handler.abort()

    def said(message: Any) -> None:
        if message.type in ("error", "warning"):
            visit.problems.append(f"console {message.type}: {message.text}")

    page = visit.page
    context.route("**/*", route)
    page.on("console", said)
    page.on("pageerror", lambda error: visit.problems.append(f"exception: {error}"))
    page.on("request", lambda request: visit.requests.append(request.url))
    page.on(
        "requestfailed", lambda request: visit.problems.append(f"failed: {request.url} ({request.failure})")
    )


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """This machine's Chromium, headless.

    Raises:
        FileNotFoundError: there is none.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise FileNotFoundError("there is no chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield opened
        finally:
            opened.close()


def main() -> None:
    """Take a picture of a page."""
    parser = argparse.ArgumentParser(description="Take a picture of a page.")
    parser.add_argument("page", help="a file, or an address of this machine")
    parser.add_argument("out", type=Path, help="the .png")
    parser.add_argument("--width", type=int, default=DESKTOP)
    parser.add_argument(
        "--height", type=int, default=900, help="of the window; with --full the whole page is taken"
    )
    parser.add_argument("--scheme", choices=["light", "dark"], default="light")
    parser.add_argument("--scale", type=float, default=1.0, help="device pixels to a CSS pixel")
    parser.add_argument("--to", help="a CSS selector: scroll to it first")
    parser.add_argument("--only", help="a CSS selector: take the picture of this element alone")
    parser.add_argument("--full", action="store_true", help="the whole page, however long")
    given = parser.parse_args()
    with chromium() as opened:
        browser = Browser(opened)
        address = given.page if given.page.startswith("http") else Path(given.page)
        visit = browser.open(
            address, width=given.width, height=given.height, scheme=given.scheme, scale=given.scale
        )
        if given.to:
            visit.page.eval_on_selector(given.to, "element => element.scrollIntoView()")
        if given.only:
            visit.page.locator(given.only).first.screenshot(path=given.out)
        else:
            visit.page.screenshot(path=given.out, full_page=given.full)
        for problem in visit.problems:
            print(problem)


if __name__ == "__main__":
    main()
