"""Datasets of the Hugging Face hub: which files are meant, at which commit, and one file at a time on disk.

Everything goes through the hub's own client, `huggingface_hub`: the address (HF_ENDPOINT), the login
(HF_TOKEN or `hf auth login`), offline mode (HF_HUB_OFFLINE). No credential is ever stored or printed.

The client's own downloads (`hf_hub_download`) keep nothing of a file that was broken off: since its
version 2 a partial file belongs to one process and is removed when that fails. Files of gigabytes are
therefore received here, over the client's connection, into a partial file that the next try goes on with.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff, http_stream_backoff

from flyweight import __version__
from flyweight.base import UserError, explain_write_errors, leads_inside
from flyweight.corpus.reading.hub_errors import TRANSPORT_ERRORS, explain_hub_errors, passes
from flyweight.corpus.reading.hub_layout import choose_files

T = TypeVar("T")

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try of a request that failed in passing; the last failure is reported."""

DOWNLOAD_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""The same for a download, counted from the last byte that arrived."""

_HASH_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a dataset."""

    path: str
    """Within the repository."""
    size: int
    """Bytes."""
    oid: str
    """The SHA-256 of a large file, the git object id of a small one: a hash of the bytes."""


@dataclass(frozen=True)
class HubListing:
    """The files of one subset and split of a dataset, at one commit."""

    dataset: str
    commit: str
    files: tuple[HubFile, ...]
    """In natural order of their paths."""


def resolve(
    dataset: str,
    subset: str | None,
    split: str,
    revision: str | None,
    files: Sequence[str],
    where: str,
    *,
    endpoint: str | None = None,
) -> HubListing:
    """Find a dataset's commit and the data files of a subset and split.

    Args:
        dataset: its id, `owner/name`.
        subset: a configuration of its card, or a folder; None for the default one.
        split: such as `train`.
        revision: a branch, tag or commit; None for the main branch. From the first answer on, only the
            commit that it means is asked for.
        files: patterns of the files, instead of a subset and a split.
        where: names the setting in errors, such as `source 'web' (sources.web.dataset)`.
        endpoint: the hub's address; None for the client's own, which is HF_ENDPOINT if that is set.

    Raises:
        UserError: no such dataset, revision, subset, split or file; no access, no network.
    """
    api = HfApi(endpoint=endpoint, library_name="flyweight", library_version=__version__)
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with explain_hub_errors(where, dataset, revision, api):
        info = patiently(
            lambda: api.dataset_info(
                dataset, revision=revision, timeout=timeout, expand=["sha", "gated", "private"]
            )
        )
        commit = info.sha or ""
        if not re.fullmatch(r"[0-9a-f]{40}", commit):
            raise UserError(
                f"{where}: the hub at {api.endpoint} does not say which commit of {dataset} is meant."
            )
        if info.gated:  # better now than after hours of other work
            patiently(lambda: api.auth_check(dataset, repo_type="dataset"))
        tree = api.list_repo_tree(dataset, repo_type="dataset", revision=commit, recursive=True)
        entries = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
        card = "" if files else _read_card(dataset, commit, endpoint)
    try:
        chosen = choose_files(list(entries), card, dataset, subset, split, files)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return HubListing(dataset, commit, tuple(_hub_file(entries[path]) for path in chosen))


def download(dataset: str, commit: str, path: str, scratch: Path, *, endpoint: str | None = None) -> Path:
    """Bring one file of a dataset below `scratch`, and say where it lies there.

    What an earlier call left of the file is gone on with. Its size and its hash, which the hub tells, are
    checked before the file gets its name. One caller at a time for a file in a scratch folder.

    Args:
        dataset: its id.
        commit: as `resolve` gives it.
        path: of the file within the repository.
        scratch: a folder; may be new.
        endpoint: as for `resolve`.

    Raises:
        UserError: no such file, no access, no network, no space, or other bytes than the hub promises.
    """
    if not leads_inside(path):  # only a hostile server lists such a file
        raise UserError(
            f"{dataset}: the file name {path!r} leads out of the dataset, so it is not downloaded."
        )
    target = scratch / dataset.replace("/", "--") / commit / path
    partial = target.with_name(f"{target.name}.incomplete")
    api = HfApi(endpoint=endpoint)
    with explain_hub_errors(f"{dataset}/{path}", dataset, commit, api), explain_write_errors(target):
        url = hf_hub_url(dataset, path, repo_type="dataset", revision=commit, endpoint=endpoint)
        facts = patiently(
            lambda: get_hf_file_metadata(url, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT, endpoint=endpoint)
        )
        if facts.size is None:
            raise UserError(f"{dataset}/{path}: {api.endpoint} does not tell the file's size; is it a hub?")
        if target.is_file() and target.stat().st_size == facts.size:
            return target
        partial.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):  # once more from the start when what was gone on with turns out to be spoilt
            _fetch(url, partial, facts.size, f"{dataset}/{path}")
            if _is_sound(partial, facts.etag):
                partial.replace(target)
                return target
            partial.unlink()
    raise UserError(
        f"{dataset}/{path} arrived twice with other bytes than the hub promises for commit {commit[:12]}; "
        f"try again later, or another address in HF_ENDPOINT."
    )


