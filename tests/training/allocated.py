"""The most bytes that torch's CPU allocator had handed out at once during some steps of training.

The profiler writes down every allocation and release, of compiled code too: their running sum is what
`torch.cuda.max_memory_allocated` is on a GPU. What libraries take behind the allocator's back is not in it.
"""

from __future__ import annotations

import torch
from torch.profiler import ProfilerActivity, profile

from flyweight.curriculum import trial_batch
from flyweight.model import Decoder
from flyweight.recipe import Recipe, recipe_from_dict
from flyweight.training.activations import Carried
from flyweight.training.averaging import WeightAverage
from flyweight.training.objective import Objective
from flyweight.training.optimizers import OptimizerByRole
from flyweight.training.parallel import ALONE
from flyweight.training.precision import convert_to_float8
from flyweight.training.saving import Files, tensors_to_save
from flyweight.training.tiers import accelerate

BASE = {
    "vocab_size": 2048, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 1024,
}  # fmt: skip


def recipe_of(length: int, sequences: int, optimizer: str = "adamw", **model) -> Recipe:
    model = BASE | model
    return recipe_from_dict(
        {
            "name": "m",
            "model": model,
            "tokenizer": {"vocab_size": 258},
            "sources": {"a": {"kind": "builtin", "builtin": "english"}},
            "training": {
                "tokens": 100 * length * sequences,
                "sequence_length": length,
                "batch_size": sequences,
                "mixture": [{"at": 0, "weights": {"a": 1.0}}],
                "learning_rate": 1e-3,
                "optimizer": [{"at": 0, "kind": optimizer}],
            },
        }
    )


class Steps:
    """Training as the loop does it, for its memory: nothing is read, judged or written to a disk."""

    def __init__(self, recipe: Recipe, carried: Carried, sequences: int, length: int, passes: int) -> None:
        self.recipe, self.carried, self.sequences = recipe, carried, sequences
        self.masking = recipe.training.document_masking
        device = torch.device(carried.device_type)
        self.tokens = torch.randint(0, recipe.model.vocab_size, (passes * sequences, length + 1)).to(device)
        self.decoder = Decoder(recipe.model, recipe.parametrization).initialize(0).to(device).train()
        scaling = "dynamic" if carried.fp8_layers else "off"
        self.float8 = convert_to_float8(self.decoder, scaling, carried.fp8_layers)
        accelerate(self.decoder, carried.attention, carried.compiled)
        self.objective = Objective(self.decoder, carried.precision)
        kind = recipe.training.optimizer[0].kind
        dtype = torch.bfloat16 if carried.precision == "bfloat16" else torch.float32
        self.optimizer = OptimizerByRole(self.decoder, recipe.training, kind, muon_dtype=dtype)
        self.average = WeightAverage(self.decoder, recipe.execution.ema_half_life)
        self.average.reset()

    def take(self) -> None:
        for rows in self.tokens.split(self.sequences):
            documents = trial_batch(rows.cpu(), self.masking).documents(rows.device)
            (self.objective(rows, 1e-4, documents).total / self.tokens.numel()).backward()
        torch.nn.utils.clip_grad_norm_(self.decoder.parameters(), 1.0)
        self.optimizer.step(self.optimizer.rates(0), 0.1)
        self.float8.end_step()
        self.average.took(self.tokens.numel())

    def to_write(self) -> Files:
        """What a thread writes during the next steps."""
        execution = self.recipe.execution
        if not execution.checkpoint_every or not execution.async_checkpoints:
            return {}
        return tensors_to_save(self.decoder, self.optimizer, self.float8, self.average, ALONE, copy=True)


def peak_on_cpu(recipe: Recipe, carried: Carried, sequences: int, length: int, passes: int) -> int:
    shape = (recipe, carried, sequences, length, passes)
    if carried.compiled:
        Steps(*shape).take()  # compiling is not what is measured
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        steps = Steps(*shape)
        steps.take()
        held = steps.to_write()
        steps.take()
        del held
    assert profiled.profiler is not None
    assert profiled.profiler.kineto_results is not None
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    assert events
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak
