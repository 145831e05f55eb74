"""Programs that try to get out. Each passes only if all that it tried was refused."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flyweight.evaluation.sandbox import Limits, Outcome, Sandbox, run_program

Run = Callable[..., Outcome]

REFUSED = """
def refused(action):
    try:
        answer = action()
    except OSError:
        return True
    raise AssertionError(f"not refused: {answer!r}")
"""
LIBC = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"


@contextmanager
def listening(family: int, address: object) -> Iterator[tuple[object, list[bytes]]]:
    """A server on this machine, and what it was told."""
    heard: list[bytes] = []
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.bind(address)  # type: ignore[arg-type]
        server.listen()
        server.settimeout(0.05)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    heard.append(server.accept()[1])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname(), heard
        finally:
            stop.set()
            thread.join()


def test_no_connection_to_the_loopback_of_the_machine(run: Run) -> None:
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as (address, heard):
        program = f"import socket\nrefused(lambda: socket.create_connection({address!r}, 2))"
        assert run(REFUSED + program).passed
    assert not heard


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="abstract addresses are Linux's")
def test_no_connection_to_abstract_sockets(run: Run) -> None:
    with listening(socket.AF_UNIX, f"\0{secrets.token_hex(8)}") as (address, heard):
        program = f"""
import socket
refused(lambda: socket.socket(socket.AF_UNIX).connect({address!r}))
"""
        assert run(REFUSED + program).passed
    assert not heard


def test_no_names_no_routes_no_other_families(run: Run) -> None:
    program = """
import socket
refused(lambda: socket.getaddrinfo("example.org", 80))
refused(lambda: socket.socket().connect(("192.0.2.1", 80)))
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
refused(lambda: sender.sendto(b"x", ("192.0.2.1", 53)))
for family in set(range(46)) - {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6}:  # vsock, netlink, packet, alg
    refused(lambda: socket.socket(family, socket.SOCK_DGRAM))
refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
"""
    outcome = run(REFUSED + program)
    assert outcome.passed, outcome


def test_files_of_the_machine_are_not_there(run: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    places = [
        "/etc/passwd",
        "/etc/hostname",
        "/proc/self/environ",
        "/proc/1/cmdline",
        "/sys/kernel",
        "/var",
        "/run",
    ]
    places += [
        str(secret),
        str(Path(__file__)),
        os.path.expanduser("~/.bashrc"),
        "/bin",
        "/usr/bin/env",
        "/dev/shm",
    ]
    program = f"""
import os
for place in {places!r}:
    refused(lambda: os.stat(place))
assert os.listdir("/tmp") == []
"""
    outcome = run(REFUSED + program)
    assert outcome.passed, outcome


def test_of_the_home_folder_only_the_interpreter_is_seen(box: Sandbox, run: Run) -> None:
    """The folders above the interpreter hold nothing but the way to it, wherever it lies."""
    seen = {"/usr", "/lib", "/lib32", "/lib64", "/tmp", "/dev", "/etc"}
    folders = box.interpreter.folders  # type: ignore[attr-defined]
    ways = {f"/{Path(folder).parts[1]}" for folder in (*folders, box.interpreter.executable)}  # type: ignore[attr-defined]
    program = f"""
import os
assert {{"/" + name for name in os.listdir("/")}} <= {seen | ways!r}, os.listdir("/")
for folder in {folders!r}:
    below = os.path.dirname(folder)
    while below not in ("/", "/usr", "/usr/lib") and below not in {folders!r}:
        assert len(os.listdir(below)) <= 2, (below, os.listdir(below))
        below = os.path.dirname(below)
"""
    outcome = run(program)
    assert outcome.passed, outcome


def test_the_environment_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "secret")
    program = """
import os
assert set(os.environ) <= {"PATH", "HOME", "TMPDIR", "LANG", "LC_CTYPE", "PYTHONHASHSEED", "PWD"}, dict(os.environ)
"""
    outcome = run(program)
    assert outcome.passed, outcome


def test_nothing_can_be_written_but_tmp(run: Run, box: Sandbox) -> None:
    executable = box.interpreter.executable  # type: ignore[attr-defined]
    program = f"""
import os
for folder in ("/", "/dev", "/etc", "/usr", "/usr/lib", "/root", "/home", {os.path.dirname(executable)!r}):
    refused(lambda: open(os.path.join(folder, "written"), "w"))
    refused(lambda: os.mkdir(os.path.join(folder, "made")))
refused(lambda: open({executable!r}, "r+"))
refused(lambda: os.remove(os.__file__))
refused(lambda: os.chmod("/usr", 0o777))
refused(lambda: os.mknod("/tmp/disk", 0o060666, os.makedev(8, 0)))
open("/tmp/mine", "w").write("mine")
assert open("/tmp/mine").read() == "mine"
"""
    outcome = run(REFUSED + program)
    assert outcome.passed, outcome


def test_each_program_has_a_tmp_of_its_own(run: Run) -> None:
    program = 'import os\nassert not os.path.exists("/tmp/left")\nopen("/tmp/left", "w").write("x")'
    assert run(program).passed
    assert run(program).passed
    assert not Path("/tmp/left").exists()


def test_links_lead_nowhere(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("old")
    program = f"""
