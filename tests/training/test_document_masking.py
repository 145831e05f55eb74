"""Training with documents kept apart: the loss is that of the documents alone, however they are packed and split."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_faults import KillAt, Killed
from test_run import assert_same_bits, losses
from torch.nn import functional as F

from flyweight.curriculum import Batch, Order, begins_of, read_batch
from flyweight.events import read_events, run_spent
from flyweight.inference import list_checkpoints, read_state
from flyweight.model import Decoder
from flyweight.planning import dry_run
from flyweight.planning.trial import random_corpus, rows
from flyweight.recipe import Model, Parametrization, Recipe, recipe_from_dict
from flyweight.training import document_tiers, loop, objective, train, training_loss
from flyweight.training.document_tiers import DOCUMENT_REASONS, choose_document_attention, kernel_works
from flyweight.training.objective import Objective
from flyweight.training.plan import resolve_plan

CPU = torch.device("cpu")
STEP = 4 * 32
LENGTH = 40
BORDERS = ([9, 10, 31], [], [40], [1, 20])
"""By sequence of 41 tokens; a document of one token, one that begins with the last target, one of a single input."""


def model(**changes) -> Model:
    shape = {
        "vocab_size": 61, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2,
        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 64,
        "exclusive_attention": True, "qk_norm": True,
    }  # fmt: skip
    return Model(**{**shape, **changes})


def masked(recipe: Recipe, *, training=(), **execution) -> Recipe:
    data = recipe.to_dict()
    data["training"] |= {"document_masking": True, **dict(training)}
    data["execution"] |= execution
    return recipe_from_dict(data)


@pytest.fixture
def batch() -> Batch:
    tokens = torch.randint(61, (4, LENGTH + 1), generator=torch.Generator().manual_seed(5))
    return Batch(tokens, begins_of([np.array(places, dtype=np.int64) for places in BORDERS], LENGTH + 1))


@pytest.mark.parametrize("kernel", ["sdpa", "blocks"])
@pytest.mark.parametrize("z_coefficient", [0.0, 0.1])
def test_loss_and_gradients_are_those_of_the_documents_alone(batch, kernel, z_coefficient) -> None:
    decoder = Decoder(model(), Parametrization(init_std=0.2)).initialize(1)
    loss = Objective(decoder, "float32")
    decoder.use_attention(kernel)
    together = loss(batch.tokens, z_coefficient, batch.documents(CPU))
    found = torch.autograd.grad(together.total, decoder.parameters())
    decoder.use_attention("sdpa")
    alone = [
        loss(batch.tokens[row : row + 1, begin:end], z_coefficient)
        for row, places in enumerate(BORDERS)
        for begin, end in itertools.pairwise([0, *places, LENGTH + 1])
        if end - begin > 1  # one token alone predicts nothing
    ]
    expected = torch.autograd.grad(sum(part.total for part in alone), decoder.parameters())
    targets = sum(
        places[-1] - places[0] - len(places) + 1 for places in ([0, *p, LENGTH + 1] for p in BORDERS)
    )
    assert batch.scored == targets == 4 * LENGTH - 6
    for name in ("total", "cross_entropy", "z"):
        torch.testing.assert_close(getattr(together, name), sum(getattr(part, name) for part in alone))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-4, rtol=1e-3)


def test_targets_that_are_not_scored_leave_no_trace(monkeypatch) -> None:
    monkeypatch.setattr(objective, "CHUNK_LOGITS", 7 * 61)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 20, 8, generator=generator, requires_grad=True)
    weight = torch.randn(61, 8, generator=generator, requires_grad=True)
    targets = torch.randint(61, (2, 20), generator=generator)
    scored = torch.rand(2, 20, generator=generator) < 0.7
    loss = training_loss(hidden, weight, targets, logits_multiplier=0.5, z_coefficient=0.1, scored=scored)
    found = torch.autograd.grad(loss.total, (hidden, weight))
    logits = 0.5 * hidden @ weight.T
    plain = F.cross_entropy(logits[scored], targets[scored], reduction="sum")
    z = logits[scored].logsumexp(-1).square().sum()
    torch.testing.assert_close(loss.cross_entropy, plain)
    torch.testing.assert_close(loss.z, z)
    for mine, theirs in zip(found, torch.autograd.grad(plain + 0.1 * z, (hidden, weight)), strict=True):
        torch.testing.assert_close(mine, theirs)
    assert (found[0][~scored] == 0).all()


@pytest.fixture(scope="module")
def reference(recipe, corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("masked") / "run"
    shown = masked(recipe, checkpoint_every=4 * STEP)
    assert train(shown, corpus, folder, sinks=[]).finished
    return folder


@pytest.mark.parametrize("size", [1, 3])
def test_the_divisor_is_the_whole_batch_whatever_the_micro_batch(
    recipe, corpus, reference, tmp_path, size
) -> None:
    """Micro-batches score different numbers of targets; the loss is the mean over all of the step's."""
    curve = losses(reference)
    order = Order(recipe, {name: stream.tokens for name, stream in corpus.train.items()})
    parts = [
        part.scored
        for step in map(order.schedule.step, range(5))
        for part in read_batch(order.step_sequences(step), corpus.train, documents=True).split(1)
    ]
    assert len(set(parts)) > 1
    train(masked(recipe, micro_batch=size), corpus, tmp_path / "run", sinks=[], stop_after=6 * STEP)
    other = losses(tmp_path / "run")
    assert len(other) == 6
    assert other == pytest.approx({clock: curve[clock] for clock in other}, abs=2e-4)


