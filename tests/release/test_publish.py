"""What is published is what was checked, all of it, once the user has seen it; nothing else ever leaves the folder."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner
from upload_hub import TOKEN, Repository, UploadHub, serve_uploads

from flyweight.base import UserError, write_json
from flyweight.cli import app
from flyweight.release import EXPORT_FILE, look_at_target, plan_publication, publish
from flyweight.release.publish import EXAMPLE_FOLDER
from flyweight.release.record import file_hashes

CARD = f"---\nlicense: mit\n---\n\n# small\n\n```python\n{EXAMPLE_FOLDER}\n```\n"
WEIGHTS = bytes(range(256)) * 100
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "tokenizer.json": b"{}"}


def make_export(folder: Path, **record: Any) -> Path:
    """A folder as `export` leaves it."""
    folder.mkdir(parents=True)
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    about = {"format": 1, "name": "small", "checks": {"maximum_difference": 1e-6}, **file_hashes(folder)}
    write_json(folder / EXPORT_FILE, about | record)
    (folder / "README.md").write_text(CARD)
    (folder / "assets").mkdir()
    (folder / "assets" / "loss.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture
def export(tmp_path: Path) -> Path:
    return make_export(tmp_path / "export")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadHub]:
    """A hub that the client speaks to, logged in, without Xet: that protocol is a library's own."""
    with serve_uploads() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("time.sleep", lambda _seconds: None)  # the client waits between its tries
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def run(*words: str, answer: str = "") -> tuple[int, str]:
    found = CliRunner().invoke(app, ["publish", *words], input=answer)
    if isinstance(found.exception, UserError):
        return 2, f"{found.output}{found.exception}"
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.output


def test_all_of_it_arrives_in_one_commit_after_a_yes(export: Path, hub: UploadHub) -> None:
    code, text = run(str(export), "me/small", answer="y\n")
    assert code == 0, text
    repository = hub.repositories["me/small"]
    assert repository.commits == 1
    assert not repository.private
    assert repository.files.keys() == {*FILES, EXPORT_FILE, "README.md", "assets/loss.png"}
    for name, data in FILES.items():
        assert repository.files[name] == data
    assert len(WEIGHTS) > 10_000  # so that the upload of large files is tried too
    assert list(hub.large.values()) == [WEIGHTS]
    assert b'folder = "me/small"\n' in repository.files["README.md"]
    assert (export / "README.md").read_text() == CARD  # what lies here is not touched
    assert f"{len(WEIGHTS):,} bytes" in text
    assert "logged in as me; a new repository, public unless" in text
    assert f"{hub.endpoint}/me/small" in text


def test_what_is_shown_is_what_is_sent(export: Path, hub: UploadHub) -> None:
    code, text = run(str(export), "me/small", "--dry-run")
    assert code == 0
    assert hub.asked == []
    publish(plan_publication(export, "me/small"))
    sent = hub.repositories["me/small"].files
    shown = {
        line.split()[0]: int(line.split()[1].replace(",", ""))
        for line in text.splitlines()
        if "bytes" in line
    }
    assert shown == {name: len(data) for name, data in sent.items()}


def test_nothing_is_sent_without_a_yes(export: Path, hub: UploadHub) -> None:
    for answer in ("n\n", "\n", ""):
        code, _ = run(str(export), "me/small", answer=answer)
        assert code == 1
    assert hub.repositories == {}
    assert all(asked.startswith("GET") for asked in hub.asked)
    assert run(str(export), "me/small", "--yes")[0] == 0
    assert hub.repositories["me/small"].commits == 1


def test_private_is_private(export: Path, hub: UploadHub) -> None:
    assert run(str(export), "me/hidden", "--private", "--yes")[0] == 0
    assert hub.repositories["me/hidden"].private
    hub.deaf = True
    code, text = run(str(export), "me/other", "--private", "--yes")
    assert code == 2
    assert "did not make it private, so nothing was sent" in text
    assert hub.repositories["me/other"].commits == 0
    hub.repositories["me/open"] = Repository(private=False)
    code, text = run(str(export), "me/open", "--private", "--yes")
    assert code == 2
    assert "exists and is public" in text
    assert hub.repositories["me/open"].commits == 0


def test_what_is_there_already_is_told_and_stays(export: Path, hub: UploadHub) -> None:
    hub.repositories["me/small"] = Repository(True, {"old.safetensors": b"old", "config.json": b"old"})
    code, text = run(str(export), "me/small", "--yes")
    assert code == 0
    assert "exists and is private; left there as they are: old.safetensors\n" in text
    assert hub.repositories["me/small"].files["old.safetensors"] == b"old"
    assert hub.repositories["me/small"].files["config.json"] == b"{}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"checks": None, "file": "small-F16.gguf"},
            "nobody has loaded this export .* pip install llama-cpp-python",
        ),
        ({"checks": None}, "nobody has loaded this export back"),
        ({"checks": {}}, "nobody has loaded this export back"),
        ({"files": {}}, "which files were checked"),
        ({"files": None}, "which files were checked"),
        ({"format": 99}, "newer Flyweight"),
        ({"format": "x"}, "no record of an export"),
        ({"files": {"../secret": {"bytes": 1, "sha256": "0"}}}, "stays within"),
        ({"files": {"/etc/passwd": {"bytes": 1, "sha256": "0"}}}, "stays within"),
        ({"files": {"config.json": None}}, "changed or gone since the check: config.json"),
    ],
    ids=str,
)
def test_what_was_not_checked_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan_publication(make_export(tmp_path / "export", **changes), "me/small")


