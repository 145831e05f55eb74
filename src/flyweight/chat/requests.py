"""Who may ask the server, and what a sound request is: pure functions."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlsplit

from flyweight.base import UserError
from flyweight.chat.settings import Settings
from flyweight.inference import Message

BODY_LIMIT = 2**20
"""Bytes of a request's body; a conversation that is longer fits in no small model's context."""
_ID_LIMIT = 64


class Refused(Exception):
    """A request that is not served."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class AnswerRequest:
    """Somebody wants an answer."""

    name: str
    """By which it can be stopped."""
    messages: list[Message]
    settings: Settings
    attempt: int


def check_sender(host: str | None, origin: str | None, names: Collection[str], *, loopback: bool) -> None:
    """Let only the server's own page ask.

    A page of somebody else's whose name was made to point here (DNS rebinding) sends that name as its host. An
    address in digits or a name of this machine cannot be such a page, so the port need not agree: it may come through
    a tunnel that has another.

    Args:
        host: the request's Host header.
        origin: its Origin header; browsers send one with whatever a page of another origin makes them ask for.
        names: by which the server is called, in lower case.
        loopback: whether it can be reached from this machine only; otherwise any address in digits may be its own.

    Raises:
        Refused: with status 403.
    """
    name = _host_name(host or "")
    if name is None or not (name in names or _is_address(name, loopback)):
        raise Refused(403, "this host name is not one of the server's; open the address that it printed")
    if origin is not None and origin.lower() != f"http://{(host or '').strip().lower()}":
        raise Refused(403, "requests from other pages are not served")


def _host_name(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host.strip()}")
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    if parts.path or parts.query or parts.fragment or parts.username is not None:
        return None
    return parts.hostname


def _is_address(name: str, loopback: bool) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or not loopback


def check_body_headers(content_type: str | None, length: str | None, encoding: str | None) -> int:
    """The length of a body that may be read.

    JSON is asked for because a page of another origin cannot send it without asking first, and is never answered.

    Raises:
        Refused: 411, 413 or 415.
    """
    if (content_type or "").split(";")[0].strip().lower() != "application/json":
        raise Refused(415, "expected the content type application/json")
    if encoding is not None or length is None or not (length.isascii() and length.isdigit()):
        raise Refused(411, "expected a Content-Length")
    if len(length) > len(str(BODY_LIMIT)) or int(length) > BODY_LIMIT:
        raise Refused(413, f"this is larger than {BODY_LIMIT:,} bytes")
    return int(length)


def parse_body(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`.

    Raises:
        Refused: 400.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refused(400, "this is not JSON") from None
    if not isinstance(value, dict):
        raise Refused(400, "expected a JSON object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity, which Python would take


def answer_request(value: dict[str, Any], defaults: Settings, *, chat: bool) -> AnswerRequest:
    """What a request to /api/answer asks for.

    Args:
        value: `id`, `messages` (a conversation) or `text` (to be continued), and, where they are not the usual ones,
            `settings` and `attempt`.
        defaults: of settings that are left out.
        chat: whether the model is talked to in conversations.

    Raises:
        Refused: 400, with what is wrong.
    """
    known = {"id", "messages" if chat else "text", "settings", "attempt"}
    if strange := sorted(value.keys() - known):
        raise Refused(400, f"{strange[0][:40]!r} is not known here; expected {', '.join(sorted(known))}")
    messages = _conversation(value.get("messages")) if chat else [_text(value.get("text"))]
    settings, attempt = value.get("settings", {}), value.get("attempt", 0)
    if not isinstance(settings, dict):
        raise Refused(400, "settings: expected a JSON object")
    if isinstance(attempt, bool) or not isinstance(attempt, int) or not 0 <= attempt < 2**31:
        raise Refused(400, "attempt: expected a whole number from 0")
    try:
        return AnswerRequest(answer_name(value), messages, defaults.changed(settings), attempt)
    except UserError as error:
        raise Refused(400, str(error)) from None


def answer_name(value: dict[str, Any]) -> str:
    """The `id` that a request gives its answer.

    Raises:
        Refused: 400.
    """
    name = value.get("id")
    if not isinstance(name, str) or not 0 < len(name) <= _ID_LIMIT:
        raise Refused(400, f"id: expected a text of 1 to {_ID_LIMIT} characters")
    return name


def _conversation(value: object) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise Refused(400, "messages: expected a list of messages")
    messages = [_message(message) for message in value]
    turns = messages[1:] if messages[0]["role"] == "system" else messages
    roles = [message["role"] for message in turns]
    if len(roles) % 2 == 0 or roles != [("user", "assistant")[place % 2] for place in range(len(roles))]:
        raise Refused(
            400,
            "messages: after a system message, if any, expected user and assistant in turns, the user last",
        )
    return messages


def _message(value: object) -> Message:
    if not isinstance(value, dict) or value.keys() != {"role", "content"}:
        raise Refused(400, "messages: expected objects of role and content")
    return {"role": str(value["role"]), "content": _sound(value["content"], "content")}


def _text(value: object) -> Message:
    return {"role": "user", "content": _sound(value, "text")}


def _sound(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise Refused(400, f"{name}: expected a text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise Refused(400, f"{name}: half of a character (a lone surrogate) stands in the text") from None
    return value
