from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flyweight.base import UserError
from flyweight.evaluation import evaluate
from flyweight.evaluation.tasks.blimp import read_blimp
from flyweight.inference import LanguageModel

Judging = Callable[[Callable[[str], float]], LanguageModel]
SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "eval" / "blimp"


def test_a_model_that_prefers_good_sentences_gets_all_and_its_reverse_none(
    judging: Judging, blimp_folder: Path
):
    for sign, expected in ((1, 1.0), (-1, 0.0)):
        model = judging(lambda text, sign=sign: sign * (-10.0 if text.startswith(" good") else -20.0))
        result = evaluate(model, ["blimp"], blimp_folder)["tasks"]["blimp"]
        assert result["acc"] == expected
        assert {uid: part["n"] for uid, part in result["by_uid"].items()} == {"agreement": 6, "island": 3}


def test_subsets_count_alike_whatever_their_size_and_errors_are_theirs(judging: Judging, blimp_folder: Path):
    # Right on "agreement" for n < 3 (3 of 6), and on all 3 of "island".
    def judge(text: str) -> float:
        _, kind, uid, number = text.split(" ")
        right = uid == "island" or int(number) < 3
        return -1.0 if (kind == "good") == right else -2.0

    result = evaluate(judging(judge), ["blimp"], blimp_folder)["tasks"]["blimp"]
    assert result["acc"] == pytest.approx((0.5 + 1.0) / 2)
    part = result["by_uid"]["agreement"]
    assert (part["acc"], part["n"]) == (0.5, 6)
    assert part["acc_stderr"] == pytest.approx((0.25 / 5) ** 0.5)  # sqrt(p (1-p) / (n-1))
    assert result["acc_stderr"] == pytest.approx((0.25 / 5) ** 0.5 / 2)
    assert (result["n"], result["subsets"], result["complete"]) == (9, 2, False)


def test_a_tie_counts_as_right_as_in_lm_eval(judging: Judging, blimp_folder: Path):
    assert evaluate(judging(lambda text: -3.0), ["blimp"], blimp_folder)["tasks"]["blimp"]["acc"] == 1.0


def test_a_limit_is_per_subset(judging: Judging, blimp_folder: Path):
    result = evaluate(judging(lambda text: 0.0), ["blimp"], blimp_folder, limit=2)["tasks"]["blimp"]
    assert {uid: part["n"] for uid, part in result["by_uid"].items()} == {"agreement": 2, "island": 2}


def test_files_may_lie_in_the_folder_itself(blimp_folder: Path):
    assert read_blimp(blimp_folder / "blimp") == read_blimp(blimp_folder)


def test_missing_and_foreign_files_are_told(tmp_path: Path, blimp_folder: Path):
    with pytest.raises(UserError, match="needs its files"):
        read_blimp(None)
    with pytest.raises(UserError, match="no BLiMP files here"):
        read_blimp(tmp_path)
    with pytest.raises(UserError, match="no BLiMP files here"):
        read_blimp(tmp_path / "nowhere")
    island = blimp_folder / "blimp" / "island.jsonl"
    for content, message in (
        ('{"text": "a"}\n', r"island\.jsonl, item 1: not a BLiMP pair"),
        ("{}\nno json\n", r"island\.jsonl, line 2: not valid JSON"),
        ("[1]\n", r"island\.jsonl, line 1: expected a JSON object"),
        ("\n", r"island\.jsonl: no BLiMP pairs"),
    ):
        island.write_text(content)
        with pytest.raises(UserError, match=message):
            read_blimp(blimp_folder)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no BLiMP files at {SHARED}")
def test_the_published_files_load():
    subsets = read_blimp(SHARED.parent)
    assert len(subsets) == 67
    assert {len(pairs) for pairs in subsets.values()} == {1000}
    # Seven published pairs are the same sentence twice; whatever a model thinks, those are ties.
    assert sum(pair.good == pair.bad for pairs in subsets.values() for pair in pairs) == 7
