"""How well tokenizers compress the same held-out text, and what their vocabularies cost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer

from flyweight.base import UserError
from flyweight.corpus import open_corpus
from flyweight.corpus.tokenizers.adopting import read_tokenizer
from flyweight.evaluation.compressor import held_out_text
from flyweight.model import parameter_counts
from flyweight.recipe import Recipe

CORPUS = "corpus"
"""The name under which the corpus's own tokenizer is measured."""

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")

_HUB_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "merges.txt")


@dataclass(frozen=True)
class TokenizerMeasure:
    """What was measured, by tokenizer; the corpus's own is the first."""

    bytes_per_token: dict[str, dict[str, float]] = field(default_factory=dict)
    """By tokenizer and source: bytes of held-out text for one token."""
    entries: dict[str, int] = field(default_factory=dict)
    """Entries of each tokenizer."""
    vocabulary_share: dict[str, float] = field(default_factory=dict)
    """With a recipe: the share of the model's parameters that embedding and readout would take, 0 to 1."""


def measure_tokenizers(
    corpus: Path, others: Sequence[str | Path] = (), recipe: Recipe | None = None
) -> TokenizerMeasure:
    """Bytes of held-out text per token, by tokenizer and source, and what each vocabulary costs the model.

    The tokens are those of the documents, without the end_of_text after each.

    Args:
        corpus: a prepared corpus; its own tokenizer comes first, under the name "corpus".
        others: files or folders that `adopt` can read, or ids on the Hugging Face hub such as `gpt2`.
        recipe: the model whose parameters are counted. With the corpus's tokenizer it has the rows that the
            recipe gives it; with another, one for each entry.

    Raises:
        UserError: no corpus there, or a tokenizer that cannot be read or fetched.
    """
    opened = open_corpus(corpus)
    tokenizers = {CORPUS: opened.tokenizer.backend} | {str(other): _read(other) for other in others}
    measure = TokenizerMeasure(
        bytes_per_token={name: {} for name in tokenizers},
        entries={
            name: max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
            for name, tokenizer in tokenizers.items()
        },
    )
    for source, held_out in opened.held_out.items():
        texts = held_out_text(held_out, opened.tokenizer)
        size = sum(len(text.encode()) for text in texts)
        for name, tokenizer in tokenizers.items():
            tokens = sum(map(len, tokenizer.encode_batch_fast(texts, add_special_tokens=False)))
            measure.bytes_per_token[name][source] = size / max(1, tokens)
    if recipe is not None:
        for name, entries in measure.entries.items():
            rows = max(entries, recipe.model.vocab_size) if name == CORPUS else entries
            counts = parameter_counts(recipe.model.model_copy(update={"vocab_size": rows}))
            measure.vocabulary_share[name] = (counts["embedding"] + counts["lm_head"]) / counts["total"]
    return measure


def _read(other: str | Path) -> Tokenizer:
    # Not a TextTokenizer: another's tokenizer need not have our end_of_text to be compared.
    path = Path(other).expanduser()
    if not path.exists() and _HUB_ID.fullmatch(str(other)):
        path = _fetched(str(other))
    tokenizer = read_tokenizer(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _fetched(identifier: str) -> Path:
    """The tokenizer files of a model on the hub, in the hub client's own cache."""
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(identifier, allow_patterns=list(_HUB_FILES)))
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{identifier}: there is no such file or folder here, and the tokenizer of that name could not be "
            f"fetched from the Hugging Face hub ({reason}); give a path, or check name and network."
        ) from None
