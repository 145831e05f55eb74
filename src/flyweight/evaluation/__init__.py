"""Measuring a model: bits per byte, log-likelihoods, tasks, tokenizers."""

from flyweight.evaluation.bits import BitsPerByte, bits_per_byte
from flyweight.evaluation.compressor import compressor_bits_per_byte, held_out_text
from flyweight.evaluation.engine import Settings, Wanted, evaluate, parse_tasks, quoted_metric, recipe_tasks
from flyweight.evaluation.likelihood import log_likelihoods
from flyweight.evaluation.render import render_notes, render_results, render_suite
from flyweight.evaluation.results import RESULTS_FILE, Metric, TaskResult
from flyweight.evaluation.runs import Run, read_run
from flyweight.evaluation.suites import SUITES
from flyweight.evaluation.tokenizer_fertility import measure_tokenizers

__all__ = [
    "RESULTS_FILE",
    "SUITES",
    "BitsPerByte",
    "Metric",
    "Run",
    "Settings",
    "TaskResult",
    "Wanted",
    "bits_per_byte",
    "compressor_bits_per_byte",
    "evaluate",
    "held_out_text",
    "log_likelihoods",
    "measure_tokenizers",
    "parse_tasks",
    "quoted_metric",
    "read_run",
    "recipe_tasks",
    "render_notes",
    "render_results",
    "render_suite",
]
