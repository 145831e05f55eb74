"""Runs one program; this file's text is what the interpreter in the sandbox is given (`python -c`).

It stands on the standard library alone and imports as little of it as can be, as every program pays for it.
Standard input is a socket to the process outside. Over it come one line of numbers (`launch.order`) and the
program; over it go `ready`, then either `error` with the exception, or `done`. The answer to `done` is a random
word that has to be sent back. While the program runs, that word is nowhere in its sandbox: not in frames,
variables, files, arguments, the environment or this text.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable

NO_CHANGE = -1
_RESERVE = 2**20
_REFUSED = (
    "os.exec", "os.fork", "os.forkpty", "os.kill", "os.killpg", "os.posix_spawn", "os.spawn", "os.system",
    "pty.spawn", "signal.pthread_kill", "subprocess.Popen", "ctypes.dlopen", "shutil.rmtree",
    "socket.bind", "socket.connect", "socket.getaddrinfo", "socket.sendto",
)  # fmt: skip
_PATHS = (
    "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate",
)  # fmt: skip


def main() -> None:
    """Read what to run, run it, tell how it ended, and end this process."""
    # Kept here, out of reach of a program that replaces what the modules hold.
    read, write, leave, own_pid = os.read, os.write, os._exit, os.getpid
    channel, numbers, program = _take_over()
    memory, cpu_seconds, threads, file_size, open_files, identity, guarded = numbers
    if identity != NO_CHANGE:
        os.setgroups([])
        os.setresgid(identity, identity, identity)
        os.setresuid(identity, identity, identity)
    _limit(memory, cpu_seconds, threads, file_size, open_files)
    if guarded:
        sys.addaudithook(_guard(os.getcwd()))
    reserve: bytearray | None = bytearray(_RESERVE)
    pid = own_pid()
    write(channel, b"ready\n")
    try:
        # An empty namespace, as in code_eval: `__name__` is not "__main__" there.
        exec(compile(program, "<string>", "exec", dont_inherit=True), {})
    except BaseException as error:
        reserve = None  # room to tell about a MemoryError
        error.__traceback__ = None
        try:
            told = _told(error)
        except BaseException:
            told = b"error\nException\nits own text cannot be had"
        if own_pid() == pid:
            write(channel, told)
        leave(1)
    del reserve
    if own_pid() != pid:
        leave(1)
    write(channel, b"done\n")
    write(channel, read(channel, 64))
    leave(0)


def _take_over() -> tuple[int, list[int], str]:
    """The channel moved away from standard input, and what came over it."""
    data = bytearray()
    while b"\n" not in data:
        data += os.read(0, 2**16)
    line, _, rest = bytes(data).partition(b"\n")
    *numbers, length = (int(number) for number in line.split())
    program = bytearray(rest)
    while len(program) < length:
        program += os.read(0, 2**16)
    channel = os.dup(0)
    nothing = os.open("/dev/null", os.O_RDWR)
    os.dup2(nothing, 0)
    os.closerange(3, channel)
    os.closerange(channel + 1, 256)
    return channel, numbers, program.decode("utf-8", "surrogatepass")


def _limit(memory: int, cpu_seconds: int, threads: int, file_size: int, open_files: int) -> None:
    """Soft limits equal hard ones; only CPU time ends with SIGXCPU, which tells it from other kills."""
    values = {
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_AS": (memory, memory),
        "RLIMIT_CPU": (cpu_seconds, cpu_seconds + 1),
        "RLIMIT_FSIZE": (file_size, file_size),
        "RLIMIT_NOFILE": (open_files, open_files),
        "RLIMIT_MEMLOCK": (0, 0),
        "RLIMIT_MSGQUEUE": (0, 0),
    }
    if threads != NO_CHANGE:
        values["RLIMIT_NPROC"] = (threads, threads)
    for name, value in values.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        try:
            resource.setrlimit(kind, value)
        except (OSError, ValueError):
            if threads != NO_CHANGE:
                raise  # in a sandbox all of them hold; without one, macOS has no limit of address space


def _guard(folder: str) -> Callable[[str, tuple[object, ...]], None]:
    """An audit hook against accidents where there is no sandbox; it does not stop a program that means harm."""
    folder = os.path.realpath(folder)
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def outside(path: object) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        place = os.path.realpath(os.fsdecode(path))
        return place != os.devnull and os.path.commonpath([folder, place]) != folder

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in _REFUSED:
            raise PermissionError(f"{event} is refused to this program")
        if (
            event == "open"
            and isinstance(arguments[2], int)
            and arguments[2] & writing
            and outside(arguments[0])
        ):
            raise PermissionError(f"this program may not write to {arguments[0]!r}")
        if event in _PATHS and any(outside(path) for path in arguments[:2]):
            raise PermissionError(f"{event} is refused to this program outside of its folder")

    return hook


def _told(error: BaseException) -> bytes:
    # Codecs that are built in: others would have to be imported, which a program can make fail.
    name = type(error).__name__[:100].encode("ascii", "backslashreplace").replace(b"\n", b" ")
    return b"error\n" + name + b"\n" + str(error)[:2000].encode("utf-8", "backslashreplace")


if __name__ == "__main__":
    main()
