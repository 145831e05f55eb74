"""Which device computes."""

from __future__ import annotations

import torch

from flyweight.base import UserError


def pick_device(name: str = "auto") -> torch.device:
    """The device called `name`; `auto` takes CUDA, else MPS, else the CPU.

    Raises:
        UserError: an unknown name, or a device that this machine does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (":" in name and not number.isdecimal()):
        raise UserError(f"device {name!r} is not known; expected auto, cpu, cuda, cuda:1 or mps.")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= count:
            raise UserError(
                f"device {name!r} was asked for, but this machine has {count} CUDA device(s) that torch can "
                f"use; choose another device, or auto."
            )
    elif int(number or 0) > 0:
        raise UserError(
            f"device {name!r} was asked for, but there is only one {kind} device; write {kind!r}."
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError(
            "device 'mps' was asked for, but torch offers no MPS on this machine; choose cpu, or auto."
        )
    return torch.device(name)
