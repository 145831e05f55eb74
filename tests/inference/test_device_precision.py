from __future__ import annotations

from typing import get_args

import pytest
import torch

from flyweight.base import UserError
from flyweight.inference import Precision, autocast, choose_precision, pick_device
from flyweight.inference import precision as precision_module

CPU = torch.device("cpu")


def test_auto_takes_the_best_device_there_is(monkeypatch: pytest.MonkeyPatch):
    assert pick_device("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto").type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto").type == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto") == CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CUDA", "", "cpu:-1", "meta"])
def test_an_unknown_device_is_refused(name: str):
    with pytest.raises(UserError, match="is not known; expected auto, cpu, cuda"):
        pick_device(name)


def test_an_absent_device_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(UserError, match=r"'cuda:1' was asked for, but this machine has 1 CUDA device"):
        pick_device("cuda:1")
    with pytest.raises(UserError, match="no MPS"):
        pick_device("mps")
    with pytest.raises(UserError, match="only one cpu"):
        pick_device("cpu:3")


@pytest.mark.parametrize(("speedup", "expected"), [(2.1, "bfloat16"), (1.0, "float32"), (0.05, "float32")])
def test_auto_precision_on_cpu_follows_the_measurement(
    monkeypatch: pytest.MonkeyPatch, speedup: float, expected: str
):
    monkeypatch.setattr(precision_module, "cpu_bfloat16_speedup", lambda threads: speedup)
    assert choose_precision("auto", CPU) == expected
    assert choose_precision("float32", CPU) == "float32"
    assert choose_precision("bfloat16", CPU) == "bfloat16"


def test_the_probe_measures_something():
    assert 1e-3 < precision_module.cpu_bfloat16_speedup(torch.get_num_threads()) < 1e3


def test_auto_precision_on_other_devices(monkeypatch: pytest.MonkeyPatch):
    for supported, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation, answer=supported: answer
        )
        assert choose_precision("auto", torch.device("cuda")) == expected
    assert choose_precision("auto", torch.device("mps")) == "float32"


def test_autocast_changes_products_not_weights():
    layer = torch.nn.Linear(4, 4)
    for precision in get_args(Precision):
        dtype = getattr(torch, precision)
        with autocast(CPU, precision):
            assert layer(torch.ones(1, 4)).dtype == dtype
        assert layer.weight.dtype == torch.float32
