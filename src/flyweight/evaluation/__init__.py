"""Measuring a model: bits per byte, log-likelihoods, tasks, tokenizers."""

from flyweight.evaluation.bits import BitsPerByte, bits_per_byte
from flyweight.evaluation.compressor import compressor_bits_per_byte, held_out_text
from flyweight.evaluation.engine import RESULTS_FILE, TASKS, evaluate, recipe_tasks
from flyweight.evaluation.likelihood import log_likelihoods
from flyweight.evaluation.render import render_results
from flyweight.evaluation.tokenizer_fertility import measure_tokenizers

__all__ = [
    "RESULTS_FILE",
    "TASKS",
    "BitsPerByte",
    "bits_per_byte",
    "compressor_bits_per_byte",
    "evaluate",
    "held_out_text",
    "log_likelihoods",
    "measure_tokenizers",
    "recipe_tasks",
    "render_results",
]
