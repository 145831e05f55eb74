"""A finished export goes to the Hugging Face Hub: what was checked, nothing else, in one commit.

`plan_publication` needs no network and says exactly what would be sent. Everything that is not on its list of what
belongs into an export is refused: a folder is often put together by hand, and what is public once stays so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import validate_repo_id

from flyweight import __version__
from flyweight.base import UserError, path_inside, read_json
from flyweight.recipe import format_bytes
from flyweight.release.publish_errors import explain_upload_errors
from flyweight.release.record import EXPORT_FILE, EXPORT_FORMAT, sha256_of

CARD_FILE = "README.md"
ASSETS = "assets"
EXAMPLE_FOLDER = 'folder = "."  # this folder, or the name of its repository'
"""The line of a card's example that the published card has the repository's name in."""

_KINDS = (".json", ".safetensors", ".gguf", ".py", ".jinja", ".txt", ".model")
"""What files an export is made of; no pickle is among them."""
_BESIDE = ("LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE", "NOTICE.md", "NOTICE.txt", ".gitattributes")
"""What may be laid beside it by hand."""
_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg")
_NO_TEXT = (*_IMAGES[:-1], ".safetensors", ".gguf", ".model")
_SECRET = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}|\bsk-[A-Za-z0-9_-]{20,}|\bAKIA[0-9A-Z]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\bgh[opsu]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{30,}|\bglpat-[A-Za-z0-9_-]{20,}|\bxox[abprs]-[\w-]{10,}"
)
"""What tokens and keys of the hub, OpenAI and its like, AWS, GitHub, GitLab and Slack look like."""


@dataclass(frozen=True)
class Sent:
    """A file as it will lie in the repository."""

    name: str
    size: int
    """In bytes."""
    sha256: str
    content: Path | bytes
    note: str = ""
    """What is to be said about it."""


@dataclass(frozen=True)
class Publication:
    """What would be sent, and where to."""

    folder: Path
    repository: str
    files: tuple[Sent, ...]

    @property
    def size(self) -> int:
        """Of all files, in bytes."""
        return sum(file.size for file in self.files)

    def lines(self) -> Iterator[str]:
        """The list for people: a line a file, then the sum."""
        width = max(len(file.name) for file in self.files)
        for file in self.files:
            yield f"{file.name:<{width}}  {file.size:>15,} bytes" + (f"  {file.note}" if file.note else "")
        yield f"{len(self.files)} files, {format_bytes(self.size)}, to {self.repository}"


@dataclass(frozen=True)
class Target:
    """The repository before anything is sent."""

    account: str
    """Who is logged in."""
    exists: bool
    private: bool
    """Whether it is, or will be made, private."""
    others: tuple[str, ...]
    """Files there that this publication leaves as they are."""

    def line(self) -> str:
        """For people."""
        if self.exists:
            what = f"the repository exists and is {'private' if self.private else 'public'}"
        else:
            what = f"a new repository, {'private' if self.private else 'public unless its owner has set otherwise'}"
        left = f"; left there as they are: {', '.join(self.others)}" if self.others else ""
        return f"logged in as {self.account}; {what}{left}"


@dataclass(frozen=True)
class Published:
    """What came of it."""

    url: str
    commit: str


def is_repository(name: str) -> bool:
    """Whether this is OWNER/NAME as the hub takes it."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


def plan_publication(folder: Path, repository: str) -> Publication:
    """What would be sent to OWNER/NAME; no network is needed.

    Raises:
        UserError: no export, one whose check did not pass or whose files have changed since, something in the folder
            that does not belong to it, a card that cannot be read, or a name that is none.
    """
    if not is_repository(repository):
        raise UserError(
            f"{repository!r} is no repository of the hub; expected OWNER/NAME, such as me/my-model."
        )
    record = _checked_record(folder)
    names = _refuse_strangers(folder, record)
    files = []
    for name in (CARD_FILE, *sorted(record["files"]), EXPORT_FILE, *names):
        text = None if name.lower().endswith(_NO_TEXT) else _read_text(folder / name)
        if text is not None and _SECRET.search(text):
            raise UserError(f"{folder / name}: this looks like it holds a token or a key; take it out.")
        if name == CARD_FILE:
            files.append(_card(folder / name, text or "", repository))
            continue
        known = record["files"].get(name, {}).get("sha256")
        size, content = (folder / name).stat().st_size, folder / name
        files.append(Sent(name, size, known or sha256_of(content), content))
    return Publication(folder, repository, tuple(files))


def _checked_record(folder: Path) -> dict[str, Any]:
    """The export's record, once its check is seen to have passed and its files to be those that were checked."""
    place = folder / EXPORT_FILE
    if not place.is_file():
        raise UserError(
            f"{folder}: this is no export of Flyweight ({EXPORT_FILE} is missing); make one with export."
        )
    record = read_json(place, "record of an export")
    if not isinstance(record, dict) or not isinstance(record.get("format"), int):
        raise UserError(f"{place}: this is no record of an export; export the checkpoint again.")
    if record["format"] > EXPORT_FORMAT:
        raise UserError(
            f"{place}: format {record['format']} is of a newer Flyweight; this one reads {EXPORT_FORMAT}."
        )
    if not isinstance(record.get("checks"), Mapping) or not record["checks"]:
        how = "pip install llama-cpp-python, and export it again" if "file" in record else "export it again"
        raise UserError(
            f"{folder}: nobody has loaded this export back and compared it, so it is not sent; {how}."
        )
    hashes = record.get("files")
    if not isinstance(hashes, Mapping) or not hashes:
        raise UserError(
            f"{place}: it does not say which files were checked (an older Flyweight); export it again."
        )
    changed = [
        name for name, about in hashes.items() if not _is_same(path_inside(folder, name, place), about)
    ]
    if changed:
        raise UserError(f"{folder}: changed or gone since the check: {', '.join(changed)}; export it again.")
    return record


