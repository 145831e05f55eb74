"""The page in a browser: what is typed, streamed, stopped, shown of each token, and never taken for HTML."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scripted_model import ScriptedModel

from browser import DESKTOP, PHONE, Browser
from flyweight.base import UserError
from flyweight.chat import Settings

pytestmark = pytest.mark.browser

HOSTILE = (
    "<script>document.title = 'broken in'</script><img src=x onerror=\"document.title = 'broken in'\">&lt;b>"
)


@pytest.fixture
def visit(browser: Browser, serve: Callable) -> Iterator[Callable[..., Any]]:
    """Opens the page of a model; returns Playwright's page."""

    def open_page(model: ScriptedModel, **options: Any) -> Any:
        shown = {key: options.pop(key) for key in ("width", "height", "scheme") if key in options}
        server = serve(model, **options)
        page = browser.open(server.place.url, **shown).page
        wait(page, "document.getElementById('about').textContent !== ''")
        return page

    yield open_page
    # Chromium reports some streams as aborted of which the page has read the last byte (its own end is checked: an
    # answer that breaks off is told on the page).
    for opened in browser.visits:
        opened.problems[:] = [
            problem
            for problem in opened.problems
            if not re.search(r"/api/answer \(net::ERR_ABORTED", problem)
        ]


def wait(page: Any, condition: str, arg: Any = None) -> None:
    """Playwright's own way of waiting evaluates strings, which the page's policy forbids."""
    end = time.monotonic() + 30
    while not page.evaluate(condition, arg):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


def ask(page: Any, text: str) -> None:
    page.fill("#message", text)
    page.press("#message", "Enter")


def finished(page: Any, answers: int = 1) -> str:
    """Waits for so many finished answers; the text of the last."""
    wait(
        page,
        "count => document.querySelectorAll('.assistant .note').length >= count"
        " && !document.getElementById('send').hidden",
        arg=answers,
    )
    return answer_text(page)


def answer_text(page: Any) -> str:
    return page.evaluate(
        """() => {
            const words = [...document.querySelectorAll('.assistant .words')].at(-1).cloneNode(true);
            for (const mark of words.querySelectorAll('.mark')) mark.remove();
            return words.textContent;
        }"""
    )


def test_a_question_gets_its_answer(scripted: Callable, visit: Callable):
    model = scripted("No: it is not so.\n\n1 + 1 = 2", "It is.")
    page = visit(model)
    assert page.evaluate("document.activeElement.id") == "message"
    ask(page, "Is it so?")
    assert finished(page) == "No: it is not so.\n\n1 + 1 = 2"
    assert re.search(r"\d+ tokens, surprise [\d.]+ bits, [\d.]+ a token", page.inner_text(".assistant .note"))
    assert page.input_value("#message") == ""
    page.fill("#message", "line one")
    page.press("#message", "Shift+Enter")
    page.keyboard.type("line two")
    page.click("#send")
    assert finished(page, 2) == "It is."
    assert "user\nIs it so?<|im_end|>" in model.prompts()[1]
    assert "assistant\nNo: it is not so.\n\n1 + 1 = 2<|im_end|>" in model.prompts()[1]
    assert "user\nline one\nline two<|im_end|>" in model.prompts()[1]


def test_text_is_never_html(scripted: Callable, visit: Callable):
    page = visit(scripted(HOSTILE))
    ask(page, HOSTILE)
    assert finished(page) == HOSTILE
    assert page.inner_text(".user .words") == HOSTILE
    for token in page.query_selector_all(".token")[:60:7]:
        token.hover()
    page.wait_for_timeout(200)
    assert (
        page.evaluate("document.querySelectorAll('main img, main script, #popover img, main b').length") == 0
    )
    assert page.title() == "scripted <b>model</b> – Flyweight chat"
    page.reload()
    page.wait_for_selector(".assistant")
    assert answer_text(page) == HOSTILE
    assert page.title() == "scripted <b>model</b> – Flyweight chat"


def test_a_token_is_never_html(scripted: Callable, visit: Callable, tokenizer):
    page = visit(scripted([tokenizer.backend.token_to_id("<img src=x>")]))
    ask(page, "Is it so?")
    assert finished(page) == "<img src=x>"
    page.hover(".assistant .token")
    assert rows(page)[0][0] == "✓ <img·src=x>"
    assert page.inner_text("#popover p").startswith("<img·src=x> ")
    assert page.evaluate("document.images.length") == 0


