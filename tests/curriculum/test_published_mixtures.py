"""The mixtures that the order of the data really follows, against the published tables, clock by clock."""

from __future__ import annotations

import pytest

from flyweight.curriculum import UNIT, Mixture, Schedule
from flyweight.recipe import load_recipe

GPT_X2 = ("fineweb-edu", "dclm", "finemath", "npset-python")

XMODEL_2_STABLE = {
    "fineweb-edu": 41.0, "code": 26.0, "cc-chn": 20.0, "dolma": 11.0, "book": 1.0, "multilang-wiki": 1.0,
}  # fmt: skip
XMODEL_2_DECAY = {
    "sft-mathematics": 22.4, "sft-commonsense": 18.5, "sft-code": 12.1, "sft-knowledge": 6.4, "sft-logic": 4.5,
    "fineweb-edu": 17.89, "cc-chn": 3.55, "code": 2.11, "algebraic-stack": 1.645, "open-web-math": 1.645,
    "multilang-wiki": 1.10, "book": 0.27, "dolma": 3.44, "multilang-pretrain": 4.47,
}  # fmt: skip
XMODEL_25_STABLE = {
    "ultra-fineweb-en": 41.0, "starcoder": 26.0, "ultra-fineweb-zh": 20.0, "reddit": 3.91, "pes2o": 2.85,
    "arxiv": 1.33, "books": 1.0, "wiki": 1.0, "stackexchange": 0.9, "tulu-flan": 0.78, "algebraic-stack": 0.5,
    "open-web-math": 0.5, "megawika": 0.23,
}  # fmt: skip
XMODEL_25_DECAY = {
    "sft-mixed": 66.87, "ultra-fineweb-en": 18.725, "ultra-fineweb-zh": 3.716, "starcoder": 2.209,
    "megawika": 1.801, "algebraic-stack": 1.722, "open-web-math": 1.722, "wiki": 1.147, "stackexchange": 0.9,
    "reddit": 0.9, "books": 0.287,
}  # fmt: skip

QUICKSTART = ("english", "python", "arithmetic")


class Planned:
    """The shares of a recipe by which its sequences are given out, in the step at a clock."""

    def __init__(self, name: str):
        self.recipe = load_recipe(name)
        self.schedule = Schedule.of(self.recipe.training)
        self.mixture = Mixture(self.recipe.training, self.schedule)

    def at_step(self, number: int) -> dict[str, float]:
        """Percentages; sources without any are left out."""
        sequence = self.schedule.step(number).sequence
        weights = self.mixture.planned(sequence + 1) - self.mixture.planned(sequence)
        shares = dict(zip(self.mixture.sources, (100 * weights / UNIT).tolist(), strict=True))
        return {name: share for name, share in shares.items() if share}


def normalised(table: dict[str, float]) -> dict[str, float]:
    return {name: 100 * share / sum(table.values()) for name, share in table.items()}


def test_gpt_x2_follows_the_cards_curriculum():
    planned = Planned("gpt-x2-125m")
    step = 524_288
    assert (planned.schedule.steps, planned.schedule.step(1).clock) == (143_051, step)
    for billions, shares in (
        (0, (58, 40, 1, 1)),
        (17.9, (58, 40, 1, 1)),
        (18.5, (57, 39, 2.25, 1.75)),
        (19, (56, 38, 3.5, 2.5)),
        (20.1, (54, 36, 6, 4)),
        (44.9, (54, 36, 6, 4)),
        (51.5, (54.5, 37, 5.25, 3.25)),
        (58.1, (55, 38, 4.5, 2.5)),
        (74.9, (55, 38, 4.5, 2.5)),
    ):
        found = planned.at_step(round(billions * 1e9 / step))
        # A ramp moves by at most 5 points in 2B tokens: 0.0013 in the step within which the clock lies.
        assert found == pytest.approx(dict(zip(GPT_X2, shares, strict=True)), abs=2e-3), billions


def test_gpt_s_has_one_mixture():
    planned = Planned("gpt-s-5m")
    for step in (0, 50_000, planned.schedule.steps - 1):
        expected = {"fineweb-edu": 55, "cosmopedia-v2": 30, "fineweb-hq": 15}
        assert planned.at_step(step) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "stable", "decay"),
    [
        ("xmodel-2-1.2b", XMODEL_2_STABLE, XMODEL_2_DECAY),
        ("xmodel-2.5-1.3b", XMODEL_25_STABLE, XMODEL_25_DECAY),
    ],
)
def test_xmodels_change_to_the_decay_mixture_with_step_530_000(
    name: str, stable: dict[str, float], decay: dict[str, float]
):
    planned = Planned(name)
    for step in (0, 269_999, 270_000, 529_999):
        assert planned.at_step(step) == pytest.approx(normalised(stable), abs=1e-6)
    for step in (530_000, planned.schedule.steps - 1):
        assert planned.at_step(step) == pytest.approx(normalised(decay), abs=1e-6)


def test_the_tables_add_up_as_far_as_they_were_printed():
    assert sum(XMODEL_2_STABLE.values()) == pytest.approx(100)
    assert sum(XMODEL_2_DECAY.values()) == pytest.approx(100.02)
    assert sum(XMODEL_25_STABLE.values()) == pytest.approx(100)
    assert sum(XMODEL_25_DECAY.values()) == pytest.approx(99.999)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("xmodel-2-nano", {"c4": 100.0}),
        ("xmodel-2-tiny", {"c4": 100.0}),
        ("xmodel-2.5-20m", XMODEL_25_STABLE),  # the large model's, for which the proxy stands
    ],
)
def test_proxies_have_one_mixture(name: str, expected: dict[str, float]):
    planned = Planned(name)
    for step in (0, planned.schedule.steps - 1):
        assert planned.at_step(step) == pytest.approx(expected, abs=1e-6)


def test_the_quick_start_ramps_where_gpt_x2_does():
    large, small = load_recipe("gpt-x2-125m").training, Planned("quickstart")
    training = small.recipe.training
    assert [knot.shape for knot in training.mixture] == [knot.shape for knot in large.mixture]
    places = [
        [knot.at / total for knot in section.mixture]
        for section, total in ((large, 75e9), (training, training.tokens))
    ]
    assert places[1] == pytest.approx(places[0], abs=1e-4)
    steps = small.schedule.steps
    early, hold, late = (small.at_step(round(steps * part)) for part in (0.1, 0.4, 0.9))
    for shares in (early, hold, late):
        assert tuple(shares) == QUICKSTART
        assert sum(shares.values()) == pytest.approx(100)
    for ramped in (
        "python",
        "arithmetic",
    ):  # in, and a part of the way out again, as mathematics and code there
        assert early[ramped] < late[ramped] < hold[ramped]
    middle = small.at_step(round(steps * 0.2533))
    assert early["english"] > middle["english"] > hold["english"]
    assert small.recipe.sources["python"].tinydsl == "compact"
