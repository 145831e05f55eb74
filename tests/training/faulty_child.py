"""child.py with bad data: python faulty_child.py FAULT RECIPE CORPUS RUN SIGNAL MOMENT.

FAULT is `poison` (the loss of some batches is not a number), `spike` (that of some is eight times as high),
`limit:N` (no file may grow past N bytes: writing fails as on a full disk, in the operating system), or `none`.
"""

from __future__ import annotations

import resource
import signal
import sys

import child

from flyweight.base import UserError
from flyweight.training import objective
from flyweight.training.objective import Loss


def is_bad(targets, one_in: int = 7) -> bool:
    """About one micro-batch in `one_in`: the same ones in every attempt, for it follows from the data."""
    return int(targets.sum()) % one_in == 0


def install(fault: str, one_in: int = 7) -> None:
    """Make the loss of bad batches go wrong."""
    original = objective.training_loss

    def faulty(hidden, weight, targets, **options) -> Loss:
        loss = original(hidden, weight, targets, **options)
        if not is_bad(targets, one_in):
            return loss
        if fault == "poison":
            return Loss(loss.total * float("nan"), loss.cross_entropy * float("nan"), loss.z)
        return Loss(loss.total, loss.cross_entropy * 8, loss.z)

    objective.training_loss = faulty


def main() -> None:
    fault = sys.argv.pop(1)
    kind, _, size = fault.partition(":")
    if kind == "limit":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), resource.RLIM_INFINITY))
    elif kind != "none":
        install(kind)
    try:
        child.main()
    except UserError as error:
        sys.exit(f"flyweight: {error}")


if __name__ == "__main__":
    main()
