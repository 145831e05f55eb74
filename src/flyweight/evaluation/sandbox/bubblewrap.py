"""Programs in bubblewrap: namespaces and mounts of their own, no capabilities, a filter of system calls."""

from __future__ import annotations

import functools
import os
import platform
import random
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flyweight.evaluation.sandbox.launch import ENVIRONMENT, FLAGS, Launch, inside_text
from flyweight.evaluation.sandbox.limits import Limits
from flyweight.evaluation.sandbox.seccomp import filter_program

_IDENTITY = 65534
_SPARE_IDENTITIES = range(65000, 65500)
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/lib32", "/lib", "/lib64", "/lib32")
_FILES = ("/etc/ld.so.cache", "/usr/share/zoneinfo")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


@dataclass(frozen=True)
class Interpreter:
    """A Python and the folders that it needs, apart from the system's libraries."""

    executable: str
    folders: tuple[str, ...]

    @classmethod
    def current(cls) -> Interpreter:
        """The Python that runs this, or the one that its virtual environment stands on; not the environment itself.

        Its own `site-packages` mostly lies below the standard library: it can be read, but is not on the path. It may
        lie in somebody's home directory: nothing but its own folders is bound into the sandbox.
        """
        base = getattr(sys, "_base_executable", None) or sys.executable
        # Not the path that sysconfig gives by itself: that one is the virtual environment's.
        extensions = sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix})
        folders = {sysconfig.get_path("stdlib"), extensions}
        if sysconfig.get_config_var("Py_ENABLE_SHARED"):
            folders.add(sysconfig.get_config_var("LIBDIR"))
        return cls(os.path.realpath(base), tuple(sorted(folders)))


@dataclass(frozen=True)
class Bubblewrap:
    """Runs each program in a sandbox of its own, made by the `bwrap` at `executable`."""

    executable: str
    interpreter: Interpreter = field(default_factory=Interpreter.current)
    as_root: bool = field(default_factory=lambda: os.geteuid() == 0)
    """Root needs no user namespace. It gives its identity up inside, for a spare one: limits on the number of
    threads do not hold for root, not even for root under another number in a user namespace."""

    @property
    def name(self) -> str:
        """As results say it: `bubblewrap 0.8.0`."""
        return _version(self.executable)

    @property
    def isolated(self) -> bool:
        """True: results need no warning."""
        return True

    def command(self, limits: Limits, filter_descriptor: int) -> list[str]:
        """The whole command line; the filter of system calls is read from `filter_descriptor`."""
        arguments = [self.executable, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
        arguments += ["--unshare-cgroup-try", "--hostname", "sandbox", "--die-with-parent", "--new-session"]
        arguments += ["--cap-drop", "ALL"]
        if self.as_root:
            arguments += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        else:
            arguments += ["--unshare-user", "--uid", str(_IDENTITY), "--gid", str(_IDENTITY)]
        # Before the rest, because an interpreter may lie in /tmp.
        arguments += [
            "--perms",
            "1777",
            "--size",
            str(limits.temporary),
            "--tmpfs",
            "/tmp",
            "--chdir",
            "/tmp",
        ]
        arguments += _system(self.interpreter)
        # What bubblewrap puts all of it on is a file system in memory too, without a limit of size.
        arguments += ["--remount-ro", "/", "--seccomp", str(filter_descriptor), "--"]
        return [*arguments, self.interpreter.executable, *FLAGS, "-c", inside_text()]

    @contextmanager
    def launch(self, limits: Limits) -> Iterator[Launch]:
        """What to start for one program."""
        read, write = os.pipe()
        try:
            with open(write, "wb") as file:
                file.write(_filter())
            # A user of its own for each: the kernel counts the threads of a user, not of a sandbox.
            identity = random.choice(_SPARE_IDENTITIES) if self.as_root else None
            yield Launch(
                self.command(limits, read),
                dict(ENVIRONMENT),
                "/",
                (read,),
                identity=identity,
                limit_threads=True,
            )
        finally:
            os.close(read)


def _system(interpreter: Interpreter) -> list[str]:
    """Mounts: the system's libraries, the interpreter, a few devices; all of it read-only."""
    arguments: list[str] = []
    places = (*_LIBRARIES, *interpreter.folders, *_FILES, interpreter.executable, *_DEVICES)
    # Made beforehand, as bubblewrap would let nobody but the owner in; sorted, so that parents come first.
    for parent in sorted({str(parent) for place in places for parent in Path(place).parents} - {"/", "/tmp"}):
        if not any(Path(parent).is_relative_to(library) for library in _LIBRARIES):
            arguments += ["--perms", "0755", "--dir", parent]
    for folder in _LIBRARIES:
        if os.path.islink(folder):
            arguments += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            arguments += ["--ro-bind", folder, folder]
    for folder in interpreter.folders:
        if not any(Path(folder).is_relative_to(library) for library in _LIBRARIES):
            arguments += ["--ro-bind", folder, folder]
    for file in (*_FILES, interpreter.executable):
        arguments += ["--ro-bind-try", file, file]
    for device in _DEVICES:
        arguments += ["--dev-bind", device, device]
    return arguments


@functools.cache
def _filter() -> bytes:
    return filter_program(platform.machine())


@functools.cache
def _version(executable: str) -> str:
    told = subprocess.run([executable, "--version"], capture_output=True, text=True, check=False).stdout
    return told.strip() or "bubblewrap"
