"""Sequence N of a real run folder is what training read; its shards are found, foreign ones refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flyweight import cli
from flyweight.base import UserError, read_json, write_json
from flyweight.corpus import prepare
from flyweight.curriculum import Inspection, Order, inspect_sequence
from flyweight.report import RunSequence, inspect_run, read_run, render_sequence


def shown(sequence: RunSequence, **options: Any) -> str:
    console = Console(width=110, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render_sequence(sequence, **options))
    return console.export_text()


def every_inspection(real_run: Any) -> list[Inspection]:
    recipe, corpus = real_run.recipe, real_run.corpus
    order = Order(recipe, {name: stream.tokens for name, stream in corpus.train.items()})
    return [inspect_sequence(recipe, corpus, number, order) for number in range(order.schedule.sequences)]


@pytest.fixture
def copy(real_run: Any, tmp_path: Path) -> Path:
    """The run's folder without the corpus beside it, to be changed."""
    return Path(shutil.copytree(real_run.folder, tmp_path / "elsewhere" / "run"))


def test_every_row_that_training_read_is_shown_under_its_number(real_run: Any):
    rows = [
        (step, place, row) for step, batch in enumerate(real_run.batches) for place, row in enumerate(batch)
    ]
    assert len({len(batch) for batch in real_run.batches}) == 2
    assert len({len(row) for _, _, row in rows}) == 2
    for number, (step, place, row) in list(enumerate(rows))[::13]:
        sequence = inspect_run(real_run.folder, number)
        found = sequence.inspection
        assert (list(found.tokens), found.step, found.row) == (row, step, place)
        assert found.clock == sum(len(read) - 1 for batch in real_run.batches[:step] for read in batch)
        assert "".join(passage.text for passage in found.passages) == real_run.corpus.tokenizer.decode(row)
        assert sequence.notes == ()
    assert found.sequences == len(rows)


def test_realised_tokens_of_a_real_run_are_those_of_its_rows(real_run: Any):
    record = read_run(real_run.folder)
    assert record.realised is not None
    read = dict.fromkeys(real_run.recipe.sources, 0)
    for item in every_inspection(real_run):
        read[item.source] += item.sequence_length
    assert sum(record.realised.by_source.values()) == pytest.approx(sum(read.values())) == record.clock
    # Log lines are three steps apart: only those around the change of length know the sum alone.
    assert record.realised.by_source == pytest.approx(read, abs=3 * 6 * (40 - 16))


def test_it_is_shown_with_its_borders_and_cannot_steer_the_terminal(real_run: Any):
    control = 0
    for found in every_inspection(real_run)[::3]:
        text = shown(RunSequence(found, ()))
        assert "\x1b" not in text
        control += text.count("␛[31m")
        assert text.count(f"{found.source}: document ") == len(found.passages)
        assert text.count("from its beginning") == sum(p.begins_document for p in found.passages)
        assert text.count("to its end") == sum(p.ends_document for p in found.passages)
        assert text.count("<|endoftext|>") >= sum(p.ends_document for p in found.passages)
        assert f"{found.number} of {found.sequences}" in text
        assert "is a target only" in text
    assert control > 3


def test_documents_that_are_kept_apart_are_told(real_run: Any):
    recipe = real_run.recipe.model_copy(
        update={"training": real_run.recipe.training.model_copy(update={"document_masking": True})}
    )
    order = Order(recipe, {name: stream.tokens for name, stream in real_run.corpus.train.items()})
    for number in range(0, order.schedule.sequences, 9):
        found = inspect_sequence(recipe, real_run.corpus, number, order)
        counted = (
            f"{found.sequence_length - len(found.passages) + 1} of {found.sequence_length} targets count"
        )
        assert counted in shown(RunSequence(found, ()))
        assert "targets count" not in shown(inspect_run(real_run.folder, number))


def test_ids_are_listed_where_asked_for(real_run: Any):
    sequence = inspect_run(real_run.folder, 7)
    text = shown(sequence, tokens=True)
    lines = [line.split() for line in text.splitlines()]
    listed = [
        int(words[1]) for words in lines if len(words) >= 2 and words[0].isdigit() and words[1].isdigit()
    ]
    assert listed == list(sequence.inspection.tokens)
    plain = sequence.to_dict()
    assert "tokens" not in plain
    assert "pieces" not in plain
    full = json.loads(json.dumps(sequence.to_dict(tokens=True)))
    assert full["tokens"] == list(sequence.inspection.tokens)
    assert [p["begins_document"] for p in full["passages"]] == [
        p.begins_document for p in sequence.inspection.passages
    ]


def test_a_number_beyond_the_run_is_told(real_run: Any):
    count = sum(map(len, real_run.batches))
    with pytest.raises(UserError, match=rf"this run has {count} sequences"):
        inspect_run(real_run.folder, count)
    inspect_run(real_run.folder, count - 1)


