"""Energy as the hardware counts it: NVML for NVIDIA GPUs, RAPL for CPUs under Linux; nothing where nothing counts.

NVML: https://docs.nvidia.com/deploy/nvml-api, nvmlDeviceGetTotalEnergyConsumption (millijoules since the driver
was loaded, from Volta on) and nvmlDeviceGetPowerUsage (milliwatts). RAPL:
https://docs.kernel.org/power/powercap/powercap.html, `energy_uj`, which starts again from 0 past
`max_energy_range_uj`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch

POWERCAP = Path("/sys/class/powercap")

POWER_PERIOD = 0.1
"""Seconds between two samples of power, where a GPU counts no energy: NVML itself averages over about as long."""

WRAP_PERIOD = 60.0
"""Seconds between two looks at RAPL's counters, which start again after 2^32 of their units: within minutes where
a large machine is busy, an hour elsewhere."""


class EnergyMeter(Protocol):
    """Counts the energy of some hardware since it was made."""

    source: str
    """What counts, and of what, for people."""

    def joules(self) -> float | None:
        """So far; None once the hardware has failed to say, since a part of a sum is no measurement."""
        ...

    def close(self) -> None:
        """Nothing is counted any more."""
        ...


def energy_meter(device: torch.device, powercap: Path = POWERCAP) -> EnergyMeter | None:
    """The meter of what trains on `device`; None where nothing measures it, or nobody may read it."""
    if device.type == "cuda":
        return _nvml_meter(device)
    return _rapl_meter(powercap) if device.type == "cpu" else None


class _CountedElsewhere:
    """Of processors whose energy another process of this machine counts."""

    source = ""

    def joules(self) -> float | None:
        return 0.0

    def close(self) -> None:
        pass


@contextlib.contextmanager
def energy_metered(device: torch.device, *, first: bool = True) -> Iterator[EnergyMeter | None]:
    """`energy_meter`, closed at the end; processors are counted by the `first` process of a machine alone."""
    meter = energy_meter(device) if first or device.type != "cpu" else _CountedElsewhere()
    try:
        yield meter
    finally:
        if meter is not None:
            meter.close()


class _Meter:
    """Adds up what is used from one look to the next, in a thread too where the hardware needs it.

    Args:
        source: see `EnergyMeter`.
        look: the joules since the look before.
        period: most seconds between two looks; None where any time will do.
        close: called at the end.
    """

    def __init__(
        self, source: str, look: Callable[[], float], period: float | None, close: Callable[[], None]
    ):
        self.source = source
        self._look, self._close = look, close
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._total: float | None = 0.0
        self._thread = threading.Thread(target=self._go_on, args=(period,), name="energy", daemon=True)
        if period is not None:
            self._thread.start()

    def _go_on(self, period: float) -> None:
        while not self._ended.wait(period):
            self.joules()

    def joules(self) -> float | None:
        """See `EnergyMeter`."""
        with self._lock:
            if self._total is not None:
                try:
                    self._total += self._look()
                except Exception:  # a driver that fails ends the measuring, not the run
                    self._total, self.source = None, f"{self.source}, which failed"
            return self._total

    def close(self) -> None:
        """See `EnergyMeter`."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        with contextlib.suppress(Exception):
            self._close()


class _Difference:
    """Of a counter that only grows: what came since the look before."""

    def __init__(self, read: Callable[[], float]):
        self._read = read
        self._last = read()

    def advance(self) -> float:
        """See above."""
        before, self._last = self._last, self._read()
        return self._last - before


def _rapl_meter(powercap: Path) -> EnergyMeter | None:
    """All CPU packages of the machine, and their memory where it has a counter of its own."""
    try:
        counters = [RaplCounter(zone) for zone in sorted(powercap.glob("intel-rapl:*")) if _counts(zone)]
    except (OSError, ValueError):  # since 2020 only root may read them, unless told otherwise
        return None
    if not counters:
        return None
    kinds = sorted({counter.name.rstrip("-0123456789") for counter in counters})
    return _Meter(
        f"RAPL: {' and '.join(kinds)} of the whole machine",
        lambda: sum(counter.advance() for counter in counters),
        WRAP_PERIOD,
        lambda: None,
    )


def _counts(zone: Path) -> bool:
    """Whether a zone is counted: cores and graphics are part of their package, `psys` holds the packages."""
    name = (zone / "name").read_text().strip()
    return name.startswith("package") or name == "dram"


class RaplCounter:
    """One zone's counter, followed across its wrapping around."""

    def __init__(self, zone: Path):
        self.name = (zone / "name").read_text().strip()
        self._file = zone / "energy_uj"
        self._range = int((zone / "max_energy_range_uj").read_text())
        self._last = int(self._file.read_text())

    def advance(self) -> float:
        """Joules since the last time, if it has wrapped around at most once since."""
        now = int(self._file.read_text())
        passed = now - self._last
        self._last = now
        return (passed if passed >= 0 else passed + self._range) / 1e6


def _nvml_meter(device: torch.device) -> EnergyMeter | None:
    """The GPU's whole board; None where NVML, its Python package or this GPU's counters are missing."""
    try:
        import pynvml  # type: ignore[import-not-found, unused-ignore]  # pyright: ignore[reportMissingImports]

        pynvml.nvmlInit()
    except Exception:  # the package, the driver or the permission is missing
        return None
    try:
        return nvml_meter(pynvml, _handle(pynvml, device))
    except Exception:
        with contextlib.suppress(Exception):
            pynvml.nvmlShutdown()
        return None


def _handle(nvml: Any, device: torch.device) -> Any:
    """NVML's handle of torch's device: NVML numbers all GPUs, torch those that CUDA_VISIBLE_DEVICES leaves."""
    properties = torch.cuda.get_device_properties(device)
    return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{properties.uuid}")


def nvml_meter(nvml: Any, handle: Any) -> EnergyMeter:
    """Energy of the GPU of `handle`: its own counter, or samples of its power joined by straight lines.

    Raises:
        Exception: NVML gives neither.
    """
    try:
        energy = _Difference(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3)
    except nvml.NVMLError:
        power = _PowerSamples(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3)
        return _Meter("NVML: samples of the GPU's power", power.advance, POWER_PERIOD, nvml.nvmlShutdown)
    return _Meter("NVML: the GPU's energy counter", energy.advance, None, nvml.nvmlShutdown)


class _PowerSamples:
    """Energy from watts, by the trapezoidal rule."""

    def __init__(self, watts: Callable[[], float]):
        self._watts = watts
        self._last = time.monotonic(), watts()

    def advance(self) -> float:
        """Joules since the last time."""
        then, before = self._last
        self._last = time.monotonic(), self._watts()
        return (self._last[0] - then) * (before + self._last[1]) / 2
