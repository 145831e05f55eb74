"""A small hub on this machine: the part of the Hugging Face Hub's protocol that an upload needs.

Small files come inside the commit, large ones to another address before it (LFS); a commit is made only when every
large file that it names has arrived.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE = 10_000
"""Bytes from which on a file goes to the storage of large ones."""
TOKEN = "hf_" + "a" * 30


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0


@dataclass
class UploadHub:
    """What the hub holds, does wrong on purpose, and was asked."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    """By SHA-256."""
    owners: tuple[str, ...] = ("me",)
    """For whom the login may write."""
    answers: dict[str, int] = field(default_factory=dict)
    """By a part of the address: the status that is answered instead; 0 hangs up."""
    ignored: tuple[str, ...] = ()
    """Files that the repository's .gitignore keeps out."""
    shortened: tuple[str, ...] = ()
    """Files of which it keeps all but the last byte."""
    deaf: bool = False
    """Whether it makes everything public."""
    asked: list[str] = field(default_factory=list)
    """Method and path of every request."""
    endpoint: str = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: UploadHub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._route()

    def do_POST(self) -> None:
        self._route()

    def do_PUT(self) -> None:
        self._route()

    def _route(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        for part, status in self.hub.answers.items():
            if part in path:
                if status == 0:
                    self.close_connection = True
                    self.connection.close()
                else:
                    self._json({"error": "out of order"}, status)
                return
        parts = path.strip("/").split("/")
        if parts[0] == "storage":
            data = self.hub.large[parts[1]] = body
            assert hashlib.sha256(data).hexdigest() == parts[1]
            self._json({})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}" and path != "/api/validate-yaml":
            self._json({"error": "Invalid credentials in Authorization header"}, 401)
        elif path == "/api/whoami-v2":
            self._json({"name": "me", "type": "user", "orgs": []})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path.endswith("/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        elif parts[:2] == ["api", "models"]:
            self._model("/".join(parts[2:4]), parts[4:], body)
        else:
            self._json({"error": "no such page"}, 404)

    def _create(self, asked: dict) -> None:
        owner = asked.get("organization") or "me"
        name = f"{owner}/{asked['name']}"
        if owner not in self.hub.owners:
            self._json({"error": "You don't have the rights to create a model under this namespace"}, 403)
        elif name in self.hub.repositories:
            self._json(
                {"error": "You already created this model repo", "url": f"{self.hub.endpoint}/{name}"}, 409
            )
        else:
            self.hub.repositories[name] = Repository(self._is_private(asked))
            self._json({"url": f"{self.hub.endpoint}/{name}", "name": name})

    def _is_private(self, asked: dict) -> bool:
        # Versions of the client differ in how they ask for it.
        wanted = asked.get("visibility") == "private" or bool(asked.get("private"))
        return wanted and not self.hub.deaf

    def _batch(self, asked: dict) -> None:
        objects = []
        for one in asked["objects"]:
            actions = {"upload": {"href": f"{self.hub.endpoint}/storage/{one['oid']}", "header": {}}}
            objects.append({**one, "actions": actions})
        self._json({"transfer": "basic", "objects": objects})

    def _model(self, name: str, rest: list[str], body: bytes) -> None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif not rest:
            siblings = [{"rfilename": path} for path in repository.files]
            self._json({"id": name, "private": repository.private, "sha": "0" * 40, "siblings": siblings})
        elif rest[0] == "preupload":
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] >= LARGE else "regular",
                    "shouldIgnore": file["path"] in self.hub.ignored,
                }
                for file in json.loads(body)["files"]
            ]
            self._json({"files": files})
        elif rest[0] == "commit":
            self._commit(name, repository, [json.loads(line) for line in body.splitlines()])
        elif rest[0] == "tree":
            self._json(
                [
                    {
                        "type": "file",
                        "path": path,
                        "size": len(data) - (path in self.hub.shortened),
                        "oid": "0" * 40,
                    }
                    for path, data in repository.files.items()
                ]
            )
        else:
            self._json({"error": "no such page"}, 404)

    def _commit(self, name: str, repository: Repository, lines: list[dict]) -> None:
        files = {}
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files[value["path"]] = self.hub.large[value["oid"]]
        repository.files |= files
        repository.commits += 1
        oid = f"{repository.commits:040x}"
        self._json({"commitUrl": f"{self.hub.endpoint}/{name}/commit/{oid}", "commitOid": oid})

    def _json(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for key, text in (headers or {}).items():
            self.send_header(key, text)
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # connections that are closed are part of the tests


@contextmanager
def serve_uploads() -> Iterator[UploadHub]:
    """Run such a hub on a port of this machine."""
    hub = UploadHub()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