def _is_same(file: Path, about: Any) -> bool:
    """Whether a file is still the one of the record; a link is not, nor is what an export never holds."""
    if not isinstance(about, Mapping) or file.is_symlink() or not file.is_file() or file.suffix not in _KINDS:
        return False
    return file.stat().st_size == about.get("bytes") and sha256_of(file) == about.get("sha256")


def _refuse_strangers(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """What lies beside the card and the files that were checked; raises where something does not belong there."""
    beside, strangers = [], []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name in record["files"] or name == EXPORT_FILE:
            continue
        image = path.parent == folder / ASSETS and path.suffix.lower() in _IMAGES
        if not path.is_symlink() and path.is_file() and (image or name in (CARD_FILE, *_BESIDE)):
            beside.append(name)
        elif name != ASSETS or path.is_symlink() or not path.is_dir():
            strangers.append(name)
    if strangers:
        more = f" and {len(strangers) - 5} more" if len(strangers) > 5 else ""
        raise UserError(
            f"{folder}: {', '.join(strangers[:5])}{more}: this does not belong to the export, and what is sent once "
            f"is public; take it out. (Beside the export there may be {CARD_FILE}, {', '.join(_BESIDE[:2])}, "
            f"{_BESIDE[3]} and images in {ASSETS}/.)"
        )
    if CARD_FILE not in beside:
        raise UserError(f"{folder}: the model card ({CARD_FILE}) is missing; export it again, or write one.")
    return [name for name in beside if name != CARD_FILE]


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{file}: not text in UTF-8; mend it, or take it out.") from None


def _card(file: Path, text: str, repository: str) -> Sent:
    """The card, whose example loads the repository instead of the folder it lies in."""
    import yaml
    from huggingface_hub import ModelCard

    try:
        ModelCard(text)
    except (ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        first = " ".join(str(error).split())[:200]
        raise UserError(f"{file}: the metadata at its top cannot be read ({first}); mend it.") from None
    changed = text.replace(EXAMPLE_FOLDER, f'folder = "{repository}"')
    note = f"its example loads {repository}" if changed != text else ""
    data = changed.encode()
    return Sent(CARD_FILE, len(data), hashlib.sha256(data).hexdigest(), data, note)


def look_at_target(publication: Publication, *, private: bool) -> Target:
    """Who is logged in, and what the repository holds already; sends nothing.

    Raises:
        UserError: no login or one that is not accepted, no network, or a public repository where a private one is
            asked for.
    """
    if get_token() is None:
        raise UserError(
            "there is no login for the Hugging Face Hub: run `hf auth login`, or set HF_TOKEN to a token with the "
            "right to write (https://huggingface.co/settings/tokens)."
        )
    api, name = _api(), publication.repository
    with explain_upload_errors(name, api):
        account = str(api.whoami().get("name", "?"))
        try:
            info = api.model_info(name)
        except RepositoryNotFoundError:
            return Target(account, False, private, ())
    if private and not info.private:
        raise UserError(
            f"{name} exists and is public, so --private would hide nothing; make it private on its page, or name "
            f"another repository."
        )
    sent = {file.name for file in publication.files}
    there = [sibling.rfilename for sibling in info.siblings or ()]
    others = tuple(sorted(other for other in there if other not in sent and other != ".gitattributes"))
    return Target(account, True, bool(info.private), others)


def publish(publication: Publication, *, private: bool = False) -> Published:
    """Send it in one commit, then see that all of it arrived.

    Args:
        publication: as planned.
        private: of a repository that is made for it.

    Raises:
        UserError: what went wrong, in one sentence; the repository has either all files of the commit or none.
    """
    api, name = _api(), publication.repository
    operations = [CommitOperationAdd(file.name, _source(file)) for file in publication.files]
    changed = [
        file.name
        for file, operation in zip(publication.files, operations, strict=True)
        if operation.upload_info.sha256.hex() != file.sha256
    ]
    if changed:
        raise UserError(
            f"{publication.folder}: changed since the list of files was made: {', '.join(changed)}; nothing was "
            f"published."
        )
    with explain_upload_errors(name, api):
        # Without --private the owner's own default holds, which for some organisations is private.
        api.create_repo(name, private=private or None, exist_ok=True)
        if private and not api.model_info(name).private:
            raise UserError(f"{name}: the hub did not make it private, so nothing was sent.")
    url = f"{api.endpoint}/{name}"
    with explain_upload_errors(name, api, f"either all of it is there now or nothing: look at {url}"):
        done = api.create_commit(name, operations, commit_message=f"Upload by Flyweight {__version__}")
    made = f"commit {done.oid[:12]} was made"
    unseen = f"{made}, look at {url} whether all is there"
    with explain_upload_errors(name, api, unseen, unseen):
        tree = api.list_repo_tree(name, revision=done.oid, recursive=True)
        arrived = {entry.path: entry.size for entry in tree if isinstance(entry, RepoFile)}
    lost = [file.name for file in publication.files if arrived.get(file.name) != file.size]
    if lost:
        raise UserError(
            f"{name}: {made}, but without {', '.join(lost)} (a .gitignore in the repository?); mend it at {url} before "
            f"anybody loads it."
        )
    return Published(url, done.oid)


def _source(file: Sent) -> str | bytes:
    return file.content if isinstance(file.content, bytes) else str(file.content)


def _api() -> HfApi:
    return HfApi(library_name="flyweight", library_version=__version__)
