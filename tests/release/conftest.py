"""Small checkpoints, in the layout that training writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from release_models import CHAT_TOKENS, END_OF_TEXT, make_decoder, make_recipe
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from flyweight.base import write_json
from flyweight.corpus import TextTokenizer
from flyweight.recipe import recipe_from_dict

QWEN2_WITH_SINGLE_DIGITS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)


@pytest.fixture(scope="session")
def tokenizer() -> TextTokenizer:
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_WITH_SINGLE_DIGITS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[END_OF_TEXT, *CHAT_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([__doc__ or "", QWEN2_WITH_SINGLE_DIGITS] * 4, trainer)
    return TextTokenizer(backend, END_OF_TEXT)


@pytest.fixture
def write_checkpoint(tmp_path: Path, tokenizer: TextTokenizer):
    """A function from the name of a kind to a checkpoint folder in a run folder; with `chat`, a chat template, its
    recipe has a source of conversations."""

    def write(kind: str, chat: str | None = None) -> Path:
        recipe = make_recipe(kind)
        if chat is not None:
            values = recipe.to_dict()
            values["tokenizer"]["chat_template"] = chat
            values["sources"]["python"] = {
                "kind": "files",
                "path": "chats.jsonl",
                "messages_field": "messages",
            }
            recipe = recipe_from_dict(values)
        folder = tmp_path / "runs" / kind / "checkpoints" / "tokens-000000000051200"
        folder.mkdir(parents=True)
        save_file(make_decoder(recipe).state_dict(), folder / "model.safetensors")
        write_json(folder / "recipe.json", recipe.to_dict())
        write_json(folder / "state.json", {"format": 1, "clock": 51_200, "step": 200})
        tokenizer.save(folder)
        return folder

    return write
