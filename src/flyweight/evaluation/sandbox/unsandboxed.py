"""Programs in a plain process of this user: only for those who asked for it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flyweight.evaluation.sandbox.launch import ENVIRONMENT, FLAGS, Launch, inside_text
from flyweight.evaluation.sandbox.limits import Limits


@dataclass(frozen=True)
class Unsandboxed:
    """Runs each program in a fresh interpreter with limits of resources, in a temporary folder.

    An audit hook refuses what a program does by accident: to start processes, to reach the network, to write
    or delete outside of its folder. It is no protection against a program that means harm, and it does not
    keep a program from reading. On macOS memory is not limited.
    """

    name: str = "none"

    @property
    def isolated(self) -> bool:
        """False: every result says that it was had without a sandbox."""
        return False

    @contextmanager
    def launch(self, limits: Limits) -> Iterator[Launch]:
        """What to start for one program."""
        with tempfile.TemporaryDirectory(prefix="flyweight-program-", ignore_cleanup_errors=True) as folder:
            base = getattr(sys, "_base_executable", None) or sys.executable
            environment = ENVIRONMENT | {"HOME": folder, "TMPDIR": folder}
            command = [os.path.realpath(base), *FLAGS, "-c", inside_text()]
            yield Launch(command, environment, folder, guarded=True)
