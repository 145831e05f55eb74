"""The page's server: for one user on this machine, one answer at a time."""

from __future__ import annotations

import json
import select
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from flyweight.base import UserError
from flyweight.chat.answer import Ending, Token
from flyweight.chat.listening import Place
from flyweight.chat.playground import Playground
from flyweight.chat.requests import (
    BODY_LIMIT,
    AnswerRequest,
    Refused,
    answer_name,
    answer_request,
    check_body_headers,
    check_sender,
    parse_body,
)

_SILENCE = 30
"""Seconds that a client may keep silent while it sends a request, or let an answer wait to be read."""
_PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/settings.js": ("settings.js", "text/javascript"),
    "/tokens.js": ("tokens.js", "text/javascript"),
    "/answers.js": ("answers.js", "text/javascript"),
}
"""Everything that is served, and nothing else: no path of a request ever becomes the name of a file."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_GONE = (BrokenPipeError, ConnectionError, TimeoutError)


class Server(ThreadingHTTPServer):
    """Serves the page of a `Playground`."""

    daemon_threads = True

    def __init__(self, playground: Playground, place: Place) -> None:
        """Serve at `place`, which is closed with the server."""
        super().__init__(place.address, Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = place.socket
        self.playground = playground
        self.place = place
        self.names, self.loopback = place.names, place.loopback
        self.closing = threading.Event()
        self.pages = {
            path: (files("flyweight.chat").joinpath("page", name).read_bytes(), kind)
            for path, (name, kind) in _PAGE.items()
        }
        self._stops: dict[str, set[threading.Event]] = {}
        self._guard = threading.Lock()

    @contextmanager
    def stoppable(self, name: str) -> Iterator[threading.Event]:
        """The event that `stop(name)` sets."""
        event = threading.Event()
        with self._guard:
            self._stops.setdefault(name, set()).add(event)
        try:
            yield event
        finally:
            with self._guard:
                self._stops[name].discard(event)
                if not self._stops[name]:
                    del self._stops[name]

    def stop(self, name: str) -> bool:
        """End the answer of that name at its next token; whether there is one."""
        with self._guard:
            events = tuple(self._stops.get(name, ()))
        for event in events:
            event.set()
        return bool(events)

    def serve(self) -> None:
        """Serve until Ctrl-C or `shutdown`; what is being written then ends at its next token."""
        try:
            self.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            pass
        finally:
            self.closing.set()
            self.server_close()
            # An interpreter that ends while another thread is inside torch may crash.
            with self.playground.turn(lambda: False, lambda: None):
                pass

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that went away are no error."""
        if not isinstance(sys.exception(), _GONE):
            traceback.print_exc()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server  # type: ignore[assignment]
    protocol_version = "HTTP/1.1"
    timeout = _SILENCE
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """The page, and what it has to know of the model."""
        self._guarded(self._get)

    def do_POST(self) -> None:
        """Answers, and their end."""
        self._guarded(self._post)

    def _guarded(self, serve: Callable[[], None]) -> None:
        try:
            check_sender(
                self.headers.get("Host"),
                self.headers.get("Origin"),
                self.server.names,
                loopback=self.server.loopback,
            )
            serve()
        except Refused as refused:
            self._send_json({"error": refused.reason}, refused.status)
            self._drain()

    def _get(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/api/model":
            self._send_json(self.server.playground.about())
        elif path in self.server.pages:
            body, kind = self.server.pages[path]
            self._send(200, body, f"{kind}; charset=utf-8")
        else:
            raise Refused(404, "there is no such page")

    def _post(self) -> None:
        if self.path not in ("/api/answer", "/api/stop"):
            raise Refused(404, "there is no such page")
        headers = self.headers
        length = check_body_headers(
            headers.get("Content-Type"), headers.get("Content-Length"), headers.get("Transfer-Encoding")
        )
        value = parse_body(self.rfile.read(length))
        if self.path == "/api/stop":
            self._send_json({"stopped": self.server.stop(answer_name(value))})
            return
        playground = self.server.playground
        asked = answer_request(value, playground.settings, chat=playground.chat is not None)
        try:
            self._begin_stream()
            self._answer_or_tell(asked)
            self._end_stream()
        except _GONE:
            self.close_connection = True

    def _answer_or_tell(self, asked: AnswerRequest) -> None:
        try:
            self._answer(asked)
        except _GONE:
            raise
        except UserError as error:
            self._tell("error", str(error))
        except Exception as error:
            traceback.print_exc()
            self._tell("error", f"the model failed ({type(error).__name__}); the terminal shows why")

    def _answer(self, asked: AnswerRequest) -> None:
        playground = self.server.playground
        with self.server.stoppable(asked.name) as stop:

            def stopped() -> bool:
                return stop.is_set() or self.server.closing.is_set() or self._client_is_gone()

            with playground.turn(stopped, lambda: self._tell("waiting", True)) as mine:
                if not mine:
                    self._tell("end", asdict(Ending("stopped", "", 0, 0.0, 0.0)))
                    return
                prompt = playground.prompt(asked.messages, asked.settings)
                self._tell(
                    "begin",
                    {
                        "prompt_tokens": len(prompt.tokens),
                        "new_tokens": prompt.new_tokens,
                        "left_out": prompt.left_out,
                    },
                )
                for item in playground.write(prompt, asked.settings, asked.attempt, stopped):
                    self._tell("token" if isinstance(item, Token) else "end", asdict(item))

    def _client_is_gone(self) -> bool:
        ready, _, _ = select.select([self.connection], [], [], 0)
        return bool(ready) and not self.connection.recv(1, socket.MSG_PEEK)

    def _begin_stream(self) -> None:
        """A response whose length nobody knows yet: in chunks, where the client knows them."""
        self._chunked = self.request_version != "HTTP/1.0"
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson; charset=utf-8")
        if self._chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.close_connection = True
        self.end_headers()

    def _tell(self, what: str, value: Any) -> None:
        """One line of a stream: a JSON object of one key."""
        line = json.dumps({what: value}, allow_nan=False).encode() + b"\n"
        self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line) if self._chunked else line)

    def _end_stream(self) -> None:
        if self._chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _send_json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value, allow_nan=False).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status >= 400:
            self._end_with_connection()  # what is left of the request is not the next one
        else:
            self.end_headers()
        self.wfile.write(body)

    def _end_with_connection(self) -> None:
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()

    def _drain(self) -> None:
        """Take some of a refused body: a client that is still sending would not read why."""
        self.connection.settimeout(1)
        left = 8 * BODY_LIMIT
        try:
            while left > 0 and (data := self.rfile.read1(65536)):
                left -= len(data)
        except OSError:
            pass

    def end_headers(self) -> None:
        """With the headers that every response has."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def version_string(self) -> str:
        """No versions are told."""
        return "flyweight"

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses by itself, without its page of HTML."""
        self._send_json({"error": message or "this request is not understood"}, code)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is the user's."""