def test_a_file_that_changed_since_the_check_is_refused(export: Path) -> None:
    plan_publication(export, "me/small")
    changed = bytearray(WEIGHTS)
    changed[-1] ^= 1
    (export / "model.safetensors").write_bytes(changed)
    with pytest.raises(UserError, match=r"changed or gone since the check: model\.safetensors;"):
        plan_publication(export, "me/small")
    (export / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"changed or gone since the check: model\.safetensors;"):
        plan_publication(export, "me/small")


def test_a_link_in_place_of_a_checked_file_is_refused(export: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.safetensors"
    (export / "model.safetensors").rename(elsewhere)
    (export / "model.safetensors").symlink_to(elsewhere)  # with the very same bytes
    with pytest.raises(UserError, match="changed or gone"):
        plan_publication(export, "me/small")


def test_the_card_and_the_licence_may_be_written_by_hand(export: Path) -> None:
    (export / "README.md").write_text("# mine\n")
    (export / "LICENSE").write_text("MIT\n")
    (export / "assets" / "photo.jpg").write_bytes(b"\xff\xd8")
    files = plan_publication(export, "me/small").files
    assert files[0].content == b"# mine\n"
    assert {"LICENSE", "assets/photo.jpg"} <= {file.name for file in files}


STRANGERS = (
    ".env", ".git/config", "optimizer.safetensors", "pytorch_model.bin", "checkpoints/tokens-1/model.safetensors",
    "token", "events.jsonl", "notes.txt", "__pycache__/modeling.pyc", "assets/data.json", "assets/deeper/a.png",
)  # fmt: skip


@pytest.mark.parametrize("stranger", STRANGERS)
def test_what_does_not_belong_is_refused_by_name(export: Path, stranger: str) -> None:
    (export / stranger).parent.mkdir(parents=True, exist_ok=True)
    (export / stranger).write_bytes(pickle.dumps({"secret": 1}))
    with pytest.raises(UserError, match=stranger.split("/")[0].replace(".", r"\.")) as told:
        plan_publication(export, "me/small")
    assert "does not belong" in str(told.value)


def test_a_pickle_is_not_sent_even_if_the_record_names_it(export: Path) -> None:
    (export / "model.bin").write_bytes(pickle.dumps(1))
    record = json.loads((export / EXPORT_FILE).read_text())
    data = (export / "model.bin").read_bytes()
    record["files"]["model.bin"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    write_json(export / EXPORT_FILE, record)
    with pytest.raises(UserError, match=r"model\.bin"):
        plan_publication(export, "me/small")


@pytest.mark.parametrize("name", ["README.md", "assets/loss.png", "assets/mixture.svg"])
def test_links_to_elsewhere_are_refused(export: Path, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "id_rsa"
    secret.write_text("mine alone")
    (export / name).unlink(missing_ok=True)
    (export / name).symlink_to(secret)
    with pytest.raises(UserError, match="does not belong"):
        plan_publication(export, "me/small")


def test_a_linked_folder_of_images_is_refused(export: Path, tmp_path: Path) -> None:
    (export / "assets").rename(tmp_path / "pictures")
    (export / "assets").symlink_to(tmp_path / "pictures")
    with pytest.raises(UserError, match="assets: this does not belong"):
        plan_publication(export, "me/small")


def test_a_token_in_a_checked_file_or_in_the_record_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=f"{EXPORT_FILE}: this looks like it holds a token or a key"):
        plan_publication(make_export(tmp_path / "record", note=TOKEN), "me/small")
    monkeypatch.setitem(FILES, "config.json", f'{{"note": "{TOKEN}"}}'.encode())
    with pytest.raises(UserError, match=r"config\.json: this looks like it holds a token or a key"):
        plan_publication(make_export(tmp_path / "config"), "me/small")


@pytest.mark.parametrize(
    "secret",
    [
        TOKEN,
        "AKIA" + "A" * 16,
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "ghp_" + "a" * 36,
        "github_pat_" + "a" * 40,
    ],
)
@pytest.mark.parametrize("name", ["README.md", "LICENSE", "assets/a.svg"])
def test_a_token_in_a_text_is_found(export: Path, name: str, secret: str) -> None:
    (export / name).write_text(f"log in with {secret}\n")
    with pytest.raises(UserError, match="a token or a key") as told:
        plan_publication(export, "me/small")
    assert secret not in str(told.value)


def test_a_card_that_the_hub_could_not_read_is_told_before(export: Path) -> None:
    (export / "README.md").write_text("---\nlicense: [mit\n---\n")
    with pytest.raises(UserError, match=r"README\.md: the metadata at its top cannot be read"):
        plan_publication(export, "me/small")
    (export / "README.md").unlink()
    with pytest.raises(UserError, match=r"the model card .* is missing"):
        plan_publication(export, "me/small")


@pytest.mark.parametrize(
    "name",
    [
        "small",
        "me/",
        "/small",
        "me/small/more",
        "me/../x",
        "https://hub/me/x",
        "",
        "me/a b",
        "me/x.git",
        "me/" + "x" * 99,
    ],
)
def test_a_name_that_is_none(export: Path, name: str) -> None:
    with pytest.raises(UserError, match="expected OWNER/NAME"):
        plan_publication(export, name)


def test_a_run_is_no_export(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="this is no export of Flyweight"):
        plan_publication(tmp_path, "me/small")


def test_no_login_is_one_sentence(export: Path, hub: UploadHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(export / "nowhere"))
    with pytest.raises(UserError, match=r"there is no login .* `hf auth login`, or set HF_TOKEN"):
        look_at_target(plan_publication(export, "me/small"), private=False)
    assert hub.asked == []


def test_a_wrong_login_is_one_sentence(export: Path, hub: UploadHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "b" * 30)
    with pytest.raises(UserError, match="does not accept the login") as told:
        look_at_target(plan_publication(export, "me/small"), private=False)
    assert "hf_bbb" not in str(told.value)


def test_somebody_elses_name_is_one_sentence(export: Path, hub: UploadHub) -> None:
    code, text = run(str(export), "google/small", "--yes")
    assert code == 2
    assert "the login may not write there" in text
    assert "nothing was published" in text


def test_no_network_is_one_sentence(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://name:word@127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(
        UserError, match=r"the hub at http://127.0.0.1:9 does not answer .* nothing was published"
    ):
        look_at_target(plan_publication(export, "me/small"), private=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE .* is set"):
        look_at_target(plan_publication(export, "me/small"), private=False)


@pytest.mark.parametrize(
    ("part", "status", "told"),
    [
        ("/storage/", 500, "either all of it is there now or nothing"),
        ("/commit/", 500, "either all of it is there now or nothing"),
        ("/commit/", 0, "does not answer .* either all of it is there now or nothing"),
        ("/commit/", 412, "somebody else changed the repository"),
        ("/commit/", 400, r"refuses it \(HTTP 400.* nothing was published"),
        ("/api/repos/create", 402, "no room .* nothing was published"),
        ("/preupload/", 403, "may not write there, .* nothing was published"),
        ("/tree/", 500, "commit 000000000000 was made, look at"),
        ("/tree/", 401, "does not accept the login, .* commit 000000000000 was made, look at"),
        ("/tree/", 403, "may not write there, .* commit 000000000000 was made, look at"),
        ("/tree/", 404, "commit 000000000000 was made, look at"),
        ("/tree/", 413, "commit 000000000000 was made, look at"),
        ("/tree/", 400, "commit 000000000000 was made, look at"),
    ],
)
def test_an_upload_that_breaks_says_how_far_it_came(
    export: Path, hub: UploadHub, part: str, status: int, told: str
) -> None:
    hub.answers[part] = status
    with pytest.raises(UserError, match=told) as raised:
        publish(plan_publication(export, "me/small"))
    assert part != "/tree/" or "nothing was published" not in str(raised.value)
    files = hub.repositories["me/small"].files if "me/small" in hub.repositories else {}
    assert (len(files) == 6) == (part == "/tree/")
    assert not files or len(files) == 6  # never a part of it
    hub.answers.clear()
    publish(plan_publication(export, "me/small"))
    assert len(hub.repositories["me/small"].files) == 6


def test_a_file_that_changes_after_the_list_was_shown_is_not_sent(export: Path, hub: UploadHub) -> None:
    for name in ("model.safetensors", EXPORT_FILE, "assets/loss.png"):
        planned = plan_publication(export, "me/small")
        before = (export / name).read_bytes()
        (export / name).write_bytes(before[:-1] + b"?")
        with pytest.raises(UserError, match=rf"changed since the list .* {name}; nothing was published"):
            publish(planned)
        (export / name).write_bytes(before)
    assert hub.repositories == {}


def test_a_file_that_arrives_cut_short_is_told(export: Path, hub: UploadHub) -> None:
    hub.shortened = ("model.safetensors",)
    with pytest.raises(UserError, match=r"was made, but without model\.safetensors"):
        publish(plan_publication(export, "me/small"))


def test_a_file_that_the_repository_ignores_is_told(export: Path, hub: UploadHub) -> None:
    hub.ignored = ("tokenizer.json",)
    with pytest.raises(UserError, match=r"was made, but without tokenizer\.json"):
        publish(plan_publication(export, "me/small"))


def test_the_command_speaks_to_the_hub_that_the_environment_names(export: Path) -> None:
    with serve_uploads() as hub:
        environment = os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, "-m", "flyweight", "publish", str(export), "me/small", "--yes"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert hub.repositories["me/small"].commits == 1
        assert TOKEN not in done.stdout + done.stderr