def test_shards_are_looked_for_and_can_be_named(
    real_run: Any, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"neither in corpora/real nor in .*elsewhere/corpus; name their folder"
    ):
        inspect_run(copy, 3)
    expected = inspect_run(real_run.folder, 3)
    assert inspect_run(copy, 3, real_run.corpus.folder) == expected
    shutil.copytree(real_run.corpus.folder, tmp_path / "corpora" / "real")
    assert inspect_run(copy, 3) == expected
    with pytest.raises(UserError, match="no corpus"):
        inspect_run(copy, 3, tmp_path / "nothing")


def test_another_corpus_is_refused_by_its_fingerprint_and_before_a_checkpoint_by_its_sizes(
    real_run: Any, copy: Path, tmp_path: Path
):
    lines = (real_run.folder.parent / "one.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "one.jsonl").write_text("\n".join(lines[:100]) + "\n", encoding="utf-8")
    values = real_run.recipe.to_dict()
    values["sources"]["one"]["path"] = str(tmp_path / "one.jsonl")
    other = prepare(type(real_run.recipe).model_validate(values), tmp_path / "other")
    with pytest.raises(
        UserError, match=rf"{other.fingerprint}.*not the token shards.*{real_run.corpus.fingerprint}"
    ):
        inspect_run(copy, 3, other.folder)
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(UserError, match=r"expected the sizes in its plan\.json"):
        inspect_run(copy, 3, other.folder)
    assert inspect_run(copy, 3, real_run.corpus.folder).inspection.number == 3
    # Of the two usual places, the one that fits is taken.
    shutil.copytree(other.folder, copy.parent / "corpus")
    with pytest.raises(UserError, match="not the token shards"):
        inspect_run(copy, 3)


def test_a_damaged_checkpoint_does_not_hide_the_others(real_run: Any, copy: Path):
    newest = max((copy / "checkpoints").iterdir())
    (newest / "state.json").write_text("{", encoding="utf-8")
    last = sum(map(len, real_run.batches)) - 1
    assert inspect_run(copy, last, real_run.corpus.folder) == inspect_run(real_run.folder, last)


def test_what_the_run_has_not_read_is_said(real_run: Any, copy: Path):
    events = (copy / "events.jsonl").read_text(encoding="utf-8").splitlines()
    kept = [line for line in events if json.loads(line).get("clock", 0) <= 600]
    (copy / "events.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
    clock = read_run(copy).clock
    early, late = (inspect_run(copy, number, real_run.corpus.folder) for number in (0, 60))
    assert early.notes == ()
    assert late.notes == (f"not on record as read yet: the record of this run ends at {clock:,} tokens",)
    assert "note: not on record as read yet" in shown(late)


def test_a_run_that_started_from_another_says_where(real_run: Any, copy: Path):
    events = [json.loads(line) for line in (copy / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    events[0]["resumed_from"] = 600
    text = "\n".join(json.dumps(event) for event in events if event.get("clock", 600) >= 600)
    (copy / "events.jsonl").write_text(text + "\n", encoding="utf-8")
    (note,) = inspect_run(copy, 0, real_run.corpus.folder).notes
    assert note.startswith("this run began at 600 tokens, from a checkpoint of another run")
    assert inspect_run(copy, 60, real_run.corpus.folder).notes == ()


def test_a_plan_without_sizes_takes_the_corpus_at_its_word(real_run: Any, copy: Path):
    shutil.rmtree(copy / "checkpoints")
    plan = read_json(copy / "plan.json")
    write_json(copy / "plan.json", {key: value for key, value in plan.items() if key != "corpus"})
    assert (
        inspect_run(copy, 5, real_run.corpus.folder).inspection == inspect_run(real_run.folder, 5).inspection
    )


def flyweight(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["flyweight", *map(str, words)])
    try:
        cli.main()
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def test_the_command_shows_it(real_run: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    assert flyweight(monkeypatch, "inspect", real_run.folder, 70, "--json", "--tokens") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["tokens"] == [row for batch in real_run.batches for row in batch][70]
    assert flyweight(monkeypatch, "inspect", real_run.folder, 70) == 0
    assert "is a target only" in capsys.readouterr().out
    assert flyweight(monkeypatch, "inspect", real_run.folder, 10_000) == 2
    error = capsys.readouterr().err
    assert f"this run has {sum(map(len, real_run.batches))} sequences" in error
    assert len(error.strip().splitlines()) == 1


def test_the_plan_of_a_run_lays_beside_it_what_was_read(
    real_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    plot = tmp_path / "plot.svg"
    assert flyweight(monkeypatch, "plan", real_run.folder, "--json", "--plot", plot) == 0
    plan = json.loads(capsys.readouterr().out)
    read, planned = plan["realised"]["read"], plan["realised"]["planned"]
    assert sum(read.values()) == pytest.approx(plan["tokens"]["total"])
    assert read == pytest.approx(planned, abs=3 * 40)  # a sequence a segment, and how coarse the log is
    assert plan["epochs"].keys() == read.keys()
    assert "Mixture, realised" in plot.read_text(encoding="utf-8")
    assert flyweight(monkeypatch, "plan", real_run.folder, "training.tokens=5M") == 2
    assert "a run has the recipe that it has" in capsys.readouterr().err
