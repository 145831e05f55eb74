"""A file of the hub that is read without being downloaded whole: only the ranges that a reader asks for.

For sources with a limit: a laptop that wants 100 MB of text should not wait for a file of 2 GB. What the
hub promises of a file is a hash of all its bytes, so a range cannot be checked against it.
"""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.utils import hf_raise_for_status, http_stream_backoff

from flyweight.base import UserError
from flyweight.corpus.reading.hub import headers, patiently
from flyweight.corpus.reading.hub_errors import explain_hub_errors

BLOCK = 8 << 20
"""Bytes that are asked for at once, at least: a request takes about a tenth of a second, however few they are."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a dataset at one commit; has what readers need of a path."""

    dataset: str
    commit: str
    path: str
    """Within the repository."""
    endpoint: str | None = None
    """The hub's address; None for the client's own."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def open(self, _mode: str = "rb") -> BinaryIO:
        """The bytes, to read and seek in.

        Raises:
            UserError: no such file, no access, no network; reading raises the same.
        """
        return io.BufferedReader(_Ranges(self), BLOCK)

    def serves_ranges(self) -> bool:
        """Whether parts of the file can be had: some mirrors of the hub send a file whole or not at all.

        Raises:
            UserError: as `open`.
        """
        return _Ranges(self).range(0, 1) is not None

    def __str__(self) -> str:
        return f"{self.dataset}/{self.path}"


class _Ranges(io.RawIOBase):
    """Every read is a request."""

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._api = HfApi(endpoint=file.endpoint)
        self._url = hf_hub_url(
            file.dataset, file.path, repo_type="dataset", revision=file.commit, endpoint=file.endpoint
        )
        self._position = 0
        with self._explained():
            facts = patiently(
                lambda: get_hf_file_metadata(
                    self._url, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT, endpoint=file.endpoint
                )
            )
        if facts.size is None:
            raise UserError(f"{file}: {self._api.endpoint} does not tell the file's size; is it a hub?")
        self._size = facts.size

    def _explained(self) -> AbstractContextManager[None]:
        return explain_hub_errors(str(self._file), self._file.dataset, self._file.commit, self._api)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = min(len(buffer), self._size - self._position)
        if count <= 0:
            return 0
        data = self.range(self._position, self._position + count)
        if data is None:
            raise UserError(
                f"{self._file}: {self._api.endpoint} no longer serves parts of this file; try again later."
            )
        buffer[:count] = data
        self._position += count
        return count

    def range(self, start: int, stop: int) -> bytes | None:
        """Some bytes; None if the server answers with anything else."""
        wanted = {**headers(), "Accept-Encoding": "identity", "Range": f"bytes={start}-{stop - 1}"}

        def ask() -> bytes | None:
            timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
            with http_stream_backoff(
                "GET", self._url, headers=wanted, timeout=timeout, retry_on_exceptions=()
            ) as response:
                hf_raise_for_status(response)
                told = response.headers.get("Content-Range", "")
                if not told.startswith(f"bytes {start}-{stop - 1}/"):
                    return None  # and the whole file is not received
                return b"".join(response.iter_bytes())

        with self._explained():
            data = patiently(ask)
        return data if data is None or len(data) == stop - start else None
