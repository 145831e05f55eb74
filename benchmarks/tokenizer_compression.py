"""Our 32K BPE beside GPT-2's tokenizer: tokens for the same held-out documents.

    python benchmarks/tokenizer_compression.py --corpora FOLDER --tokenizers FOLDER --out benchmarks/results/NAME.json

CORPORA holds textbooks, books, math, python_docs, python_code, wordnet_glosses and stories as .jsonl.zst;
TOKENIZERS a folder gpt2. Of each source one document in fifty, by the hash of its text, is held out.
Each tokenizer is trained in a process of its own, whose greatest memory is written down.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import multiprocessing
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flyweight.base import write_json
from flyweight.corpus.documents import text_key
from flyweight.corpus.tokenizers import Encoder, TextTokenizer, adopt, open_encoder, train_bpe

SOURCES = ("textbooks", "books", "math", "python_docs", "python_code", "wordnet_glosses", "stories")
MIXTURES = {
    "textbooks": ("textbooks",),
    "four sources": ("textbooks", "books", "math", "python_docs"),
}
PATTERNS = ("qwen2", "gpt-2")
HELD_OUT = 0.02
ENTRIES = 32768
END = "<|endoftext|>"


def texts_of(corpora: Path, source: str) -> list[str]:
    import io
    import json

    import zstandard

    with (corpora / f"{source}.jsonl.zst").open("rb") as file:
        reader = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8")
        return [json.loads(line)["text"] for line in reader]


def sides(texts: list[str]) -> tuple[list[str], list[str]]:
    """Training and held-out documents: the smallest hashes are held out, one at least."""
    ordered = sorted(texts, key=text_key)
    count = math.ceil(HELD_OUT * len(ordered))
    return ordered[count:], ordered[:count]


def training_texts(corpora: Path, sources: tuple[str, ...]) -> Iterator[str]:
    for source in sources:
        yield from sides(texts_of(corpora, source))[0]


def train_one(corpora: Path, sources: tuple[str, ...], pattern: str, folder: Path, answers: Any) -> None:
    """In a process of its own: train, save, and tell the greatest memory before and after."""
    unit = 1 if sys.platform == "darwin" else 1024
    size = 0

    def counted() -> Iterator[str]:
        nonlocal size
        for text in training_texts(corpora, sources):
            size += len(text.encode("utf-8"))
            yield text

    for _ in training_texts(corpora, sources):
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    began = time.perf_counter()
    train_bpe(counted(), ENTRIES, pattern, END).save(folder)
    answers.put(
        {
            "bytes": size,
            "seconds": round(time.perf_counter() - began, 1),
            "peak_mb_reading_alone": round(before / 1e6, 1),
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1),
        }
    )


def tokens_of(tokenizer: TextTokenizer, held_out: dict[str, list[str]]) -> dict[str, int]:
    """Tokens of each source's held-out documents, without end_of_text."""
    encoder = Encoder(tokenizer, open_encoder(tokenizer, {}).name)
    return {name: int(encoder.encode(texts)[1].sum()) - len(texts) for name, texts in held_out.items()}


def compare(ours: dict[str, int], theirs: dict[str, int], trained: tuple[str, ...]) -> dict[str, Any]:
    """Percent fewer tokens than GPT-2's: by source, and over all of those trained on and all others."""

    def fewer(names: list[str]) -> float:
        return round(100 * (1 - sum(ours[name] for name in names) / sum(theirs[name] for name in names)), 2)

    return {
        "trained_on": list(trained),
        "tokens": ours,
        "percent_fewer": {name: fewer([name]) for name in ours},
        "percent_fewer_on_sources_trained_on": fewer(list(trained)),
        "percent_fewer_on_other_sources": fewer([name for name in ours if name not in trained]),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--corpora", type=Path, required=True)
    arguments.add_argument("--tokenizers", type=Path, required=True)
    arguments.add_argument("--work", type=Path, required=True, help="A folder for the trained tokenizers.")
    arguments.add_argument("--out", type=Path, required=True)
    options = arguments.parse_args()

    held_out = {name: sides(texts_of(options.corpora, name))[1] for name in SOURCES}
    gpt2 = tokens_of(adopt(options.tokenizers / "gpt2", END), held_out)
    result: dict[str, Any] = {
        "what": f"tokens of held-out documents, byte-level BPE of {ENTRIES:,} entries against GPT-2's of 50,257",
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} core(s) used, Python "
        f"{platform.python_version()}, tokenizers {importlib.metadata.version('tokenizers')}",
        "held_out": {
            name: {"documents": len(texts), "bytes": sum(len(text.encode("utf-8")) for text in texts)}
            for name, texts in held_out.items()
        },
        "gpt2_tokens": gpt2,
        "ours": {},
    }
    context = multiprocessing.get_context("spawn")
    for mixture, sources in MIXTURES.items():
        for pattern in PATTERNS:
            folder, answers = options.work / f"{mixture}-{pattern}".replace(" ", "-"), context.Queue()
            child = context.Process(
                target=train_one, args=(options.corpora, sources, pattern, folder, answers)
            )
            child.start()
            training = answers.get()
            child.join()
            found = compare(tokens_of(TextTokenizer.load(folder, END), held_out), gpt2, sources)
            result["ours"][f"{mixture}, {pattern}"] = found | {"training": training}
            print(
                mixture,
                pattern,
                training,
                {k: v for k, v in found.items() if k.startswith("percent")},
                flush=True,
            )
            write_json(options.out, result)


if __name__ == "__main__":
    main()
