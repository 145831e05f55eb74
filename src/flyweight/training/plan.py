"""The execution plan: how a run is carried out on this machine, resolved once and frozen in its folder.

Device, precision, micro-batch and threads decide the last bits of every sum, so a run that goes on
with the plan it started with ends with the same weights as one that was never interrupted.
"""

from __future__ import annotations

import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from flyweight.base import read_json, write_json
from flyweight.inference import Precision, choose_precision, layout, pick_device
from flyweight.recipe import Execution

# Tokens in one forward pass: enough to fill the device, few enough for its memory. On CPUs larger
# micro-batches gain nothing (measured: 4, 8 and 16 x 512 tokens within a tenth of each other).
_MICRO_TOKENS = {"cpu": 4096, "mps": 8192, "cuda": 32_768}


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
    """Floating-point operations a second that a large matrix product reaches here at this precision."""
    hardware: str

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

    def smaller(self) -> ExecutionPlan | None:
        """The same plan with half the micro-batch, or None when it cannot get smaller."""
        if self.micro_batch is not None:
            halved = {**asdict(self), "micro_batch": self.micro_batch // 2}
            return ExecutionPlan(**halved) if self.micro_batch > 1 else None
        halved = {**asdict(self), "micro_tokens": self.micro_tokens // 2}
        return ExecutionPlan(**halved) if self.micro_tokens > 1 else None


def resolve_plan(execution: Execution) -> ExecutionPlan:
    """Decide every `auto`, by trial where only a trial can tell."""
    device = pick_device(execution.device)
    if execution.threads != "auto":
        torch.set_num_threads(execution.threads)
    precision = choose_precision(execution.precision, device)
    return ExecutionPlan(
        device=str(device),
        precision=precision,
        micro_batch=None if execution.micro_batch == "auto" else execution.micro_batch,
        micro_tokens=_MICRO_TOKENS[device.type],
        threads=torch.get_num_threads(),
        deterministic=execution.deterministic,
        peak_flops=_measure_peak(device, torch.bfloat16 if precision == "bfloat16" else torch.float32),
        hardware=_hardware(device),
    )


def frozen_plan(run: Path, execution: Execution) -> tuple[ExecutionPlan, list[str]]:
    """The plan of a run folder: the stored one, resolved anew for what the user changed since.

    Returns the plan and sentences on what differs from the attempt before.
    """
    wanted = execution.model_dump(mode="json")
    stored = read_plan(run)
    if stored is None:
        plan = resolve_plan(execution)
        _store(run, wanted, plan)
        return plan, []
    plan = ExecutionPlan(**stored["plan"])
    deciding = ("device", "precision", "micro_batch", "threads", "deterministic")
    changed = [key for key in deciding if stored["execution"].get(key) != wanted[key]]
    if not changed:
        return plan, []
    new = asdict(resolve_plan(execution))
    if not {"device", "precision"} & set(changed):
        new["precision"], new["peak_flops"] = plan.precision, plan.peak_flops
    plan = ExecutionPlan(**new)
    _store(run, wanted, plan)
    return plan, [f"execution.{key}: {stored['execution'].get(key)} -> {wanted[key]}" for key in changed]


def read_plan(run: Path) -> dict[str, Any] | None:
    """The frozen execution plan of a run folder, if it has one."""
    path = run / layout.PLAN_FILE
    return read_json(path, "execution plan") if path.exists() else None


def store_plan(run: Path, execution: Execution, plan: ExecutionPlan) -> None:
    """Freeze `plan` in the run's folder."""
    _store(run, execution.model_dump(mode="json"), plan)


def _store(run: Path, execution: dict[str, Any], plan: ExecutionPlan) -> None:
    stored = read_plan(run) or {}
    write_json(run / layout.PLAN_FILE, {**stored, "execution": execution, "plan": asdict(plan)})


def apply_plan(plan: ExecutionPlan) -> None:
    """Set torch's global switches to the plan."""
    torch.set_num_threads(plan.threads)
    torch.use_deterministic_algorithms(plan.deterministic)


def _measure_peak(device: torch.device, dtype: torch.dtype) -> float:
    """The best rate of a few large products, in floating-point operations a second."""
    size = 8192 if device.type == "cuda" else 1536
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = 0.0
    for _ in range(6):
        _synchronise(device)
        begin = time.perf_counter()
        a @ a
        _synchronise(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - begin))
    return best


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    threads = torch.get_num_threads()
    name = f"{cpu}, {threads} thread" + ("s" if threads > 1 else "")
    return f"Apple GPU ({name})" if device.type == "mps" else name
