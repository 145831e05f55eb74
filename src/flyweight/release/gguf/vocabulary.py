"""A tokenizer as llama.cpp keeps it: a list of tokens, their kinds, merges, and the name of how text is cut.

llama.cpp does not read a tokenizer's regular expressions; it knows those of published models by name. So only what has
such a name can be written, and whether the ids are the same is tried on hard strings where llama.cpp is installed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from flyweight.base import UserError
from flyweight.corpus import TextTokenizer
from flyweight.corpus.tokenizers.bpe import PATTERNS, pre_tokenizer

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""llama.cpp's kinds of tokens."""

_PLAIN = {
    "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
    "byte_fallback": False, "ignore_merges": False,
}  # fmt: skip
"""The settings of a byte-level BPE without anything else."""

MODEL = "gpt2"
"""llama.cpp's name of byte-level BPE."""


@dataclass(frozen=True)
class Vocabulary:
    """What of a tokenizer stands in a GGUF file."""

    tokens: list[str]
    """By id, as many as the model's embedding has rows."""
    kinds: list[int]
    merges: list[str]
    """Best first, the two parts with a space between."""
    pattern: str
    """llama.cpp's name of the regular expression that cuts text before merging."""
    end_of_text: int
    end_of_turn: int | None
    """The token that ends a message of a chat; None where there is none."""


def vocabulary(tokenizer: TextTokenizer, size: int, name: str, end_of_turn: int | None = None) -> Vocabulary:
    """The tokenizer for llama.cpp.

    Args:
        tokenizer: a byte-level BPE.
        size: rows of the model's embedding, at least the tokenizer's entries; the rest are unused tokens.
        name: of the model, for messages.
        end_of_turn: the token that ends a message of a chat.

    Raises:
        UserError: a tokenizer that llama.cpp would not cut or merge in the same way.
    """
    content = json.loads(tokenizer.backend.to_str())
    model = content["model"]
    if model["type"] != "BPE":
        raise UserError(
            f"{name}: its tokenizer is {model['type']}; llama.cpp has no bytes to fall back to in such tokenizers, so "
            f"that it would give other ids. Byte-level BPE can be written; export this model with --to hf."
        )
    odd = {key: model[key] for key, plain in _PLAIN.items() if model.get(key, plain) not in (plain, None)}
    if odd:
        raise UserError(
            f"{name}: its tokenizer has {', '.join(f'{key} {value!r}' for key, value in odd.items())}, which llama.cpp "
            f"would not do; export it with --to hf."
        )
    for part, why in (("normalizer", "changes text before it is cut"), ("post_processor", "adds tokens")):
        if content[part] is not None and content[part]["type"] != "ByteLevel":
            raise UserError(
                f"{name}: its tokenizer {why} ({content[part]['type']}), which llama.cpp would not do; export it with "
                f"--to hf."
            )
    added = {token["id"]: token for token in content["added_tokens"]}
    texts = {number: text for text, number in model["vocab"].items()}
    texts |= {number: token["content"] for number, token in added.items()}
    tokens, kinds = [], []
    for number in range(size):
        text = texts.get(number)
        tokens.append(f"[unused {number}]" if text is None else text)
        kinds.append(UNUSED if text is None else _kind(added.get(number)))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return Vocabulary(tokens, kinds, merges, _pattern(content, name), tokenizer.end_of_text, end_of_turn)


def _kind(token: dict[str, Any] | None) -> int:
    if token is None:
        return NORMAL
    return CONTROL if token["special"] else USER_DEFINED


def _pattern(content: dict[str, Any], name: str) -> str:
    """The name of the tokenizer's way to cut text, found by comparing with those that have names."""
    from tokenizers import Tokenizer, models

    for known in PATTERNS:
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizer(known)  # pyright: ignore[reportAttributeAccessIssue]
        if _cuts(json.loads(backend.to_str())["pre_tokenizer"]) == _cuts(content["pre_tokenizer"]):
            return known
    raise UserError(
        f"{name}: its tokenizer cuts text by a pattern that llama.cpp has no name for here (known are "
        f"{', '.join(PATTERNS)}); export it with --to hf."
    )


def _cuts(pre_tokenizer: dict[str, Any] | None) -> list[Any]:
    """What a pre-tokenizer does, without the settings that do not change how text is cut."""
    if pre_tokenizer is None:
        return []
    parts = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    return [{key: value for key, value in part.items() if key != "trim_offsets"} for part in parts]
