"""What the hub refuses, each as one sentence that says what to do."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from hub_server import Hub, serve_hub

from flyweight.base import UserError
from flyweight.corpus.reading import hub as reading
from flyweight.corpus.reading.hub import resolve

SECRET = "hf_SecretOfTheUser"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setattr(reading, "WAITS", (0.0,))
    monkeypatch.setattr("time.sleep", lambda seconds: None)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve_hub() as server:
        server.add("org/set", {"train.jsonl": b"1"})
        yield server


def refusal(endpoint: str, dataset: str = "org/set", **changes) -> str:
    arguments = {"subset": None, "split": "train", "revision": None, "files": (), **changes}
    with pytest.raises(UserError) as caught:
        resolve(dataset, where="source 'web' (sources.web.dataset)", endpoint=endpoint, **arguments)
    message = str(caught.value)
    assert message.startswith("source 'web' (sources.web.dataset): ")
    assert message.endswith(".")
    assert "\n" not in message
    assert SECRET not in message
    assert caught.value.__suppress_context__, "the client's own error, with its request, stays out of sight"
    return message


def test_a_dataset_that_is_not_there(hub):
    assert "there is no dataset org/none at http://127.0.0.1" in refusal(hub.endpoint, "org/none")


def test_a_private_dataset_with_and_without_a_login(hub, monkeypatch):
    hub.repositories["org/set"].private = True
    assert "check that the account you are logged in with" in refusal(hub.endpoint)
    monkeypatch.setattr("flyweight.corpus.reading.hub_errors.get_token", lambda: None)
    assert "or it is private; check the name, and if it is private log in with `hf auth login`" in refusal(
        hub.endpoint
    )


def test_a_gated_dataset_is_refused_before_any_work(hub):
    hub.repositories["org/set"].gated = "manual"
    message = refusal(hub.endpoint, files=("*.jsonl",))  # so that no file, not even the card, is asked for
    assert "org/set is gated" in message
    assert f"agree on its page, {hub.endpoint}/datasets/org/set" in message


def test_a_revision_that_is_not_there(hub):
    hub.add("org/set", {"train.jsonl": b"2"}, ref="v1.0")
    message = refusal(hub.endpoint, revision="v2.0")
    assert "org/set has no revision 'v2.0'; it has main, v1.0, and every commit" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subset": "en"}, r"org/set has no subset 'en', nor any other"),
        ({"split": "test"}, r"org/set has no split 'test'; it has train"),
        ({"files": ("*.parquet",)}, r"no file that matches '\*\.parquet' \(`files`\); it has train\.jsonl"),
    ],
)
def test_a_part_of_the_dataset_that_is_not_there(hub, changes, message):
    assert re.search(message, refusal(hub.endpoint, **changes))


@pytest.mark.parametrize("name", ["not a name", "a/b/c", "-x/y", ""])
def test_what_cannot_be_the_name_of_a_dataset(hub, name):
    assert "is not the id of a dataset; expected `owner/name`" in refusal(hub.endpoint, name)
    assert hub.asked == []


@pytest.mark.parametrize("part", ["/api/datasets/org/set?", "/tree/", "/README.md"])
def test_a_hub_that_is_out_of_order(hub, part):
    hub.statuses[part] = [503] * 20
    message = refusal(hub.endpoint)
    assert (
        "cannot serve org/set at present (HTTP 503), after several tries; run the same command again"
        in message
    )
    assert len(hub.statuses[part]) < 19


def test_a_login_that_is_not_accepted(hub):
    hub.statuses["/api/"] = [401]
    assert "does not accept the login; log in anew with `hf auth login`, or check HF_TOKEN" in refusal(
        hub.endpoint
    )
    hub.statuses["/api/"] = [403]
    assert "refuses access to org/set" in refusal(hub.endpoint)


def test_no_hub_at_the_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://user:{SECRET}@127.0.0.1:{free.getsockname()[1]}"
    message = refusal(endpoint)
    assert re.search(
        r"the hub at http://127\.0\.0\.1:\d+ does not answer \(.*refused.*\); check the network", message
    )


def test_something_else_than_a_hub_at_the_address(hub):
    hub.statuses["/api/"] = [418]
    assert "answers HTTP 418 for org/set; check the dataset's id and HF_ENDPOINT" in refusal(hub.endpoint)
