"""A chat template that writes special tokens of which the new tokenizer knows nothing is told of at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flyweight.base import UserError
from flyweight.corpus import check_chat_tokens, prepare
from flyweight.recipe import Recipe

OWN = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}"


@pytest.fixture
def chatting(make_recipe: Callable[..., Recipe]) -> Callable[..., Recipe]:
    source = {"kind": "files", "path": "nowhere.jsonl", "messages_field": "messages"}
    return lambda **tokenizer: make_recipe({"chats": source}, tokenizer=tokenizer)


def test_all_missing_tokens_are_named_before_anything_is_read(
    chatting: Callable[..., Recipe], tmp_path: Path
):
    with pytest.raises(UserError) as error:  # and not that there is no such file
        prepare(chatting(), tmp_path / "corpus")
    assert 'special_tokens: ["<|im_start|>", "<|im_end|>"]' in str(error.value)
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize(
    ("tokenizer", "line"),
    [
        ({"special_tokens": ["<a>", "<|im_end|>"]}, '["<a>", "<|im_end|>", "<|im_start|>"]'),
        ({"chat_template": OWN}, '["<|user|>", "<|assistant|>", "<|system|>"]'),
    ],
)
def test_the_line_keeps_what_the_recipe_has(
    chatting: Callable[..., Recipe], tokenizer: dict[str, Any], line: str
):
    with pytest.raises(UserError) as error:
        check_chat_tokens(chatting(**tokenizer))
    assert f"special_tokens: {line}`" in str(error.value)


@pytest.mark.parametrize(
    "tokenizer",
    [
        {"special_tokens": ["<|im_start|>", "<|im_end|>"]},
        {"kind": "unigram", "symbols": ["<|im_start|>", "<|im_end|>"]},
        {"kind": "existing", "path": "elsewhere"},
        {
            "chat_template": OWN,
            "special_tokens": ["<|user|>", "<|assistant|>"],
        },  # no record need have a system
        {"chat_template": "{{ raise_exception('never') }}"},
    ],
)
def test_what_may_do_is_let_pass(chatting: Callable[..., Recipe], tokenizer: dict[str, Any]):
    check_chat_tokens(chatting(**tokenizer))


def test_sources_of_text_need_none(make_recipe: Callable[..., Recipe]):
    check_chat_tokens(make_recipe({"texts": {"kind": "files", "path": "nowhere"}}))
