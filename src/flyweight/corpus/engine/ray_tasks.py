"""Jobs as tasks on a Ray cluster, on one machine or many, on Slurm or in any cloud."""

from __future__ import annotations

import socket
from collections.abc import Collection
from typing import Any, Self

from flyweight.base import UserError
from flyweight.corpus.engine.executors import WorkerLost
from flyweight.corpus.engine.jobs import Job, perform
from flyweight.corpus.engine.keys import CODE

_ENVIRONMENT = {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def _perform_there(job: Job, progress: str, code: str) -> Any:
    """Carry out a job on a machine whose Flyweight gives the results that the head's would."""
    if code != CODE:
        raise UserError(
            f"{socket.gethostname()}: this machine of the Ray cluster has another version of Flyweight, of Python or "
            f"of a library than the one that prepares the corpus; install the same on all machines."
        )
    return perform(job, progress)


class RayTasks:
    """Tasks of one core each. The cluster's machines must share the corpus folder's file system."""

    def __init__(self, workers: int | None) -> None:
        """Run at most `workers` jobs at once; None: as many as the cluster has cores."""
        try:
            import ray  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise UserError('--engine ray needs Ray: pip install "flyweight[ray]".') from None
        self._ray = ray
        self._limit = workers
        self._started = False
        self.workers = workers or 1

    def __enter__(self) -> Self:
        ray = self._ray
        if not ray.is_initialized():
            try:
                ray.init(log_to_driver=False, include_dashboard=False, runtime_env={"env_vars": _ENVIRONMENT})
            except Exception as error:
                first = str(error).strip().splitlines()[0]
                raise UserError(f"--engine ray: no Ray cluster could be reached ({first}).") from None
            self._started = True
        self.workers = self._limit or max(1, int(ray.cluster_resources().get("CPU", 1)))
        # Ray's own retries are off: the scheduler counts attempts the same way for every executor.
        self._task = ray.remote(max_retries=0)(_perform_there)
        return self

    def __exit__(self, *error: object) -> None:
        if self._started:
            self._ray.shutdown()

    def submit(self, job: Job, progress: str) -> Any:
        """Give the job to the cluster."""
        return self._task.remote(job, progress, CODE)

    def wait(self, handles: Collection[Any], seconds: float) -> set[Any]:
        """Those that have ended."""
        ended, _ = self._ray.wait(list(handles), num_returns=1, timeout=seconds, fetch_local=False)
        return set(ended)

    def result(self, handle: Any) -> Any:
        """What the job returned."""
        from ray import exceptions as errors  # pyright: ignore[reportMissingImports]

        lost = (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.OutOfMemoryError,
            errors.ObjectLostError,
        )
        try:
            return self._ray.get(handle)
        except lost:
            raise WorkerLost from None
        except errors.RayTaskError as error:
            cause = error.cause
            raise (cause if isinstance(cause, Exception) else error) from None
