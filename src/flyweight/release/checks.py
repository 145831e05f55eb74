"""Does an exported folder compute what the checkpoint computes, for somebody who has only transformers?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from flyweight.base import UserError, derive_seed
from flyweight.corpus import TextTokenizer
from flyweight.inference import ChatFormat
from flyweight.model import Decoder

MAXIMUM_DIFFERENCE = 1e-4
"""What two orders of the same float32 sums may differ by."""
FOLDED_BFLOAT16_DIFFERENCE = 0.03
"""As a share of the largest logit: weights that took multipliers over were rounded to bfloat16 after that,
those of the reference before. Small models with wide weights came to 0.004 to 0.016."""
RANDOM_LENGTH, LONG_LENGTH, NEW_TOKENS = 64, 512, 24
LONG_KEPT = 8
"""Of the long sequence, logits are compared at this many last positions."""

PROSE = (
    "The trouble with a small model is that it has to choose what to remember. Water boils at 100 degrees, "
    "and 17 + 25 = 42; everything else it must work out from the words before."
)
TEXTS = (
    "",
    " ",
    "\n\n\t  \r\n x ",
    PROSE,
    "  two spaces before, and three after   ",
    "def f(x):\n\treturn {'a': [x ** 2, -1]}  # naïve\r\n",
    "1234567890 3.14159 1,000,000 0x1F 2nd",
    "don't can't I'LL we've O'Neill ''' \"quoted\"",
    "e\u0301 and é, ﬁ and fi, Å and Å",
    "日本語のテキスト、한국어, العربية, हिन्दी, עברית",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽",
    "\u200b\ufeff\x00\x7f\u2028 invisible",
    "Ġtoken ▁token <0x0A> </s> [INST] <|im_start|>",
    "∑∫√≠ …–— !?.,;: ~~~ ///",
    "a" * 300,
)
"""Where tokenizers differ: spaces, digits, contractions, combining and composed characters, scripts, joiners,
control characters, and text that looks like other tokenizers' special tokens."""
CONVERSATION = (
    {"role": "user", "content": "What is 17 + 25, and how do you write  naïve\tin 日本語?\n"},
    {"role": "assistant", "content": "42. I don't know. "},
    {"role": "user", "content": "{{ Thanks }} <b>!</b>"},
)
"""What is put to the chat template of a model that has one."""


class ExportError(RuntimeError):
    """The exported folder does not compute what the checkpoint does; nothing was kept of it."""


