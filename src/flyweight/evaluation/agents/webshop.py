"""WebShop (arXiv 2207.01206), played on a server that the user runs.

The adapter walks the server's own pages: a click follows the link or the form that carries its text, so that
prices, options and the reward are all WebShop's. As in the ReAct reference: sessions `fixed_0`, `fixed_1`, ...,
one action a step, 15 of them, of a page of results the first three products, thoughts answered "OK.".
"""

from __future__ import annotations

import os
from http.client import HTTPException
from pathlib import Path
from random import Random
from urllib.error import URLError
from urllib.parse import urlencode, urljoin
from urllib.request import Request, urlopen

from flyweight.base import UserError
from flyweight.evaluation.agents.articles import words_of
from flyweight.evaluation.agents.data import find_file
from flyweight.evaluation.agents.environment import Environment, Step
from flyweight.evaluation.agents.grammar import CallGrammar
from flyweight.evaluation.agents.layout import WEBSHOP_THOUGHT, CommandLayout, Layout
from flyweight.evaluation.agents.report import measure
from flyweight.evaluation.agents.webshop_pages import Page, read_page
from flyweight.evaluation.agents.writer import Writer
from flyweight.evaluation.results import TaskResult
from flyweight.evaluation.tasks.task import TaskInput

TASK = "webshop"
ADDRESS = "WEBSHOP_URL"
PROMPT_FILE = "webshop_prompt.txt"
SESSIONS = 500
"""WebShop's test goals."""
STEP_LIMIT = 15
SECONDS = 60.0
SEARCH, CLICK = "search", "click"
GRAMMAR = CallGrammar({SEARCH: "words", CLICK: "what stands in brackets"})
INVALID = "Invalid action!"
INSTRUCTION = (
    "Buy what the instruction asks for in a shop. After Action: stands search[words], click[...] with what stands "
    "in brackets on the page, or think[...]; click[Buy Now] ends the task.\n\n"
)

# HTTPException: an answer that breaks off, an address with a space in it.
_NO_ANSWER = (URLError, OSError, ValueError, HTTPException)


class Shop(Environment):
    """One goal of WebShop, in a session of the server."""

    grammar = GRAMMAR
    step_limit = STEP_LIMIT

    def __init__(self, address: str, session: str, layout: Layout) -> None:
        """Take the goal that the server at `address` has for `session`."""
        super().__init__(session)
        self.address, self.layout = address, layout
        self._page = Page("", {}, None, None)
        self._place = address
        self._task = ""

    def reset(self) -> str:
        """See `Environment`."""
        self._open(urljoin(f"{self.address.rstrip('/')}/", self.identity))
        self._task = self._page.text
        return self._task

    def step(self, action: str) -> Step:
        """See `Environment`."""
        parts = GRAMMAR.split(action)
        assert parts is not None, f"{action!r} is no action"
        name, argument = parts
        if name == SEARCH:
            if self._page.search is None:
                return Step(INVALID, possible=False)
            self._open(self._page.search, {"search_query": argument})
        else:
            place = self._page.links.get(argument.lower())
            if place is None:
                return Step(INVALID, possible=False)
            self._open(place)
        return Step(self._page.text, self._page.score is not None)

    def scores(self) -> dict[str, float]:
        """`reward`: WebShop's, 0 for who bought nothing; `success`: a reward of 1."""
        reward = self._page.score or 0.0
        return {"reward": reward, "success": float(reward == 1.0)}

    def random_action(self, random: Random) -> str:
        """A click on something, or a search for a word of the task."""
        actions = [f"{CLICK}[{text}]" for text in sorted(self._page.links)]
        if self._page.search is not None:
            actions.append(f"{SEARCH}[{random.choice(words_of(self._task) or ['word'])}]")
        return random.choice(actions)

    def invalid_observation(self) -> str:
        """What the ReAct reference says."""
        return INVALID

    def _open(self, place: str, form: dict[str, str] | None = None) -> None:
        self._place = urljoin(self._place, place)
        data = None if form is None else urlencode(form).encode()
        try:
            with urlopen(Request(self._place, data=data), timeout=SECONDS) as answer:
                # A search is answered with another address, from which the page's links count.
                self._place = answer.url
                html = answer.read().decode("utf-8", errors="replace")
        except _NO_ANSWER as error:
            raise UserError(
                f"{self._place}: WebShop's server does not answer ({error}); start it, or set {ADDRESS}."
            ) from None
        try:
            self._page = read_page(html)
        except ValueError as error:
            raise UserError(f"{self._place}: no page as WebShop's server writes it ({error}).") from None


def shop_layout(data: Path | None) -> Layout:
    """The user's example from webshop_prompt.txt, ReAct's for instance; else our instruction."""
    file = find_file(data, (PROMPT_FILE,))
    text = INSTRUCTION if file is None else f"{file.read_text(encoding='utf-8').rstrip()}\n\n"
    return CommandLayout(
        text, 0 if file is None else 1, "Action:", "Observation: {observation}\n\n", WEBSHOP_THOUGHT
    )


def run_webshop(task: TaskInput, writer: Writer | None = None) -> TaskResult:
    """`webshop`: mean reward and success rate over the first sessions, 500 or the limit."""
    reason = missing_webshop(task.data)
    if reason is not None:
        raise UserError(f"the task {TASK} cannot run: {reason}")
    address, layout = os.environ[ADDRESS], shop_layout(task.data)
    count = SESSIONS if task.limit is None else min(task.limit, SESSIONS)
    shops = [Shop(address, f"fixed_{number}", layout) for number in range(count)]
    return measure(task, shops, "a WebShop server, sessions fixed_0 and on", writer)


def missing_webshop(data: Path | None) -> str | None:
    """Why the task cannot run here; None where it can."""
    address = os.environ.get(ADDRESS)
    if not address:
        return (
            f"{ADDRESS} is not set; start WebShop's server (github.com/princeton-nlp/WebShop) and set it to its "
            "address, such as http://127.0.0.1:3000."
        )
    if not address.startswith(("http://", "https://")):
        return f"{ADDRESS} is {address!r}; expected an address such as http://127.0.0.1:3000."
    try:
        with urlopen(f"{address.rstrip('/')}/fixed_0", timeout=SECONDS):
            return None
    except _NO_ANSWER as error:
        return f"nothing answers at {address} ({error}); start WebShop's server there."
