"""The parts of a corpus folder: tokenizer, sources, manifest; each is kept when it is already there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flyweight.base import UserError, atomic_folder, read_json, write_json
from flyweight.corpus.documents import Document
from flyweight.corpus.held_out import LEAST_HELD_OUT, is_held_out
from flyweight.corpus.manifest import (
    FORMAT,
    Manifest,
    SourceManifest,
    Split,
    TokenizerManifest,
    average_weights,
    configuration,
    digest,
    fingerprint,
    read_source,
    write_manifest,
    write_source,
)
from flyweight.corpus.opening import TOKENIZER_FOLDER
from flyweight.corpus.reading import builtin
from flyweight.corpus.reading.source import SourceReader
from flyweight.corpus.shards import ShardWriter, token_dtype
from flyweight.corpus.survey import Survey, second_pass, survey, tokenizer_sample
from flyweight.corpus.tokenizers.text_tokenizer import TextTokenizer, train_tokenizer
from flyweight.recipe import Recipe

Progress = Callable[[str, float], None]
"""Takes what is being done, and the share of it that is done."""

BATCH_BYTES = 1_000_000
"""Text that is encoded at once."""

_UNLIMITED = 1 << 62


def _folder_name(source: str) -> str:
    """A name for the source's folder; names that are no file names get a hash to stay different."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", source)
    return safe if safe == source else f"{safe}-{digest(source)}"


