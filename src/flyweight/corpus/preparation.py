"""The making of one corpus folder: read, decide, train the tokenizer, encode, assemble.

Every stage is jobs whose results lie in the folder `.work` under keys of all that decided them. So an
attempt that was stopped goes on where it was, and a changed recipe does again just what it changes.
The folder is removed when the manifest is written.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from flyweight.base import atomic_folder, read_json, write_json
from flyweight.corpus.cleaning.contamination import EvaluationIndex
from flyweight.corpus.cleaning.evaluation_sets import build_index
from flyweight.corpus.engine import Executor, Job, Turn, job_key, run_jobs
from flyweight.corpus.manifest import (
    FORMAT,
    Manifest,
    Removed,
    SourceManifest,
    Split,
    TokenizerManifest,
    average_weights,
    configuration,
    digest,
    fingerprint,
    read_source,
    write_manifest,
)
from flyweight.corpus.opening import TOKENIZER_FOLDER
from flyweight.corpus.reading import builtin
from flyweight.corpus.reading.source import SourceReader
from flyweight.corpus.stages.decide import Decision, Gathered, merged_log
from flyweight.corpus.stages.encode import EncodeSettings, assemble_source, encode_chunk
from flyweight.corpus.stages.fates import REMOVED, Fate, fates_digest, load_fates
from flyweight.corpus.stages.intake import Intake
from flyweight.corpus.stages.read import ReadPart, ReadSettings, load_part, read_part
from flyweight.corpus.stages.removed import write_removed
from flyweight.corpus.stages.sample import Sample, first_texts, tokenizer_sample
from flyweight.corpus.tokenizers import TextTokenizer, open_encoder, train
from flyweight.corpus.tokenizers.training import most_sample
from flyweight.recipe import Recipe

Progress = Callable[[str, float], None]
"""Takes what is being done, and the share of it that is done."""

WORK = ".work"

ENCODER_SAMPLES = 60
ENCODER_CHARACTERS = 4_000
"""Documents of each source, and characters of each, on which the fast encoder must agree with the saved
tokenizer: many beginnings show more than a few whole books."""


ENOUGH_TO_JUDGE = 1_000_000_000
"""Bytes on disk in which a name of a filter must have come up: nobody should wait a day for a slip of the pen."""


def folder_name(source: str) -> str:
    """A name for the source's folder; a hash keeps names apart that some disk would take for the same."""
    safe = re.sub(r"[^a-z0-9_-]", "_", source.lower())
    return safe if safe == source else f"{safe}-{digest(source)}"


@dataclass(frozen=True)
class Decided:
    """That the fates of all documents lie in their files."""

    drops: dict[Fate, list[Path]]
    """By kind of duplicate, files of groups.DROPPED."""
    key: str
    """A hash of all documents and their fates."""


