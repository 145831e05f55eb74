"""A filter of system calls, as the kernel takes it (classic BPF over `struct seccomp_data`).

Namespaces and limits of resources leave some doors open; this closes them: processes (so that the limit of one
process's memory is the limit of all), memory outside the address space (memfd, System V IPC, message queues),
families of sockets that network namespaces do not cover (vsock), new user namespaces, and parts of the kernel
in which most of its escapes were found (ptrace, bpf, io_uring, perf, keyrings, userfaultfd). What is not named
here is allowed, but calls newer than this list are answered as an old kernel would.
"""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple

_DENIED = {
    # name: (number on x86_64, number on aarch64)
    "fork": (57, None), "vfork": (58, None),
    "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "kcmp": (312, 272), "pidfd_getfd": (438, 438),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "personality": (135, 92), "modify_ldt": (154, None), "iopl": (172, None), "ioperm": (173, None),
    "syslog": (103, 116), "fanotify_init": (300, 262), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "acct": (163, 89), "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106),
}  # fmt: skip
_CLONE, _CLONE3, _SOCKET = (56, 220), (435, 435), (41, 198)
_NEWEST_KNOWN = 456  # futex_requeue, Linux 6.7
_FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6: what network and mount namespaces cover
_CLONE_THREAD = 0x10000

_LOAD, _EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = (
    0,
    4,
    16,
)  # offsets in struct seccomp_data; both machines little-endian
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000


class _Machine(NamedTuple):
    column: int
    audit: int
    """The kernel's AUDIT_ARCH constant."""


_MACHINES = {"x86_64": _Machine(0, 0xC000003E), "aarch64": _Machine(1, 0xC00000B7)}
MACHINES = tuple(_MACHINES)
"""As `platform.machine` names them."""


def denied_calls(machine: str) -> dict[str, int]:
    """Name and number of the calls that are refused whatever their arguments."""
    column = _MACHINES[machine].column
    numbers = {name: pair[column] for name, pair in _DENIED.items()}
    return {name: number for name, number in numbers.items() if number is not None}


def conditional_calls(machine: str) -> dict[str, int]:
    """Name and number of the calls whose first argument decides (clone, socket), and of clone3."""
    column = _MACHINES[machine].column
    return {"clone": _CLONE[column], "clone3": _CLONE3[column], "socket": _SOCKET[column]}


def filter_program(machine: str) -> bytes:
    """The filter for `machine`, one of `MACHINES`: instructions of 8 bytes (u16 code, u8 jt, u8 jf, u32 k)."""
    calls = conditional_calls(machine)
    verdicts = {
        "kill": _KILL,
        "allow": _ALLOW,
        "refuse": _ERROR | errno.EPERM,
        "unknown": _ERROR | errno.ENOSYS,
        "family": _ERROR | errno.EAFNOSUPPORT,
    }
    # (code, k, where to go if true, if false); a name that is neither verdict nor label means the next line.
    lines: list[tuple[int, int, str, str]] = [
        (_LOAD, _ARCHITECTURE, "", ""),
        (_EQUAL, _MACHINES[machine].audit, "next", "kill"),
        (_LOAD, _NUMBER, "", ""),
        # Among them the x32 calls, whose numbers carry bit 30.
        (_GREATER, _NEWEST_KNOWN, "unknown", "next"),
        # The C library falls back to clone, whose flags can be read.
        (_EQUAL, calls["clone3"], "unknown", "next"),
        (_EQUAL, calls["clone"], "clone", "next"),
        (_EQUAL, calls["socket"], "socket", "next"),
        *((_EQUAL, number, "refuse", "next") for number in denied_calls(machine).values()),
    ]
    labels: dict[str, int] = {}
    lines.append((_RETURN, _ALLOW, "", ""))
    labels["clone"] = len(lines)
    lines += [(_LOAD, _FIRST_ARGUMENT, "", ""), (_ANY_BIT, _CLONE_THREAD, "allow", "refuse")]
    labels["socket"] = len(lines)
    lines.append((_LOAD, _FIRST_ARGUMENT, "", ""))
    lines += [(_EQUAL, family, "allow", "next") for family in _FAMILIES[:-1]]
    lines.append((_EQUAL, _FAMILIES[-1], "allow", "family"))
    for name, value in verdicts.items():
        labels[name] = len(lines)
        lines.append((_RETURN, value, "", ""))
    program = b""
    for place, (code, operand, if_true, if_false) in enumerate(lines):
        jumps = [labels.get(name, place + 1) - place - 1 for name in (if_true, if_false)]
        program += struct.pack("<HBBI", code, *jumps, operand)
    return program
