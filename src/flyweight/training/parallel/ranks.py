"""The processes of one run: which of them this is, and what they tell each other.

They are started by torchrun, one a device, and called ranks as in torch.distributed. Rank 0 writes the run's
folder and speaks to the user; every other decision is made by all of them from the same numbers.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from flyweight.base import ToldByAnother, UserError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

T = TypeVar("T")

_LOST = (
    "connection closed by peer",
    "connection reset by peer",
    "broken pipe",
    "gloo/transport",
    "socket timeout",
    "timed out waiting",
    "remote process exited",
    "failed to recv",
)
"""How the libraries below say, in an error of no class of its own, that another process is gone."""

_LONGEST_COLLECTIVE = datetime.timedelta(minutes=30)
"""No two ranks are ever this far apart, but for preparing the corpus, which is waited for in another way."""


class Ranks:
    """This process among those of its run; in a run of one, everything here is an identity.

    Args:
        rank: number of this process, from 0.
        world_size: how many processes there are.
        local_rank: its number among those of this machine, which is also that of its device.
    """

    def __init__(self, rank: int = 0, world_size: int = 1, local_rank: int = 0):
        self.rank, self.world_size, self.local_rank = rank, world_size, local_rank
        self._asked = 0
        self._meshes: dict[str, DeviceMesh] = {}
        self.writing_group: dist.ProcessGroup | None = None
        """Checkpoints are written in the background: on the group of the training steps their collectives would
        meet those of the steps, and gloo aborts the process."""
        self.control_group: dist.ProcessGroup | None = None
        """For flags and plain objects, which live in host memory."""
        if world_size > 1:
            self.writing_group = _new_group()
            self.control_group = _new_group()

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether the run is of one process."""
        return self.world_size == 1

    def device(self, wanted: torch.device) -> torch.device:
        """This process's device of the wanted kind.

        Raises:
            UserError: a kind that cannot be spread over processes.
        """
        if self.alone:
            return wanted
        if wanted.type == "cuda":
            count = torch.cuda.device_count()
            if self.local_rank >= count:
                raise UserError(
                    f"process {self.local_rank} of this machine has no GPU of its own: torch sees {count}; start at "
                    f"most {count} with --nproc_per_node, or train on execution.device=cpu."
                )
            torch.cuda.set_device(self.local_rank)
            return torch.device("cuda", self.local_rank)
        if wanted.type != "cpu":
            raise UserError(
                f"a run of {self.world_size} processes cannot train on {wanted.type}; use execution.device=cpu, or "
                f"start one process."
            )
        return wanted

    def mesh(self, kind: str) -> DeviceMesh:
        """All ranks in one row, for tensors on devices of this kind."""
        if kind not in self._meshes:
            from torch.distributed.device_mesh import init_device_mesh

            self._meshes[kind] = init_device_mesh(kind, (self.world_size,))
        return self._meshes[kind]

    def share(self, count: int) -> int:
        """The largest part of `count` that a rank gets."""
        return -(-count // self.world_size)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of `tensor` over all ranks, in place."""
        if not self.alone:
            dist.all_reduce(tensor)
        return tensor

    def total(self, value: float) -> float:
        """The sum over all ranks of a number in host memory; no device is waited for."""
        return value if self.alone else self._reduced(value, dist.ReduceOp.SUM)

    def largest(self, value: float) -> float:
        """The largest on any rank of a number in host memory; no device is waited for."""
        return value if self.alone else self._reduced(value, dist.ReduceOp.MAX)

    def _reduced(self, value: float, operation: Any) -> float:
        found = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(found, op=operation, group=self.control_group)
        return found.item()

    def same(self, tensor: Tensor) -> Tensor:
        """Rank 0's `tensor`, in place: decisions must not hang on the last bit of a local sum."""
        if not self.alone:
            dist.broadcast(tensor, src=0)
        return tensor

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it is set on any rank."""
        if self.alone:
            return flags
        found = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(found, op=dist.ReduceOp.MAX, group=self.control_group)
        return tuple(map(bool, found.tolist()))

    def from_main(self, function: Callable[[], T]) -> T:
        """What `function` returns on rank 0, which alone calls it; the others wait, however long it takes.

        Raises:
            UserError: the one that rank 0 met, on every rank.
        """
        if self.alone:
            return function()
        self._asked += 1
        key = f"flyweight/done/{self._asked}"
        result: list[Any] = [None, None]
        problem: UserError | None = None
        if self.main:
            try:
                result[0] = function()
            except UserError as error:
                problem = error
                result[1] = str(error)
            _store().set(key, "1")
        else:
            self._wait_for(key)
        dist.broadcast_object_list(result, src=0, group=self.control_group)
        if problem is not None:
            raise problem
        if result[1] is not None:
            raise ToldByAnother(result[1])
        return cast(T, result[0])

    def _wait_for(self, key: str) -> None:
        """Look for a mark that rank 0 sets, instead of a collective, which would run out of time."""
        pause = 0.01
        while not _store().check([key]):
            time.sleep(pause)
            pause = min(1.0, 2 * pause)

    def agree_on_problem(self, problem: UserError | None) -> None:
        """Raise on every rank what any of them met.

        Raises:
            UserError: the problem of the first rank that has one.
        """
        if self.alone:
            if problem is not None:
                raise problem
            return
        if not self.any(problem is not None)[0]:
            return
        found: list[str | None] = [None] * self.world_size
        dist.all_gather_object(found, None if problem is None else str(problem), group=self.control_group)
        message = next(text for text in found if text is not None)
        raise UserError(message) if self.main else ToldByAnother(message)

    @contextlib.contextmanager
    def surviving(self, run: object) -> Iterator[None]:
        """Within, the loss of another process ends in one sentence, which one of the survivors tells.

        Raises:
            UserError: another process of the run has ended.
        """
        if self.alone:
            yield
            return
        try:
            yield
        except Exception as error:
            if not is_loss(error):
                _told_first()
                raise
            message = (
                f"{run}: another of the run's {self.world_size} processes has ended, so this one ends too; everything "
                f"up to the last checkpoint is saved, and the same command goes on from there."
            )
            raise (UserError(message) if _told_first() else ToldByAnother(message)) from error


ALONE = Ranks()
"""A run of one process."""


def _new_group() -> dist.ProcessGroup:
    group = dist.new_group(backend="gloo", timeout=_LONGEST_COLLECTIVE)
    assert isinstance(group, dist.ProcessGroup)
    return group


def _store() -> Any:
    return dist.distributed_c10d._get_default_store()


def _told_first() -> bool:
    """Whether this process is the first of the run to say that it ends; where nobody can be asked, it is."""
    try:
        return _store().add("flyweight/told", 1) == 1
    except Exception:
        return True


def is_loss(error: BaseException) -> bool:
    """Whether `error` comes of another process that is gone."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _LOST)


@functools.cache
def join_ranks() -> Ranks:
    """This process's place among those that torchrun started; alone where it was started by itself.

    Raises:
        UserError: torchrun's variables are broken, or the other processes do not answer.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "MASTER_ADDR" not in os.environ:
        return ALONE
    try:
        rank, world_size, local_rank = (int(os.environ[name]) for name in names)
    except (KeyError, ValueError):
        raise UserError(
            f"WORLD_SIZE is set, but {', '.join(names)} are not all numbers; start several processes with torchrun, "
            f"as in `torchrun --nproc_per_node 2 -m flyweight train RECIPE`."
        ) from None
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        dist.init_process_group(backend, timeout=_LONGEST_COLLECTIVE)
        return Ranks(rank, world_size, local_rank)
    except Exception as error:
        if not is_loss(error):
            raise
        raise UserError(
            f"the other {world_size - 1} processes of this run do not answer ({str(error).splitlines()[0]})."
        ) from error


def end_process(code: int) -> NoReturn:
    """End this process at once: its connections close, and whoever waits for it hears of it.

    The ordinary way out would first wait for collectives in which the others never come.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def leave_ranks() -> None:
    """Close the connections to the other processes, at the end of all work."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
