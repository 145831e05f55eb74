"""From .jsonl.zst to token shards: megabytes of text a second, by what cleaning does, beside `datasets.map`.

    python benchmarks/corpus.py --corpora FOLDER --evaluation FOLDER --out benchmarks/results/NAME.json

CORPORA holds textbooks, books, math, python_code and python_docs as .jsonl.zst. A 32K BPE is trained first, on a
part of them, and then adopted: its training is not measured. With `--copies` the text is repeated, each document
with another first line, so that the start of processes weighs as little as in a real corpus. The variants take
turns, `--rounds` times; the peer (`pip install datasets`) takes its turn among them, with the same tokenizer on the
same files. Every figure is of a
whole process, from its start to its end, with `--workers` processes. Peak memory is that of the largest process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from flyweight.base import write_json

SOURCES = ("textbooks", "books", "math", "python_code", "python_docs")
VARIANTS = {
    "exact dedup": {},
    "and 13-gram decontamination": {"decontaminate": True},
    # `held_out` costs the same hashing and grouping as `remove`, without emptying copies of a corpus.
    "and MinHash": {"decontaminate": True, "near_duplicates": "held_out"},
}


def recipe_values(options: argparse.Namespace, tokenizer: Path, variant: dict[str, Any]) -> dict[str, Any]:
    """A recipe over the sources with an adopted 32K tokenizer."""
    from flyweight.recipe import load_recipe

    values = load_recipe("gpt-x2-125m").to_dict()
    values["sources"] = {
        name: {"kind": "files", "path": str(source_path(options.corpora, name))} for name in SOURCES
    }
    values["training"]["mixture"] = [{"at": 0, "weights": {name: 1 / len(SOURCES) for name in SOURCES}}]
    values["tokenizer"] = {"kind": "existing", "vocab_size": 32_768, "path": str(tokenizer)}
    values["corpus"] = {"held_out": 0.02, "held_out_limit": "1MB", **variant}
    if values["corpus"].pop("decontaminate", False):
        sets = sorted(path for path in options.evaluation.iterdir() if path.is_dir())
        values["corpus"]["decontaminate"] = {path.name: {"path": str(path)} for path in sets}
    values["execution"]["workers"] = options.workers
    return values


def prepare_once(options: argparse.Namespace) -> None:
    """In a process of its own: prepare, and say how many bytes of text there were."""
    from flyweight.corpus import prepare
    from flyweight.recipe import recipe_from_dict

    stages: dict[str, float] = {}
    began, current = time.perf_counter(), ""

    def progress(stage: str, share: float) -> None:
        nonlocal current
        current = stage
        stages[current] = time.perf_counter() - began

    recipe = recipe_from_dict(json.loads(options.values.read_text()))
    corpus = prepare(recipe, options.prepare, progress)
    total = 0
    for source in corpus.manifest.sources.values():
        total += source.train.bytes + source.held_out.bytes
        total += sum(removed.bytes for removed in source.removed.values())
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    answer = {
        "bytes": total,
        "ends": stages,
        "peak_rss_mb": max(peaks) / 1024,
        "fingerprint": corpus.fingerprint,
    }
    print(json.dumps(answer))


def map_once(options: argparse.Namespace) -> None:
    """The peer, in a process of its own: datasets.map over the same files with the same tokenizer."""
    import datasets
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(options.map / "tokenizer.json"))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"

    def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
        texts = batch["text"]
        ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        return {"ids": ids, "size": [len(text.encode()) for text in texts]}

    places = [source_path(options.corpora, name) for name in SOURCES]
    files = [
        str(file) for place in places for file in (sorted(place.iterdir()) if place.is_dir() else [place])
    ]
    with tempfile.TemporaryDirectory() as cache:
        parts = [
            datasets.load_dataset("json", data_files=file, split="train", cache_dir=cache).select_columns(
                ["text"]
            )
            for file in files
        ]
        loaded = datasets.concatenate_datasets(parts)
        # Documents are up to a megabyte long: the default batch of 1,000 would not fit into memory.
        done = loaded.map(
            encode, batched=True, batch_size=50, num_proc=options.workers, remove_columns=["text"]
        )
        print(json.dumps({"bytes": int(sum(done["size"]))}))


def timed(*words: str) -> tuple[float, dict[str, Any]]:
    """Seconds of a whole process, and what it printed last."""
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True, text=True)
    return time.perf_counter() - begin, json.loads(done.stdout.strip().splitlines()[-1])


def train_tokenizer(options: argparse.Namespace, folder: Path) -> None:
    """A 32K BPE of about 4 MB of each source."""
    from flyweight.corpus.documents import ReadLog
    from flyweight.corpus.reading.records import read_records
    from flyweight.corpus.tokenizers import train_bpe

    def texts():
        for name in SOURCES:
            size = 0
            for record, _ in read_records([options.corpora / f"{name}.jsonl.zst"], ReadLog()):
                size += len(record["text"])
                yield record["text"]
                if size > 4_000_000:
                    break

    folder.mkdir(exist_ok=True)
    train_bpe(texts(), 32_768, "qwen2", "<|endoftext|>").save(folder)


def write_copies(options: argparse.Namespace, folder: Path) -> Path:
    """The corpora `--copies` times, so that the start of processes weighs less. No document is another's equal."""
    import orjson
    import zstandard

    from flyweight.corpus.documents import ReadLog
    from flyweight.corpus.reading.records import read_records

    folder.mkdir()
    for name in SOURCES:
        (folder / name).mkdir()
        for copy in range(options.copies):
            file = folder / name / f"{copy}.jsonl.zst"
            with file.open("wb") as raw, zstandard.ZstdCompressor(3).stream_writer(raw) as stream:
                for record, _ in read_records([options.corpora / f"{name}.jsonl.zst"], ReadLog()):
                    stream.write(orjson.dumps({"text": f"Copy {copy}.\n{record['text']}"}) + b"\n")
    return folder