@contextlib.contextmanager
def downloaded(
    dataset: str, commit: str, path: str, scratch: Path, *, endpoint: str | None = None
) -> Iterator[Path]:
    """Yield a downloaded file and remove it afterwards; a download that breaks leaves its part for the next try.

    Arguments and errors are those of `download`.
    """
    file = download(dataset, commit, path, scratch, endpoint=endpoint)
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def _hub_file(entry: RepoFile) -> HubFile:
    return HubFile(entry.path, entry.size, entry.lfs.sha256 if entry.lfs else entry.blob_id)


def _read_card(dataset: str, commit: str, endpoint: str | None) -> str:
    url = hf_hub_url(
        dataset, constants.REPOCARD_NAME, repo_type="dataset", revision=commit, endpoint=endpoint
    )
    try:
        response = http_backoff("GET", url, headers=headers(), timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
        hf_raise_for_status(response)
    except EntryNotFoundError:
        return ""  # a dataset without a card
    return response.content.decode("utf-8", "replace")


def headers() -> dict[str, str]:
    """The client's headers, the login among them; sent to the hub's own address only."""
    return build_hf_headers(library_name="flyweight", library_version=__version__)


def patiently(ask: Callable[[], T]) -> T:
    """What `ask` returns, asked again where it failed in passing."""
    for wait in WAITS:
        try:
            return ask()
        except (HfHubHTTPError, *TRANSPORT_ERRORS) as error:
            if not passes(error):
                raise
        time.sleep(wait)
    return ask()


def _fetch(url: str, partial: Path, size: int, name: str) -> None:
    """Receive until `partial` has `size` bytes, going on where the connection broke."""
    most, failures = 0, 0
    while (have := _length(partial)) != size or not partial.exists():
        if have > size:
            partial.unlink()
            have = 0
        most = max(most, have)
        _require_space(partial, size - have)
        problem: Exception = UserError(
            f"{name}: the hub ends this file early, time and again; try again later."
        )
        try:
            _receive(url, partial, have)
        except HfHubHTTPError:
            raise
        except TRANSPORT_ERRORS as error:
            problem = error
        failures = 0 if _length(partial) > most else failures + 1
        if failures > len(DOWNLOAD_WAITS):
            raise problem
        if failures:
            time.sleep(DOWNLOAD_WAITS[failures - 1])


def _length(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _receive(url: str, partial: Path, have: int) -> None:
    # Compressed on the way, a file could not be gone on with: its bytes would not be those on disk.
    wanted = {**headers(), "Accept-Encoding": "identity"}
    if have:
        wanted["Range"] = f"bytes={have}-"
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with http_stream_backoff("GET", url, headers=wanted, timeout=timeout, retry_on_exceptions=()) as response:
        hf_raise_for_status(response)
        goes_on = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        )
        with partial.open("ab" if have and goes_on else "wb") as file:
            for chunk in response.iter_bytes():
                file.write(chunk)


def _require_space(partial: Path, needed: int) -> None:
    free = shutil.disk_usage(partial.parent).free
    if free < needed:
        raise UserError(
            f"{partial.parent}: {needed:,} bytes more are needed for a download and {free:,} are free; make "
            f"room and run the same command again: what was downloaded is kept."
        )


def _is_sound(file: Path, etag: str | None) -> bool:
    """Whether a file has the promised hash; an ETag that is neither SHA-256 nor git's says nothing."""
    if etag is None or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", etag):
        return True
    total = hashlib.sha256() if len(etag) == 64 else hashlib.sha1(b"blob %d\0" % file.stat().st_size)
    with file.open("rb") as stream:
        while chunk := stream.read(_HASH_CHUNK):
            total.update(chunk)
    return total.hexdigest() == etag
