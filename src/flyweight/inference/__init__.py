"""A checkpoint or a Hugging Face folder becomes a model with a tokenizer; generation, streaming."""

from flyweight.inference.chat_format import ChatFormat, Message, chat_format
from flyweight.inference.checkpoint import (
    average_in_words,
    find_checkpoint,
    list_checkpoints,
    load_decoder,
    load_tokenizer,
    read_checkpoint_recipe,
    read_state,
    read_tensors,
)
from flyweight.inference.device import pick_device
from flyweight.inference.generation import (
    Step,
    TextStream,
    fit_prompt,
    generate,
    generate_steps,
    generate_stream,
)
from flyweight.inference.huggingface import HuggingFaceModel
from flyweight.inference.language_model import DecoderModel, LanguageModel
from flyweight.inference.loading import load_model, trained_length
from flyweight.inference.precision import Precision, autocast, choose_precision
from flyweight.inference.prefix_cache import PrefixCache
from flyweight.inference.sampling import Sampling

__all__ = [
    "ChatFormat",
    "DecoderModel",
    "HuggingFaceModel",
    "LanguageModel",
    "Message",
    "Precision",
    "PrefixCache",
    "Sampling",
    "Step",
    "TextStream",
    "autocast",
    "average_in_words",
    "chat_format",
    "choose_precision",
    "find_checkpoint",
    "fit_prompt",
    "generate",
    "generate_steps",
    "generate_stream",
    "list_checkpoints",
    "load_decoder",
    "load_model",
    "load_tokenizer",
    "pick_device",
    "read_checkpoint_recipe",
    "read_state",
    "read_tensors",
    "trained_length",
]
