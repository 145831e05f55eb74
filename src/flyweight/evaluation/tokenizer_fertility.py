"""How well tokenizers compress the same held-out text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from flyweight.base import UserError
from flyweight.corpus import open_corpus
from flyweight.evaluation.compressor import held_out_text

TOKENIZER_FILE = "tokenizer.json"


def measure_tokenizers(corpus: Path, others: Sequence[Path] = ()) -> dict[str, dict[str, float]]:
    """Bytes of held-out text per token, by tokenizer and then by source.

    The tokens are those of the documents, without the end_of_text after each.

    Args:
        corpus: a prepared corpus; its own tokenizer comes first, under the name "corpus".
        others: tokenizer.json files, or folders with one, to be measured on the same text.

    Raises:
        UserError: no corpus there, or a tokenizer that cannot be read.
    """
    opened = open_corpus(corpus)
    tokenizers = {"corpus": opened.tokenizer.backend} | {str(path): _read(path) for path in others}
    table: dict[str, dict[str, float]] = {name: {} for name in tokenizers}
    for source, held_out in opened.held_out.items():
        texts = held_out_text(held_out, opened.tokenizer)
        size = sum(len(text.encode()) for text in texts)
        for name, tokenizer in tokenizers.items():
            encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            table[name][source] = size / max(1, sum(len(encoding) for encoding in encodings))
    return table


def _read(path: Path) -> Tokenizer:
    # Not a TextTokenizer: another's tokenizer need not have our end_of_text to be compared.
    file = path / TOKENIZER_FILE if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{file}: no such tokenizer; expected a {TOKENIZER_FILE}, or a folder with one.")
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{file}: this tokenizer cannot be read ({' '.join(str(error).split())}).") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
