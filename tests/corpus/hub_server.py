"""A small hub on this machine: the part of the Hugging Face hub's protocol that datasets need.

Its answers are those of the real one: pages joined by Link headers, errors told by X-Error-Code, large
files at another address (the CDN), where no login may arrive.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = 1000
"""Bytes from which on a file lies at the CDN, as LFS files do."""


@dataclass
class Repository:
    """A dataset: its commits' files, its branches and tags."""

    commits: dict[str, dict[str, bytes]]
    refs: dict[str, str]
    gated: str | bool = False
    private: bool = False


@dataclass
class Hub:
    """What the server knows, does wrong on purpose, and was asked."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    page: int = 1000
    token: str | None = None
    """The login that opens private and gated datasets."""
    cuts: dict[str, list[int]] = field(default_factory=dict)
    """By path: after how many bytes the next answers break off."""
    statuses: dict[str, list[int]] = field(default_factory=dict)
    """By a part of the address: the statuses of the next answers."""
    wrong: dict[str, bytes] = field(default_factory=dict)
    """By path: bytes that are served instead of the right ones."""
    ranges: bool = True
    """Whether the CDN honours Range."""
    asked: list[tuple[str, str, str, dict[str, str]]] = field(default_factory=list)
    """(server, method, address, headers) of every request."""
    endpoint: str = ""
    cdn: str = ""

    def add(self, name: str, files: dict[str, bytes], commit: str | None = None, ref: str = "main") -> str:
        """Add a commit to a dataset, and point a branch or tag at it."""
        commit = commit or hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        repository = self.repositories.setdefault(name, Repository({}, {}))
        repository.commits[commit] = files
        repository.refs[ref] = commit
        return commit

    def requests(self, part: str, method: str = "GET") -> list[dict[str, str]]:
        """The headers of the requests whose address holds `part`, in order."""
        return [headers for _, how, address, headers in self.asked if how == method and part in address]


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    server_name = "hub"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        address = unquote(self.path)
        self.hub.asked.append((self.server_name, self.command, address, dict(self.headers.items())))
        for part, statuses in self.hub.statuses.items():
            if part in address and statuses:
                self._error(statuses.pop(0), "", "out of order")
                return
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        if parts[0] == "cdn":
            name, commit, path = "/".join(parts[1:3]), parts[3], "/".join(parts[4:])
            self._send_file(path, self.hub.repositories[name].commits[commit][path], body)
        elif parts[:2] == ["api", "datasets"]:
            self._api("/".join(parts[2:4]), parts[4:], parse_qs(url.query))
        elif parts[0] == "datasets" and parts[3:4] == ["resolve"]:
            self._resolve("/".join(parts[1:3]), parts[4], "/".join(parts[5:]), body)
        else:
            self._error(404, "", "no such page")

    def _repository(self, name: str) -> Repository | None:
        repository = self.hub.repositories.get(name)
        known = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if repository is None or (repository.private and not known):
            # To those it does not know, the hub answers 401 for what is not there as well.
            self._error(404 if known else 401, "RepoNotFound", "Repository not found")
            return None
        return repository

    def _enter(self, repository: Repository, name: str) -> bool:
        if repository.gated and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self._error(
                403 if self.headers.get("Authorization") else 401, "GatedRepo", f"{name} is restricted"
            )
            return False
        return True

    def _commit(self, repository: Repository, revision: str) -> str | None:
        commit = repository.refs.get(revision, revision)
        if commit not in repository.commits:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return commit

    def _api(self, name: str, rest: list[str], query: dict[str, list[str]]) -> None:
        repository = self._repository(name)
        if repository is None:
            return
        if rest == ["auth-check"]:
            if self._enter(repository, name):
                self._json({})
        elif rest == ["refs"]:
            refs = [
                {"name": ref, "ref": f"refs/heads/{ref}", "targetCommit": commit}
                for ref, commit in repository.refs.items()
            ]
            self._json({"branches": refs, "converts": [], "tags": []})
        elif not rest or rest[0] == "revision":
            commit = self._commit(repository, "/".join(rest[1:]) if rest else "main")
            if commit:
                facts = {"sha": commit, "gated": repository.gated, "private": repository.private}
                self._json({"id": name, "_id": "0", "downloads": 0, "likes": 0, "tags": [], **facts})
        elif rest[0] == "tree":
            commit = self._commit(repository, rest[1])
            if commit:
                self._tree(repository.commits[commit], int(query.get("cursor", ["0"])[0]))
        else:
            self._error(404, "", "no such page")

    def _tree(self, files: dict[str, bytes], start: int) -> None:
        entries: list[dict] = []
        folders = {path.rpartition("/")[0] for path in files} - {""}
        entries += [{"type": "directory", "path": folder, "oid": "0" * 40, "size": 0} for folder in folders]
        for path, data in files.items():
            entry = {"type": "file", "path": path, "size": len(data), "oid": git_oid(data)}
            if len(data) >= LARGE:
                oid = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"oid": oid, "size": len(data), "pointerSize": 130}
            entries.append(entry)
        end = start + self.hub.page
        base = f"{self.hub.endpoint}{urlsplit(self.path).path}?recursive=true"
        link = {"Link": f'<{base}&cursor={end}>; rel="next"'} if end < len(entries) else {}
        self._json(entries[start:end], link)

    def _resolve(self, name: str, revision: str, path: str, body: bool) -> None:
        repository = self._repository(name)
        if repository is None or not self._enter(repository, name):
            return
        commit = self._commit(repository, revision)
        if commit is None:
            return
        data = repository.commits[commit].get(path)
        if data is None:
            self._error(404, "EntryNotFound", "Entry not found")
        elif len(data) >= LARGE:
            self.send_response(302)
            self.send_header("Location", f"{self.hub.cdn}/cdn/{name}/{commit}/{path}")
            self.send_header("X-Repo-Commit", commit)
            self.send_header("X-Linked-Size", str(len(data)))
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._send_file(path, data, body, {"X-Repo-Commit": commit, "ETag": f'"{git_oid(data)}"'})

    def _send_file(self, path: str, data: bytes, body: bool, headers: dict[str, str] | None = None) -> None:
        data = self.hub.wrong.get(path, data)
        wanted, start, whole = self.headers.get("Range"), 0, len(data)
        if wanted and self.hub.ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start = int(first)
            data = data[: int(last) + 1] if last else data
            if start >= len(data):
                self._error(416, "", "range not satisfiable")
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{whole}")
        else:
            self.send_response(200)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if not body:
            return
        cuts = self.hub.cuts.get(path)
        if cuts:
            self.wfile.write(data[start : start + cuts.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(data[start:])

    def _json(self, value: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, content in (headers or {}).items():
            self.send_header(name, content)
        self.end_headers()
        self.wfile.write(data)

    def _error(self, status: int, code: str, message: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that hang up are part of the tests


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Run a hub and its CDN on two ports of this machine."""
    hub = Hub()
    servers = []
    for name in ("hub", "cdn"):
        handler = type("Handler", (_Handler,), {"hub": hub, "server_name": name})
        server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
    hub.endpoint, hub.cdn = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
