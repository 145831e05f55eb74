"""The moving average of the weights, and checkpoints that are averages."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import faulty_child
import pytest
import torch
from parallel_children import train_here
from parallel_setup import together
from safetensors.torch import load_file, save_file
from test_faults import KillAt, Killed
from test_run import STEP, assert_same_bits, changed, losses, run

from flyweight.base import UserError
from flyweight.evaluation import BitsPerByte
from flyweight.events import read_events
from flyweight.inference import find_checkpoint, generate, list_checkpoints, load_model, read_state
from flyweight.model import Decoder
from flyweight.recipe import Recipe
from flyweight.training import objective, train
from flyweight.training.averaged_checkpoint import average_ema, average_last
from flyweight.training.averaging import WeightAverage
from flyweight.training.checkpoint import load_state
from flyweight.training.validation import measure_held_out

HALF_LIFE = 5 * STEP


@pytest.fixture(scope="module")
def averaged(recipe) -> Recipe:
    """An average, and a checkpoint after every step."""
    return changed(
        recipe,
        training={"tokens": 12 * STEP},
        execution={"checkpoint_every": STEP, "keep_checkpoints": 99, "ema_half_life": HALF_LIFE},
    )


@pytest.fixture(scope="module")
def reference(averaged, corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("averaged") / "run"
    assert run(averaged, corpus, folder).finished
    return folder


def kept(folder: Path, name: str = "ema") -> list[dict[str, torch.Tensor]]:
    return [load_file(path / f"{name}.safetensors") for _, path in list_checkpoints(folder)]


def assert_equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def assert_close(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor], **tolerance) -> None:
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name].double(), two[name].double(), msg=name, **tolerance)


def test_the_average_is_the_closed_form_over_the_weights_on_record(recipe, averaged, reference):
    """The weights of t tokens ago count 2^(-t / half-life) (1 - 2^(-step / half-life)), the first ones what is left."""
    keep = 2 ** (-STEP / HALF_LIFE)
    path = [Decoder(recipe.model, recipe.parametrization).initialize(recipe.seed).state_dict()]
    path += kept(reference, "model")
    assert len(path) == 13
    for end, found in enumerate(kept(reference), start=1):
        shares = [keep**end] + [(1 - keep) * keep ** (end - step) for step in range(1, end + 1)]
        assert sum(shares) == pytest.approx(1)
        expected = {
            name: sum(share * weights[name].double() for share, weights in zip(shares, path, strict=False))
            for name in found
        }
        assert_close(found, expected, rtol=1e-5, atol=1e-7)
    assert not torch.equal(kept(reference)[-1]["norm.weight"], path[-1]["norm.weight"])


def test_it_does_not_depend_on_how_tokens_are_cut_into_steps(recipe):
    found = []
    for cuts in ([64] * 8, [128, 384], [1, 511], [512]):
        decoder = Decoder(recipe.model, recipe.parametrization).initialize(1)
        average = WeightAverage(decoder, half_life=300)
        average.reset()
        decoder.initialize(2)  # the weights jump once, then stay
        for tokens in cuts:
            average.took(tokens)
        found.append(average.state_tensors())
    begin, end = (Decoder(recipe.model, recipe.parametrization).initialize(s).state_dict() for s in (1, 2))
    share = 2 ** (-512 / 300)
    expected = {name: share * begin[name].double() + (1 - share) * end[name].double() for name in begin}
    for one in found:
        assert_close(one, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("half_life", [10**6, 10**12])
def test_a_long_half_life_takes_in_little_but_not_nothing(recipe, half_life):
    decoder = Decoder(recipe.model, recipe.parametrization).initialize(1)
    average = WeightAverage(decoder, half_life)
    average.reset()
    with torch.no_grad():
        for value in (*decoder.parameters(), *average.state_tensors().values()):
            value.zero_()
        for parameter in decoder.parameters():
            parameter.fill_(1.0)
    average.took(1)
    share = 0.6931471805599453 / half_life
    assert average.state_tensors()["norm.weight"][0].item() == pytest.approx(share, rel=1e-6)


def test_off_by_default_and_nothing_else_changes_with_it(recipe, averaged, corpus, reference, tmp_path):
    assert recipe.execution.ema_half_life == 0
    run(changed(averaged, execution={"ema_half_life": 0}), corpus, tmp_path / "off")
    assert_same_bits(reference, tmp_path / "off")
    for (_, one), (_, two) in zip(
        list_checkpoints(reference), list_checkpoints(tmp_path / "off"), strict=True
    ):
        assert {p.name for p in one.iterdir()} - {p.name for p in two.iterdir()} == {"ema.safetensors"}
        for name in ("model", "optimizer"):
            assert_equal(load_file(one / f"{name}.safetensors"), load_file(two / f"{name}.safetensors"))


def test_stopped_and_continued_it_has_the_same_bits(averaged, corpus, reference, tmp_path):
    for end in (3 * STEP, 7 * STEP, None):
        run(averaged, corpus, tmp_path / "run", stop_after=end)
    assert_same_bits(reference, tmp_path / "run")
    for one, two in zip(kept(reference), kept(tmp_path / "run"), strict=True):
        assert_equal(one, two)


def test_without_its_file_it_begins_with_the_weights_of_the_checkpoint(averaged, corpus, tmp_path):
    """Switched off and on again as the run goes on; so the test above tests something."""
    off = changed(averaged, execution={"ema_half_life": 0})
    run(averaged, corpus, tmp_path / "run", stop_after=2 * STEP)
    run(off, corpus, tmp_path / "run", stop_after=5 * STEP)
    begin = load_file(list_checkpoints(tmp_path / "run")[-1][1] / "model.safetensors")
    assert not (list_checkpoints(tmp_path / "run")[-1][1] / "ema.safetensors").exists()
    run(averaged, corpus, tmp_path / "run", stop_after=6 * STEP)
    last = list_checkpoints(tmp_path / "run")[-1][1]
    expected = one_step_after(begin, last, HALF_LIFE)
    assert_close(load_file(last / "ema.safetensors"), expected, rtol=1e-5, atol=1e-7)


def one_step_after(
    begin: dict[str, torch.Tensor], checkpoint: Path, half_life: int
) -> dict[str, torch.Tensor]:
    """The average after the one step since it began with `begin`."""
    after, share = load_file(checkpoint / "model.safetensors"), 1 - 2 ** (-STEP / half_life)
    return {name: begin[name] + share * (after[name] - begin[name]) for name in begin}


def test_under_another_half_life_it_begins_anew_so_that_the_one_on_record_is_true(averaged, corpus, tmp_path):
    run(averaged, corpus, tmp_path / "run", stop_after=3 * STEP)
    begin = load_file(list_checkpoints(tmp_path / "run")[-1][1] / "model.safetensors")
    other = changed(averaged, execution={"ema_half_life": 2 * HALF_LIFE})
    run(other, corpus, tmp_path / "run", stop_after=4 * STEP)
    last = list_checkpoints(tmp_path / "run")[-1][1]
    expected = one_step_after(begin, last, 2 * HALF_LIFE)
    assert_close(load_file(last / "ema.safetensors"), expected, rtol=1e-5, atol=1e-7)
    assert average_ema(last, tmp_path / "ema")["half_life"] == 2 * HALF_LIFE


def test_a_run_from_another_run_begins_its_own(averaged, corpus, reference, tmp_path):
    run(averaged, corpus, tmp_path / "run", start_from=f"{reference}@{6 * STEP}", stop_after=7 * STEP)
    begin = kept(reference, "model")[5]
    last = list_checkpoints(tmp_path / "run")[-1][1]
    assert_close(
        load_file(last / "ema.safetensors"), one_step_after(begin, last, HALF_LIFE), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("damage", ["missing", "shape", "extra"])
def test_a_file_that_is_no_average_of_the_model_is_refused_and_harms_nothing(
    averaged, corpus, reference, tmp_path, damage
):
    average_ema(reference, tmp_path / "ema")
    before = (tmp_path / "ema" / "model.safetensors").read_bytes()
    run(averaged, corpus, tmp_path / "run", stop_after=2 * STEP)
    file = list_checkpoints(tmp_path / "run")[-1][1] / "ema.safetensors"
    tensors = load_file(file)
    norm = tensors.pop("norm.weight")
    if damage != "missing":
        tensors |= (
            {"norm.weight": norm[:-1]} if damage == "shape" else {"norm.weight": norm, "more": norm.clone()}
        )
    save_file(tensors, file)
    name = "more" if damage == "extra" else r"norm\.weight"
    for use in (
        lambda: average_ema(tmp_path / "run", tmp_path / "ema"),
        lambda: run(averaged, corpus, tmp_path / "run"),
    ):
        with pytest.raises(UserError, match=rf"no average of the model's weights: {name} is .* there"):
            use()
    assert (tmp_path / "ema" / "model.safetensors").read_bytes() == before
    file.unlink()
    run(averaged, corpus, tmp_path / "run", stop_after=3 * STEP)


def test_a_run_that_goes_back_goes_back_with_its_average(averaged, corpus, tmp_path, monkeypatch):
    """Steps are lost on the way back; killed there and continued, the average comes from the file alone."""
    monkeypatch.setattr(objective, "training_loss", objective.training_loss)
    faulty_child.install("poison")
    faulty = changed(
        averaged,
        training={"guard": {"rollback_after": 2, "most_rollbacks": 9, "spike": "ignore"}},
        execution={"checkpoint_every": 4 * STEP},
    )
    assert run(faulty, corpus, tmp_path / "through").finished
    backs = [event for event in read_events(tmp_path / "through") if event["kind"] == "rolled_back"]
    back = 1 + next(
        n for n, event in enumerate(backs) if event["clock"] and event["clock"] < event["failed_at"]
    )
    with pytest.raises(Killed):
        train(faulty, corpus, tmp_path / "killed", sinks=[KillAt("rolled_back", back)])
    run(faulty, corpus, tmp_path / "killed")
    assert_same_bits(tmp_path / "through", tmp_path / "killed")
    for one, two in zip(kept(tmp_path / "through"), kept(tmp_path / "killed"), strict=True):
        assert_equal(one, two)


@pytest.mark.parametrize("parallel", [pytest.param("ddp", marks=pytest.mark.slow), "fsdp"])
def test_with_two_processes_it_is_the_average_of_their_weights(
    averaged, corpus, reference, tmp_path, parallel
):
    spread = changed(averaged, execution={"parallel": parallel})
    for options in ({"stop_after": 2 * STEP}, {"stop_after": 4 * STEP}):
        together(2, train_here, spread.to_dict(), str(corpus.folder), str(tmp_path / "run"), options)
    for one, two in zip(kept(tmp_path / "run"), kept(reference), strict=False):
        assert_close(one, two, rtol=2e-3, atol=2e-4)
    path, keep = kept(tmp_path / "run", "model"), 2 ** (-STEP / HALF_LIFE)
    for step, found in enumerate(kept(tmp_path / "run")[1:], start=1):
        before = kept(tmp_path / "run")[step - 1]
        expected = {n: keep * before[n] + (1 - keep) * path[step][n] for n in before}
        assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_the_mean_of_the_last_checkpoints(reference, tmp_path):
    about = average_last(f"{reference}@{9 * STEP}", tmp_path / "mean", 4)
    clocks = [step * STEP for step in (6, 7, 8, 9)]
    assert about == {"kind": "mean", "clocks": clocks}
    four = kept(reference, "model")[5:9]
    mean = {name: torch.stack([w[name].double() for w in four]).mean(0).float() for name in four[0]}
    assert_equal(load_file(tmp_path / "mean" / "model.safetensors"), mean)
    state = load_state(tmp_path / "mean")
    assert (state.clock, state.optimizer, state.average) == (9 * STEP, "none", about)
    average_last(reference, tmp_path / "mean", 2)  # an earlier average may be replaced
    assert load_state(tmp_path / "mean").clock == 12 * STEP
    assert [path.name for path in tmp_path.iterdir()] == ["mean"]


def test_the_moving_average_as_a_checkpoint(reference, tmp_path):
    about = average_ema(f"{reference}@{5 * STEP}", tmp_path / "ema")
    assert about == {"kind": "ema", "half_life": HALF_LIFE, "clocks": [5 * STEP]}
    assert_equal(load_file(tmp_path / "ema" / "model.safetensors"), kept(reference)[4])


def test_an_average_is_read_like_any_other_checkpoint(reference, corpus, tmp_path):
    average_last(reference, tmp_path / "mean", 3)
    average_ema(reference, tmp_path / "ema")
    assert find_checkpoint(tmp_path / "mean") == tmp_path / "mean"
    names = {}
    for path in (reference, tmp_path / "mean", tmp_path / "ema"):
        model = load_model(path, "cpu")
        names[path.name] = model.name
        measured = measure_held_out(model.decoder, corpus, "float32", 32, 2000)
        assert all(isinstance(one, BitsPerByte) and 0 < one.bits_per_byte < 8 for one in measured.values())
        assert isinstance(generate(model, "a small", max_new_tokens=4), str)
    # Results of an average are never taken for those of the run's own checkpoint.
    assert len(set(names.values())) == 3
    assert names["mean"].endswith("-mean-of-3")
    assert names["ema"].endswith("-ema")


def test_a_run_starts_from_an_average_with_fresh_optimizer_state(averaged, corpus, reference, tmp_path):
    average_last(f"{reference}@{6 * STEP}", tmp_path / "mean", 3)
    longer = changed(averaged, training={"tokens": 14 * STEP})
    run(longer, corpus, tmp_path / "run", start_from=str(tmp_path / "mean"), stop_after=7 * STEP)
    first = list_checkpoints(tmp_path / "run")[-1]
    assert first[0] == 7 * STEP
    steps = [
        value for name, value in load_file(first[1] / "optimizer.safetensors").items() if "/step/" in name
    ]
    assert {float(value) for value in steps} == {1.0}
    assert read_state(first[1])["average"] is None
    assert losses(tmp_path / "run")[7 * STEP] == pytest.approx(losses(reference)[7 * STEP], abs=1.0)
    begin = load_file(tmp_path / "mean" / "model.safetensors")  # the moving average begins with the mean
    expected = one_step_after(begin, first[1], HALF_LIFE)
    assert_close(load_file(first[1] / "ema.safetensors"), expected, rtol=1e-5, atol=1e-7)
    assert run(longer, corpus, tmp_path / "run").finished


def test_refusals(averaged, corpus, reference, tmp_path):
    out = tmp_path / "out"

    def refuses(text: str, what, *arguments) -> None:
        with pytest.raises(UserError, match=text):
            what(*arguments)
        assert not out.exists()

    refuses("at least 2", average_last, reference, out, 1)
    refuses(
        r"12 checkpoints up to 1,536 tokens, not 13.*keep_checkpoints.*milestones",
        average_last,
        reference,
        out,
        13,
    )
    refuses("one checkpoint up to 128 tokens", average_last, f"{reference}@{STEP}", out, 2)
    refuses("no such folder", average_last, tmp_path / "nothing", out, 2)
    busy = tmp_path / "busy"
    busy.mkdir()
    (busy / "thesis.txt").write_text("years of work")
    refuses("not an earlier average", average_last, reference, busy, 2)
    inside = reference / "checkpoints" / "tokens-000000000999999"
    refuses("only a run writes", average_ema, reference, inside)
    refuses("not an earlier average", average_ema, reference, reference)

    copy = tmp_path / "copy"
    shutil.copytree(reference, copy)
    *_, before, newest = (path for _, path in list_checkpoints(copy))
    (newest / "ema.safetensors").unlink()
    refuses("no moving average.*execution.ema_half_life", average_ema, copy, out)
    state = json.loads((before / "state.json").read_text())
    (before / "state.json").write_text(json.dumps({**state, "corpus": "other"}))
    refuses("another run.*token shards", average_last, copy, out, 2)
    (before / "state.json").write_text(json.dumps(state))
    other = json.loads((before / "recipe.json").read_text())
    other["seed"] = 99
    (before / "recipe.json").write_text(json.dumps(other))
    refuses("another run.*seed", average_last, copy, out, 2)
    shutil.copytree(reference / "checkpoints" / before.name, before, dirs_exist_ok=True)
    tensors = before / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:1000])
    refuses("damaged", average_last, copy, out, 2)

    average_last(reference, tmp_path / "mean", 2)
    refuses("in no run's folder", average_last, tmp_path / "mean", out, 2)
    refuses("no moving average", average_ema, tmp_path / "mean", out)
