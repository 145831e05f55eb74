"""Meters, against counters that a test turns."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch

from flyweight.training.energy import energy_meter, energy_metered, nvml_meter


def zone(folder: Path, name: str, microjoules: int, span: int = 1_000_000_000) -> Path:
    folder.mkdir()
    for file, value in (("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", span)):
        (folder / file).write_text(f"{value}\n")
    return folder / "energy_uj"


def test_rapl_counts_packages_and_their_memory_once(tmp_path) -> None:
    package = zone(tmp_path / "intel-rapl:0", "package-0", 5_000_000)
    cores = zone(tmp_path / "intel-rapl:0:0", "core", 1_000_000)
    memory = zone(tmp_path / "intel-rapl:0:1", "dram", 2_000_000)
    system = zone(tmp_path / "intel-rapl:1", "psys", 9_000_000)
    meter = energy_meter(torch.device("cpu"), tmp_path)
    assert meter is not None
    assert meter.source == "RAPL: dram and package of the whole machine"
    assert meter.joules() == 0
    for file, passed in ((package, 7_000_000), (cores, 6_000_000), (memory, 500_000), (system, 8_000_000)):
        file.write_text(f"{int(file.read_text()) + passed}\n")
    assert meter.joules() == pytest.approx(7.5)
    meter.close()


def test_rapl_counts_on_when_its_counter_starts_again(tmp_path) -> None:
    counter = zone(tmp_path / "intel-rapl:0", "package-0", 999_000_000)
    meter = energy_meter(torch.device("cpu"), tmp_path)
    assert meter is not None
    counter.write_text("3000000\n")
    assert meter.joules() == pytest.approx(4.0)
    meter.close()


def test_nothing_is_said_where_nothing_measures(tmp_path) -> None:
    assert energy_meter(torch.device("cpu"), tmp_path) is None
    zone(tmp_path / "intel-rapl:0", "package-0", 1).unlink()  # only its name can be read
    assert energy_meter(torch.device("cpu"), tmp_path) is None


def test_a_counter_that_fails_ends_the_measuring_and_not_the_run(tmp_path) -> None:
    counter = zone(tmp_path / "intel-rapl:0", "package-0", 0)
    meter = energy_meter(torch.device("cpu"), tmp_path)
    assert meter is not None
    counter.unlink()
    assert meter.joules() is None
    counter.write_text("5\n")
    assert meter.joules() is None  # part of a sum is no measurement
    assert meter.source.endswith("which failed")
    meter.close()


class Nvml:
    """What we use of pynvml; `energy` in mJ or None where the GPU counts none, `watts` a constant."""

    class NVMLError(Exception):
        pass

    def __init__(self, energy: float | None, watts: float) -> None:
        self.energy, self.watts, self.ended = energy, watts, False

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> float:
        if self.energy is None:
            raise self.NVMLError("not supported")
        return self.energy

    def nvmlDeviceGetPowerUsage(self, handle: str) -> float:
        return self.watts * 1e3

    def nvmlShutdown(self) -> None:
        self.ended = True


def test_nvml_counts_millijoules() -> None:
    nvml = Nvml(1_000_000.0, 0.0)
    meter = nvml_meter(nvml, "gpu")
    nvml.energy = 1_250_500.0
    assert meter.joules() == pytest.approx(250.5)
    meter.close()
    assert nvml.ended


def test_power_is_integrated_where_a_gpu_counts_no_energy() -> None:
    nvml = Nvml(None, 200.0)
    begin = time.monotonic()
    meter = nvml_meter(nvml, "gpu")
    time.sleep(0.35)
    joules = meter.joules()
    assert joules == pytest.approx(200 * (time.monotonic() - begin), rel=0.2)
    assert "power" in meter.source
    meter.close()
    assert not any(thread.name == "energy" for thread in threading.enumerate())


@pytest.mark.gpu
def test_a_gpu_at_work_uses_energy() -> None:
    pytest.importorskip("pynvml")
    device = torch.device("cuda", 0)
    with energy_metered(device) as meter:
        if meter is None:
            pytest.skip("this GPU, or who runs it, lets nobody measure")
        a = torch.randn(4096, 4096, device=device)
        begin = time.monotonic()
        while time.monotonic() - begin < 2:
            a = torch.nn.functional.normalize(a @ a)
            torch.cuda.synchronize()
        joules = meter.joules()
    assert joules is not None
    assert 20 < joules / 2 < 2000  # watts
