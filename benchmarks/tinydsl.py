"""What TinyDSL saves in tokens, and what it costs in time, on real Python files.

    python benchmarks/tinydsl.py --corpora FOLDER --out benchmarks/results/NAME.json

FOLDER holds textbooks.jsonl.zst and python_code.jsonl.zst. Tokens are those of two 32K byte-level BPEs:
one trained on the textbooks alone, one on textbooks and code in equal parts. The code for it is that of
every other file; the measured files are the others. Speed: each batch of files is parsed alone, then
normalised, one after the other, so that both meet the same moments of a noisy machine; on one core.
"""

from __future__ import annotations

import argparse
import ast
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import zstandard

from flyweight.base import write_json
from flyweight.corpus.tinydsl import NotNormalisable, denormalize, normalize
from flyweight.corpus.tokenizers import TextTokenizer, train
from flyweight.recipe.schema import Tokenizer

VOCABULARY = 32_768
BATCH = 25
FORMS = ("raw", "without comments and docstrings", "compact", "exact")


def texts(file: Path) -> Iterator[str]:
    with file.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
        rest = b""
        while chunk := stream.read(1 << 20):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (json.loads(line)["text"] for line in lines)


def stripped(source: str) -> str:
    """The code as Python writes its tree, without docstrings: what formatting alone saves."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                del node.body[0]
            if not node.body and not isinstance(node, ast.Module):
                node.body = [ast.Pass()]
    return ast.unparse(tree)


def measured_forms(files: list[str]) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Every form of every file that can be parsed; and the others, by reason."""
    forms: dict[str, list[str]] = {form: [] for form in FORMS}
    skipped: dict[str, int] = {}
    for source in files:
        try:
            versions = (source, stripped(source), normalize(source, "compact"), normalize(source, "exact"))
        except NotNormalisable as error:
            skipped[error.reason] = skipped.get(error.reason, 0) + 1
            continue
        for form, text in zip(FORMS, versions, strict=True):
            forms[form].append(text)
    return forms, skipped


def count_tokens(tokenizer: TextTokenizer, forms: dict[str, list[str]]) -> dict[str, int]:
    return {form: sum(len(ids) for ids in tokenizer.encode_batch(of)) for form, of in forms.items()}


def speeds(files: list[str], exact: list[str]) -> dict[str, float]:
    """Speed of each step relative to `ast.parse` alone on the same files: the median batch."""
    steps: dict[str, tuple[Callable[[str], object], list[str]]] = {
        "ast.parse": (ast.parse, files),
        "compact": (lambda source: normalize(source, "compact"), files),
        "exact": (lambda source: normalize(source, "exact"), files),
        "denormalize": (denormalize, exact),
    }
    seconds: dict[str, list[float]] = {step: [] for step in steps}
    for first in range(0, len(files), BATCH):
        for step, (function, inputs) in steps.items():
            started = time.perf_counter()
            for text in inputs[first : first + BATCH]:
                function(text)
            seconds[step].append(time.perf_counter() - started)
    alone = seconds["ast.parse"]
    ratios = {
        step: statistics.median(a / b for a, b in zip(alone, spent, strict=True))
        for step, spent in seconds.items()
    }
    size = sum(len(text.encode()) for text in files) / 1e6
    return {f"{step}, of ast.parse's speed": ratio for step, ratio in ratios.items()} | {
        f"{step}, MB/s": size / sum(spent) for step, spent in seconds.items()
    }


def show(tokens: dict[str, dict[str, int]]) -> None:
    for name, counts in tokens.items():
        print(f"\n32K BPE of {name}")
        for form, count in counts.items():
            print(
                f"  {form:34} {count:>12,} tokens   {counts['raw'] / count:5.2f} x fewer than raw"
                f"   {counts[FORMS[1]] / count:5.2f} x fewer than without comments"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="What TinyDSL saves in tokens, and what it costs.")
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")

    textbooks = list(texts(arguments.corpora / "textbooks.jsonl.zst"))
    code = list(texts(arguments.corpora / "python_code.jsonl.zst"))
    seen, measured = code[::2], code[1::2]
    forms, skipped = measured_forms(measured)
    print(f"{len(forms['raw']):,} files measured; skipped: {skipped or 'none'}")

    half = min(sum(map(len, textbooks)), sum(map(len, seen)))
    samples = {
        "English textbooks": textbooks,
        "textbooks and code": [*first_characters(textbooks, half), *first_characters(seen, half)],
    }
    settings = Tokenizer(vocab_size=VOCABULARY, pattern="qwen2")
    tokens = {name: count_tokens(train(settings, sample), forms) for name, sample in samples.items()}
    show(tokens)
    speed = speeds(forms["raw"], forms["exact"])
    print()
    for name, value in speed.items():
        print(f"  {name:40} {value:6.2f}")
    result = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "files": len(forms["raw"]),
        "bytes": {form: sum(len(text.encode()) for text in of) for form, of in forms.items()},
        "skipped": skipped,
        "tokens": tokens,
        "speed": speed,
    }
    write_json(arguments.out, result)


def first_characters(documents: list[str], most: int) -> Iterator[str]:
    for text in documents:
        if most <= 0:
            return
        yield text
        most -= len(text)


if __name__ == "__main__":
    main()
