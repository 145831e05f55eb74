"""The tests' own browser sees what goes wrong on a page, so that a test of a page can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser import DESKTOP, PHONE, Browser

pytestmark = pytest.mark.browser


@pytest.fixture
def page(tmp_path: Path):
    def write(body: str) -> Path:
        file = tmp_path / "page.html"
        file.write_text(
            f"<!doctype html><meta name=viewport content='width=device-width'>{body}", encoding="utf-8"
        )
        return file

    return write


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("<script>console.error('broken')</script>", "console error: broken"),
        ("<script>console.warn('careful')</script>", "console warning: careful"),
        ("<script>throw new Error('thrown')</script>", "thrown"),
        ("<img src='http://example.org/x.png'>", "request to another machine: http://example.org/x.png"),
        ("<img src='nowhere.png'>", "nowhere.png"),
    ],
)
def test_what_goes_wrong_is_told(browser: Browser, page, body: str, told: str):
    visit = browser.open(page(body))
    assert any(told in problem for problem in visit.problems), visit.problems
    visit.problems.clear()


def test_a_page_without_faults_has_none(browser: Browser, page):
    visit = browser.open(page("<p>fine"))
    assert visit.problems == []
    assert len(visit.requests) == 1
    assert visit.overflowing() == []


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_what_is_too_wide_is_told_unless_its_box_scrolls(browser: Browser, page, width: int):
    wide = f"<div style='width:{width + 50}px'>wide</div>"
    with pytest.raises(AssertionError, match="scrolls sideways"):
        browser.open(page(wide), width=width).overflowing()
    assert browser.open(page(f"<div style='overflow-x:auto'>{wide}</div>"), width=width).overflowing() == []


def test_width_and_scheme_are_those_asked_for(browser: Browser, page):
    for width, scheme in ((PHONE, "dark"), (DESKTOP, "light")):
        found = browser.open(page("<p>x"), width=width, scheme=scheme).page
        assert found.evaluate("innerWidth") == width
        assert found.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")