@dataclass(frozen=True)
class Checks:
    """The figures of a check that an export has passed."""

    maximum_difference: float
    """Largest difference between its logits and the checkpoint's, both computed in float32."""
    tolerance: float
    """What that difference had to stay below."""
    differences: dict[str, float]
    """The same by kind of input."""
    largest_logit: float
    """Largest absolute value among the checkpoint's logits."""
    positions: int
    """Positions whose logits were compared."""
    texts: int
    """Texts whose tokens were compared; all were equal."""
    conversation_tokens: int | None
    """Tokens that the chat template made of a conversation, equal to those of training; None without a template."""
    generated_tokens: int
    """Tokens that were generated greedily, with and without a cache."""
    same_tokens: int
    """How many of these are equal before the first other one: all, but where rounding decided a tie."""
    parameters: int
    """Parameters of the loaded model."""
    tied: bool
    """Whether the loaded model's readout is its embedding."""
    versions: dict[str, str]
    """Of Python and the libraries that loaded it."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Expected:
    """What the loaded model has to be."""

    model_class: str
    custom_code: bool
    tied: bool
    parameters: int
    end_of_text: int
    stop_tokens: list[int]
    """Each ends generated text; end_of_text is the first."""
    conversation: dict[str, Any] | None
    """Messages and the tokens that the chat template has to make of them; None without a template."""
    relative_tolerance: float | None
    """A share of the largest logit; None for MAXIMUM_DIFFERENCE."""


@torch.no_grad()
def write_probe(probe: Path, decoder: Decoder, tokenizer: TextTokenizer, expected: Expected) -> None:
    """Write inputs and what `decoder`, in float32, answers to them: probe.safetensors and probe.json."""
    tensors: dict[str, Tensor] = {}
    for name, (tokens, kept) in probe_sequences(decoder, tokenizer).items():
        tensors[f"tokens.{name}"] = tokens
        tensors[f"logits.{name}"] = decoder.logits(decoder(tokens)[:, -kept:]).contiguous()
    save_file(tensors, probe / "probe.safetensors")
    new_tokens = min(NEW_TOKENS, decoder.config.max_position_embeddings - 1)
    prompt = tokenizer.encode(PROSE)[: max(1, min(16, decoder.config.max_position_embeddings - new_tokens))]
    asked = {
        "custom_code": expected.custom_code,
        "end_of_text": expected.end_of_text,
        "stop_tokens": expected.stop_tokens,
        "prompt": prompt,
        "new_tokens": new_tokens,
        "texts": probe_texts(tokenizer),
        "conversation": expected.conversation,
    }
    (probe / "probe.json").write_text(json.dumps(asked), encoding="utf-8")


def probe_texts(tokenizer: TextTokenizer) -> list[dict[str, Any]]:
    """TEXTS with their tokens, and what these decode to."""
    # Text that spells a special token is the one thing that others are meant to encode otherwise.
    texts = [text for text in TEXTS if not any(token in text for token in tokenizer.special_tokens)]
    encoded = [(text, tokenizer.encode(text)) for text in texts]
    return [{"text": text, "tokens": ids, "decoded": tokenizer.decode(ids)} for text, ids in encoded]


def probe_conversation(chat: ChatFormat | None) -> dict[str, Any] | None:
    """CONVERSATION and its tokens, up to where the assistant begins; only its first message for a template that takes
    no more; None without a template."""
    if chat is None:
        return None
    messages = list(CONVERSATION)
    try:
        tokens = chat.tokens(messages)
    except UserError:
        messages = messages[:1]
        tokens = chat.tokens(messages)
    return {"messages": messages, "tokens": tokens}


def probe_sequences(decoder: Decoder, tokenizer: TextTokenizer) -> dict[str, tuple[Tensor, int]]:
    """Inputs (B, T) by name, with the number of last positions whose logits count.

    Random tokens reach rows of the embedding that no text does, real text is what the model was trained for,
    and a long sequence turns RoPE far.
    """
    longest = decoder.config.max_position_embeddings
    generator = torch.Generator().manual_seed(derive_seed(0, "export", "probe"))

    def random(rows: int, length: int) -> Tensor:
        return torch.randint(0, decoder.config.vocab_size, (rows, length), generator=generator)

    short, long = min(RANDOM_LENGTH, longest), min(LONG_LENGTH, longest)
    text = torch.tensor([tokenizer.encode(PROSE)[:longest]])
    return {
        "random": (random(2, short), short),
        "text": (text, text.shape[1]),
        "long": (random(1, long), min(LONG_KEPT, long)),
    }


def check_export(folder: Path, decoder: Decoder, tokenizer: TextTokenizer, expected: Expected) -> Checks:
    """Load `folder` in a fresh process and hold it against `decoder` and `tokenizer`.

    Raises:
        ExportError: it does not load, or differs.
    """
    with tempfile.TemporaryDirectory(prefix="flyweight-probe-") as scratch:
        probe = Path(scratch)
        write_probe(probe, decoder, tokenizer, expected)
        return judge(load_back(folder, probe), expected)


def load_back(folder: Path, probe: Path) -> dict[str, Any]:
    """What `load_back.py` measures in a process of its own, without a network and without Flyweight."""
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        # Modeling code is copied there before it runs: into the probe, to leave the user's cache alone.
        "HF_MODULES_CACHE": str(probe / "modules"),
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    script = Path(__file__).with_name("load_back.py")
    # -P keeps the script's folder, and with it our files, off the import path.
    command = [sys.executable, "-P", str(script), str(folder), str(probe)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        reason = "\n".join(finished.stderr.strip().splitlines()[-20:])
        raise ExportError(
            f"a fresh process could not load the export back (exit code {finished.returncode}):\n{reason}"
        )
    return json.loads(finished.stdout.strip().splitlines()[-1])


def same_tokens(tokens: list[int], others: list[int]) -> int:
    """How many of `tokens` are those of `others`, before the first other one."""
    pairs = enumerate(zip(tokens, others, strict=True))
    return next((place for place, (one, other) in pairs if one != other), len(tokens))


def judge(measured: dict[str, Any], expected: Expected) -> Checks:
    """The figures of `measured`, if all of them are as `expected`.

    Raises:
        ExportError: some are not; the message names each with its figures.
    """
    tolerance = MAXIMUM_DIFFERENCE
    if expected.relative_tolerance is not None:
        tolerance = expected.relative_tolerance * measured["largest_logit"]
    differences, generated = measured["differences"], measured["generated"]
    # A token that lost by less than the tolerance is a tie that rounding decided, not a wrong cache.
    same = same_tokens(generated["cached"], generated["uncached"])
    tie = all(gap < MAXIMUM_DIFFERENCE for gap in measured["greedy_gaps"].values())
    special = [expected.end_of_text] * 3
    faults = {
        f"its class is {measured['model_class']}, not {expected.model_class}": (
            measured["model_class"] != expected.model_class
        ),
        f"it has {measured['parameters']:,} parameters, not {expected.parameters:,}": (
            measured["parameters"] != expected.parameters
        ),
        f"weights are missing: {measured['missing_weights']}": bool(measured["missing_weights"]),
        f"weights have no place: {measured['unexpected_weights']}": bool(measured["unexpected_weights"]),
        f"its readout is {'' if measured['tied'] else 'not '}tied": measured["tied"] != expected.tied,
        # `not <` instead of `>=`: a difference that is not a number is a fault too.
        f"its logits differ by {differences}, allowed is {tolerance:.2e}": (
            not all(difference < tolerance for difference in differences.values())
        ),
        f"generation with and without a cache differs: {generated}, gaps {measured['greedy_gaps']}": (
            same < len(generated["cached"]) and not tie
        ),
        f"its tokenizer differs on {measured['wrong_texts']}": bool(measured["wrong_texts"]),
        "its chat template gives other tokens than training's": measured["conversation_differs"],
        f"its text ends at {measured['stop_tokens']}, not {expected.stop_tokens}": (
            measured["stop_tokens"] != expected.stop_tokens
        ),
        f"its special tokens are {measured['special_tokens']}, not {special}": (
            measured["special_tokens"] != special
        ),
        "its tokenizer does not take end_of_text for special": not measured["end_of_text_is_special"],
    }
    if found := [fault for fault, present in faults.items() if present]:
        raise ExportError(f"the export, loaded back, is not the checkpoint's model: {'; '.join(found)}")
    return Checks(
        maximum_difference=max(differences.values()),
        tolerance=tolerance,
        differences=differences,
        largest_logit=measured["largest_logit"],
        positions=measured["positions"],
        texts=measured["texts"],
        conversation_tokens=measured["conversation_tokens"],
        generated_tokens=len(generated["cached"]),
        same_tokens=same,
        parameters=measured["parameters"],
        tied=measured["tied"],
        versions=measured["versions"],
    )
