"""The order of the data: sequence n of the run = f(recipe, corpus sizes, n)."""

from flyweight.curriculum.batches import Batch, begins_of, read_batch, trial_batch
from flyweight.curriculum.inspection import Inspection, Passage, inspect_sequence
from flyweight.curriculum.journal import Journal, Stretch
from flyweight.curriculum.mixture import ROW, UNIT, Mixture, fixed_point_weights, planned_tokens_by_source
from flyweight.curriculum.order import Order, OrderState, Sequence
from flyweight.curriculum.permutation import KeyedPermutation
from flyweight.curriculum.segments import Schedule, Segment, Step, compile_segments

__all__ = [
    "ROW",
    "UNIT",
    "Batch",
    "Inspection",
    "Journal",
    "KeyedPermutation",
    "Mixture",
    "Order",
    "OrderState",
    "Passage",
    "Schedule",
    "Segment",
    "Sequence",
    "Step",
    "Stretch",
    "begins_of",
    "compile_segments",
    "fixed_point_weights",
    "inspect_sequence",
    "planned_tokens_by_source",
    "read_batch",
    "trial_batch",
]
