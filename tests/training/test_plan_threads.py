"""What a run's plan keeps when it goes on with other threads, alone or beside other processes."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from test_run import changed

from flyweight.training import plan as plans
from flyweight.training.plan import frozen_plan


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    """A product that is as fast as there are threads; what a trial says is no part of these tests."""
    before = torch.get_num_threads()
    monkeypatch.setattr(
        plans, "known_or_measured_peak", lambda device, precision: (1e9 * torch.get_num_threads(), "measured")
    )
    yield
    torch.set_num_threads(before)


def goes_on(recipe, corpus, folder, **execution):
    return frozen_plan(folder, changed(recipe, execution=execution), corpus)


def test_the_peak_is_that_of_the_threads(recipe, corpus, tmp_path):
    assert goes_on(recipe, corpus, tmp_path, threads=1)[0].peak_flops == 1e9
    plan, changes = goes_on(recipe, corpus, tmp_path, threads=2)
    assert (plan.threads, plan.peak_flops) == (2, 2e9)
    assert plan.hardware.endswith("2 threads")
    assert changes == ["execution.threads: 1 -> 2"]
    assert json.loads((tmp_path / "plan.json").read_text())["plan"]["peak_flops"] == 2e9


def test_other_keys_leave_the_peak_and_the_choice_for_muon(recipe, corpus, tmp_path):
    goes_on(recipe, corpus, tmp_path, threads=1)
    stored = json.loads((tmp_path / "plan.json").read_text())
    stored["plan"] |= {"peak_flops": 5.0, "muon": {"1x1": {"kind": "plain"}}}
    (tmp_path / "plan.json").write_text(json.dumps(stored))
    plan, _ = goes_on(recipe, corpus, tmp_path, threads=1, micro_batch=1)
    assert (plan.peak_flops, list(plan.muon)) == (5.0, ["1x1"])
    assert not goes_on(recipe, corpus, tmp_path, threads=2, micro_batch=1)[0].muon


@pytest.mark.parametrize("threads", ["auto", 2])
def test_under_torchrun_a_process_takes_the_threads_that_it_is_given(
    recipe, corpus, tmp_path, monkeypatch, threads
):
    """torchrun gives each process one thread, unless the recipe says how many."""
    torch.set_num_threads(2)
    assert goes_on(recipe, corpus, tmp_path, threads=threads)[0].threads == 2
    torch.set_num_threads(1)
    monkeypatch.setattr(plans, "join_ranks", lambda: SimpleNamespace(world_size=2))
    plan, changes = goes_on(recipe, corpus, tmp_path, threads=threads)
    expected = 1 if threads == "auto" else 2
    assert (plan.threads, plan.peak_flops) == (expected, expected * 1e9)
    assert changes == (["threads of a process: 2 -> 1"] if threads == "auto" else [])
    assert goes_on(recipe, corpus, tmp_path, threads=threads) == (plan, [])  # frozen again