def test_an_answer_is_streamed_and_can_be_stopped(scripted: Callable, visit: Callable):
    model = scripted("so " * 100, "It is.", before=lambda step: time.sleep(0.03))
    page = visit(model)
    ask(page, "Is it so?")
    wait(page, "document.querySelectorAll('.assistant .token').length > 3")
    assert page.is_hidden("#send")
    assert page.is_disabled("#retry")
    page.click("#stop")
    text = finished(page)
    assert 0 < len(text) < 290
    assert "stopped" in page.inner_text(".assistant .note")
    assert page.inner_text("#status") == "Stopped."
    ask(page, "And now?")
    assert finished(page, 2) == "It is."
    assert f"assistant\n{text}<|im_end|>" in model.prompts()[1]


def test_retry_undo_and_new(scripted: Callable, visit: Callable):
    model = scripted("No.")
    page = visit(model, settings=Settings(temperature=3.0, max_new_tokens=10))
    for button in ("#retry", "#undo", "#new", "#save"):
        assert page.is_disabled(button)
    ask(page, "Is it so?")
    first = finished(page)
    page.click("#retry")
    assert finished(page) != first
    assert len(page.query_selector_all("article")) == 2
    assert model.shown[0] == model.shown[1]
    page.click("#undo")
    assert page.query_selector_all("article") == []
    assert page.input_value("#message") == "Is it so?"
    page.press("#message", "Enter")
    assert finished(page) == first  # the seed decides
    page.click("#new")
    wait(page, "document.querySelectorAll('article').length === 0")
    ask(page, "Another")
    finished(page)
    assert "Is it so?" not in model.prompts()[-1]


@pytest.mark.parametrize("how", ["stopped", "error"])
@pytest.mark.parametrize("chat", [True, False])
def test_a_retry_that_brings_nothing_leaves_the_answer(
    scripted: Callable, visit: Callable, chat: bool, how: str
):
    def before(step: int) -> None:
        if how == "error" and len(model.shown) == 2:
            raise UserError("the model is out of order.")

    model = scripted("No.", chat=chat, before=before)
    page = visit(model)
    ask(page, "Is it so?")
    finished(page)
    page.fill("#message", "And n")
    if how == "stopped":
        end = {"reason": "stopped", "piece": "", "tokens": 0, "bits": 0, "seconds": 0}
        page.route("**/api/answer", lambda route: route.fulfill(body=json.dumps({"end": end}) + "\n"))
    page.click("#retry")
    page.wait_for_selector("#status.bad")
    assert page.inner_text("#status") == ("Stopped." if how == "stopped" else "The model is out of order.")
    page.unroute("**/api/answer")
    assert len(page.query_selector_all("article")) == 2
    assert answer_text(page) == "No."
    page.hover(".assistant .token")
    assert rows(page)[0][0] == "✓ No"
    assert page.input_value("#message") == "And n"
    ask(page, "And now?")
    assert finished(page, 2) == "No."
    assert page.inner_text(".user .words") == "Is it so?"
    if chat:
        assert "assistant\nNo.<|im_end|>" in model.prompts()[-1]
    page.reload()
    page.wait_for_selector(".assistant")
    assert len(page.query_selector_all("article")) == 4


def test_new_ends_what_is_written(scripted: Callable, visit: Callable):
    page = visit(scripted("so " * 100, "It is.", before=lambda step: time.sleep(0.03)))
    ask(page, "Is it so?")
    wait(page, "document.querySelectorAll('.assistant .token').length > 3")
    page.click("#new")
    wait(page, "document.querySelectorAll('article').length === 0")
    ask(page, "And now?")
    assert finished(page) == "It is."


def test_the_system_message_and_the_settings_reach_the_model(scripted: Callable, visit: Callable):
    model = scripted("No: it is not so.")
    page = visit(model, system="Be brief.")
    assert page.input_value("#system") == "Be brief."
    page.fill("#system", "Be 2 brief.")
    page.fill("#setting-max_new_tokens", "2")
    ask(page, "Is it so?")
    finished(page)
    assert "system\nBe 2 brief.<|im_end|>" in model.prompts()[0]
    assert "2 tokens" in page.inner_text(".assistant .note")
    assert "cut at max_new_tokens" in page.inner_text(".assistant .note")
    page.fill("#system", "")
    page.click("#retry")
    finished(page)
    assert "system" not in model.prompts()[1]


@pytest.mark.parametrize(("name", "wrong"), [("temperature", "-0.1"), ("top_p", "0"), ("top_p", "1.1"),
    ("top_k", "1.5"), ("seed", "-1"), ("max_new_tokens", "0"), ("repetition_penalty", "")])  # fmt: skip
