"""The page's server over real HTTP: what is streamed, what is stopped, and what is refused."""

from __future__ import annotations

import http.client
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flyweight.base import UserError
from flyweight.chat import LOOPBACK, Place, Server, Settings
from flyweight.chat.requests import BODY_LIMIT, Refused, check_sender

HELLO = [{"role": "user", "content": "Is it so?"}]


def request(
    server: Server, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    return response, response.read()


def post(server: Server, path: str, value: Any, **headers: str) -> tuple[int, Any]:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    response, data = request(server, "POST", path, body, **{"Content_Type": "application/json", **headers})
    lines = [json.loads(line) for line in data.splitlines()]
    return response.status, lines[0] if response.status != 200 else lines


def answer(server: Server, name: str = "a", **values: Any) -> list[dict[str, Any]]:
    status, lines = post(server, "/api/answer", {"id": name, "messages": HELLO, **values})
    assert status == 200
    return lines


def text_of(lines: list[dict[str, Any]]) -> str:
    return "".join(one["piece"] for line in lines for key, one in line.items() if key in ("token", "end"))


class Stream:
    """An answer that is read line by line."""

    def __init__(self, server: Server, name: str) -> None:
        self.connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
        body = json.dumps({"id": name, "messages": HELLO})
        self.connection.request("POST", "/api/answer", body, {"Content-Type": "application/json"})
        self.response = self.connection.getresponse()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while line := self.response.readline():
            yield json.loads(line)

    def next(self) -> dict[str, Any]:
        return json.loads(self.response.readline())


class Gate:
    """Holds a model at every token until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Semaphore(0)
        self.steps = 0

    def __call__(self, step: int) -> None:
        assert self.open.acquire(timeout=20)
        self.steps += 1

    def let(self, tokens: int) -> None:
        self.open.release(tokens)


def test_an_answer_with_what_each_token_was_chosen_from(scripted: Callable, serve: Callable):
    model = scripted("No: 1 + 1 = 2 \U0001f600.")
    server = serve(model)
    lines = answer(server)
    assert text_of(lines) == "No: 1 + 1 = 2 \U0001f600."
    tokens = [line["token"] for line in lines if "token" in line]
    assert lines[0]["begin"]["left_out"] == ""
    assert [token["ends"] for token in tokens] == [False] * (len(tokens) - 1) + [True]
    assert any(token["piece"] == "" and token["chosen"]["label"]["kind"] == "bytes" for token in tokens)
    assert tokens[-1]["chosen"]["label"] == {"text": "<|im_end|>", "kind": "special"}
    for token in tokens:
        own = [one["probability"] for one in token["alternatives"]]
        assert len(own) == 10
        assert own == sorted(own, reverse=True)
        assert sum(own) < 1
        assert [one["sampled"] for one in token["alternatives"]] == [1.0] + [0.0] * 9  # greedy
        assert token["rank"] == 1
    ending = lines[-1]["end"]
    surprise = -sum(math.log2(token["chosen"]["probability"]) for token in tokens)
    assert ending["reason"] == "model"
    assert ending["tokens"] == len(tokens)
    assert ending["bits"] == pytest.approx(surprise)


def test_tokens_come_as_they_are_made(scripted: Callable, serve: Callable):
    gate = Gate()
    stream = Stream(serve(scripted("No: it is not so.", before=gate)), "a")
    assert "begin" in stream.next()
    for _ in range(3):
        gate.let(1)
        assert "token" in stream.next()
    assert gate.steps == 3
    gate.let(100)
    assert list(stream)[-1]["end"]["reason"] == "model"


def test_a_client_of_http_1_0_gets_lines_without_chunks(scripted: Callable, serve: Callable):
    body = json.dumps({"id": "a", "messages": HELLO}).encode()
    head = "POST /api/answer HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection(serve(scripted("No.")).server_address[:2], timeout=20) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answered = b"".join(iter(lambda: connection.recv(65536), b""))
    assert text_of([json.loads(line) for line in answered.split(b"\r\n\r\n", 1)[1].splitlines()]) == "No."


def test_two_answers_over_one_connection(scripted: Callable, serve: Callable):
    connection = http.client.HTTPConnection(*serve(scripted("No.", "It is.")).server_address[:2], timeout=20)
    for said in ("No.", "It is."):
        body = json.dumps({"id": "a", "messages": HELLO})
        connection.request("POST", "/api/answer", body, {"Content-Type": "application/json"})
        lines = connection.getresponse().read().splitlines()
        assert text_of([json.loads(line) for line in lines]) == said


def test_stop_ends_the_answer_at_its_next_token(scripted: Callable, serve: Callable):
    gate = Gate()
    server = serve(scripted("No: it is not so.", before=gate))
    stream = Stream(server, "mine")
    gate.let(1)
    assert "begin" in stream.next()
    assert "token" in stream.next()
    assert post(server, "/api/stop", {"id": "other"}) == (200, [{"stopped": False}])
    assert post(server, "/api/stop", {"id": "mine"}) == (200, [{"stopped": True}])
    gate.let(1)  # the model was at its second token
    rest = list(stream)
    assert rest[-1]["end"]["reason"] == "stopped"
    assert gate.steps == 2
    assert post(server, "/api/stop", {"id": "mine"}) == (200, [{"stopped": False}])


def test_a_client_that_goes_away_ends_its_answer(scripted: Callable, serve: Callable):
    gate = Gate()
    server = serve(scripted("No: it is not so.", "So.", before=gate))
    stream = Stream(server, "a")
    gate.let(1)
    assert "begin" in stream.next()
    assert "token" in stream.next()
    stream.response.close()
    stream.connection.close()
    time.sleep(0.2)
    gate.let(100)
    assert text_of(answer(server, "b")) == "So."
    # All of the second answer, and of the first no more than the token that it was at.
    assert gate.steps <= 2 + len(server.playground.model.scripts[1]) + 1


def test_one_answer_at_a_time_and_the_second_is_told(scripted: Callable, serve: Callable):
    gate = Gate()
    model = scripted("No.", "So.", before=gate)
    server = serve(model)
    first = Stream(server, "first")
    assert "begin" in first.next()
    second, third = Stream(server, "second"), Stream(server, "third")
    assert second.next() == {"waiting": True}
    assert third.next() == {"waiting": True}
    assert len(model.shown) <= 1
    assert post(server, "/api/stop", {"id": "third"}) == (200, [{"stopped": True}])
    assert [line["end"]["reason"] for line in third] == ["stopped"]
    gate.let(100)
    assert text_of(list(first)) == "No."
    assert text_of(list(second)) == "So."


def test_who_waits_and_goes_away_is_not_answered(scripted: Callable, serve: Callable):
    gate = Gate()
    model = scripted("No.", "So.", before=gate)
    server = serve(model)
    first = Stream(server, "first")
    assert "begin" in first.next()
    second = Stream(server, "second")
    assert second.next() == {"waiting": True}
    second.response.close()
    second.connection.close()
    time.sleep(1)
    gate.let(100)
    assert text_of(list(first)) == "No."
    assert text_of(answer(server, "third")) == "So."
    assert len(model.shown) == 2


def test_the_seed_and_the_attempt_decide(scripted: Callable, serve: Callable):
    server = serve(scripted("No."), Settings(temperature=3.0, max_new_tokens=12))
    said = [text_of(answer(server, settings={"seed": seed}, attempt=attempt)) for seed, attempt in
            [(1, 0), (1, 0), (2, 0), (1, 1), (1, 1)]]  # fmt: skip
    assert said[0] == said[1]
    assert said[3] == said[4]
    assert len(set(said)) == 3


def test_settings_reach_the_model(scripted: Callable, serve: Callable):
    server = serve(scripted("No: 1 + 1 = 2."))
    cut = answer(server, settings={"max_new_tokens": 2})
    assert cut[-1]["end"]["reason"] == "length"
    assert cut[-1]["end"]["tokens"] == 2
    drawn = answer(server, settings={"temperature": 2.0, "top_k": 3, "max_new_tokens": 1})[1]["token"]
    sampled = [one["sampled"] for one in drawn["alternatives"]]
    assert sum(sampled) == pytest.approx(1, abs=1e-6)
    assert sum(value > 0 for value in sampled) == 3


def test_a_base_model_goes_on_with_a_text(scripted: Callable, serve: Callable):
    model = scripted(" sat on the mat.", chat=False)
    server = serve(model)
    status, lines = post(server, "/api/answer", {"id": "a", "text": "The cat"})
    assert status == 200
    assert text_of(lines) == " sat on the mat."
    assert model.prompts() == ["<|eot|>The cat"]
    assert post(server, "/api/answer", {"id": "a", "messages": HELLO})[0] == 400
    about = json.loads(request(server, "GET", "/api/model")[1])
    assert (about["chat"], about["base"]) == (False, True)


def test_what_no_longer_fits_is_told(scripted: Callable, serve: Callable):
    model = scripted("No.", max_length=80)
    server = serve(model)
    turn = [{"role": "user", "content": "Is it so? " * 3}, {"role": "assistant", "content": "No."}]
    system = {"role": "system", "content": "Be brief."}
    lines = answer(server, messages=[system, *turn, *turn, *turn, *HELLO])
    assert "no longer fit" in lines[0]["begin"]["left_out"]
    assert model.prompts()[0].startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")
    [error] = answer(server, messages=[{"role": "user", "content": "Is it so? " * 50}])
    assert "this model's context holds 80" in error["error"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"{", "this is not JSON"),
        (b"\xff\xfe", "this is not JSON"),
        (b"[" * 100_000, "this is not JSON"),
        (b'{"id": "a", "settings": {"seed": NaN}}', "this is not JSON"),
        (b"[]", "expected a JSON object"),
        ({"messages": HELLO}, "id: expected"),
        ({"id": "a" * 65, "messages": HELLO}, "id: expected"),
        ({"id": "a"}, "messages: expected a list"),
        ({"id": "a", "messages": []}, "messages: expected a list"),
        ({"id": "a", "text": "x"}, "'text' is not known here"),
        ({"id": "a", "messages": [{"role": "assistant", "content": "x"}]}, "user and assistant in turns"),
        ({"id": "a", "messages": HELLO * 2}, "user and assistant in turns"),
        ({"id": "a", "messages": [{"role": "tool", "content": "x"}]}, "user and assistant in turns"),
        ({"id": "a", "messages": [{"role": "user", "content": 3}]}, "content: expected a text"),
        ({"id": "a", "messages": [{"role": "user", "content": "\ud800"}]}, "lone surrogate"),
        ({"id": "a", "messages": [{"role": "user", "content": "x", "tools": []}]}, "role and content"),
        ({"id": "a", "messages": HELLO, "attempt": -1}, "attempt: expected"),
        ({"id": "a", "messages": HELLO, "settings": []}, "settings: expected"),
        ({"id": "a", "messages": HELLO, "settings": {"temprature": 1}}, "no setting 'temprature'"),
        ({"id": "a", "messages": HELLO, "settings": {"top_p": 0}}, "top_p is 0; expected a number above 0"),
        ({"id": "a", "messages": HELLO, "settings": {"top_k": True}}, "top_k is True; expected a whole"),
        ({"id": "a", "messages": HELLO, "settings": {"temperature": 10**400}}, "temperature is 1000"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(scripted: Callable, serve: Callable, value: Any, told: str):
    model = scripted("No.")
    status, refusal = post(serve(model), "/api/answer", value)
    assert status == 400
    assert told in refusal["error"]
    assert model.shown == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:80"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "localhost@evil.example"}, 403),
        ({"Host": "10.0.0.7"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Length": "-5"}, 411),
        ({"Content_Length": str(10**30)}, 413),
        ({"Transfer_Encoding": "chunked"}, 411),
    ],
)
def test_strangers_are_refused(scripted: Callable, serve: Callable, headers: dict[str, str], status: int):
    model = scripted("No.")
    refused, body = post(serve(model), "/api/answer", {"id": "a", "messages": HELLO}, **headers)
    assert refused == status
    assert set(body) == {"error"}
    assert model.shown == []


def test_a_strange_host_gets_no_page_either(scripted: Callable, serve: Callable):
    response, body = request(serve(scripted("No.")), "GET", "/", Host="evil.example")
    assert response.status == 403
    assert b"<html" not in body


def test_the_own_page_is_served_under_every_name_of_the_machine(scripted: Callable, serve: Callable):
    server = serve(scripted("No."))
    port = server.server_address[1]
    for host in (
        f"127.0.0.1:{port}",
        f"LOCALHOST:{port}",
        f"[::1]:{port}",
        "localhost:9",
    ):  # the last: a tunnel
        value = {"id": "a", "messages": HELLO}
        assert post(server, "/api/answer", value, Host=host, Origin=f"http://{host.lower()}")[0] == 200


def test_only_a_server_that_others_reach_takes_other_addresses():
    check_sender("192.168.3.4:8765", None, {"box"}, loopback=False)
    check_sender("box:8765", "http://box:8765", {"box"}, loopback=False)
    for host, loopback in (
        ("192.168.3.4:8765", True),
        ("evil.example", False),
        ("box:x", False),
        (None, False),
    ):
        with pytest.raises(Refused):
            check_sender(host, None, {"box"}, loopback=loopback)


def test_a_body_that_is_too_large_is_refused(scripted: Callable, serve: Callable):
    status, refusal = post(serve(scripted("No.")), "/api/answer", b" " * (BODY_LIMIT + 1))
    assert status == 413
    assert "larger than 1,048,576 bytes" in refusal["error"]


@pytest.mark.parametrize(
    "path",
    ["/server.py", "/page/", "/page/index.html", "/../server.py", "/%2e%2e/server.py", "/page.js/..", "//etc/passwd",
     "/api", "/api/answer", "/index.html~", "/favicon.ico"],
)  # fmt: skip
def test_nothing_but_the_page_is_served(scripted: Callable, serve: Callable, path: str):
    response, body = request(serve(scripted("No.")), "GET", path)
    assert response.status == 404
    assert json.loads(body) == {"error": "there is no such page"}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "HEAD", "BREW"])
def test_other_methods_are_refused_and_allow_no_other_origin(
    scripted: Callable, serve: Callable, method: str
):
    response, _ = request(serve(scripted("No.")), method, "/", Origin="http://evil.example")
    assert response.status == 501
    assert response.getheader("Access-Control-Allow-Origin") is None


def test_every_response_has_the_headers_that_keep_the_page_to_itself(scripted: Callable, serve: Callable):
    server = serve(scripted("No."))
    for path in ("/", "/page.js", "/page.css", "/api/model", "/nothing"):
        response, body = request(server, "GET", path)
        policy = response.getheader("Content-Security-Policy") or ""
        assert policy.startswith(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"
        )
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert response.getheader("X-Content-Type-Options") == "nosniff"
        assert response.getheader("Server") == "flyweight"
        assert b"http://" not in body
        assert b"https://" not in body


def test_what_is_no_http_does_not_end_the_server(scripted: Callable, serve: Callable, capfd):
    server = serve(scripted("No."))
    for junk in (b"\x16\x03\x01\x00\xa5hello\r\n\r\n", b"GET\r\n\r\n", b"", b"GET / HTTP/9.9\r\n\r\n"):
        with socket.create_connection(server.server_address[:2], timeout=5) as connection:
            connection.sendall(junk)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    assert text_of(answer(server)) == "No."
    assert capfd.readouterr().err == ""


def test_a_model_that_fails_is_told_and_the_next_answer_comes(scripted: Callable, serve: Callable, capfd):
    def fails(step: int) -> None:
        if len(model.shown) == 1:
            raise RuntimeError("out of memory")

    model = scripted("No.", before=fails)
    server = serve(model)
    assert answer(server)[-1] == {"error": "the model failed (RuntimeError); the terminal shows why"}
    assert "out of memory" in capfd.readouterr().err
    assert text_of(answer(server)) == "No."


def test_a_server_that_closes_ends_what_is_written(scripted: Callable, serve: Callable):
    server = serve(scripted("No: it is not so.", before=lambda step: time.sleep(0.05)), Settings())
    stream = Stream(server, "a")
    assert "begin" in stream.next()
    server.shutdown()
    assert list(stream)[-1]["end"]["reason"] == "stopped"


def test_a_port_that_is_taken_is_one_sentence():
    place = Place()
    with pytest.raises(UserError, match="another program listens there already; name another, or 0"):
        Place(LOOPBACK, place.address[1])
    place.socket.close()


@pytest.mark.parametrize(
    ("host", "port", "told"),
    [
        (LOOPBACK, 70000, "--port is 70000; expected a number from 0"),
        (LOOPBACK, -1, "--port is -1"),
        ("no.such.host.invalid", 0, "this machine cannot listen there"),
        ("203.0.113.7", 0, "this machine cannot listen there"),
        ("." * 300, 0, "this machine cannot listen there"),
    ],
)
def test_a_place_where_nobody_can_listen_is_one_sentence(host: str, port: int, told: str):
    with pytest.raises(UserError, match=told):
        Place(host, port)


def test_loopback_unless_told_otherwise():
    places = [Place(), Place("0.0.0.0"), Place("localhost")]
    assert [place.loopback for place in places] == [True, False, True]
    assert places[1].url == f"http://localhost:{places[1].address[1]}/"
    for place in places:
        place.socket.close()
