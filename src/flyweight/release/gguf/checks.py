"""Does a GGUF file compute in llama.cpp what the checkpoint computes?"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flyweight.corpus import TextTokenizer
from flyweight.corpus.tokenizers.hard_text import HARD_TEXT
from flyweight.inference import ChatFormat
from flyweight.model import Decoder
from flyweight.release.checks import (
    PROSE,
    TEXTS,
    ExportError,
    probe_conversation,
    probe_sequences,
    same_tokens,
)
from flyweight.release.gguf.writing import GgufType

MAXIMUM_DIFFERENCE = 1e-3
"""Between logits of a file in float32 and the checkpoint's: llama.cpp sums in another order."""
ROUNDED_DIFFERENCE = {"f16": 0.01, "bf16": 0.06, "q8_0": 0.06}
"""The same for other types, as the root mean square over the spread of the logits: llama.cpp rounds weights and
activations to them. Small models with wide weights came to 0.0034, 0.029 and 0.022, rows in the wrong order to 0.41 and
more (docs/log.md). The largest difference wanders too much to judge by: it came to 0.07 of the largest logit."""
NEW_TOKENS = 64


@dataclass(frozen=True)
class GgufChecks:
    """The figures of a check that a file has passed."""

    differences: dict[str, float]
    """Largest difference of logits by kind of input."""
    relative: dict[str, float]
    """Root mean square of the difference over the spread of the checkpoint's logits, by kind of input."""
    tolerance: float
    """What `differences` had to stay below in float32, `relative` in other types."""
    largest_logit: float
    """Largest absolute value among the checkpoint's logits."""
    positions: int
    """Positions whose logits were compared."""
    texts: int
    """Texts whose tokens were compared; all were equal."""
    conversation_tokens: int | None
    """Tokens that the chat template, run by Python's Jinja, made of a conversation, equal to those of training; None
    without a template."""
    builtin_template: str | None
    """Whether llama.cpp's built-in renderer, which only knows some families of templates, makes the same tokens of it:
    same, different, or unknown, where it does not know the template. None without a template."""
    generated_tokens: int
    """Tokens that were generated greedily."""
    same_tokens: int
    """How many of these are the checkpoint's own before the first other one: in float32 all, but for a tie."""
    gap_at_first_other: float | None
    """How far the first other token lies below the checkpoint's own, in the checkpoint's logits; in float32 less than
    `tolerance`, a tie that rounding decided. None where all are the same."""
    versions: dict[str, str]
    """Of what loaded it."""

    @property
    def maximum_difference(self) -> float:
        """Over all inputs."""
        return max(self.differences.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def has_llama_cpp() -> bool:
    """Whether the file can be checked here."""
    return importlib.util.find_spec("llama_cpp") is not None


@torch.no_grad()
def write_probe(probe: Path, decoder: Decoder, tokenizer: TextTokenizer, chat: ChatFormat | None) -> Tensor:
    """Write inputs and what `decoder` answers: probe.npz and probe.json.

    Returns:
        The logits of its own greedy text, (NEW_TOKENS, V): the largest of each row is the token that it writes.
    """
    arrays: dict[str, np.ndarray] = {}
    sequences = probe_sequences(decoder, tokenizer)
    for name, (tokens, kept) in sequences.items():
        arrays[f"tokens.{name}"] = tokens.numpy()
        arrays[f"logits.{name}"] = decoder.logits(decoder(tokens)[:, -kept:]).numpy()
    np.savez(probe / "probe.npz", **arrays)  # type: ignore[arg-type]
    longest = decoder.config.max_position_embeddings
    new_tokens = min(NEW_TOKENS, longest - 1)
    prompt = tokenizer.encode(PROSE)[: max(1, min(16, longest - new_tokens))]
    asked = {
        # Not what the model could take: llama.cpp makes room for the logits of so many positions.
        "longest": max(len(prompt) + new_tokens, *(tokens.shape[1] for tokens, _ in sequences.values())),
        "prompt": prompt,
        "new_tokens": new_tokens,
        # llama.cpp can take what looks like a special token for text, so nothing has to be left out.
        "texts": [{"text": text, "tokens": tokenizer.encode(text)} for text in (*TEXTS, *HARD_TEXT)],
        "conversation": probe_conversation(chat),
    }
    (probe / "probe.json").write_text(json.dumps(asked), encoding="utf-8")
    written: list[int] = []
    rows: list[Tensor] = []
    while len(written) < new_tokens:
        states = decoder(torch.tensor([prompt + written]))
        rows.append(decoder.logits(states[:, -1:])[0, -1])
        written.append(int(rows[-1].argmax()))
    return torch.stack(rows)


def check_gguf(
    file: Path,
    decoder: Decoder,
    tokenizer: TextTokenizer,
    chat: ChatFormat | None,
    kind: GgufType,
    architecture: str,
) -> GgufChecks:
    """Load `file` with llama.cpp in a fresh process and hold it against `decoder`, `tokenizer` and `chat`.

    Raises:
        ExportError: it does not load, or differs.
    """
    measured, greedy = measure_gguf(file, decoder, tokenizer, chat)
    return judge(measured, greedy, kind, architecture, tokenizer.end_of_text)


def measure_gguf(
    file: Path, decoder: Decoder, tokenizer: TextTokenizer, chat: ChatFormat | None
) -> tuple[dict[str, Any], Tensor]:
    """What `load_back.py` measures of `file`, and the logits of the checkpoint's own greedy text (`write_probe`).

    Raises:
        ExportError: it does not load.
    """
    with tempfile.TemporaryDirectory(prefix="flyweight-probe-") as scratch:
        probe = Path(scratch)
        greedy = write_probe(probe, decoder, tokenizer, chat)
        script = Path(__file__).with_name("load_back.py")
        # -P keeps the script's folder, and with it our files, off the import path.
        command = [sys.executable, "-P", str(script), str(file), str(probe)]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        reason = "\n".join(finished.stderr.strip().splitlines()[-20:])
        raise ExportError(f"llama.cpp could not load the file (exit code {finished.returncode}):\n{reason}")
    return json.loads(finished.stdout.strip().splitlines()[-1]), greedy


def judge(
    measured: dict[str, Any], greedy: Tensor, kind: GgufType, architecture: str, end_of_text: int
) -> GgufChecks:
    """The figures of `measured`, if all of them are as they should be.

    Args:
        measured: by `load_back.py`.
        greedy: the logits of the checkpoint's own greedy text, (tokens, V).
        kind: of the file; it says which differences are allowed.
        architecture: llama.cpp's name that the file has to bear.
        end_of_text: the token that has to end text.

    Raises:
        ExportError: some are not; the message names each with its figures.
    """
    judged, tolerance = ("differences", MAXIMUM_DIFFERENCE)
    if kind != "f32":
        judged, tolerance = ("relative", ROUNDED_DIFFERENCE[kind])
    generated, expected = measured["generated"], greedy.argmax(dim=-1).tolist()
    same, gap = same_tokens(generated, expected), None
    if same < len(expected):
        gap = float(greedy[same].max() - greedy[same, generated[same]])
    faults = {
        f"its architecture is {measured['architecture']}, not {architecture}": measured["architecture"]
        != architecture,
        # `not <` instead of `>=`: a difference that is not a number is a fault too.
        f"its logits differ by {measured[judged]} ({judged}), allowed is {tolerance:.2e}": (
            not all(difference < tolerance for difference in measured[judged].values())
        ),
        # After a tie that rounding decided, the two texts go their own ways.
        f"it writes {generated}, not {expected}, a gap of {gap}": (
            kind == "f32" and gap is not None and not gap < tolerance
        ),
        f"its tokenizer differs on {measured['wrong_texts']}": bool(measured["wrong_texts"]),
        "its chat template gives other tokens than training's": measured["conversation_differs"],
        f"its end_of_text is {measured['end_of_text']}, not {end_of_text}": measured["end_of_text"]
        != end_of_text,
    }
    if found := [fault for fault, present in faults.items() if present]:
        raise ExportError(f"the file, loaded by llama.cpp, is not the checkpoint's model: {'; '.join(found)}")
    return GgufChecks(
        differences=measured["differences"],
        relative=measured["relative"],
        tolerance=tolerance,
        largest_logit=measured["largest_logit"],
        positions=measured["positions"],
        texts=measured["texts"],
        conversation_tokens=measured["conversation_tokens"],
        builtin_template=measured["builtin_template"],
        generated_tokens=len(generated),
        same_tokens=same,
        gap_at_first_other=gap,
        versions=measured["versions"],
    )