def test_a_setting_out_of_its_range_is_told_and_not_sent(
    scripted: Callable, visit: Callable, name: str, wrong: str
):
    model = scripted("No.")
    page = visit(model)
    right = page.input_value(f"#setting-{name}")
    page.fill(f"#setting-{name}", wrong)
    assert "Expected a " in page.inner_text(f"#setting-{name}-note")
    assert page.get_attribute(f"#setting-{name}", "aria-invalid") == "true"
    assert page.is_disabled("#send")
    assert name in page.inner_text("#status")
    ask(page, "Is it so?")
    assert model.shown == []
    page.fill(f"#setting-{name}", right)
    assert page.inner_text("#status") == ""
    page.press("#message", "Enter")
    assert finished(page) == "No."


def test_arrow_keys_change_a_fraction_by_a_fraction(scripted: Callable, visit: Callable):
    page = visit(scripted("No."), settings=Settings(temperature=0.8))
    page.press("#setting-temperature", "ArrowUp")
    assert page.input_value("#setting-temperature") == "0.9"
    page.press("#setting-top_p", "ArrowUp")
    page.press("#setting-top_p", "ArrowUp")
    assert page.input_value("#setting-top_p") == "1"


def rows(page: Any) -> list[list[str]]:
    return page.eval_on_selector_all(
        "#popover tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )


def test_each_token_shows_what_else_the_model_could_have_said(scripted: Callable, visit: Callable):
    page = visit(scripted("No: 1\n\U0001f600."), settings=Settings(temperature=0.0))
    ask(page, "Is it so?")
    assert finished(page) == "No: 1\n\U0001f600."
    tokens = page.query_selector_all(".assistant .token")
    tokens[0].hover()
    shown = rows(page)
    assert len(shown) == 10
    assert shown[0][0] == "✓ No"
    assert shown[0][2] == "100.0 %"
    assert [row[2] for row in shown[1:]] == ["0 %"] * 9
    own = [float(row[1].removesuffix(" %")) for row in shown]
    assert own == sorted(own, reverse=True)
    assert "the likeliest" in page.inner_text("#popover p")
    page.mouse.move(5, 5)
    assert page.is_hidden("#popover")
    marks = page.eval_on_selector_all(".assistant .mark", "marks => marks.map(mark => mark.textContent)")
    assert "·" in marks
    assert "↵" in marks
    assert "⟨F0⟩" in marks or any(re.fullmatch(r"⟨F0( [0-9A-F]{2})*⟩", mark) for mark in marks)
    assert marks[-1] == "■ <|im_end|>"
    page.uncheck("#probabilities")
    assert page.is_hidden(".assistant .mark >> nth=0")
    tokens[0].hover()
    assert page.is_hidden("#popover")


def test_a_token_that_was_unlikely_stands_below_the_likeliest(scripted: Callable, visit: Callable):
    page = visit(scripted("No."), settings=Settings(temperature=50.0, max_new_tokens=20, seed=3))
    ask(page, "Is it so?")
    finished(page)
    for token in page.query_selector_all(".assistant .token.p5"):
        token.click()
        shown = rows(page)
        assert sum(row[0].startswith("✓") for row in shown) == 1
        if len(shown) == 11:
            assert shown[-1][0].startswith("✓")
            assert re.search(r"number \d+", page.inner_text("#popover p"))
            return
    raise AssertionError("no token beyond the ten likeliest was drawn")


def test_tokens_by_keyboard(scripted: Callable, visit: Callable):
    page = visit(scripted("No: it is not so."))
    ask(page, "Is it so?")
    finished(page)
    page.focus("#log")
    page.keyboard.press("Tab")
    assert rows(page)[0][0] == "✓ No"
    page.keyboard.press("ArrowRight")
    assert rows(page)[0][0] == "✓ :"
    page.keyboard.press("End")
    assert rows(page)[0][0] == "✓ <|im_end|>"
    page.keyboard.press("Escape")
    assert page.is_hidden("#popover")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "message"  # an answer is one stop


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, PHONE, DESKTOP])
def test_nothing_overflows_and_everything_can_be_read(
    scripted: Callable, visit: Callable, browser: Browser, width: int, scheme: str
):
    model = scripted("so" * 150 + " " + "it is not so. " * 30)
    page = visit(model, width=width, height=720, scheme=scheme)
    ask(page, "x" * 300)
    finished(page)
    page.click(".assistant .token >> nth=0")
    assert browser.visits[-1].overflowing() == []
    box = page.query_selector("#popover").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert box["y"] + box["height"] <= 720
    assert page.query_selector("#send").bounding_box()["y"] < 720
    assert page.evaluate(CONTRASTS) == []
    page.keyboard.press("Escape")
    assert page.is_hidden("#popover")
    page.evaluate("document.getElementById('options').open = true")
    assert browser.visits[-1].overflowing() == []
    assert page.evaluate(CONTRASTS) == []


