"""The database that several machines share: opened once a process, its errors told without the password."""

from __future__ import annotations

import contextlib
import functools
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flyweight.base import UserError

if TYPE_CHECKING:
    import sqlalchemy

CONNECT_SECONDS = 10
"""After which a server that does not answer counts as none."""

OPENING_ATTEMPTS = 5
"""Two machines that make the tables of a new database at the same moment stand in each other's way."""

EXPECTED = "expected such as postgresql+psycopg://USER@HOST:5432/DATABASE"


@functools.lru_cache(maxsize=4)
def open_database(url: str) -> Any:
    """The storage of Optuna at `url`; one a process, since each keeps connections open.

    Raises:
        UserError: it is no URL of a database, or the database cannot be used.
    """
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    with database_errors(url):
        parsed = _parsed(url)
        # A connection that the server closed during a long trial is replaced instead of failing the trial.
        options: dict[str, Any] = {"pool_pre_ping": True}
        if parsed.get_backend_name() == "postgresql" and "connect_timeout" not in parsed.query:
            options["connect_args"] = {"connect_timeout": CONNECT_SECONDS}
        # Optuna fills the URL in like a template.
        plain = parsed.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
        for attempt in range(OPENING_ATTEMPTS):
            try:
                return RDBStorage(plain, options)
            except (IntegrityError, ProgrammingError) as error:
                if attempt == OPENING_ATTEMPTS - 1 or "permission denied" in str(error):
                    raise
                time.sleep(0.2 * (attempt + 1))
    raise AssertionError("the last attempt returns or raises")


@contextlib.contextmanager
def database_errors(url: str | None) -> Iterator[None]:
    """Tell errors of the database at `url` in a sentence; without a URL nothing is changed.

    Raises:
        UserError: the database cannot be used.
    """
    try:
        yield
    except Exception as error:
        if url is None or not _is_of_database(error):
            raise
        raise UserError(f"--storage: {_sentence(error, url)}") from None


def is_database_error(error: Exception) -> bool:
    """Whether a database failed, be it that it is gone for a moment only."""
    from optuna.exceptions import StorageInternalError

    return isinstance(error, StorageInternalError) or _room(error) in ("sqlalchemy", "psycopg")


def _is_of_database(error: Exception) -> bool:
    return (
        is_database_error(error)
        or (isinstance(error, ImportError) and "DB access module" in str(error))
        or (isinstance(error, RuntimeError) and "table schema" in str(error))
    )


def _room(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def _parsed(url: str) -> sqlalchemy.URL:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    if url.partition("?")[0].count("@") > 1:
        # Read as it stands, half of the password would be taken for the host and shown in messages.
        raise UserError(
            "--storage: the URL has more than one @; in a password it is written %40, or leave the password out and "
            "put it into ~/.pgpass."
        )
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise UserError(f"--storage: this is no URL of a database; {EXPECTED}.") from None
    if parsed.drivername in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    return parsed


def _sentence(error: Exception, url: str) -> str:
    """What is wrong and what to do, for people; never with the password."""
    from sqlalchemy.exc import NoSuchModuleError

    if isinstance(error, NoSuchModuleError):
        return f"there is no such kind of database ({_parsed(url).drivername}); {EXPECTED}."
    if isinstance(error, ImportError):
        return "the database's driver is missing; pip install 'flyweight[postgres]'."
    parsed = _parsed(url)
    place = parsed.render_as_string(hide_password=True)
    reason = _reason(error)
    if parsed.password:
        reason = re.sub(rf"(?<!\w){re.escape(str(parsed.password))}(?!\w)", "***", reason)
    return f"{place} cannot be used ({reason}).{_advice(reason)}"


def _reason(error: BaseException) -> str:
    """The last cause in its own words, in one line: of a server's answer only what follows FATAL."""
    while _room(error) == "optuna" and error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(getattr(error, "orig", None) or error).split())
    if "FATAL: " in text:
        text = text.rpartition("FATAL: ")[2]
    text = text.partition(" Multiple connection attempts failed")[0]
    return text.strip(" .")[:300]


def _advice(reason: str) -> str:
    for mark, advice in (
        ("password", " The password stands in the URL, in ~/.pgpass or in PGPASSWORD."),
        ("does not exist", " Make it with createuser and createdb, see docs/ideas/wind-tunnel.md."),
        ("permission denied", " The database must belong to this user: createdb -O USER DATABASE."),
        ("Connection refused", " Is the server running, and does it listen there?"),
    ):
        if mark in reason:
            return advice
    return ""
