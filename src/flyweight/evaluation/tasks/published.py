"""Published files of items: where they lie, and whether a file is the published one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from flyweight.base import UserError


@dataclass(frozen=True)
class Published:
    """A file of a dataset on the hub."""

    dataset: str
    """Its id there."""
    file: str
    """Its name, there and in a data folder."""
    revision: str | None = None
    """The commit that is meant; None where none is known."""
    sha256: str | None = None
    """Of the file; None where it is not known."""

    def judge(self, file: Path) -> dict[str, str]:
        """The file's hash, and whether it is the published one: `yes`, `no` or `not known`."""
        digest = file_hash(file)
        known = "not known" if self.sha256 is None else "yes" if digest == self.sha256 else "no"
        return {"sha256": digest, "is_published_file": known}


def file_hash(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch(published: Published, task: str, *, offline: bool) -> Path:
    """The file in the hub client's own cache, downloaded if it is not there yet.

    Args:
        published: what is fetched.
        task: which task asks, for errors.
        offline: never use the network; what was fetched before is found all the same.

    Raises:
        UserError: not there and no network, no access, or another file than the published one.
    """
    # Imported here: it takes a while, and most tasks have their data in a folder.
    import huggingface_hub

    from flyweight.corpus.reading.hub_errors import TRANSPORT_ERRORS

    try:
        file = Path(
            huggingface_hub.hf_hub_download(
                published.dataset,
                published.file,
                repo_type="dataset",
                revision=published.revision,
                local_files_only=offline,
            )
        )
    except (OSError, ValueError, RuntimeError, *TRANSPORT_ERRORS) as error:
        reason = (
            "no network is to be used"
            if offline
            else " ".join(str(error).split())[:200] or type(error).__name__
        )
        raise UserError(
            f"the task {task} needs {published.file} of the dataset {published.dataset}, which is not on this machine "
            f"and could not be fetched ({reason}); download it elsewhere and put it into DIR/{task.partition('-')[0]}/ "
            f"(--data DIR)."
        ) from None
    if published.judge(file)["is_published_file"] == "no":
        raise UserError(
            f"{file}: the hub's {published.file} is not the published file (its SHA-256 differs); remove it from the "
            f"cache and fetch it again."
        )
    return file


def find_file(data: Path, folder: str, name: str) -> Path | None:
    """`data`/`folder`/`name` or `data`/`name`, where it is."""
    return next((file for file in (data / folder / name, data / name) if file.is_file()), None)
