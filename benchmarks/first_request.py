"""Seconds from the start of `flyweight evaluate` to its first requests being handed to the model.

    python benchmarks/first_request.py 5 CHECKPOINT --suite gpt-s-5m --data FOLDER

The number says how often; what follows are the command's own arguments. Each time is a process of its own, offline,
which ends as soon as the first requests are there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median

CHILD = """
import os, sys
from flyweight.evaluation.harness import adapter

def first(model, requests, *rest):
    print(len(requests), flush=True)
    os._exit(0)

adapter.score_requests = first
sys.argv = ["flyweight", "evaluate", *sys.argv[1:]]
from flyweight.cli import main
main()
"""


def main() -> None:
    times, words = int(sys.argv[1]), sys.argv[2:]
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        child = [sys.executable, "-c", CHILD, *words]
        found = subprocess.run(
            child, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True
        )
        seconds.append(time.perf_counter() - begin)
        assert found.stdout.strip().isdigit(), found.stderr[-2000:]
    print(f"{median(seconds):.2f} s (median of {times}; {min(seconds):.2f} to {max(seconds):.2f})")


if __name__ == "__main__":
    main()
