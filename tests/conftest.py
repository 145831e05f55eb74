"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from browser import Browser, chromium


@pytest.fixture(autouse=True)
def own_module_cache(tmp_path_factory, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers copies modeling code before it imports it: not into the user's own cache.

    One folder for all tests of a process, since Python remembers where `transformers_modules` lies.
    """
    import transformers.dynamic_module_utils as dynamic

    monkeypatch.setattr(dynamic, "HF_MODULES_CACHE", str(tmp_path_factory.getbasetemp() / "hf_modules"))


@pytest.fixture(scope="module")
def opened_chromium() -> Iterator[Any]:
    """One for all tests of a file. Not for more: while it is open, its thread has a running event loop."""
    try:
        with chromium() as opened:
            yield opened
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture
def browser(opened_chromium: Any) -> Iterator[Browser]:
    """Opens pages; the test fails if anything went wrong on one of them.

    A test that wants something to go wrong empties `visit.problems` after a look at them.
    """
    browser = Browser(opened_chromium)
    yield browser
    problems = [problem for visit in browser.visits for problem in visit.problems]
    browser.close()
    assert problems == []
