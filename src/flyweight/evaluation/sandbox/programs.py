"""Many programs side by side, and the choice of where they run."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from flyweight.base import UserError
from flyweight.evaluation.sandbox.bubblewrap import Bubblewrap
from flyweight.evaluation.sandbox.launch import LaunchError, Sandbox, run_program
from flyweight.evaluation.sandbox.limits import Limits, Outcome
from flyweight.evaluation.sandbox.seccomp import MACHINES
from flyweight.evaluation.sandbox.unsandboxed import Unsandboxed

_OTHERWISE = "or pass --unsafe-code to run them without a sandbox, with your own rights"


def run_programs(
    programs: Sequence[str],
    limits: Limits | None = None,
    workers: int | None = None,
    progress: Callable[[float], None] | None = None,
    *,
    sandbox: Sandbox | None = None,
) -> list[Outcome]:
    """Run `programs`, each in a sandbox of its own, and say what came of each, in their order.

    Args:
        programs: Python texts, tests included.
        limits: what each may use.
        workers: programs that run at the same time; one for each processor, at most 8, if None. More than
            there are processors makes programs slower, and some of them too slow.
        progress: called with the share that is done.
        sandbox: where; `find_sandbox()` if None.

    Raises:
        UserError: no sandbox can be had, or it stopped working.
    """
    sandbox = find_sandbox() if sandbox is None else sandbox
    limits = Limits() if limits is None else limits
    outcomes: dict[int, Outcome] = {}
    with ThreadPoolExecutor(workers or default_workers(), thread_name_prefix="sandbox") as pool:
        futures = {
            pool.submit(run_program, program, limits, sandbox): place
            for place, program in enumerate(programs)
        }
        try:
            for future in as_completed(futures):
                outcomes[futures[future]] = future.result()
                if progress is not None:
                    progress(len(outcomes) / len(programs))
        except LaunchError as error:
            pool.shutdown(cancel_futures=True)
            raise UserError(
                f"the sandbox stopped working after {len(outcomes)} programs: {error}."
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [outcomes[place] for place in range(len(programs))]


def default_workers() -> int:
    """One for each processor that this process may use, at most 8."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, usable)


def find_sandbox(unsafe: bool = False) -> Sandbox:
    """Where programs run on this machine: bubblewrap, or, where that cannot be had, with `unsafe` a plain process.

    Whether bubblewrap works is found out by running a program in it, once.

    Raises:
        UserError: bubblewrap is not installed, or may not make namespaces here.
    """
    try:
        return _find_bubblewrap()
    except UserError:
        if unsafe:
            return Unsandboxed()
        raise


def _find_bubblewrap() -> Bubblewrap:
    if not sys.platform.startswith("linux"):
        raise UserError(
            f"programs that a model wrote are run in bubblewrap, which {platform.system()} does not have; "
            f"evaluate code on Linux, {_OTHERWISE}."
        )
    if platform.machine() not in MACHINES:
        raise UserError(
            f"the sandbox's filter of system calls is known for {' and '.join(MACHINES)}, not for "
            f"{platform.machine()}; evaluate code on one of those, {_OTHERWISE}."
        )
    executable = shutil.which("bwrap")
    if executable is None:
        raise UserError(
            "programs that a model wrote are run in bubblewrap, and there is no `bwrap` on this machine; install "
            f"it (apt install bubblewrap, dnf install bubblewrap), {_OTHERWISE}."
        )
    sandbox = Bubblewrap(executable)
    trouble = _trouble(sandbox)
    if trouble:
        raise UserError(
            f"bubblewrap does not work here ({sandbox.name}: {trouble}); it has to be 0.7 or newer and allowed to make "
            "namespaces (in a container: --privileged; on Ubuntu 24.04: sysctl "
            f"kernel.apparmor_restrict_unprivileged_userns=0), {_OTHERWISE}."
        )
    return sandbox


@functools.cache
def _trouble(sandbox: Bubblewrap) -> str:
    """What keeps the sandbox from running a program; empty if nothing does."""
    try:
        outcome = run_program(
            "import random, json\nassert json.loads('[1]') == [1]", Limits(wall_seconds=30), sandbox
        )
    except LaunchError as error:
        return str(error)
    return "" if outcome.passed else outcome.detail