def test_the_first_loss_is_the_mean_over_scored_targets(recipe, corpus, reference) -> None:
    order = Order(recipe, {name: stream.tokens for name, stream in corpus.train.items()})
    step = order.schedule.step(0)
    batch = read_batch(order.step_sequences(step), corpus.train, documents=True)
    assert batch.scored < step.tokens
    decoder = Decoder(recipe.model, recipe.parametrization).initialize(recipe.seed)
    loss = Objective(decoder, "float32")(batch.tokens, 0.0, batch.documents(CPU))
    first, second = [event for event in read_events(reference) if event["kind"] == "step"][:2]
    assert first["loss"] == pytest.approx(float(loss.cross_entropy) / batch.scored, abs=1e-5)
    assert (first["clock"], second["clock"]) == (step.tokens, 2 * step.tokens)  # the clock counts positions


def test_a_step_without_a_target_moves_the_clock_and_nothing_else(
    recipe, corpus, reference, tmp_path, monkeypatch
) -> None:
    """The fourth and the fifth step hold documents of one token each."""

    def read(sequences, streams, **options):
        batch = read_batch(sequences, streams, **options)
        if sequences[0].number // 4 not in (3, 4):
            return batch
        return batch._replace(begins=torch.arange(33, dtype=torch.int32).expand(4, 33))

    monkeypatch.setattr(loop, "read_batch", read)
    shown = masked(recipe, milestones=[3 * STEP, 4 * STEP], log_every=2)
    train(shown, corpus, tmp_path / "run", sinks=[], stop_after=6 * STEP)
    third, fourth, sixth = (folder for _, folder in list_checkpoints(tmp_path / "run"))
    for file in ("model.safetensors", "optimizer.safetensors"):
        assert (third / file).read_bytes() == (fourth / file).read_bytes()
    assert read_state(third)["guard"] == read_state(fourth)["guard"]
    curve = losses(tmp_path / "run")
    assert [clock // STEP for clock in curve] == [1, 2, 3, 6]
    assert curve[3 * STEP] == losses(reference)[3 * STEP]
    guard = read_state(sixth)["guard"]["losses"]
    assert len(guard) == 4
    assert curve[6 * STEP] == pytest.approx(guard[-1])
    spent = run_spent(tmp_path / "run")
    assert spent is not None
    assert spent.tokens == 6 * STEP


def test_masking_is_another_training(recipe, corpus, reference, tmp_path) -> None:
    train(recipe, corpus, tmp_path / "plain", sinks=[], stop_after=STEP)
    assert losses(reference)[STEP] != losses(tmp_path / "plain")[STEP]


def test_killed_and_continued_ends_with_the_same_bits(recipe, corpus, reference, tmp_path) -> None:
    shown = masked(recipe, checkpoint_every=4 * STEP)
    with pytest.raises(Killed):
        train(shown, corpus, tmp_path / "run", sinks=[KillAt("step", 11)])
    assert train(shown, corpus, tmp_path / "run", sinks=[]).finished
    assert_same_bits(reference, tmp_path / "run")


def test_the_plan_says_how_documents_are_kept_apart(recipe, reference, monkeypatch) -> None:
    notices = [event["message"] for event in read_events(reference) if event["kind"] == "notice"]
    assert notices.count(DOCUMENT_REASONS["sdpa"]) == 1
    assert resolve_plan(masked(recipe, precision="bfloat16")).attention == "blocks"
    monkeypatch.setattr(document_tiers, "attend_documents", lambda query, *_: 2 * query)
    plan = resolve_plan(masked(recipe, precision="bfloat16"))
    assert (plan.attention, plan.reasons[0]) == ("sdpa", DOCUMENT_REASONS["sdpa"])


def test_the_rule_of_the_kernels() -> None:
    assert choose_document_attention(model(), 512, "bfloat16", CPU) == "blocks"
    assert choose_document_attention(model(), 512, "float32", CPU) == "sdpa"
    assert choose_document_attention(model(), 2048, "bfloat16", CPU) == "sdpa"
    assert document_tiers._candidates(512, "bfloat16", "cuda") == ["varlen", "flex"]
    assert document_tiers._candidates(512, "float32", "cuda") == ["flex"]
    assert document_tiers._candidates(512, "bfloat16", "mps") == []


@pytest.mark.parametrize("kernel", ["varlen", "flex"])
def test_what_has_no_backward_pass_here_does_not_work(kernel) -> None:
    assert not kernel_works(kernel, model(), "bfloat16", CPU)


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", ["varlen", "flex"])
@pytest.mark.parametrize("shape", [{}, {"num_key_value_heads": 6}, {"head_dim": 64}])
def test_the_fused_kernels_work_on_a_gpu(kernel, shape) -> None:
    assert kernel_works(kernel, model(**shape), "bfloat16", torch.device("cuda"))
    assert choose_document_attention(model(**shape), 512, "bfloat16", torch.device("cuda")) == "varlen"


@pytest.mark.parametrize("prepared", [False, True])
def test_a_dry_run_rehearses_it(recipe, corpus, tmp_path, prepared, monkeypatch) -> None:
    def no_export(_run: Path, folder: Path) -> SimpleNamespace:
        """The export has its own tests, and masking no part in it."""
        folder.mkdir()
        return SimpleNamespace(model_class="")

    monkeypatch.setattr(sys.modules["flyweight.planning.dry_run"], "export", no_export)
    found = dry_run(masked(recipe), corpus.folder if prepared else tmp_path / "none", tmp_path)
    assert found.random_tokens is not prepared
    assert all(5 < stage.loss < 7 for stage in found.stages)  # ln 300 is 5.7


def test_a_dry_run_has_documents_to_keep_apart(recipe, tmp_path) -> None:
    drawn = random_corpus(recipe, tmp_path)
    batch = rows(
        drawn, Order(recipe, {n: s.tokens for n, s in drawn.train.items()}).schedule.step(0), 60, True
    )
    assert 0 < 60 * 32 - batch.scored < 60
    for stream in drawn.train.values():
        assert len(stream.borders(0, stream.tokens)) == stream.documents
        assert stream.document_at(stream.tokens - 1)[0] == stream.documents - 1
