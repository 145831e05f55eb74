"""The table of what a run spent holds everything, and says where it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flyweight.events import Spent
from flyweight.report.spending import caveat, energy_rows, time_rows

SPENT = Spent(
    attempts=2, killed=0, seconds=100.0, training_seconds=60.0, data_seconds=10.0, checkpoint_seconds=5.0,
    validation_seconds=8.0, recovery_seconds=7.0, tokens=1e6, joules=500.0, energy_from="NVML",
)  # fmt: skip


def test_the_rows_add_up_and_going_back_is_one_of_them() -> None:
    shares = {name: share for name, _, share in time_rows(SPENT)}
    assert shares["going back to checkpoints"] == "7.0%"
    assert shares["building, compiling, ending"] == "20.0%"
    assert sum(float(share.rstrip("%")) for share in shares.values() if share) == pytest.approx(100)


def test_the_caveat_names_what_is_not_counted() -> None:
    assert caveat(SPENT) is None
    killed = replace(SPENT, killed=1, energy_of_steps=2)
    assert caveat(killed) == (
        "1 attempt has no end on record: what came after the last line of the record is not counted. The energy of 2 "
        "attempts that did not end in order is that of logged steps only: validations and checkpoints come on top."
    )
    assert "energy" not in (caveat(replace(killed, joules=None)) or "")
    failed = caveat(replace(SPENT, energy_of_steps=1))
    assert failed is not None
    assert failed.startswith("The energy of 1 attempt that")


def test_energy_is_told_with_what_measured_it_where_that_is_known() -> None:
    assert energy_rows(SPENT)[0] == ("energy", "0.000139 kWh (NVML)")
    assert energy_rows(replace(SPENT, energy_from=""))[0] == ("energy", "0.000139 kWh")
    assert energy_rows(replace(SPENT, joules=None)) == []
