"""Datasets of a hub on this machine, found with the real client."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Hub, serve_hub

from flyweight.corpus.reading import hub as reading
from flyweight.corpus.reading.hub import HubListing, resolve

CARD = b"---\nconfigs:\n- config_name: small\n  data_files: small/*\n---\n"
FILES = {"README.md": CARD, "small/1.jsonl": b"{}\n", "small/2.jsonl": b"x" * 5000, "large/1.jsonl": b"{}\n"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_testers")  # never the login of who runs the tests
    monkeypatch.setattr(reading, "WAITS", (0.0, 0.0))


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve_hub() as server:
        yield server


def find(hub: Hub, dataset: str, subset=None, split="train", revision=None, files=()) -> HubListing:
    where = "source 'web' (sources.web.dataset)"
    return resolve(dataset, subset, split, revision, files, where, endpoint=hub.endpoint)


def test_a_subset_at_a_commit_with_sizes_and_hashes(hub):
    commit = hub.add("org/set", FILES)
    found = find(hub, "org/set", "small")
    assert (found.dataset, found.commit) == ("org/set", commit)
    assert [(file.path, file.size) for file in found.files] == [("small/1.jsonl", 3), ("small/2.jsonl", 5000)]
    small, large = found.files
    assert len(small.oid) == 40, "git's object id"
    assert len(large.oid) == 64, "the SHA-256 of a large file"
    assert pickle.loads(pickle.dumps(found)) == found


@pytest.mark.parametrize("page", [1, 3, 7, 1000])
def test_a_listing_is_followed_over_all_its_pages(hub, page):
    files = {f"data/part-{number}.jsonl": b"%d" % number for number in range(20)}
    hub.add("org/set", files)
    hub.page = page
    assert [file.path for file in find(hub, "org/set").files] == [
        f"data/part-{number}.jsonl" for number in range(20)
    ]
    assert len(hub.requests("/tree/")) == -(-21 // page), "20 files and one folder"


def test_a_revision_is_turned_into_its_commit_once(hub):
    first = hub.add("org/set", {"a.jsonl": b"1"}, ref="v1.0")
    second = hub.add("org/set", {"b.jsonl": b"22"})
    assert find(hub, "org/set").commit == second
    assert find(hub, "org/set", revision="v1.0").commit == first
    assert find(hub, "org/set", revision=first).files[0].path == "a.jsonl"
    hub.asked.clear()
    find(hub, "org/set", revision="v1.0")
    later = [address for _, _, address, _ in hub.asked[1:]]
    assert later
    assert all(first in address and "v1.0" not in address for address in later)


def test_the_same_dataset_later_is_another_commit(hub):
    hub.add("org/set", {"a.jsonl": b"1"})
    before = find(hub, "org/set")
    hub.add("org/set", {"a.jsonl": b"2"})
    after = find(hub, "org/set")
    assert before.commit != after.commit
    assert before.files[0].oid != after.files[0].oid


def test_with_patterns_the_card_is_not_asked_for(hub):
    hub.add("org/set", FILES)
    assert [file.path for file in find(hub, "org/set", files=["large/*"]).files] == ["large/1.jsonl"]
    assert hub.requests("README.md") == []


def test_a_dataset_without_a_card(hub):
    hub.add("org/set", {"train.jsonl": b"1", "test.jsonl": b"2"})
    assert [file.path for file in find(hub, "org/set", split="test").files] == ["test.jsonl"]


def test_a_passing_failure_is_asked_again(hub):
    hub.add("org/set", FILES)
    hub.statuses["/api/datasets/org/set/revision"] = [503, 429]
    assert len(find(hub, "org/set", "small", revision="main").files) == 2


def test_who_may_read_a_gated_dataset_reads_it(hub):
    hub.add("org/set", FILES)
    hub.repositories["org/set"].gated = "auto"
    hub.token = "hf_testers"
    assert len(find(hub, "org/set", "small").files) == 2


CHILD = """
import json, sys
from pathlib import Path
from flyweight.base import UserError
from flyweight.corpus.reading import hub
hub.WAITS = hub.DOWNLOAD_WAITS = (0.0,)
try:
    found = hub.resolve("org/set", "small", "train", None, (), "source 'web' (sources.web.dataset)")
    lengths = []
    for file in found.files:
        with hub.downloaded(found.dataset, found.commit, file.path, Path(sys.argv[1])) as path:
            lengths.append(path.stat().st_size)
    print(json.dumps(lengths))
except UserError as error:
    print(json.dumps(str(error)))
"""


def run_child(scratch: Path, **environment: str) -> tuple[object, str]:
    """What a new process, which reads the client's settings anew, answers; and all that it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    result = subprocess.run(
        [sys.executable, "-c", CHILD, str(scratch)],
        env={**kept, "HF_HOME": str(scratch / "home"), **environment},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return json.loads(result.stdout), result.stdout + result.stderr


def test_the_endpoint_and_the_login_of_the_environment(hub, tmp_path):
    secret = "hf_SecretOfTheUser"
    hub.add("org/set", FILES)
    hub.repositories["org/set"].private = True
    hub.token = secret
    answer, printed = run_child(tmp_path, HF_ENDPOINT=hub.endpoint, HF_TOKEN=secret)
    assert answer == [3, 5000]
    assert secret not in printed
    servers = {server for server, _, _, headers in hub.asked if f"Bearer {secret}" in headers.values()}
    assert servers == {"hub"}, "the login goes to the hub, never to the address that it redirects to"
    assert hub.requests("/cdn/"), "the large file did come from there"
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in left if secret.encode() in path.read_bytes()] == []
    assert not [path for path in left if path.name.endswith(".jsonl")], "read and removed"


def test_offline_mode_is_obeyed_and_named(hub, tmp_path):
    hub.add("org/set", FILES)
    answer, _ = run_child(tmp_path, HF_ENDPOINT=hub.endpoint, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE" in str(answer)
    assert "source 'web'" in str(answer)
    assert hub.asked == []
