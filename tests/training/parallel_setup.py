"""Runs of several processes in tests: forked from one that has imported everything, on gloo.

`together(world_size, function, *arguments)` calls `function(ranks, *arguments)` on every rank and returns what
each of them returned.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
import traceback
from collections.abc import Callable
from typing import Any


class Died(AssertionError):
    pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(rank: int, world_size: int, port: int) -> dict[str, str]:
    """What torchrun sets."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }


def _work(environ: dict[str, str], function: Callable[..., Any], arguments: tuple, results: Any) -> None:
    os.environ.update(environ)
    from flyweight.training.parallel import join_ranks, leave_ranks

    try:
        ranks = join_ranks()
        value = function(ranks, *arguments)
        leave_ranks()
        results.put((int(environ["RANK"]), True, value))
    except BaseException:
        results.put((int(environ["RANK"]), False, traceback.format_exc()))
    os._exit(0)  # as the command line does: who waits for this process must not wait long


def start(world_size: int, function: Callable[..., Any], *arguments: Any) -> tuple[list[Any], Any]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["flyweight.training"])
    results, port = context.SimpleQueue(), free_port()
    processes = [
        context.Process(
            target=_work, args=(environment(rank, world_size, port), function, arguments, results)
        )
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    return processes, results


def together(world_size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `function` returned on every rank."""
    found = of_survivors(world_size, world_size, function, *arguments)
    return [found[rank] for rank in range(world_size)]


def of_survivors(
    world_size: int, survivors: int, function: Callable[..., Any], *arguments: Any
) -> dict[int, Any]:
    """What `function` returned on the ranks that lived to return, of which there should be so many."""
    processes, results = start(world_size, function, *arguments)
    found: dict[int, Any] = {}
    deadline = time.monotonic() + 90
    while len(found) < survivors:
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
            raise Died(f"only ranks {sorted(found)} came back: {found}")
        if results.empty():
            if not any(process.is_alive() for process in processes) and results.empty():
                raise Died("a process ended without a word")
            processes[0].join(0.02)
            continue
        rank, fine, value = results.get()
        if not fine:
            for process in processes:
                process.kill()
            raise Died(f"rank {rank}:\n{value}")
        found[rank] = value
    for process in processes:
        process.join()
    return found
