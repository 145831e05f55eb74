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

_DEEPSEEK_V3 = (
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^""" "\r\n" r"\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[" "\r\n" r"]*|\s*[" "\r\n" r"]+|\s+(?!\S)|\s+",
)  # fmt: skip


def _adopted() -> dict[str, list[dict[str, Any]]]:
    """How tokenizers that recipes adopt cut text, by llama.cpp's names, as in their published tokenizer.json."""
    bytes_only = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    split = {"type": "Split", "behavior": "Isolated", "invert": False}
    return {
        "deepseek-v3": [*({**split, "pattern": {"Regex": part}} for part in _DEEPSEEK_V3), bytes_only],
        "smollm": [{"type": "Digits", "individual_digits": True}, {**bytes_only, "use_regex": True}],
    }


_WHOLE_WORDS = ("llama-bpe",)
"""Names under which llama.cpp takes a word that is an entry for that entry, without merging."""


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
        if _parts(content[part], part) not in ([], ["ByteLevel"]):
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
    pattern = _pattern(content, name)
    if pattern in _WHOLE_WORDS and (word := _merged_otherwise(tokenizer)) is not None:
        raise UserError(
            f"{name}: its tokenizer has the entry {word!r}, which its merges do not arrive at; llama.cpp would take it "
            f"at once, since it does not merge what is an entry of a {pattern} tokenizer. Export it with --to hf."
        )
    return Vocabulary(tokens, kinds, merges, pattern, tokenizer.end_of_text, end_of_turn)


def _parts(step: dict[str, Any] | None, name: str) -> list[str]:
    """The types of a step of the tokenizer; a sequence's, one by one."""
    if step is None:
        return []
    inner = step.get(f"{name}s", step.get("processors")) if step["type"] == "Sequence" else [step]
    return [part["type"] for part in inner or []]


def _merged_otherwise(tokenizer: TextTokenizer) -> str | None:
    """An entry that is a word of its own and yet becomes other tokens, if there is one."""
    backend = tokenizer.backend
    added = backend.get_added_tokens_decoder()
    for number in range(tokenizer.vocab_size):
        text = "" if number in added else tokenizer.decode([number])
        if not text or "\ufffd" in text or tokenizer.encode(text) == [number]:
            continue
        cut = backend.pre_tokenizer.pre_tokenize_str(text) if backend.pre_tokenizer else []
        if len(cut) == 1:
            return text
    return None


def _kind(token: dict[str, Any] | None) -> int:
    if token is None:
        return NORMAL
    return CONTROL if token["special"] else USER_DEFINED


def _pattern(content: dict[str, Any], name: str) -> str:
    """The name of the tokenizer's way to cut text, found by comparing with those that have names."""
    from tokenizers import Tokenizer, models

    known = _adopted()
    for pattern in PATTERNS:
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizer(pattern)  # pyright: ignore[reportAttributeAccessIssue]
        known[pattern] = _cuts(json.loads(backend.to_str())["pre_tokenizer"])
    found = _cuts(content["pre_tokenizer"])
    for pattern, cuts in known.items():
        if cuts == found:
            return pattern
    raise UserError(
        f"{name}: its tokenizer cuts text by a pattern that llama.cpp has no name for here (known are "
        f"{', '.join(sorted(known))}); export it with --to hf."
    )


def _cuts(pre_tokenizer: dict[str, Any] | None) -> list[Any]:
    """What a pre-tokenizer does, without the settings that do not change how text is cut."""
    if pre_tokenizer is None:
        return []
    parts = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    return [{key: value for key, value in part.items() if key != "trim_offsets"} for part in parts]
