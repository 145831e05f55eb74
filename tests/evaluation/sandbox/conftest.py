from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from flyweight.base import UserError
from flyweight.evaluation.sandbox import (
    Bubblewrap,
    Interpreter,
    LaunchError,
    Limits,
    Outcome,
    Sandbox,
    Unsandboxed,
    find_sandbox,
    run_program,
)


class ByNobody(Bubblewrap):
    """Bubblewrap as an ordinary user starts it, where these tests are run by root."""

    def command(self, limits: Limits, filter_descriptor: int) -> list[str]:
        drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
        return [*drop, *super().command(limits, filter_descriptor)]


def _as_this_user() -> Sandbox:
    try:
        return find_sandbox()
    except UserError as error:
        pytest.skip(str(error))


def _as_nobody() -> Sandbox:
    if os.geteuid() != 0:
        pytest.skip("the other sandbox is that of an ordinary user already")
    found = shutil.which("bwrap"), shutil.which("setpriv"), shutil.which("python3", path="/usr/bin")
    if None in found:
        pytest.skip("needs bwrap, setpriv and a Python of the system that everybody can read")
    executable = os.path.realpath(str(found[2]))
    query = "import sys, sysconfig; print(sysconfig.get_path('stdlib')) if sys.version_info >= (3, 11) else sys.exit(1)"
    asked = subprocess.run([executable, "-c", query], capture_output=True, text=True, check=False)
    if asked.returncode:
        pytest.skip("the system's Python is older than 3.11")
    box = ByNobody(str(found[0]), Interpreter(executable, (asked.stdout.strip(),)), as_root=False)
    try:
        run_program("", Limits(), box)
    except LaunchError as error:
        pytest.skip(f"ordinary users cannot make namespaces here: {error}")
    return box


@pytest.fixture(params=[_as_this_user, _as_nobody], ids=["this-user", "nobody"])
def box(request: pytest.FixtureRequest) -> Sandbox:
    """A sandbox that works here."""
    return request.param()


@pytest.fixture(params=[_as_this_user, _as_nobody, Unsandboxed], ids=["this-user", "nobody", "unsandboxed"])
def place(request: pytest.FixtureRequest) -> Sandbox:
    """Every place where programs run."""
    return request.param()


@pytest.fixture
def run(box: Sandbox) -> Callable[..., Outcome]:
    """Runs a program in the sandbox; limits by name. Time enough on a busy machine, if not said otherwise."""

    def run(program: str, **limits: Any) -> Outcome:
        return run_program(program, Limits(**{"wall_seconds": 30.0, **limits}), box)

    return run


@pytest.fixture
def run_anywhere(place: Sandbox) -> Callable[..., Outcome]:
    """As `run`, and without a sandbox as well."""

    def run(program: str, **limits: Any) -> Outcome:
        return run_program(program, Limits(**{"wall_seconds": 30.0, **limits}), place)

    return run
