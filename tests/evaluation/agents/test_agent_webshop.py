from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, quote, unquote

import pytest

from flyweight.base import UserError
from flyweight.evaluation.agents.loop import play_by
from flyweight.evaluation.agents.webshop import Shop, missing_webshop, run_webshop, shop_layout
from flyweight.evaluation.agents.webshop_pages import read_page
from flyweight.evaluation.tasks.task import TaskInput

PRODUCTS = ["B01", "B02", "B03", "B04"]
HEAD = "<html><head><title>WebShop</title><style>h4 {}</style></head><body>"
TOP = "<h4>Instruction: buy a red cup</h4><h4>Current Query: cup</h4>"


def form(action: str, text: str) -> str:
    return f'<form method="post" action="{action}"><button type="submit">{text}</button></form>'


def search_page(session: str) -> str:
    return (
        f"{HEAD}<h2>WebShop</h2><div><h4>Instruction: <br>buy a red cup</h4></div>"
        f'<form method="post" action="/{session}"><input type="text" name="search_query"/>'
        '<button type="submit"><i></i>Search</button></form></body></html>'
    )


def results_page(session: str) -> str:
    items = "".join(
        f'<div><h4><a class="product-link" href="/item_page/{session}/{name}/cup/1/%7B%7D">{name}</a></h4>'
        f"<h4>Cup {name}</h5><h5>$1.00</h6></div>"
        for name in PRODUCTS
    )
    return (
        f"{HEAD}{TOP}<h1>Results</h1><p>Page 1 (1-10) of 40 total results</p>{form('/' + session, 'Back to Search')}"
        f"{form(f'/search_results/{session}/cup/2', 'Next &gt;')}<!-- <h4>old {items}</h4> -->{items}</body></html>"
    )


def item_page(session: str, name: str, options: str) -> str:
    labels = "".join(
        f'<input type="radio" data-url="/item_page/{session}/{name}/cup/1/{quote(colour)}"><label>{colour}</label>'
        for colour in ("red", "deep blue")
    )
    return (
        f"{HEAD}{TOP}{form('/' + session, 'Back to Search')}"
        f"{form(f'/search_results/{session}/cup/1', '&lt; Back to Results')}<h4>color</h4><div>{labels}</div>"
        f"<h2>Cup {name}</h2><h4>Price: $1.00</h4>"
        f"{form(f'/item_sub_page/{session}/{name}', 'Description')}"
        f"{form(f'/done/{session}/{name}/{quote(options)}', 'Buy Now')}<script>let x = 1;</script></body></html>"
    )


class ShopPages(BaseHTTPRequestHandler):
    """Pages built as WebShop builds them; the red cup B02 is worth 1, any other cup a half."""

    def do_GET(self) -> None:
        parts = [unquote(part) for part in self.path.strip("/").split("/")]
        if parts[0].startswith("fixed_"):
            self._send(search_page(parts[0]))
        elif parts[0] == "search_results":
            self._send(results_page(parts[1]))
        elif parts[0] == "item_page":
            self._send(item_page(parts[1], parts[2], parts[-1]))
        elif parts[0] == "item_sub_page":
            self._send(f"{HEAD}{TOP}{form('/item_page/' + parts[1] + '/' + parts[2] + '/cup/1/{}', '&lt; Prev')}"
                       "<p>A cup &amp; more.</p></body></html>")  # fmt: skip
        else:
            reward = 1.0 if parts[2:] == ["B02", "red"] else 0.5
            self._send(
                f"{HEAD}<h4>hidden goal</h4><h3>Your score (min 0.0, max 1.0)<pre>{reward}</pre></h3></body>"
            )

    def do_POST(self) -> None:
        words = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()).get(
            "search_query"
        )
        if words is None:
            self.do_GET()
        else:
            self.send_response(302)
            self.send_header("Location", f"/search_results{self.path}/{quote(words[0])}/1")
            self.end_headers()

    def _send(self, html: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(html.encode())

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), ShopPages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("WEBSHOP_URL", url)
    yield url
    server.shutdown()
    server.server_close()


