"""Keys of finished work: a result is used again only when all that decided it is still the same."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
import unicodedata
from pathlib import Path

from flyweight.corpus.manifest import digest

_LIBRARIES = (
    "gigatoken",
    "jinja2",
    "numpy",
    "orjson",
    "pyarrow",
    "sentencepiece",
    "tokenizers",
    "zstandard",
)
"""Libraries whose other version might give another result."""


def _code_version() -> str:
    """A hash of this room's source and of the libraries that shape its results."""
    state = hashlib.blake2b(digest_size=8)
    state.update(f"{sys.version_info[:2]} {unicodedata.unidata_version}".encode())
    room = Path(__file__).resolve().parents[1]
    for file in sorted(room.rglob("*.py")):
        state.update(file.relative_to(room).as_posix().encode())
        state.update(file.read_bytes())
    for name in _LIBRARIES:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "absent"
        state.update(f"{name} {version}".encode())
    return state.hexdigest()


CODE = _code_version()


def job_key(*parts: object) -> str:
    """The key of a job: a hash of the code and of `parts`, plain values that say what else decides it."""
    return digest([CODE, *parts])
