"""The report in a real browser: phone and desktop, light and dark, keyboard and paper."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from browser import DESKTOP, PHONE, Browser
from flyweight.report import write_report

pytestmark = pytest.mark.browser

_CONTRAST = """() => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgb = color => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = color => {
        const [r, g, b] = rgb(color).slice(0, 3).map(x => x / 255)
            .map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = element => {
        for (let one = element; one; one = one.parentElement) {
            const color = getComputedStyle(one).backgroundColor;
            if (rgb(color)[3] === 255) return color;
        }
        return 'white';
    };
    const poor = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
        const style = getComputedStyle(element);
        const color = element.closest('svg') && style.fill !== 'none' ? style.fill : style.color;
        const [a, b] = [light(color), light(behind(element))].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) poor.add(`${element.tagName} ${walker.currentNode.data.trim()}`);
    }
    return [...poor];
}"""
"""Texts with less contrast than 4.5 to 1, which WCAG 2.2 asks of text of this size."""

_WRONG_LEVELS = """() => {
    const levels = [...document.querySelectorAll('h1, h2, h3, h4, h5')].map(one => +one.tagName[1]);
    return levels.filter((level, place) => place ? level > levels[place - 1] + 1 : level !== 1);
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, two_runs: tuple[Path, Path]) -> dict[str, Path]:
    """The page of one run with everything on it, and the page of it beside one that stopped."""
    folder = tmp_path_factory.mktemp("pages")
    write_report(two_runs[:1], folder / "one.html")
    write_report(two_runs, folder / "two.html")
    return {name: folder / f"{name}.html" for name in ("one", "two")}


@pytest.mark.parametrize("name", ["one", "two"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, PHONE, 700, DESKTOP])
def test_it_fits_and_can_be_read(
    browser: Browser, pages: dict[str, Path], name: str, scheme: Any, width: int
):
    visit = browser.open(pages[name], width=width, scheme=scheme)
    visit.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert visit.overflowing() == []
    assert len(visit.requests) == 1  # the page itself
    assert visit.page.evaluate(_CONTRAST) == []
    # Text of the drawings, as large as it is shown.
    sizes = visit.page.evaluate(
        "[...document.querySelectorAll('svg text')].map(one => one.getBoundingClientRect().height).filter(x => x > 0)"
    )
    assert min(sizes) >= (9 if width < PHONE else 10)


@pytest.mark.parametrize("name", ["one", "two"])
def test_those_who_cannot_see_it_are_told(browser: Browser, pages: dict[str, Path], name: str):
    page = browser.open(pages[name]).page
    assert page.evaluate(_WRONG_LEVELS) == []
    assert page.locator("h1").count() == 1
    assert (
        page.evaluate("[...document.querySelectorAll('th')].filter(one => !one.textContent.trim()).length")
        == 0
    )
    assert page.evaluate(
        "[...document.querySelectorAll('table')].every(one => one.querySelector('th[scope]'))"
    )
    alternatives = [one.get_attribute("aria-label") for one in page.locator("svg").all()]
    assert len(set(alternatives)) > 8
    assert all(re.search(r"\w{4}.*\d|table", told) for told in alternatives)  # numbers, or where they stand
    names = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(names) == len(set(names))


def test_it_can_be_used_with_the_keyboard(browser: Browser, pages: dict[str, Path]):
    page = browser.open(pages["one"], width=PHONE).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Training"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#training"
    # A table wider than the page scrolls in its own box.
    box = page.locator(".table", has_text="in the corpus").first
    box.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("one => one.scrollLeft > 0", arg=box.element_handle(), timeout=5000)
    summary = page.locator("summary", has_text="Every value").first
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("pre").first.is_visible()


def test_every_link_leads_to_its_part(browser: Browser, pages: dict[str, Path]):
    page = browser.open(pages["two"]).page
    missing = (
        "[...document.querySelectorAll('a')].filter(one => !document.querySelector(one.getAttribute('href')))"
    )
    assert page.locator("a").count() > 15
    assert page.evaluate(f"{missing}.length") == 0


def test_on_paper_it_is_black_on_white_within_the_sheet(browser: Browser, pages: dict[str, Path]):
    page = browser.open(pages["one"], width=720, scheme="dark").page
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert not page.locator("nav").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.pdf(format="A4").startswith(b"%PDF")
