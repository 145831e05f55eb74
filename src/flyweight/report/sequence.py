"""Sequence N of a run folder: found in its corpus, and shown as the model saw it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from flyweight.base import UserError, printable
from flyweight.corpus import OpenCorpus, open_corpus
from flyweight.corpus.manifest import FILE as MANIFEST_FILE
from flyweight.curriculum import Inspection, Order, OrderState, Passage, inspect_sequence
from flyweight.inference import list_checkpoints, read_state
from flyweight.recipe import Recipe, format_tokens
from flyweight.report.run import RunRecord, read_run


@dataclass(frozen=True)
class RunSequence:
    """A sequence of a run, and what must be said about it."""

    inspection: Inspection
    notes: tuple[str, ...]
    """Whether this run has really read it."""

    def to_dict(self, *, tokens: bool = False) -> dict[str, Any]:
        """Plain values, ready for JSON; the ids of the tokens only where asked for."""
        values = asdict(self.inspection)
        for passage, plain in zip(self.inspection.passages, values["passages"], strict=True):
            plain["begins_document"] = passage.begins_document
        if not tokens:
            del values["tokens"], values["pieces"]
        return {**values, "notes": list(self.notes)}


def inspect_run(run: Path, number: int, corpus: Path | None = None) -> RunSequence:
    """Sequence `number` of the run in the folder `run`.

    Args:
        run: the run's folder.
        number: from 0, counting what was trained on; what the run passed over (its journal, in the newest
            checkpoint) has no number.
        corpus: the token shards that the run was trained on; where not given, they are looked for in
            corpora/NAME and beside the run's folder.

    Raises:
        UserError: no run there, no such sequence, no shards, or shards of another corpus.
    """
    record = read_run(run)
    states = _states(run)
    shards = _corpus_of(run, record, states, corpus)
    recipe = record.recipe
    order = Order(recipe, {name: stream.tokens for name, stream in shards.train.items()})
    before = [state for state in states if state.get("sequence", 0) <= number and state.get("order")]
    if before:  # the walk to a far sequence starts at the newest checkpoint before it
        order.restore(OrderState(**before[-1]["order"]))
    if states and states[-1].get("order"):
        order.restore(OrderState(**states[-1]["order"]))
    found = inspect_sequence(recipe, shards, number, order)
    return RunSequence(found, tuple(_notes(record, found)))


def _states(run: Path) -> list[dict[str, Any]]:
    """The states of the checkpoints that can be read, oldest first."""
    result = []
    for _, checkpoint in list_checkpoints(run):
        try:
            result.append(read_state(checkpoint))
        except UserError:  # one that was thinned out or cut short says nothing, others may
            continue
    return result


def _corpus_of(run: Path, record: RunRecord, states: list[dict[str, Any]], given: Path | None) -> OpenCorpus:
    """The shards of a run, by the fingerprint in its checkpoints, or by their sizes before there is one."""
    fingerprint = states[-1]["corpus"] if states else None
    places = [given] if given else _usual_places(run, record.recipe)
    opened = [open_corpus(place) for place in places if given or (place / MANIFEST_FILE).is_file()]
    if not opened:
        raise UserError(
            f"{run}: its token shards are neither in {places[0]} nor in {places[1]}; name their folder with "
            f"--corpus."
        )
    for shards in opened:
        if _is_of_run(shards, record, fingerprint):
            return shards
    found = ", ".join(f"{shards.folder} ({shards.fingerprint})" for shards in opened)
    expected = f"fingerprint {fingerprint}" if fingerprint else "the sizes in its plan.json"
    raise UserError(
        f"{found}: not the token shards that {run} was trained on (expected {expected}); name the folder of "
        f"those with --corpus."
    )


def _usual_places(run: Path, recipe: Recipe) -> list[Path]:
    return [Path("corpora") / recipe.name, run.resolve().parent / "corpus"]


def _is_of_run(shards: OpenCorpus, record: RunRecord, fingerprint: str | None) -> bool:
    if fingerprint is not None:
        return shards.fingerprint == fingerprint
    sizes = {name: source.get("tokens") for name, source in record.corpus.items()}
    return not sizes or sizes == {name: stream.tokens for name, stream in shards.train.items()}


def _notes(record: RunRecord, found: Inspection) -> list[str]:
    end = found.clock + found.batch_size * found.sequence_length
    if found.clock < record.began:
        return [
            f"this run began at {record.began:,} tokens, from a checkpoint of another run; what came before was read "
            f"there, in the order of that run's recipe"
        ]
    if end > record.clock:
        return [f"not on record as read yet: the record of this run ends at {record.clock:,} tokens"]
    return []


def render_sequence(shown: RunSequence, *, tokens: bool = False) -> RenderableType:
    """The sequence for the terminal: where it stands, then its text, cut where documents end.

    Args:
        shown: the sequence.
        tokens: list the tokens, with their ids, instead of the running text.
    """
    found = shown.inspection
    parts: list[RenderableType] = [_place(found)]
    for passage in found.passages:
        parts.append(Rule(_border(found, passage), align="left", style="dim"))
        parts.append(_token_table(found, passage) if tokens else Text(printable(passage.text)))
    last = printable(repr(found.pieces[-1]))
    parts.append(
        Rule(Text(f"the last token, {last}, is a target only", style="dim"), align="left", style="dim")
    )
    parts += [Text(f"note: {note}", style="yellow") for note in shown.notes]
    return Group(*parts)


def _place(found: Inspection) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column()
    last = (found.start + found.sequence_length) % found.source_tokens
    rows: Mapping[str, str] = {
        "sequence": f"{found.number:,} of {found.sequences:,}",
        "source": f"{found.source}, {found.share:.2%} of the tokens in this step as planned",
        "clock": f"{found.clock:,} tokens ({format_tokens(found.clock)}) seen before its step, "
        f"{found.tokens_before:,} before it",
        "step": f"{found.step:,}, row {found.row:,} of {found.batch_size:,}",
        "length": f"{found.sequence_length:,} tokens",
        "learning rate": f"{found.learning_rate:.4g}, before it is scaled by role",
        "epoch": f"{found.epoch:,} of its source, window {found.window:,} of {found.windows:,}",
        "position": f"tokens {found.start:,} to {last:,} of the {found.source_tokens:,} of its source",
    }
    if found.document_masking:
        kept = f"kept apart: each is at positions from 0, {found.scored:,} of {found.sequence_length:,} targets count"
        rows = {**rows, "documents": kept}
    for label, value in rows.items():
        table.add_row(label, Text(value))
    return table


def _border(found: Inspection, passage: Passage) -> Text:
    """What a line between two documents says about the one under it."""
    size = passage.end - passage.begin
    begins = "from its beginning" if passage.begins_document else f"after {passage.skipped:,} tokens of it"
    ends = "to its end" if passage.ends_document else "cut off at the end"
    title = f"{found.source}: document {passage.document:,} of {found.source_documents:,}"
    return Text.assemble((title, "bold cyan"), f", {begins}, {ends}, {size:,} tokens")


def _token_table(found: Inspection, passage: Passage) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("place", justify="right", header_style="dim", style="dim")
    table.add_column("id", justify="right", header_style="dim")
    table.add_column("text", header_style="dim")
    for place in range(passage.begin, passage.end):
        table.add_row(str(place), str(found.tokens[place]), Text(printable(repr(found.pieces[place])[1:-1])))
    return table