def source_path(corpora: Path, name: str) -> Path:
    """The folder of a source's copies, or its one file."""
    return corpora / name if (corpora / name).is_dir() else corpora / f"{name}.jsonl.zst"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--copies", type=int, default=1, help="repeat the text, each time with other first lines"
    )
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--values", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--map", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepare:
        return prepare_once(options)
    if options.map:
        return map_once(options)
    speeds: dict[str, list[float]] = {}
    details: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = Path(scratch) / "tokenizer"
        train_tokenizer(options, tokenizer)
        if options.copies > 1:
            options.corpora = write_copies(options, Path(scratch) / "corpora")
        common = ["--corpora", str(options.corpora), "--workers", str(options.workers)]
        for number in range(options.rounds + 1):
            for name, variant in VARIANTS.items():
                values = Path(scratch) / "values.json"
                values.write_text(json.dumps(recipe_values(options, tokenizer, variant)))
                target = Path(scratch) / "corpus"
                seconds, answer = timed("--prepare", str(target), "--values", str(values), *common)
                shutil.rmtree(target)
                if number:  # the first round fills the caches, and indexes the evaluation sets
                    speeds.setdefault(name, []).append(answer["bytes"] / 1e6 / seconds)
                    details[name] = answer
                    print(f"{name}: {speeds[name][-1]:.1f} MB/s", answer, flush=True)
            if number and not options.no_peer:
                seconds, answer = timed("--map", str(tokenizer), *common)
                speeds.setdefault("datasets.map", []).append(answer["bytes"] / 1e6 / seconds)
                print(f"datasets.map: {speeds['datasets.map'][-1]:.1f} MB/s", flush=True)
    result = {
        "workers": options.workers,
        "sources": SOURCES,
        "mb_per_second": {
            name: {"median": statistics.median(found), "min": min(found), "max": max(found)}
            for name, found in speeds.items()
        },
        "details": details,
    }
    print(json.dumps(result["mb_per_second"], indent=2))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
