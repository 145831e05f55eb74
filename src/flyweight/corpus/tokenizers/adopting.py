"""Tokenizers that others made, in the formats in which they are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from flyweight.base import UserError, read_json
from flyweight.corpus.tokenizers.sentencepiece_conversion import NotConvertible, convert
from flyweight.corpus.tokenizers.sentencepiece_model import NotASentencePieceModel, parse_model
from flyweight.corpus.tokenizers.text_tokenizer import FILE, TextTokenizer, read_tokenizer_json

GPT2_FILES = (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt"))
"""Vocabulary and merges under the names of OpenAI's release and of Hugging Face's."""

_GPT2_END = "<|endoftext|>"


def adopt(path: Path, end_of_text: str) -> TextTokenizer:
    """The tokenizer at `path`, with the ids that its own library gives.

    Args:
        path: a tokenizer.json, a SentencePiece .model (Unigram or BPE; see sentencepiece_conversion for
            how near the ids are), one of GPT-2's two files, or a folder that holds any of these; a folder's
            tokenizer.json comes first.
        end_of_text: the token that ends a document in it.

    Raises:
        UserError: nothing there, unreadable, a model that has no equal tokenizer.json, or no such token.
    """
    return TextTokenizer.with_end(read_tokenizer(path), end_of_text, path)


def read_tokenizer(path: Path) -> Tokenizer:
    """As `adopt`, whatever token ends a document."""
    file = _find(path) if path.is_dir() else path
    if not file.is_file():
        raise UserError(
            f"{path}: no such tokenizer; expected a {FILE}, a SentencePiece .model, or a folder with one or "
            f"with GPT-2's files ({' and '.join(GPT2_FILES[0])}, or {' and '.join(GPT2_FILES[1])})."
        )
    if file.suffix == ".model":
        return _read_sentencepiece(file)
    for vocabulary, merges in GPT2_FILES:
        if file.name in (vocabulary, merges):
            return _read_gpt2(file.with_name(vocabulary), file.with_name(merges))
    return read_tokenizer_json(file)


def _find(folder: Path) -> Path:
    """The file to read in a folder; one that does not exist where there is none."""
    found = [folder / FILE, folder / "tokenizer.model", *sorted(folder.glob("*.model"))]
    found += [folder / names[0] for names in GPT2_FILES]
    return next((file for file in found if file.is_file()), folder / FILE)


def _read_sentencepiece(file: Path) -> Tokenizer:
    try:
        return convert(parse_model(file.read_bytes()))
    except NotASentencePieceModel:
        raise UserError(f"{file}: this is not a SentencePiece model.") from None
    except NotConvertible as error:
        raise UserError(
            f"{file}: this SentencePiece model cannot be adopted: {error}; give its {FILE} if there is one."
        ) from None


def _read_gpt2(vocabulary: Path, merges: Path) -> Tokenizer:
    """GPT-2's byte-level BPE; other models ship such files too, with pre-tokenizers that the files do not name."""
    config = vocabulary.with_name("tokenizer_config.json")
    if config.is_file():
        kind = str(read_json(config, "tokenizer configuration").get("tokenizer_class", "GPT2Tokenizer"))
        if not kind.startswith("GPT2"):
            raise UserError(
                f"{config}: {vocabulary.name} and {merges.name} of a {kind} do not say how it cuts text into "
                f"words; give its {FILE}."
            )
    if not merges.is_file():
        raise UserError(f"{merges}: no such file; a vocabulary of GPT-2's kind needs its merges.")
    entries = read_json(vocabulary, "vocabulary")
    try:
        backend = Tokenizer(models.BPE(vocab=entries, merges=_merges(merges)))
    except (ValueError, TypeError, UnicodeDecodeError) as error:
        # TypeError: the JSON is no table of numbers.
        raise UserError(f"{vocabulary}, {merges}: these are not GPT-2's files ({error}).") from None
    except Exception as error:  # the library raises bare Exception
        raise UserError(f"{merges}: these merges do not go with {vocabulary.name} ({error}).") from None
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    backend.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    if _GPT2_END in entries:
        backend.add_special_tokens([AddedToken(_GPT2_END, special=True, normalized=False)])
    return backend


def _merges(file: Path) -> list[tuple[str, str]]:
    """One pair a line after a first line with the version; no rank is written, the order is the rank."""
    lines = file.read_text(encoding="utf-8").split("\n")
    pairs = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("a line of the merges is not two tokens")
    return [(left, right) for left, right in pairs]


def without_special_tokens(backend: Tokenizer) -> dict[str, Any]:
    """The tokenizer.json of `backend`, in which no text becomes a special token and nothing is added or cut."""
    content = json.loads(backend.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if not token["special"]]
    return content | {"truncation": None, "padding": None, "post_processor": None}