@dataclass
class Preparation:
    """The making of one corpus folder, part by part."""

    recipe: Recipe
    folder: Path
    readers: dict[str, SourceReader]
    progress: Progress
    surveys: dict[str, Survey] = field(default_factory=dict)

    def run(self) -> None:
        """Make every part that is not there yet, then write the manifest."""
        tokenizer = self.tokenizer()
        sources = {name: self.source(name, tokenizer) for name in self.readers}
        settings = configuration(self.recipe)
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
            ),
        )

    def tokenizer(self) -> TextTokenizer:
        """The corpus's tokenizer: kept from an earlier attempt, adopted, or trained."""
        settings = self.recipe.tokenizer
        adopted = None
        if settings.kind == "existing":
            adopted = self._adopted_tokenizer()
        inputs = {name: reader.inputs for name, reader in self.readers.items()}
        key = digest([FORMAT, configuration(self.recipe), inputs, adopted.fingerprint if adopted else None])
        place = self.folder / TOKENIZER_FOLDER
        if (place / "key.json").is_file() and read_json(place / "key.json") == key:
            return TextTokenizer.load(place, settings.end_of_text)
        tokenizer = adopted or self._trained_tokenizer()
        with atomic_folder(place) as temporary:
            tokenizer.save(temporary)
            write_json(temporary / "key.json", key)
        return tokenizer

    def _adopted_tokenizer(self) -> TextTokenizer:
        settings = self.recipe.tokenizer
        if settings.path is None:
            origin = f" It comes from {settings.origin}." if settings.origin else ""
            raise UserError(
                f"tokenizer.path: the recipe adopts an existing tokenizer; set tokenizer.path to its "
                f"tokenizer.json or folder.{origin}"
            )
        tokenizer = TextTokenizer.load(Path(settings.path).expanduser(), settings.end_of_text)
        if tokenizer.vocab_size > self.recipe.model.vocab_size:
            raise UserError(
                f"{settings.path}: this tokenizer has {tokenizer.vocab_size:,} entries, more than "
                f"model.vocab_size ({self.recipe.model.vocab_size:,})."
            )
        return tokenizer

    def _trained_tokenizer(self) -> TextTokenizer:
        settings, weights = self.recipe.tokenizer, average_weights(self.recipe)
        surveys = {name: self.survey(name, round(weights[name] * settings.sample)) for name in self.readers}
        stage = "training the tokenizer"
        self.progress(stage, 0.0)
        # By the joint thresholds, known only now: what is held out must not shape the tokenizer either.
        texts = {name: found.sample.texts(self.threshold(name)) for name, found in surveys.items()}
        size = min(settings.sample, sum(found.bytes for found in surveys.values()))
        sample = tokenizer_sample(texts, weights, size, lambda share: self.progress(stage, 0.9 * share))
        tokenizer = train_tokenizer(sample, settings.vocab_size, settings.pattern, settings.end_of_text)
        for found in surveys.values():
            found.sample.clear()
        self.progress(stage, 1.0)
        return tokenizer

    def survey(self, name: str, quota: int = 0) -> Survey:
        """The first pass over a source, once."""
        if name in self.surveys:
            return self.surveys[name]
        reader = self.readers[name]
        stage = f"reading {name}"
        self.progress(stage, 0.0)
        spool = self.folder / f".{_folder_name(name)}.spool.tmp" if reader.source.kind == "builtin" else None
        found = survey(reader, quota, spool, lambda share: self.progress(stage, share))
        self.progress(stage, 1.0)
        self.surveys[name] = found
        return found

    def threshold(self, name: str) -> int:
        """The split threshold of a source; all sources of modules share one: code and prose stay together."""
        together = [name]
        if self.readers[name].is_modules:
            together = [other for other, reader in self.readers.items() if reader.is_modules]
        return max(self.survey(other).threshold for other in together)

    def source(self, name: str, tokenizer: TextTokenizer) -> SourceManifest:
        """One source as shards: kept from an earlier attempt, or made."""
        reader = self.readers[name]
        key = digest(self._decides(name, tokenizer))
        place = f"sources/{_folder_name(name)}"
        done = read_source(self.folder / place)
        if done is not None and done.key == key:
            return done
        threshold, found = self.threshold(name), self.survey(name)
        with atomic_folder(self.folder / place) as temporary:
            train = ShardWriter(temporary, "train", place, token_dtype(tokenizer.vocab_size))
            held_out = ShardWriter(
                temporary, "held_out", place, token_dtype(tokenizer.vocab_size), most=_UNLIMITED
            )
            try:
                unused = self._write(name, tokenizer, threshold, found, train, held_out)
                sides = [_split(train), _split(held_out)]
            finally:
                train.abandon()
                held_out.abandon()
            if not train.documents:
                raise UserError(
                    f"source {name!r}: too little text for the held-out split: all {found.documents:,} "
                    f"documents fall on the held-out side; add text, or take the source out."
                )
            manifest = SourceManifest(
                key=key,
                kind=reader.source.kind,
                inputs=reader.inputs,
                licence=reader.source.licence,
                train=sides[0],
                held_out=sides[1],
                unused_documents=unused[0],
                unused_bytes=unused[1],
                bad_records=found.log.bad,
                versions=builtin.versions() if reader.is_modules else {},
            )
            write_source(temporary, manifest)
        if found.spool is not None:
            found.spool.unlink(missing_ok=True)
        return manifest

    def _decides(self, name: str, tokenizer: TextTokenizer) -> list[object]:
        prefix = f"sources.{name}."
        settings = configuration(self.recipe)
        own = {key: settings[key] for key in settings if key.startswith((prefix, "corpus.")) or key == "seed"}
        # The sources of modules share one split threshold, so each depends on all of them.
        modules = [
            reader.source.model_dump(mode="json", exclude={"licence"})
            for reader in self.readers.values()
            if reader.is_modules and self.readers[name].is_modules
        ]
        return [FORMAT, own, self.readers[name].inputs, tokenizer.fingerprint, modules]

    def _write(
        self,
        name: str,
        tokenizer: TextTokenizer,
        threshold: int,
        found: Survey,
        train: ShardWriter,
        held_out: ShardWriter,
    ) -> tuple[int, int]:
        """Encode a source's documents into its two sides; returns documents and bytes left unused."""
        stage, seed, limit = f"encoding {name}", self.recipe.seed, self.recipe.corpus.held_out_limit
        unused_documents = unused_bytes = done = 0
        self.progress(stage, 0.0)
        for batch in _batches(second_pass(self.readers[name], found)):
            ids = tokenizer.encode_batch([document.text for document in batch])
            for document, tokens in zip(batch, ids, strict=True):
                tokens.append(tokenizer.end_of_text)
                size = document.size
                done += size
                if not is_held_out(document, seed, threshold):
                    train.write(tokens, size)
                elif held_out.documents < LEAST_HELD_OUT or held_out.bytes + size <= limit:
                    held_out.write(tokens, size)
                else:
                    unused_documents += 1
                    unused_bytes += size
            self.progress(stage, min(1.0, done / found.bytes))
        return unused_documents, unused_bytes


def _batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += document.size
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _split(writer: ShardWriter) -> Split:
    return Split(writer.documents, writer.tokens, writer.bytes, writer.close())
