"""Whole exports: each ends in a fresh process, so there are few of them here."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
from pathlib import Path

import pytest
import torch
from release_models import KINDS
from safetensors import safe_open

from flyweight.base import UserError
from flyweight.inference import load_model
from flyweight.model import FoldedWeights
from flyweight.release import EXPORT_FILE, ExportError, export, huggingface
from flyweight.release.record import record_card

COMMON = {
    "config.json",
    "flyweight_export.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}
CODE = {"configuration_flyweight.py", "modeling_flyweight.py"}


def nothing_left(out: Path) -> bool:
    """Neither the folder nor a temporary one beside it."""
    return not any(out.name in path.name for path in out.parent.iterdir())


def test_a_model_of_our_own_class(write_checkpoint, tmp_path: Path) -> None:
    steps: list[tuple[str, float]] = []
    out = tmp_path / "exports" / "small.v1"
    checkpoint = write_checkpoint("gpt-s")
    finished = export(checkpoint, out, progress=lambda what, share: steps.append((what, share)))

    assert finished.model_class == "FlyweightForCausalLM"
    assert finished.custom_code
    assert finished.maximum_difference < 1e-4
    assert finished.checks.same_tokens == finished.checks.generated_tokens == 24
    assert finished.clock == 51_200
    assert {file.name for file in out.iterdir()} == COMMON | CODE
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o644 for file in out.iterdir())
    assert stat.S_IMODE(out.stat().st_mode) == 0o755
    assert [share for _, share in steps] == sorted(share for _, share in steps)
    assert steps[-1][1] == 1.0
    for name in CODE:
        assert "import flyweight" not in (out / name).read_text()
        assert "from flyweight" not in (out / name).read_text()

    record = json.loads((out / EXPORT_FILE).read_text())
    assert record["source"] == {"run": "gpt-s", "checkpoint": checkpoint.name, "clock": 51_200}
    assert record["checks"]["maximum_difference"] == finished.maximum_difference
    assert str(tmp_path) not in (out / EXPORT_FILE).read_text()
    assert record["files"].keys() == (COMMON | CODE) - {
        EXPORT_FILE
    }  # what was checked, as publish will look at it
    for name, about in record["files"].items():
        data = (out / name).read_bytes()
        assert about == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    with safe_open(out / "model.safetensors", "pt") as weights:
        assert weights.metadata() == {"format": "pt"}
        assert "lm_head.weight" not in weights.keys()  # noqa: SIM118 (not a dict)


def test_a_folded_model_of_a_run_replaces_an_earlier_export(write_checkpoint, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export(write_checkpoint("gpt-s"), out).custom_code
    finished = export(write_checkpoint("xmodel-2.5 with qk-norm").parents[1], out)
    assert finished.model_class == "Qwen3ForCausalLM"
    assert not finished.custom_code
    assert finished.maximum_difference < 1e-4
    assert {file.name for file in out.iterdir()} == COMMON
    assert "auto_map" not in json.loads((out / "config.json").read_text())


@pytest.mark.parametrize("stranger", ["LICENSE", ".git/HEAD", "assets/mine.png", "README.md"])
def test_what_somebody_laid_beside_an_export_is_never_lost(
    write_checkpoint, tmp_path: Path, stranger: str
) -> None:
    checkpoint, out = write_checkpoint("gqa"), tmp_path / "out"

    def card(folder: Path) -> None:
        (folder / "README.md").write_text("made")
        record_card(folder, ["README.md"])

    export(checkpoint, out, finish=card)
    export(checkpoint, out, finish=card)  # what it wrote itself it replaces
    (out / stranger).parent.mkdir(exist_ok=True)
    (out / stranger).write_text("mine")
    with pytest.raises(UserError, match=rf"{stranger} would be lost"):
        export(checkpoint, out, finish=card)
    assert (out / stranger).read_text() == "mine"
    assert (out / "model.safetensors").is_file()


def test_what_finishes_an_export_and_fails_leaves_the_earlier_one(write_checkpoint, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(write_checkpoint("gqa"), out)
    before = {file.name: file.read_bytes() for file in out.iterdir()}

    def fail(folder: Path) -> None:
        assert (folder / EXPORT_FILE).is_file()
        raise UserError("no card")

    with pytest.raises(UserError, match="no card"):
        export(write_checkpoint("gpt-s"), out, finish=fail)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_the_record_names_the_weights_as_results_of_an_evaluation_do(
    write_checkpoint, tmp_path: Path
) -> None:
    checkpoint, out = write_checkpoint("gqa"), tmp_path / "out"
    export(checkpoint, out, dtype="bfloat16")
    assert (
        json.loads((out / EXPORT_FILE).read_text())["fingerprint"]
        == load_model(checkpoint, "cpu").fingerprint
    )


def test_a_checkpoint_that_is_named_by_a_dot_has_a_name(
    write_checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_checkpoint("gqa")
    monkeypatch.chdir(checkpoint)
    export(".", tmp_path / "out")
    source = json.loads((tmp_path / "out" / EXPORT_FILE).read_text())["source"]
    assert (source["run"], source["checkpoint"]) == (checkpoint.parents[1].name, checkpoint.name)


def test_a_wrong_weight_is_found_and_nothing_is_left(
    write_checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tampered(FoldedWeights):
        def __getitem__(self, name: str) -> torch.Tensor:
            weight = super().__getitem__(name)
            if name == "model.layers.1.mlp.up_proj.weight":
                weight[3] *= 1.01
            return weight

    monkeypatch.setattr(huggingface, "FoldedWeights", Tampered)
    with pytest.raises(ExportError, match="its logits differ by"):
        export(write_checkpoint("gqa"), tmp_path / "out")
    assert nothing_left(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_loads_back_in_a_fresh_process(kind: str, write_checkpoint, tmp_path: Path) -> None:
    finished = export(write_checkpoint(kind), tmp_path / "out")
    assert finished.model_class == KINDS[kind][0]
    assert finished.maximum_difference < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt-s", "gqa", "gpt-x2", "minicpm"])
def test_bfloat16(kind: str, write_checkpoint, tmp_path: Path) -> None:
    finished = export(write_checkpoint(kind), tmp_path / "out", dtype="bfloat16")
    checks = finished.checks
    # Only multipliers that are no powers of two make the rounded weights differ from the reference's.
    exact = kind in ("gpt-s", "gqa")
    assert (checks.tolerance == 1e-4) == exact
    assert checks.maximum_difference < checks.tolerance < 0.1 * checks.largest_logit
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.bfloat16}  # noqa: SIM118


@pytest.mark.slow
def test_a_process_that_fails_is_an_export_error_with_its_last_words(
    write_checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder = huggingface.write_folder

    def without_weights(folder: Path, *arguments):
        expected = write_folder(folder, *arguments)
        (folder / "model.safetensors").unlink()
        return expected

    monkeypatch.setattr(huggingface, "write_folder", without_weights)
    with pytest.raises(ExportError, match=r"exit code 1[\s\S]*model\.safetensors"):
        export(write_checkpoint("gqa"), tmp_path / "out")
    assert nothing_left(tmp_path / "out")


def test_a_folder_of_somebody_else_is_not_touched(write_checkpoint, tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter-1.txt").write_text("years of work")
    with pytest.raises(UserError, match="not an earlier export"):
        export(write_checkpoint("gqa"), out)
    assert (out / "chapter-1.txt").read_text() == "years of work"
    with pytest.raises(UserError, match="not an earlier export"):
        export(write_checkpoint("gpt-s"), out / "chapter-1.txt")


@pytest.mark.parametrize("missing", ["tokenizer.json", "recipe.json", "model.safetensors", "state.json"])
def test_an_incomplete_checkpoint_is_refused(missing: str, write_checkpoint, tmp_path: Path) -> None:
    checkpoint = write_checkpoint("gqa")
    (checkpoint / missing).unlink()
    with pytest.raises(UserError, match=missing.replace(".", r"\.")):
        export(checkpoint, tmp_path / "out")
    assert nothing_left(tmp_path / "out")


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        export(tmp_path / "nowhere", tmp_path / "out")


def test_a_full_disk_leaves_the_earlier_export(
    write_checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / EXPORT_FILE).write_text('{"format": 1}')

    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface, "save_file", full)
    with pytest.raises(UserError, match="the disk is full"):
        export(write_checkpoint("gqa"), out)
    assert [file.name for file in out.iterdir()] == [EXPORT_FILE]
    shutil.rmtree(out)
    assert nothing_left(out)