import os
os.symlink("/etc/passwd", "/tmp/passwords")
refused(lambda: open("/tmp/passwords"))
os.symlink({str(target)!r}, "/tmp/link")
refused(lambda: open("/tmp/link", "w"))
os.symlink("/", "/tmp/root")
refused(lambda: open("/tmp/root/etc/shadow"))
refused(lambda: open("/tmp/root/written", "w"))
refused(lambda: os.link(os.__file__, "/tmp/hard"))
"""
    outcome = run(REFUSED + program)
    assert outcome.passed, outcome
    assert target.read_text() == "old"


def test_no_rights_are_left_or_to_be_had(run: Run) -> None:
    program = """
import os
assert os.getuid() not in (0,) and os.geteuid() == os.getuid() and os.getgid() == os.getegid()
refused(lambda: os.setuid(0))
refused(lambda: os.setgid(0))
refused(lambda: os.setgroups([0]))
refused(lambda: os.chroot("/tmp"))
refused(lambda: os.nice(-5))
import resource
for name in ("AS", "NPROC", "CPU", "FSIZE", "NOFILE"):
    kind = getattr(resource, "RLIMIT_" + name)
    try:
        resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        continue
    raise AssertionError(f"{name} was raised")
import signal
"""
    outcome = run(REFUSED + program)
    assert outcome.passed, outcome


def test_no_new_namespaces_no_tracing_no_doors_into_the_kernel(run: Run) -> None:
    program = """
import os
NEWUSER, NEWNS = 0x10000000, 0x00020000
calls = [
    lambda: libc.unshare(NEWUSER), lambda: libc.unshare(NEWNS), lambda: libc.setns(0, 0),
    lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None), lambda: libc.umount2(b"/tmp", 2),
    lambda: libc.ptrace(16, 1, 0, 0), lambda: libc.ptrace(0, 0, 0, 0),
    lambda: libc.process_vm_readv(1, None, 0, None, 0, 0),
    lambda: libc.syscall(425, 8, None),  # io_uring_setup
    lambda: libc.syscall(435, None, 0),  # clone3
    lambda: libc.personality(0x0040000),
    lambda: libc.shmget(0, 4096, 0o1600), lambda: libc.msgget(0, 0o1600), lambda: libc.semget(0, 1, 0o1600),
]
for number, call in enumerate(calls):
    assert call() == -1, number
for flags in (17, NEWUSER | 17, 0x100 | 0x4000 | 17):  # fork, fork into a new user namespace, vfork
    assert libc.clone(None, None, flags, None) == -1
refused(lambda: os.memfd_create("memory"))
"""
    outcome = run(REFUSED + LIBC + program)
    assert outcome.passed, outcome


def test_others_cannot_be_seen_or_killed(run: Run) -> None:
    """The parent is the sandbox's own first process, which cannot be killed from within."""
    program = f"""
import os, signal
assert os.getppid() == 1 and os.getpid() < 10
for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP):
    try:
        os.kill(1, number)
    except PermissionError:
        pass
refused(lambda: os.kill({os.getpid()}, signal.SIGKILL))
try:
    os.kill(-1, signal.SIGKILL)
except OSError:
    pass
os.kill(1, 0) if os.getuid() == 65534 else None
"""
    outcome = run(REFUSED + program)
    assert outcome.passed, outcome


def alive(mark: int) -> list[str]:
    """Processes of a sandbox whose command line holds `mark`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if str(mark).encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                    found.append(folder.name)
            except OSError:
                continue
    return found


STAYS = """
import signal, threading, time
for number in range(1, 32):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
for _ in range(8):
    threading.Thread(target=time.sleep, args=(600,)).start()
"""


@pytest.mark.parametrize("end", ["", "while True: pass", "import os\nos.closerange(0, 64)\ntime.sleep(600)"])
def test_nothing_is_alive_afterwards(box: Sandbox, end: str) -> None:
    mark = 2**26 + secrets.randbelow(2**20)
    outcome = run_program(STAYS + end, Limits(wall_seconds=0.5, temporary=mark), box)
    assert outcome.passed == (not end)
    assert not alive(mark)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_nothing_is_alive_when_flyweight_is_killed(box: Sandbox) -> None:
    mark = 2**26 + secrets.randbelow(2**20)
    limits = Limits(wall_seconds=120, temporary=mark)
    child = multiprocessing.get_context("fork").Process(
        target=run_program, args=(STAYS + "time.sleep(600)", limits, box)
    )
    child.start()
    assert child.pid is not None
    _wait_until(lambda: bool(alive(mark)))
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    _wait_until(lambda: not alive(mark))


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
