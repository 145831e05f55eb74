from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from flyweight.base import write_json
from flyweight.corpus import TextTokenizer
from flyweight.inference import DecoderModel
from flyweight.model import Decoder
from flyweight.recipe import Recipe, recipe_from_dict

END_OF_TEXT = "<|endoftext|>"
TEXT = ["The cat sat on the mat, and the dog ran after 12 + 7 = 19 birds."] * 20


def tiny_recipe(**model: object) -> Recipe:
    return recipe_from_dict(
        {
            "name": "tiny",
            "model": {
                "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
                "max_position_embeddings": 64, **model,
            },
            "parametrization": {"init_std": 0.3},
            "tokenizer": {"vocab_size": 290},
            "sources": {"english": {"kind": "builtin", "builtin": "english"}},
            "training": {
                "tokens": 6400,
                "sequence_length": [{"at": 0, "value": 16}, {"at": 3200, "value": 32}],
                "batch_size": 2,
                "mixture": [{"at": 0, "weights": {"english": 1.0}}],
                "learning_rate": 1e-3,
            },
        }
    )  # fmt: skip


def byte_level_bpe() -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXT, trainer)
    return backend


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    byte_level_bpe().save(str(file))
    return TextTokenizer.load(file, END_OF_TEXT)


@pytest.fixture(scope="session")
def recipe_with() -> Callable[..., Recipe]:
    """Makes the tiny recipe with other values in its model section."""
    return tiny_recipe


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return tiny_recipe()


@pytest.fixture(scope="session")
def decoder(recipe: Recipe) -> Decoder:
    return Decoder(recipe.model, recipe.parametrization).initialize(seed=1)


@pytest.fixture(scope="session")
def model(decoder: Decoder, tokenizer: TextTokenizer) -> DecoderModel:
    return DecoderModel(decoder, tokenizer)


def write_checkpoint(
    folder: Path, decoder: Decoder, recipe: Recipe, tokenizer: TextTokenizer, clock: int
) -> Path:
    folder.mkdir(parents=True)
    save_file(decoder.state_dict(), folder / "model.safetensors")
    write_json(folder / "state.json", {"format": 1, "clock": clock, "step": clock // 32})
    write_json(folder / "recipe.json", recipe.to_dict())
    tokenizer.save(folder)
    return folder


@pytest.fixture
def run_folder(tmp_path: Path, decoder: Decoder, recipe: Recipe, tokenizer: TextTokenizer) -> Path:
    run = tmp_path / "run"
    for clock in (3200, 960, 6400):
        write_checkpoint(run / "checkpoints" / f"tokens-{clock:015d}", decoder, recipe, tokenizer, clock)
    return run


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama with its own BOS, as transformers saves it."""
    folder = tmp_path_factory.mktemp("llama") / "tiny-llama"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=40, initializer_range=0.3, tie_word_embeddings=True,
        bos_token_id=5, eos_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    backend = byte_level_bpe()
    PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=END_OF_TEXT, bos_token=backend.id_to_token(5)
    ).save_pretrained(folder)
    return folder