def test_a_purchase_by_clicks(address: str):
    shop = Shop(address, "fixed_0", shop_layout(None))
    assert shop.reset() == "WebShop\nInstruction:\nbuy a red cup\n[Search]"
    assert shop.step("click[Buy Now]") == ("Invalid action!", False, False)
    results = shop.step("search[red cup]").observation
    assert results == (
        "Results\nPage 1 (1-10) of 40 total results\n[Back to Search]\n[Next >]\n"
        "[B01]\nCup B01\n$1.00\n[B02]\nCup B02\n$1.00\n[B03]\nCup B03\n$1.00"
    )
    assert not shop.step("click[B04]").possible  # it is not shown
    assert not shop.step("search[again]").possible  # one searches on the first page
    item = shop.step("click[b02]").observation
    assert item == (
        "[Back to Search]\n[< Back to Results]\ncolor [red] [deep blue]\nCup B02\nPrice: $1.00\n"
        "[Description]\n[Buy Now]"
    )
    assert shop.step("click[Description]").observation == "[< Prev]\nA cup & more."
    shop.step("click[< Prev]")
    assert shop.step("click[red]").observation == item
    assert shop.scores() == {"reward": 0.0, "success": 0.0}
    assert shop.step("click[Buy Now]") == ("Your score (min 0.0, max 1.0): 1.0", True, True)
    assert shop.scores() == {"reward": 1.0, "success": 1.0}
    shop.reset()
    assert shop.scores()["reward"] == 0.0


def test_the_option_that_was_clicked_is_the_one_that_is_bought(address: str):
    actions = iter(["search[cup]", "click[B02]", "click[deep blue]", "click[Buy Now]"])
    (episode,) = play_by(lambda _: next(actions), [Shop(address, "fixed_1", shop_layout(None))])
    assert episode.scores == {"reward": 0.5, "success": 0.0}


def test_a_random_agent_only_does_what_can_be_done(address: str):
    random = Random(0)
    shops = [Shop(address, f"fixed_{number}", shop_layout(None)) for number in range(8)]
    episodes = play_by(lambda shop: shop.random_action(random), shops)
    assert all(turn.valid and turn.possible for episode in episodes for turn in episode.turns)
    assert any(episode.outcome == "finished" for episode in episodes)


def test_a_model_shops_in_reacts_form(
    address: str, tmp_path: Path, scripted: Callable[..., Any], task_of: Callable[..., TaskInput]
):
    (tmp_path / "webshop_prompt.txt").write_text("An example.\n")
    lines = ["think[I look for cups.]", "search[cup]", "click[B02]", "buy it", "click[red]", "click[Buy Now]"]

    def answer(prompt: str) -> str:
        return f" {lines[prompt.count('Action:') - 1]}"

    result = run_webshop(task_of(tmp_path, limit=3), scripted(answer))
    assert result.metrics["reward"].value == result.metrics["success"].value == 1.0
    assert result.metrics["invalid_actions"].value == pytest.approx(1 / 5)
    assert result.items["id"] == ["fixed_0", "fixed_1", "fixed_2"]
    assert result.details["openings"] == ["An example.\n\n"]
    assert "oracle" not in result.details["baselines"]
    turns = result.items["transcript"][0]["turns"]
    assert [turn["observation"] for turn in turns[:1]] == ["OK."]
    assert turns[3]["observation"] == "Invalid action!"


def test_a_shop_that_is_not_there_is_told(
    address: str, monkeypatch: pytest.MonkeyPatch, task_of: Callable[..., TaskInput]
):
    assert missing_webshop(None) is None
    monkeypatch.setenv("WEBSHOP_URL", "http://127.0.0.1:1")
    assert "nothing answers at http://127.0.0.1:1" in str(missing_webshop(None))
    monkeypatch.setenv("WEBSHOP_URL", "http://a shop")
    assert "nothing answers at http://a shop" in str(missing_webshop(None))
    monkeypatch.setenv("WEBSHOP_URL", "localhost")
    assert "expected an address" in str(missing_webshop(None))
    monkeypatch.delenv("WEBSHOP_URL")
    with pytest.raises(
        UserError, match="the task webshop cannot run: WEBSHOP_URL is not set; start WebShop's server"
    ):
        run_webshop(task_of())
    with pytest.raises(UserError, match="WebShop's server does not answer"):
        Shop("http://127.0.0.1:1", "fixed_0", shop_layout(None)).reset()


@pytest.mark.parametrize("html", ["", "<a>", "</form></style><button>x</button>", "<label>a", "text only"])
def test_odd_pages_are_read_without_a_crash(html: str):
    assert read_page(html).score is None


def test_a_product_that_stands_on_a_page_twice_is_read_once():
    products = [f'<a class="product-link" href="/{n}">{n}</a>' for n in ("B1", "B2", "B3", "B4", "B4", "B1")]
    assert read_page("".join(products)).links == {"b1": "/B1", "b2": "/B2", "b3": "/B3"}


@pytest.mark.parametrize("score", ["", "<pre>none</pre>"])
def test_a_last_page_without_a_score_is_told(monkeypatch: pytest.MonkeyPatch, address: str, score: str):
    monkeypatch.setattr(
        ShopPages, "do_GET", lambda self: self._send(f"<h3>Your score (min 0.0, max 1.0){score}</h3>")
    )
    with pytest.raises(UserError, match="no page as WebShop's server writes it"):
        Shop(address, "fixed_0", shop_layout(None)).reset()
