"""A checkpoint becomes a GGUF file for llama.cpp and what builds on it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyweight.base import UserError, atomic_folder, write_json
from flyweight.inference import chat_format, find_checkpoint
from flyweight.model import FoldedWeights, stock_class, stock_config
from flyweight.release.gguf.checks import GgufChecks, check_gguf, has_llama_cpp
from flyweight.release.gguf.vocabulary import vocabulary
from flyweight.release.gguf.writing import ARCHITECTURES, GgufType, write_gguf
from flyweight.release.record import EXPORT_FILE, file_hashes, record_of, refuse_foreign_folder
from flyweight.release.source import read_source


@dataclass(frozen=True)
class GgufExport:
    """A finished file."""

    folder: Path
    """Where it is."""
    file: Path
    """The file itself."""
    kind: GgufType
    checks: GgufChecks | None
    """What the check measured; None where llama-cpp-python is not installed."""
    seconds: float
    """How long it took."""


def export_gguf(
    checkpoint: str | Path,
    out: str | Path,
    *,
    kind: GgufType = "f16",
    progress: Callable[[str, float], None] | None = None,
    finish: Callable[[Path], object] | None = None,
) -> GgufExport:
    """Write the model of a checkpoint as OUT/NAME-KIND.gguf, and load it with llama.cpp where that is installed.

    Args:
        checkpoint: a checkpoint folder, a run folder, or RUN@TOKENS.
        out: a new folder, or that of an earlier export, which is replaced.
        kind: how matrices are stored.
        progress: called with what is being done and the share that is done.
        finish: called with the folder before it takes its place; writes what else belongs there, such as a card.

    Raises:
        UserError: no such checkpoint, a model or tokenizer that llama.cpp does not have, or an `out` that holds
            something else.
        ExportError: llama.cpp computes something else. `out` stays as it was.
    """
    started, out = time.monotonic(), Path(out)
    report = progress or (lambda _what, _share: None)
    if importlib.util.find_spec("gguf") is None:
        raise UserError("writing GGUF needs the package gguf; pip install 'flyweight[release]'.")
    refuse_foreign_folder(out)
    found = find_checkpoint(checkpoint)
    report("reading the checkpoint", 0.0)
    source = read_source(found)
    decoder, recipe, tokenizer = source.decoder, source.recipe, source.tokenizer
    if (stock := stock_class(recipe.model, recipe.parametrization)) is None:
        raise UserError(
            f"{recipe.name}: llama.cpp has no architecture with "
            f"{'exclusive attention' if recipe.model.exclusive_attention else 'such heads'}; export it with --to hf."
        )
    chat = chat_format(recipe, tokenizer)
    words = vocabulary(tokenizer, recipe.model.vocab_size, recipe.name, chat.end_of_turn if chat else None)
    with atomic_folder(out.absolute()) as folder:
        report("writing the file", 0.1)
        file = folder / f"{recipe.name}-{kind.upper()}.gguf"
        # The decoder's own: training may have moved the base of its rotary positions.
        config = stock_config(decoder.config, recipe.parametrization)
        weights = FoldedWeights(decoder.state_dict(), decoder.config, recipe.parametrization)
        template = chat.template if chat else None
        write_gguf(file, recipe.name, config, weights, words, kind, chat_template=template)
        checks = None
        if has_llama_cpp():
            report("loading it with llama.cpp", 0.4)
            checks = check_gguf(file, decoder, tokenizer, chat, kind, ARCHITECTURES[stock])
        done = GgufExport(out, out / file.name, kind, checks, time.monotonic() - started)
        about: dict[str, Any] = {
            "model_class": stock,
            "file": file.name,
            "dtype": kind,
            "checks": checks.to_dict() if checks else None,
            "gguf": importlib.metadata.version("gguf"),
            **file_hashes(folder),
        }
        write_json(folder / EXPORT_FILE, record_of(source, done.seconds) | about)
        if finish is not None:
            finish(folder)
    report("done", 1.0)
    return done