@dataclass
class Preparation:
    """The making of one corpus folder."""

    recipe: Recipe
    folder: Path
    readers: dict[str, SourceReader]
    executor: Executor
    progress: Progress
    adopted: TextTokenizer | None = None
    """The tokenizer that the recipe adopts."""
    notes: list[str] = field(default_factory=list)
    """What was found on the way, for people."""

    @property
    def work(self) -> Path:
        """Where unfinished work lies."""
        return self.folder / WORK

    @property
    def fates(self) -> Path:
        """Where the fates lie."""
        return self.work / "fates"

    def run(self) -> None:
        """Make every part that is not there yet, then write the manifest."""
        tokenizer = self.tokenizer
        folders = self._encoded(tokenizer)
        sources = self._assembled(tokenizer, folders)
        self._remove_other_sources()
        settings = configuration(self.recipe)
        write_removed(self.folder, self.gathered, self.readers, self.fates, self.decided.drops, self._index)
        write_manifest(
            self.folder,
            Manifest(
                format=FORMAT,
                key=digest(settings),
                configuration=settings,
                tokenizer=TokenizerManifest(
                    tokenizer.vocab_size, tokenizer.end_of_text_text, tokenizer.fingerprint
                ),
                sources=sources,
                fingerprint=fingerprint(tokenizer.fingerprint, sources),
                evaluation_sets=self._index.key if self._index else None,
                notes=self.notes,
            ),
        )

    def _report(self, stage: str) -> Callable[[float], None]:
        self.progress(stage, 0.0)
        return lambda share: self.progress(stage, share)

    @property
    def _index_folder(self) -> Path:
        """Beside the corpus: indexing the sets takes seconds, and other corpora name the same ones."""
        sets = [[name, one.model_dump(mode="json")] for name, one in self.recipe.corpus.decontaminate.items()]
        return self.folder.parent / ".evaluation-sets" / digest(sets)

    @cached_property
    def _index(self) -> EvaluationIndex | None:
        """The evaluation sets' runs of 13 words."""
        sets = self.recipe.corpus.decontaminate
        if not sets:
            return None
        report = self._report("reading the evaluation sets")
        index = build_index(sets, self._index_folder)
        report(1.0)
        return index

    @cached_property
    def gathered(self) -> Gathered:
        """All documents, read; parts that an earlier attempt read are kept."""
        corpus = self.recipe.corpus
        index = self._index
        settings = ReadSettings(
            self.recipe.seed, corpus.near_duplicates != "keep", str(self._index_folder) if index else None
        )
        intakes: dict[str, Intake] = {}
        jobs: list[Job] = []
        places: list[tuple[Intake, int]] = []
        for name, reader in self.readers.items():
            key = job_key("read", self._reading_settings(name), settings.near, index and index.key)
            downloads = str(self.work / "downloads" / folder_name(name))
            intake = intakes[name] = Intake(reader.source.limit, [part.size for part in reader.parts], [])
            for part in reader.parts:
                folder = self.work / "read" / folder_name(name) / f"{part.number:06d}"
                done = load_part(folder, key, part)
                intake.parts.append(done)
                if done is None:
                    arguments = (reader, part, settings, key, str(folder), downloads)
                    what = f"reading {name}, part {part.number}"
                    jobs.append(Job(read_part, arguments, what, max(1, part.size), lane=name))
                    places.append((intake, part.number))

        def turn(number: int) -> Turn:
            intake, part = places[number]
            return intake.turn(part)

        def keep(number: int, result: ReadPart) -> None:
            intake, part = places[number]
            intake.parts[part] = result
            if result.log.never_seen and intake.read_bytes >= ENOUGH_TO_JUDGE:
                self._check_filter(jobs[number].lane, [part for part in intake.parts if part])

        run_jobs(self.executor, jobs, self._report("reading"), turn, keep)
        self.progress("reading", 1.0)
        kept = {name: intake.kept() for name, intake in intakes.items()}
        for name, parts in kept.items():
            self._check_filter(name, parts)
        return Gathered(kept)

    def _check_filter(self, name: str, parts: Sequence[ReadPart]) -> None:
        self.readers[name].conversion.check_filter(merged_log(parts))

    def _reading_settings(self, name: str) -> list[object]:
        """All keys of the recipe on which the documents of a source depend."""
        held_out = self.recipe.corpus.held_out, self.recipe.corpus.held_out_limit
        reader = self.readers[name]
        own = reader.source.model_dump(mode="json", exclude={"path", "licence"})
        return [own, asdict(reader.conversion), self.recipe.seed, held_out]

    @cached_property
    def decided(self) -> Decided:
        """The fates of all documents; what is held out must not shape the tokenizer either."""
        decision = Decision(
            self.readers,
            self.gathered,
            self.recipe.corpus,
            self.executor,
            self.fates,
            self.work / "groups",
            self.progress,
        )
        drops = decision.run()
        chunks = range(len(self.gathered.chunks))
        key = job_key(self.gathered.key(), [fates_digest(self.fates, number) for number in chunks])
        return Decided(drops, key)

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The corpus's tokenizer: kept from an earlier attempt, adopted, or trained."""
        settings = self.recipe.tokenizer
        place = self.folder / TOKENIZER_FOLDER
        adopted = self.adopted
        decided = self.decided
        weights = average_weights(self.recipe)
        decides = adopted.fingerprint if adopted else [settings.model_dump(mode="json"), weights, decided.key]
        key = job_key("tokenizer", decides)
        if (place / "key.json").is_file() and read_json(place / "key.json") == key:
            return TextTokenizer.load(place, settings.end_of_text)
        tokenizer = adopted or self._trained_tokenizer(weights)
        with atomic_folder(place) as temporary:
            tokenizer.save(temporary)
            write_json(temporary / "key.json", key)
        return tokenizer

    def _trained_tokenizer(self, weights: dict[str, float]) -> TextTokenizer:
        settings, chunks = self.recipe.tokenizer, self.gathered.chunks
        samples = {name: Sample(chunks, self.gathered.numbers(name), self.fates) for name in self.readers}
        size = min(most_sample(settings), sum(sample.available for sample in samples.values()))
        report = self._report("training the tokenizer")
        tokenizer = train(
            settings, tokenizer_sample(samples, weights, size, lambda share: report(0.9 * share))
        )
        report(1.0)
        return tokenizer

    def _encoded(self, tokenizer: TextTokenizer) -> dict[str, list[str]]:
        """The folder of every encoded chunk, by source; those of an earlier attempt are kept."""
        chunks = self.gathered.chunks
        samples = {
            name: first_texts(
                chunks, self.gathered.numbers(name), self.fates, ENCODER_SAMPLES, ENCODER_CHARACTERS
            )
            for name in self.readers
        }
        choice = open_encoder(tokenizer, samples)
        if choice.name != "gigatoken":
            self.notes.append(f"encoding with tokenizers: {choice.reason}")
        settings = EncodeSettings(
            str(self.folder / TOKENIZER_FOLDER), self.recipe.tokenizer.end_of_text, choice.name
        )
        jobs, folders = [], {}
        for name, parts in self.gathered.parts.items():
            inputs = [(part, chunk) for part in parts for chunk in part.chunks]
            folders[name] = []
            for number, (part, chunk) in zip(self.gathered.numbers(name), inputs, strict=True):
                folder = str(
                    self.work / "encoded" / f"{folder_name(name)}-{Path(chunk.folder).name}-{chunk.number}"
                )
                key = job_key(
                    "encode",
                    tokenizer.fingerprint,
                    part.key,
                    part.content,
                    chunk.number,
                    fates_digest(self.fates, number),
                )
                arguments = (chunk, number, str(self.fates), settings, tokenizer.fingerprint, key, folder)
                jobs.append(Job(encode_chunk, arguments, f"encoding {name}", chunk.bytes))
                folders[name].append(folder)
        run_jobs(self.executor, jobs, self._report("encoding"))
        self.progress("encoding", 1.0)
        return folders

    def _assembled(
        self, tokenizer: TextTokenizer, folders: dict[str, list[str]]
    ) -> dict[str, SourceManifest]:
        """All sources as shards: kept from an earlier attempt, or put together."""
        found: dict[str, SourceManifest] = {}
        jobs = []
        for name in self.readers:
            place = f"sources/{folder_name(name)}"
            key = job_key(
                "shards", FORMAT, [read_json(Path(folder) / "key.json") for folder in folders[name]]
            )
            done = read_source(self.folder / place)
            if done is not None and done.key == key:
                found[name] = done
                continue
            manifest = self._source_manifest(name, key)
            arguments = (tuple(folders[name]), tokenizer.vocab_size, manifest, str(self.folder), place)
            size = sum(chunk.bytes for part in self.gathered.parts[name] for chunk in part.chunks)
            jobs.append((name, Job(assemble_source, arguments, f"writing the shards of {name}", size)))
        results = run_jobs(self.executor, [job for _, job in jobs], self._report("writing shards"))
        self.progress("writing shards", 1.0)
        found |= {name: result for (name, _), result in zip(jobs, results, strict=True)}
        return {name: found[name] for name in self.readers}

    def _remove_other_sources(self) -> None:
        """An earlier attempt's, whose names are no longer in the recipe."""
        names = {folder_name(name) for name in self.readers}
        for place in (self.folder / "sources").iterdir():
            if place.name not in names:
                shutil.rmtree(place)

    def _source_manifest(self, name: str, key: str) -> SourceManifest:
        reader, log = self.readers[name], merged_log(self.gathered.parts[name])
        empty = Split(0, 0, 0, [])
        return SourceManifest(
            key=key,
            kind=reader.source.kind,
            inputs=reader.inputs,
            licence=reader.source.licence,
            train=empty,
            held_out=empty,
            removed={fate.name.lower(): self._removed(name, fate) for fate in (*REMOVED, Fate.UNUSED)},
            filtered=log.filtered,
            bad_records=log.bad,
            versions=builtin.versions() if reader.is_modules else {},
        )

    def _removed(self, name: str, fate: Fate) -> Removed:
        chunks, documents, size = self.gathered.chunks, 0, 0
        for number in self.gathered.numbers(name):
            rows = load_fates(self.fates, number) == fate
            documents += int(rows.sum())
            size += int(chunks[number].facts()["size"][rows].sum())
        return Removed(documents, size)
