"""Memory that a step freed is there for the next one."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from flyweight.training.hardware import keep_freed_memory
assert keep_freed_memory(sys.argv[1] == "keep")
def step():
    tensors = [torch.ones(20_000_000), torch.ones(3_000_000)]
    return sum(len(tensor) for tensor in tensors)
step(), step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    """Pages that the system had to give a process during five steps of 92 MB, 22,461 pages, each."""
    command = [sys.executable, "-c", FAULTS, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
def test_what_a_step_freed_is_used_again() -> None:
    assert page_faults("keep") < 10_000
    assert page_faults("leave") > 50_000
