"""A checkpoint written by several ranks: planned by torch.distributed.checkpoint, stored as safetensors.

Rows of a matrix lie one after another in a safetensors file, and what a rank holds is rows. So the files are
those of a run of one process, byte for byte but for the order of their tensors: rank 0 writes their headers,
and every rank what it holds into its place. Nothing has to be put together afterwards, and whoever reads a
checkpoint need not know how many ranks wrote it. All ranks have to see the same file system.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner, WriteItem
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.checkpoint.storage import StorageWriter, WriteResult
from torch.distributed.tensor import DTensor
from torch.futures import Future

from flyweight.training.parallel.tensors import is_cut, local

_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.int64: "I64"}
"""Names in the header of a safetensors file."""

_ALIGNMENT = 8
"""Where data begins; larger elements first keep all of them aligned."""


def save_together(folder: Path, files: Mapping[str, Mapping[str, Tensor]], group: dist.ProcessGroup) -> None:
    """Write `files`, by name the tensors of each, into `folder`; every rank of the group calls it.

    Args:
        folder: seen by all ranks.
        files: in host memory; of a tensor that is cut into rows every rank gives its own, any other one is given
            by one rank alone.
        group: for host memory, used by nothing else at the time.

    Raises:
        Exception: the first that any rank met, on every rank.
    """
    tensors = {f"{file}/{name}": value for file, named in files.items() for name, value in named.items()}
    try:
        save(
            tensors,
            storage_writer=_SafetensorsWriter(folder),
            planner=DefaultSavePlanner(flatten_state_dict=False),
            process_group=group,
        )
    except CheckpointException as failure:
        error, _ = next(iter(failure.failures.values()))
        raise error from None


class _SafetensorsWriter(StorageWriter):
    """Plans carry, for each tensor, where it begins in its file."""

    def __init__(self, folder: Path):
        self._folder = folder

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Nothing is kept between saves."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """The folder is there."""

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """As it is."""
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """On rank 0: lay out the files, write their headers, and tell every rank where each tensor begins."""
        by_file: dict[str, dict[str, WriteItem]] = {}
        for plan in plans:
            for item in plan.items:
                file, _, name = item.index.fqn.partition("/")
                by_file.setdefault(file, {})[name] = item
        places: dict[str, int] = {}
        for file, items in by_file.items():
            begins = _lay_out(self._folder / file, items)
            places |= {f"{file}/{name}": begin for name, begin in begins.items()}
        return [replace(plan, storage_data=places) for plan in plans]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write what this rank holds into its places."""
        by_file: dict[str, list[WriteItem]] = {}
        for item in plan.items:
            by_file.setdefault(item.index.fqn.partition("/")[0], []).append(item)
        results = []
        for name, items in by_file.items():
            with (self._folder / name).open("r+b") as file:
                for item in items:
                    tensor = planner.resolve_data(item)
                    assert isinstance(tensor, Tensor)
                    file.seek(plan.storage_data[item.index.fqn] + _offset(item))
                    file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
                    results.append(WriteResult(item.index, tensor.nbytes, None))
                file.flush()
                os.fsync(file.fileno())
        done: Future[list[WriteResult]] = Future()
        done.set_result(results)
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """The headers say it all; torch would pickle its own metadata here."""

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Any folder will do."""
        return True


def _lay_out(path: Path, items: Mapping[str, WriteItem]) -> dict[str, int]:
    """Make a file with its header and room for the data; where each tensor begins in it."""
    header, begins, end = {}, {}, 0
    sized = []
    for name, item in items.items():
        assert item.tensor_data is not None
        dtype = item.tensor_data.properties.dtype
        sized.append((-dtype.itemsize, name, dtype, list(item.tensor_data.size)))
    for _, name, dtype, shape in sorted(sized, key=lambda entry: entry[:2]):
        begins[name], end = end, end + dtype.itemsize * math.prod(shape)
        header[name] = {"dtype": _DTYPES[dtype], "shape": shape, "data_offsets": [begins[name], end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return {name: 8 + len(text) + begin for name, begin in begins.items()}


def _offset(item: WriteItem) -> int:
    """Bytes from the beginning of a tensor to the rows of an item."""
    data = item.tensor_data
    assert data is not None
    if not data.size:
        return 0
    assert data.chunk.sizes[1:] == data.size[1:], "only rows are cut"
    return data.chunk.offsets[0] * math.prod(data.size[1:]) * data.properties.dtype.itemsize


def in_host_memory(tensor: Tensor, mesh: Any, copy: bool) -> Tensor:
    """`tensor` in host memory, cut over `mesh`, which is one of CPUs, if it is cut.

    Args:
        tensor: cut into rows, or whole.
        mesh: all ranks; not looked at for a whole tensor.
        copy: also of what lies in host memory already.
    """
    value = local(tensor.detach()).to("cpu", copy=copy).contiguous()
    if not is_cut(tensor):
        return value
    placements: Any = tensor.placements  # type: ignore[attr-defined]
    return DTensor.from_local(
        value, mesh, placements, run_check=False, shape=tensor.shape, stride=tensor.stride()
    )


def shared_out(files: Mapping[str, Mapping[str, Tensor]], world_size: int) -> dict[tuple[str, str], int]:
    """Which rank writes each tensor that all of them hold whole: about equally much for each."""
    sizes = {
        (file, name): value.nbytes
        for file, tensors in files.items()
        for name, value in tensors.items()
        if not is_cut(value)
    }
    loads = [0] * world_size
    owners = {}
    for key, size in sorted(sizes.items(), key=lambda entry: (-entry[1], entry[0])):
        owners[key] = loads.index(min(loads))
        loads[owners[key]] += size
    return owners
