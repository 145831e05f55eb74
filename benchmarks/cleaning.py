"""What cleaning costs and finds: word hashes, runs of 13 words of evaluation sets, near-duplicates.

    python benchmarks/cleaning.py --corpora FOLDER --evaluation FOLDER --out benchmarks/results/NAME.json

The corpora are .jsonl.zst files, of which `text`, or all strings of `messages`, are read; every folder of the
other one is an evaluation set. Each step is timed on its own, in processor seconds of one core, the best of
three passes over batches of a megabyte: a busy neighbour costs less of these than of the wall clock.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flyweight.base import write_json
from flyweight.corpus.cleaning.contamination import EvaluationIndex
from flyweight.corpus.cleaning.evaluation_sets import build_index, read_items, strings
from flyweight.corpus.cleaning.near import BANDS, ROWS, band_keys, estimated_resemblance, signatures
from flyweight.corpus.cleaning.words import WordHashes, hash_words
from flyweight.corpus.documents import ReadLog
from flyweight.corpus.reading.records import read_records
from flyweight.recipe import EvaluationSet

BATCH = 1 << 20
SAMPLES = 3


def read_texts(file: Path) -> list[str]:
    """The documents of a corpus; of conversations, what was said, a line each."""
    texts = []
    for record, _ in read_records([file], ReadLog()):
        text = record.get("text")
        if not isinstance(text, str):
            said = [message.get("content") for message in record.get("messages", [])]
            text = "\n".join(strings(said))
        texts.append(text)
    return texts


def batches(texts: Sequence[str]) -> Iterator[list[bytes]]:
    """Texts in UTF-8, about a megabyte at a time."""
    batch, size = [], 0
    for text in texts:
        data = text.encode("utf-8", errors="replace")
        batch.append(data)
        size += len(data)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def fastest(work: Callable[[], list[Any]], passes: int = 3) -> tuple[list[Any], float]:
    """What `work` gives, and the processor seconds of its fastest pass."""
    best, result = float("inf"), []
    for _ in range(passes):
        begin = time.process_time()
        result = work()
        best = min(best, time.process_time() - begin)
    return result, best


def flagged(index: EvaluationIndex, texts: Sequence[str], first: np.ndarray) -> dict[str, Any]:
    """By set: documents and bytes that are dropped, with samples."""
    facts: dict[str, Any] = {}
    for number, name in enumerate(index.names):
        documents = np.flatnonzero(first == number).tolist()
        if documents:
            facts[name] = {
                "documents": len(documents),
                "bytes": sum(len(texts[document].encode("utf-8", "replace")) for document in documents),
                "numbers": documents[:100],
                "samples": [
                    (index.explain(texts[document]) or ("", ""))[1] for document in documents[:SAMPLES]
                ],
            }
    return facts


def duplicates(words: list[WordHashes], keys: np.ndarray, texts: Sequence[str]) -> dict[str, Any]:
    """Documents that share a key with an earlier one, and how alike they are."""
    rows = np.concatenate([signatures(batch) for batch in words], axis=1)
    earlier = np.arange(len(keys))
    for band in range(BANDS):
        _, first, group = np.unique(keys[:, band], return_index=True, return_inverse=True)
        present = keys[:, band] != 0
        earlier[present] = np.minimum(earlier[present], first[group[present]])
    removed = np.flatnonzero(earlier < np.arange(len(keys)))
    exact = sum(texts[one] == texts[other] for one, other in zip(removed, earlier[removed], strict=True))
    alike = estimated_resemblance(rows[:, removed], rows[:, earlier[removed]])
    return {
        "documents": len(removed),
        "of which equal": int(exact),
        "estimated resemblance, quartiles": [
            round(float(q), 3) for q in np.quantile(alike, [0.25, 0.5, 0.75])
        ]
        if len(removed)
        else [],
        "samples": [
            [texts[one][:160], texts[earlier[one]][:160]]
            for one in removed.tolist()
            if texts[one] != texts[earlier[one]]
        ][:SAMPLES],
    }


def measure(file: Path, index: EvaluationIndex, found: np.ndarray) -> dict[str, Any]:
    """Speed of each step on a corpus, and what it finds; marks in `found` the runs that occur."""
    texts = read_texts(file)
    data = list(batches(texts))
    megabytes = sum(len(text) for batch in data for text in batch) / 1e6
    words, hashing = fastest(lambda: [hash_words(batch) for batch in data])
    first, finding = fastest(lambda: [index.find(batch) for batch in words])
    keys, near = fastest(lambda: [band_keys(batch) for batch in words])
    for batch in words:
        found[index.matches(batch)[2]] = True
    return {
        "documents": len(texts),
        "megabytes": round(megabytes, 1),
        "ms per MB": {
            "words": round(hashing / megabytes * 1e3, 2),
            "13-word runs": round(finding / megabytes * 1e3, 2),
            "MinHash": round(near / megabytes * 1e3, 2),
        },
        "MB/s, words and 13-word runs": round(megabytes / (hashing + finding), 1),
        "MB/s, with MinHash as well": round(megabytes / (hashing + finding + near), 1),
        "contaminated": flagged(index, texts, np.concatenate(first)),
        "near-duplicates": duplicates(words, np.concatenate(keys), texts),
    }


def hit_items(index: EvaluationIndex, sets: dict[str, list[list[str]]], found: np.ndarray) -> dict[str, Any]:
    """Of each set, how many items some corpus shares a run with; sets without any are left out."""
    facts: dict[str, Any] = {}
    for name, items in sets.items():
        hit = index.hit_items(items, found)
        facts[name] = {
            "hit": len(hit),
            "of": len(items),
            "samples": [items[n][0][:160] for n in hit[:SAMPLES]],
        }
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    sets: dict[str, EvaluationSet] = {}
    for folder in sorted(given.evaluation.iterdir()):
        files = sorted(folder.glob("*.jsonl")) if folder.name == "gsm8k" else [folder]
        for file in files:  # the training half of GSM8K is no evaluation set, but shows what is found
            sets["_".join([folder.name, *([file.stem] if file != folder else [])])] = EvaluationSet(
                path=str(file)
            )
    facts: dict[str, Any] = {
        "command": "python benchmarks/cleaning.py --corpora FOLDER --evaluation FOLDER",
        "machine": f"{platform.machine()}, one core, Python {platform.python_version()}, numpy {np.__version__}",
        "settings": f"runs of 13 words; {BANDS} bands of {ROWS} over shingles of 5 words",
    }
    with tempfile.TemporaryDirectory() as scratch:
        begin = time.process_time()
        index = build_index(sets, Path(scratch) / "index")
        built = time.process_time()
        build_index(sets, Path(scratch) / "index")
        facts["index"] = {
            "processor seconds": round(built - begin, 2),
            "processor seconds when it is there": round(time.process_time() - built, 2),
            "runs": len(index.hashes),
            "sets": {
                of.name: {"items": of.items, "short": of.short_items, "runs": of.runs} for of in index.sets
            },
        }
        items = {name: list(read_items(name, of, Path(scratch))) for name, of in sets.items()}
        everywhere = np.zeros(len(index.hashes), dtype=np.bool_)
        facts["corpora"], facts["items hit"] = {}, {}
        for file in sorted(given.corpora.glob("*.jsonl.zst")):
            name = file.name.removesuffix(".jsonl.zst")
            found = np.zeros_like(everywhere)
            facts["corpora"][name] = measure(file, index, found)
            print(
                name, {key: value for key, value in facts["corpora"][name].items() if "MB" in key}, flush=True
            )
            facts["items hit"][name] = hit_items(index, items, found)
            everywhere |= found
        facts["items hit"]["all corpora"] = hit_items(index, items, everywhere)
    for name, of in facts["items hit"]["all corpora"].items():
        print(f"{name}: {of['hit']:,} of {of['of']:,} items share a run with a corpus")
    if given.out:
        write_json(given.out, facts)


if __name__ == "__main__":
    main()
