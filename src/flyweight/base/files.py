"""Files that are either wholly there or not there at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flyweight.base.errors import UserError

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


def _is_full_disk(error: BaseException) -> bool:
    """Whether `error` says that no space is left; safetensors wraps the number in its message."""
    return _is(error, errno.ENOSPC, errno.EDQUOT)


def _is(error: BaseException, *numbers: int) -> bool:
    """Whether `error` is one of these errors of the operating system, be it wrapped by safetensors."""
    if isinstance(error, OSError):
        return error.errno in numbers
    return any(f"(os error {number})" in str(error) for number in numbers)


@contextlib.contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, or a place that cannot be written, into one sentence for the user."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if _is_full_disk(error):
            raise UserError(
                f"{path}: the disk is full, so this could not be saved; everything saved before is "
                f"intact. Free some space and run the same command again."
            ) from error
        if _is(error, errno.EFBIG):
            raise UserError(
                f"{path}: a file here may not grow as large as this one has to (the limit of the file system, or "
                f"of `ulimit -f`), so this could not be saved; everything saved before is intact. Raise the limit "
                f"or name a folder elsewhere, and run the same command again."
            ) from error
        if isinstance(error, OSError) and error.errno in _REFUSED:
            raise UserError(f"{path}: this place cannot be written ({error.strerror}).") from error
        raise


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """The process's umask; reading it means setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path`, whole, when the block ends without an error.

    An older folder at `path` is replaced. On any error the temporary folder is removed and `path`
    stays as it was.
    """
    old = path.with_name(f".{path.name}.old.tmp")
    temporary: Path | None = None
    try:
        with explain_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if old.exists() and not path.exists():
                old.rename(path)  # a kill came between the two renames below
            temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
            yield temporary
            mask = _umask()  # mkdtemp and safetensors write for the owner alone
            for file in sorted(temporary.rglob("*")):
                if file.is_file():
                    file.chmod(0o666 & ~mask)
                    _fsync(file)
            temporary.chmod(0o777 & ~mask)
            if path.exists():
                shutil.rmtree(old, ignore_errors=True)
                path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old, ignore_errors=True)
            _fsync(path.parent)
    except BaseException:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if old.exists() and not path.exists():
            old.rename(path)
        raise


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[Any]:
    """Yield an open file that becomes `path`, whole, when the block ends without an error."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    encoding = None if "b" in mode else "utf-8"
    try:
        with explain_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # A file of its own: what somebody has put there, a link above all, is not written through.
            temporary.unlink(missing_ok=True)
            with temporary.open(mode.replace("w", "x"), encoding=encoding) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def path_inside(folder: Path, name: object, listed_in: Path) -> Path:
    """The file `name` in `folder`, where the name stands in a file that somebody else may have written.

    Links are followed as everywhere: who can make them in the folder can as well put the file there.

    Args:
        folder: where the file has to lie, at any depth.
        name: relative, with `/` between folders.
        listed_in: the file that names it, for the message.

    Raises:
        UserError: the name is none, or leads out of the folder.
    """
    if not leads_inside(name):
        raise UserError(
            f"{listed_in}: it names the file {name!r}; expected a name that stays within {folder}, so nothing is read."
        )
    return folder / str(name)


def leads_inside(name: object) -> bool:
    """Whether `name` is a relative path that never leaves where it starts."""
    return (
        isinstance(name, str)
        and "\0" not in name
        and not any(part in ("", ".", "..") for part in name.split("/"))
    )


def open_own(path: Path, flags: int) -> int:
    """A descriptor of a file of our own, made where it is not there; a link in its place is not followed.

    Raises:
        UserError: a link lies there.
    """
    try:
        return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if path.is_symlink():
            raise UserError(
                f"{path}: this is a link, and what is written here would change a file elsewhere; remove it."
            ) from None
        raise error


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_write(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def read_json(path: Path, what: str = "file") -> Any:
    """Read JSON; a missing or broken file is a UserError that calls it `what`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such {what}.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: this {what} is not valid JSON ({error}).") from None