CONTRASTS = """() => {
    const channels = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = colour => channels(colour).slice(0, 3).map(one => one / 255)
        .map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
        .reduce((sum, one, place) => sum + one * [0.2126, 0.7152, 0.0722][place], 0);
    const behind = element => {
        for (let one = element; one; one = one.parentElement) {
            const colour = getComputedStyle(one).backgroundColor;
            if ((channels(colour)[3] ?? 1) > 0) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const low = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
        if (!own || !element.checkVisibility() || element.disabled) continue;
        const [one, other] = [light(getComputedStyle(element).color), light(behind(element))];
        const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        if (ratio < 4.5) low.push(`${ratio.toFixed(2)} ${element.outerHTML.slice(0, 80)}`);
    }
    return low;
}"""


def test_every_field_has_a_label(scripted: Callable, visit: Callable):
    page = visit(scripted("No."))
    unnamed = "fields => fields.filter(field => !field.labels.length).map(field => field.outerHTML)"
    assert page.eval_on_selector_all("input, textarea", unnamed) == []


def test_a_base_model_goes_on_with_a_text(scripted: Callable, visit: Callable):
    model = scripted(" sat on", " the mat.", chat=False)
    page = visit(model)
    assert "base model" in page.inner_text("#about")
    assert page.is_hidden("#system-field")
    assert page.inner_text("#send") == "Write"
    ask(page, "The cat")
    assert finished(page) == " sat on"
    page.click("#go-on")
    assert finished(page, 2) == " the mat."
    assert model.prompts() == ["<|eot|>The cat", "<|eot|>The cat sat on"]
    page.click("#retry")
    finished(page, 2)
    assert model.prompts()[-1] == "<|eot|>The cat sat on"
    page.click("#new")
    ask(page, "")
    finished(page)
    assert model.prompts()[-1] == "<|eot|>"


def test_a_second_page_is_told_that_it_waits(scripted: Callable, visit: Callable, browser: Browser):
    held = [True]

    def before(step: int) -> None:
        while held[0]:
            time.sleep(0.02)

    page = visit(scripted("No.", "It is.", before=before))
    ask(page, "Is it so?")
    wait(page, "document.getElementById('status').textContent === 'Writing…'")
    other = browser.open(page.url).page
    ask(other, "And now?")
    wait(other, "document.getElementById('status').textContent.startsWith('Waiting')")
    held[0] = False
    assert finished(page) == "No."
    assert finished(other) == "It is."


def test_a_message_that_does_not_fit_comes_back(scripted: Callable, visit: Callable):
    page = visit(scripted("No.", max_length=60))
    long = "Is it so? " * 20
    ask(page, long)
    page.wait_for_selector("#status.bad")
    assert "context holds 60" in page.inner_text("#status")
    assert page.input_value("#message") == long
    assert page.query_selector_all("article") == []


def test_turns_that_are_left_out_are_told(scripted: Callable, visit: Callable):
    page = visit(scripted("No: 1 + 1 = 2.", max_length=90))
    for count in range(1, 5):
        ask(page, "Is it so?")
        wait(
            page,
            "count => document.querySelectorAll('.assistant').length === count"
            " && !document.getElementById('send').hidden",
            arg=count,
        )
    assert "does not see" in page.inner_text("article:last-child")


def test_a_conversation_outlives_a_reload_and_can_be_saved(scripted: Callable, visit: Callable):
    model = scripted("No.", "It is.")
    page = visit(model)
    page.fill("#setting-top_k", "7")
    page.fill("#system", "Be brief.")
    ask(page, "Is it so?")
    finished(page)
    page.reload()
    page.wait_for_selector(".assistant")
    assert answer_text(page) == "No."
    assert page.input_value("#setting-top_k") == "7"
    with page.expect_download() as download:
        page.click("#save")
    value = json.loads(download.value.path().read_text())
    assert value["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Is it so?"},
        {"role": "assistant", "content": "No."},
    ]
    assert value["settings"]["top_k"] == 7


def test_a_server_that_is_gone_is_told(scripted: Callable, visit: Callable, browser: Browser):
    page = visit(scripted("No."))
    page.route("**/api/answer", lambda route: route.abort())
    ask(page, "Is it so?")
    page.wait_for_selector("#status.bad")
    assert page.inner_text("#status") == "The server does not answer; is it still running?"
    assert page.input_value("#message") == "Is it so?"
    browser.visits[-1].problems.clear()
