"""What a run came to: one HTML page, and the model card of an export."""

from flyweight.report.card import CardFacts, card_for_export, write_model_card
from flyweight.report.html import write_report
from flyweight.report.results import Measurement, measurements
from flyweight.report.run import RunRecord, is_run, read_run
from flyweight.report.sequence import RunSequence, inspect_run, render_sequence

__all__ = [
    "CardFacts",
    "Measurement",
    "RunRecord",
    "RunSequence",
    "card_for_export",
    "inspect_run",
    "is_run",
    "measurements",
    "read_run",
    "render_sequence",
    "write_model_card",
    "write_report",
]
