"""One process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from flyweight.base.errors import UserError
from flyweight.base.files import explain_write_errors, open_own


class Busy(UserError):
    """Another process holds the lock."""


@contextlib.contextmanager
def exclusive(mark: Path, busy: str) -> Iterator[None]:
    """Hold a lock on the file `mark`, which is made; it ends with the process, however that ends.

    Where a file system has no locks, nothing is held.

    Raises:
        Busy: another process holds it; the message is `busy`.
    """
    with explain_write_errors(mark):
        file = os.fdopen(open_own(mark, os.O_RDWR), "r+")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(busy) from None
        except OSError:
            pass  # a file system without locks
        yield


def is_held(mark: Path) -> bool:
    """Whether a process holds the lock on `mark`, as far as can be known from here; nothing is made or written."""
    try:
        with mark.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # no such file, not ours to read, or a file system without locks
    return False
