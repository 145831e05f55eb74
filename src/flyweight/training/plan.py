"""The execution plan: how a run is carried out on this machine, resolved once and frozen in its folder.

Device, precision, micro-batch and threads decide the last bits of every sum, so a run that goes on
with the plan it started with ends with the same weights as one that was never interrupted.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from flyweight.base import UserError, read_json, write_json
from flyweight.corpus import OpenCorpus
from flyweight.curriculum import Schedule
from flyweight.inference import Precision, choose_precision, layout, pick_device
from flyweight.model import AttentionKernel, Decoder
from flyweight.recipe import Float8, Recipe
from flyweight.training.activations import Carried
from flyweight.training.document_tiers import DOCUMENT_REASONS, choose_document_attention
from flyweight.training.hardware import hardware_name, keep_freed_memory, known_or_measured_peak
from flyweight.training.objective import chunk_logits
from flyweight.training.optimizers import measured_methods, methods_to_plain, muon_rows, usual_method
from flyweight.training.optimizers.muon_methods import most_stacked_bytes
from flyweight.training.parallel import Parallel, Ranks, choose_parallel, join_ranks
from flyweight.training.precision import choose_float8
from flyweight.training.room import FILLS, free_bytes, micro_tokens
from flyweight.training.tiers import ATTENTION_REASONS, choose_attention, choose_compile

_DECIDING = ("device", "precision", "micro_batch", "threads", "deterministic", "compile", "fp8")
"""The execution keys that the plan resolves."""


@dataclass(frozen=True)
class ExecutionPlan:
    """What `auto` came to on this machine."""

    device: str
    precision: Precision
    micro_batch: int | None
    """Sequences in a forward pass where the recipe says so; else `micro_tokens` decides."""
    micro_tokens: int
    threads: int
    deterministic: bool
    peak_flops: float
    """Floating-point operations a second at this precision, by which utilisation is reckoned."""
    hardware: str
    peak_from: str = "a matrix product measured here"
    """Where `peak_flops` is from."""
    attention: AttentionKernel = "sdpa"
    """What computes attention in training."""
    compiled: bool = False
    """Whether the blocks are compiled."""
    fp8_scaling: Literal["off", "dynamic", "delayed"] = "off"
    fp8_layers: Sequence[str] = ()
    """Names, within each block, of the linear layers that train in FP8."""
    reasons: tuple[str, ...] = ()
    """Why, for people."""
    parallel: Parallel = "none"
    """How the run is spread over its processes."""
    world_size: int = 1
    """How many there are."""
    muon: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By shape, how Muon orthogonalises; empty where no stage of the recipe uses it."""

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """What autocast computes in; None for plain float32."""
        return torch.bfloat16 if self.precision == "bfloat16" else None

    @property
    def compute_dtype(self) -> torch.dtype:
        """The type of the matrix products."""
        return self.autocast_dtype or torch.float32

    def micro_batch_for(self, sequences: int, sequence_length: int) -> int:
        """Sequences in one forward pass for a step of `sequences`: all passes but the last are equal."""
        wanted = self.micro_batch or max(1, self.micro_tokens // sequence_length)
        passes = -(-sequences // min(wanted, sequences))
        return -(-sequences // passes)


def resolve_plan(recipe: Recipe) -> ExecutionPlan:
    """Decide every `auto` of the recipe's execution section, by trial where only a trial can tell.

    Raises:
        UserError: a device or a compiler that is not there.
    """
    execution = recipe.execution
    device = pick_device(execution.device)
    if execution.threads != "auto":
        torch.set_num_threads(execution.threads)
    precision = "bfloat16" if execution.fp8.forced else choose_precision(execution.precision, device)
    peak, peak_from = known_or_measured_peak(device, precision)
    plan = ExecutionPlan(
        device=str(device),
        precision=precision,
        micro_batch=None if execution.micro_batch == "auto" else execution.micro_batch,
        micro_tokens=FILLS[device.type],
        threads=torch.get_num_threads(),
        deterministic=execution.deterministic,
        peak_flops=peak,
        peak_from=peak_from,
        hardware=hardware_name(device),
    )
    attention, about_attention = _attention(recipe, precision, device)
    compiled, why = choose_compile(recipe, device, plan.peak_flops)
    plan = replace(plan, attention=attention, compiled=compiled, reasons=(about_attention, why))
    if plan.micro_batch is None:
        plan = replace(plan, micro_tokens=micro_tokens(recipe, carried_out(plan, recipe), free_bytes(device)))
    return _with_float8(plan, recipe)


def carried_out(plan: ExecutionPlan, recipe: Recipe) -> Carried:
    """What the memory of training depends on, of a plan and of the processes that torchrun started."""
    device, processes = torch.device(plan.device), join_ranks().world_size
    parallel, _ = choose_parallel(recipe, device, processes)
    return Carried(
        precision=plan.precision,
        device_type=device.type,
        attention=plan.attention,
        compiled=plan.compiled,
        fp8_layers=tuple(plan.fp8_layers),
        checkpointed=recipe.execution.activation_checkpointing,
        processes=processes,
        devices=processes if parallel == "fsdp" else 1,
        chunk_logits=chunk_logits(device.type),
        muon_stack_bytes=most_stacked_bytes(device.type),
    )


def _attention(recipe: Recipe, precision: Precision, device: torch.device) -> tuple[AttentionKernel, str]:
    """The kernel for the recipe's first sequences, and why, for people."""
    length = int(recipe.training.sequence_length.at(0))
    if recipe.training.document_masking:
        kernel = choose_document_attention(recipe.model, length, precision, device)
        return kernel, DOCUMENT_REASONS[kernel]
    kernel = choose_attention(length, precision, device)
    return kernel, ATTENTION_REASONS[kernel]


def _with_float8(plan: ExecutionPlan, recipe: Recipe) -> ExecutionPlan:
    """The plan with its FP8 layers, chosen for the batch shape that most tokens are trained in.

    On CPUs blocks with FP8 layers are not compiled: the C++ that torch.compile wrote for them did not build where
    it was tried (torch 2.13), and they are there for tests, not for speed.
    """
    on_cpu = plan.device == "cpu"
    segments = Schedule.of(recipe.training).segments
    longest = max(segments, key=lambda segment: segment.steps * segment.step_tokens)
    sequences = plan.micro_batch_for(longest.batch_size, longest.sequence_length)
    choice = choose_float8(
        recipe,
        torch.device(plan.device),
        plan.precision,
        rows=sequences * longest.sequence_length,
        passes=-(-longest.batch_size // sequences),
        compiled=plan.compiled and not on_cpu,
    )
    if plan.compiled and on_cpu and choice.layers:
        if recipe.execution.compile == "on":
            raise UserError(
                "execution.compile is `on` and execution.fp8 brings FP8 layers: on a CPU they cannot be compiled; set "
                "execution.compile=off, or execution.fp8.scaling=off."
            )
        attention, *_ = plan.reasons
        plan = replace(
            plan, compiled=False, reasons=(attention, "not compiled: blocks with FP8 layers are not on CPUs")
        )
    reasons = (*plan.reasons, *choice.notes)
    return replace(plan, fp8_scaling=choice.scaling, fp8_layers=choice.layers, reasons=reasons)


def frozen_plan(run: Path, recipe: Recipe, corpus: OpenCorpus) -> tuple[ExecutionPlan, list[str]]:
    """The plan of a run folder: the stored one, resolved anew for what the user changed since.

    What the corpus holds is written beside it, so that reports and cards need nothing but the run.
    Returns the plan, and sentences on why it is so when it is new, or on what differs from the attempt before.
    """
    wanted = recipe.execution.model_dump(mode="json")
    stored, processes = _read(run), join_ranks().world_size
    if stored is None:
        plan = resolve_plan(recipe)
        changes = list(plan.reasons)
    else:
        plan = ExecutionPlan(**{**stored["plan"], "reasons": tuple(stored["plan"].get("reasons", ()))})
        _check_device(plan)
        before = {"fp8": Float8().model_dump(mode="json"), **stored["execution"]}
        changes = [
            f"execution.{key}: {before.get(key)} -> {wanted[key]}"
            for key in _DECIDING
            if before.get(key, wanted[key]) != wanted[key]
        ]
        if changes:
            plan = _resolved_anew(plan, before, recipe)
            if before["fp8"] != wanted["fp8"]:
                changes += [reason for reason in plan.reasons if reason.startswith("FP8")]
        if stored.get("processes", processes) != processes:
            plan, others = _for_other_processes(plan, recipe)
            changes += others
    write_json(
        run / layout.PLAN_FILE,
        {
            "execution": wanted,
            "plan": asdict(plan),
            "processes": processes,
            "corpus": describe_corpus(corpus),
        },
    )
    return plan, changes


def _for_other_processes(plan: ExecutionPlan, recipe: Recipe) -> tuple[ExecutionPlan, list[str]]:
    """The plan where another number of processes shares machine and model: with threads for each, and what fits."""
    changes = []
    if recipe.execution.threads == "auto" and torch.get_num_threads() != plan.threads:
        changes.append(f"threads of a process: {plan.threads} -> {torch.get_num_threads()}")
        plan = _on_threads(plan, torch.get_num_threads())
    if plan.micro_batch is not None:
        return plan, changes
    fits = micro_tokens(recipe, carried_out(plan, recipe), free_bytes(torch.device(plan.device)))
    if fits >= plan.micro_tokens:
        return plan, changes
    return replace(plan, micro_tokens=fits), [
        *changes,
        f"micro-batches of {fits:,} tokens instead of {plan.micro_tokens:,}: more does not fit on this many processes",
    ]


def _on_threads(plan: ExecutionPlan, threads: int) -> ExecutionPlan:
    """The plan on so many threads; another number of them is another CPU to what was measured."""
    device = torch.device(plan.device)
    plan, before = replace(plan, threads=threads, hardware=hardware_name(device)), plan.threads
    if threads == before or device.type != "cpu":
        return plan
    peak, peak_from = known_or_measured_peak(device, plan.precision)
    return replace(plan, peak_flops=peak, peak_from=peak_from, muon={})


def _check_device(plan: ExecutionPlan) -> None:
    try:
        pick_device(plan.device)
    except UserError as error:
        raise UserError(
            f"this run was started on {plan.device}: {error} Name another device, such as execution.device=cpu."
        ) from None


def _resolved_anew(old: ExecutionPlan, before: dict[str, Any], recipe: Recipe) -> ExecutionPlan:
    """The plan for other execution keys; on the same device precision and FP8 layers stay as they were resolved."""
    new, execution = resolve_plan(recipe), recipe.execution
    if before["device"] != execution.device or before["precision"] != execution.precision:
        return new
    old = _on_threads(old, new.threads)
    new = replace(new, muon=old.muon)
    if before["fp8"] == execution.fp8.model_dump(mode="json"):
        new = replace(new, fp8_scaling=old.fp8_scaling, fp8_layers=old.fp8_layers)
    elif execution.fp8.forced or new.fp8_layers:
        return new  # what FP8 layers stand beside is bfloat16, whatever it was before
    return replace(
        new,
        precision=old.precision,
        peak_flops=old.peak_flops,
        peak_from=old.peak_from,
        attention=old.attention,
        # What is free now must not change the sums of a run that goes on.
        micro_tokens=old.micro_tokens if before["micro_batch"] == execution.micro_batch else new.micro_tokens,
    )


def with_muon_methods(run: Path, plan: ExecutionPlan, recipe: Recipe) -> ExecutionPlan:
    """The applied plan of a run, with a method for every shape that Muon meets; measured once, then stored."""
    if all(knot.kind != "muon" for knot in recipe.training.optimizer):
        return plan
    with torch.device("meta"):
        decoder = Decoder(recipe.model, recipe.parametrization)
    shapes = Counter(
        (rows, decoder.get_parameter(name).shape[1])
        for name, parts in muon_rows(decoder, recipe.training).items()
        for rows in parts
    )
    missing = {shape: n for shape, n in shapes.items() if "x".join(map(str, shape)) not in plan.muon}
    if not missing:
        return plan
    device = torch.device(plan.device)
    if plan.deterministic:  # a trial may end differently in the next run
        found = {shape: usual_method(shape, count, device) for shape, count in missing.items()}
    else:
        found = measured_methods(missing, recipe.training.muon.ns_steps, plan.compute_dtype, device)
    plan = replace(plan, muon={**plan.muon, **methods_to_plain(found)})
    write_json(run / layout.PLAN_FILE, {**(_read(run) or {}), "plan": asdict(plan)})
    return plan


def spread_plan(plan: ExecutionPlan, recipe: Recipe, ranks: Ranks) -> tuple[ExecutionPlan, list[str]]:
    """The plan for this process among those of its attempt, and a sentence on why, if there are several.

    It is not kept with the run: the next attempt may be of another number of processes.

    Raises:
        UserError: a device that cannot be spread over processes, or too few of them.
    """
    device = ranks.device(torch.device(plan.device))
    parallel, why = choose_parallel(recipe, device, ranks.world_size)
    plan = replace(plan, device=str(device), parallel=parallel, world_size=ranks.world_size)
    return plan, [why] if why else []


def describe_corpus(corpus: OpenCorpus) -> dict[str, Any]:
    """What a run was trained on, by source: for reports and model cards."""
    return {
        name: {
            "kind": source.kind,
            "licence": source.licence,
            "documents": source.train.documents,
            "tokens": source.train.tokens,
            "bytes": source.train.bytes,
            "held_out_documents": source.held_out.documents,
            "held_out_bytes": source.held_out.bytes,
        }
        for name, source in corpus.manifest.sources.items()
    }


def _read(run: Path) -> dict[str, Any] | None:
    path = run / layout.PLAN_FILE
    return read_json(path, "execution plan") if path.exists() else None


def apply_plan(plan: ExecutionPlan) -> None:
    """Set the process to the plan: torch's global switches, and on a CPU its memory."""
    torch.set_num_threads(plan.threads)
    if torch.device(plan.device).type == "cpu":
        keep_freed_memory()
    if plan.deterministic:
        # cuBLAS needs it for the same sums every time, and reads it when CUDA starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(plan.deterministic)
