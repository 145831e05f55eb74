"""The filter, run by a small machine of our own: classic BPF as the kernel would run it, for every architecture."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from flyweight.evaluation.sandbox.seccomp import MACHINES, conditional_calls, denied_calls, filter_program

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
ALLOWED, KILLED = "allowed", "killed"


def verdict(machine: str, number: int, first: int = 0, architecture: int | None = None) -> str | int:
    """ALLOWED, KILLED, or the error that the call ends with."""
    data = struct.pack("<IIQQ", number, AUDIT[machine] if architecture is None else architecture, 0, first)
    code = list(struct.iter_unpack("<HBBI", filter_program(machine)))
    place, accumulator = 0, 0
    while True:
        operation, if_true, if_false, operand = code[place]
        place += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif operation == 0x06:
            kind = operand & 0xFFFF0000
            return {0x7FFF0000: ALLOWED, 0x80000000: KILLED}.get(kind, operand & 0xFFFF)
        else:
            holds = {
                0x15: accumulator == operand, 0x25: accumulator > operand, 0x45: bool(accumulator & operand),
            }[operation]  # fmt: skip
            place += if_true if holds else if_false


@pytest.mark.parametrize("machine", MACHINES)
def test_every_call_has_the_verdict_that_is_meant(machine: str) -> None:
    denied, special = set(denied_calls(machine).values()), set(conditional_calls(machine).values())
    for number in range(600):
        if number in special:
            continue
        expected = errno.EPERM if number in denied else ALLOWED if number <= 456 else errno.ENOSYS
        assert verdict(machine, number) == expected, number
    assert verdict(machine, 0x40000000 | 57) == errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_threads_may_be_made_and_processes_may_not(machine: str) -> None:
    calls = conditional_calls(machine)
    assert verdict(machine, calls["clone"], 0x3D0F00) == ALLOWED  # the flags of pthread_create
    for flags in (17, 0x4111, 0x01200011, 0x10000011, 0xFFFF_0000_0000_0000 | 17):
        assert verdict(machine, calls["clone"], flags) == errno.EPERM
    assert verdict(machine, calls["clone3"]) == errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_families_of_sockets(machine: str) -> None:
    socket = conditional_calls(machine)["socket"]
    allowed = [family for family in range(64) if verdict(machine, socket, family) == ALLOWED]
    assert allowed == [1, 2, 10]
    assert verdict(machine, socket, 40) == errno.EAFNOSUPPORT


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_another_architecture_end_the_program(machine: str) -> None:
    assert verdict(machine, 0, architecture=0x40000003) == KILLED


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip("the kernel's headers are not installed")
    text = HEADERS[machine].read_text()
    numbers = {name: int(number) for name, number in re.findall(r"#define __NR_(\w+)\s+(\d+)", text)}
    for name, number in (denied_calls(machine) | conditional_calls(machine)).items():
        assert numbers.get(name, number) == number, name
    assert {"ptrace", "bpf", "clone", "socket"} <= set(numbers)
