"""The same model in our loop and in a Hugging Face Trainer: same weights, same batches, one run.

The Trainer drives; every few of its steps a callback lets our loop take as many, and each is timed on
its own. So both meet the same moments of a noisy machine, and at the end both have trained on the
same batches from the same initial weights.

    python benchmarks/peers.py --corpora FOLDER --out benchmarks/results/NAME.json

`--who flyweight` or `--who trainer` trains only one of them, from the same weights on the same batches:
over millions of tokens the two can then run at the same time, each on processors of its own.

FOLDER holds textbooks, books, math and python_docs as .jsonl.zst. Without --corpora the text that is
on every machine is used.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.data import Dataset, SequentialSampler

from flyweight.base import write_json
from flyweight.corpus import OpenCorpus, prepare
from flyweight.curriculum import Order, read_batch
from flyweight.evaluation import bits_per_byte
from flyweight.events import EventWriter, StepDone
from flyweight.inference import DecoderModel
from flyweight.model import Decoder, Role, parameter_roles, to_stock
from flyweight.recipe import Recipe, load_recipe, recipe_from_dict
from flyweight.training.folder import open_run
from flyweight.training.interrupt import Interruption
from flyweight.training.loop import Trainer
from flyweight.training.plan import apply_plan, frozen_plan
from flyweight.training.run import versions
from flyweight.training.sinks import Sinks

SHARES = {"textbooks": 0.5, "books": 0.2, "math": 0.15, "python_docs": 0.15}
LOG_EVERY = 10
"""Steps. Turns should be a multiple of it, or our losses are means of fewer steps than the Trainer's."""


def gpt_s_recipe(
    corpora: Path | None, tokens: str, limit: str, exclusive: bool, precision: str = "bfloat16"
) -> Recipe:
    """GPT-S-5M's recipe over `tokens` tokens of other sources, with or without exclusive attention."""
    values = load_recipe("gpt-s-5m").to_dict()
    if corpora is None:
        shares = {"english": 0.6, "python": 0.4}
        values["sources"] = {name: {"kind": "builtin", "builtin": name, "limit": limit} for name in shares}
    else:
        shares = SHARES
        values["sources"] = {
            name: {"kind": "files", "path": str(corpora / f"{name}.jsonl.zst"), "limit": limit}
            for name in shares
        }
    values["name"] = "gpt-s-5m" if exclusive else "gpt-s-5m-gqa"
    values["training"]["mixture"] = [{"at": 0, "weights": shares}]
    values["model"]["exclusive_attention"] = exclusive
    values["execution"] |= {"precision": precision, "trackers": []}
    # A line of the log is then the mean of the same steps in both.
    values["execution"] |= {"log_every": LOG_EVERY, "checkpoint_every": 0, "milestones": []}
    values["evaluation"]["every"] = 0
    values["corpus"]["held_out"] = 0.02
    values["corpus"]["held_out_limit"] = "400KB"
    return recipe_from_dict(values).scaled(tokens)


class OrderedSequences(Dataset):
    """Sequence n of the run, as the Trainer wants it: T+1 tokens that are their own labels."""

    def __init__(self, order: Order, corpus: OpenCorpus):
        self._order, self._corpus = order, corpus

    def __len__(self) -> int:
        return self._order.schedule.sequences

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        tokens = read_batch(self._order.sequences(number, 1), self._corpus.train).tokens[0]
        return {"input_ids": tokens, "labels": tokens}


class SequentialTrainer(transformers.Trainer):
    """A Trainer that takes its examples in order."""

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


class TakeTurns(transformers.TrainerCallback):
    """After every `turn` steps of the Trainer, our loop takes as many; both are timed."""

    def __init__(self, ours: Trainer, turn: int, alone: bool):
        self.ours, self.turn, self.alone = ours, turn, alone
        self.seconds: dict[str, list[float]] = {"flyweight": [], "trainer": []}
        self._begin = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._begin = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self.turn and state.global_step != state.max_steps:
            return
        self.seconds["trainer"].append(time.perf_counter() - self._begin)
        until = self.ours.schedule.step(state.global_step).clock
        begin = time.perf_counter()
        if not self.alone:
            self.ours.train(Interruption(), stop_after=until)
            self.seconds["flyweight"].append(time.perf_counter() - begin)
        self._begin = time.perf_counter()


class Losses:
    """Keeps our loop's losses."""

    def __init__(self) -> None:
        self.curve: list[tuple[int, float]] = []
        self.speeds: list[float] = []

    def handle(self, event: Any) -> None:
        if isinstance(event, StepDone):
            self.curve.append((event.step, event.loss))
            self.speeds.append(event.tokens_per_second)

    def close(self) -> None:
        pass


def stock_model(ours: Trainer) -> Any:
    """A transformers model with our decoder's present weights."""
    recipe = ours.recipe
    config, state = to_stock(ours.decoder.state_dict(), recipe.model, recipe.parametrization)
    cls = getattr(transformers, config["architectures"][0])
    model = cls(cls.config_class(**{**config, "use_cache": False}))
    model.load_state_dict(state, strict=False)
    model.tie_weights()
    return model.to(ours.device)


def stock_optimizer(ours: Trainer, model: Any) -> tuple[torch.optim.Optimizer, Any]:
    """AdamW over a peer's model with our recipe's settings, and its learning rate by the step."""
    training, schedule = ours.recipe.training, ours.schedule
    gains = [p for name, p in model.named_parameters() if p.ndim == 1]
    matrices = [p for name, p in model.named_parameters() if p.ndim > 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": training.weight_decay.at(0)},
            {"params": gains, "weight_decay": 0.0},
        ],
        lr=1.0,
        betas=(training.adamw.beta1, training.adamw.beta2),
        eps=training.adamw.eps,
        fused=True,
    )
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: training.learning_rate.at(schedule.step(min(step, schedule.steps - 1)).middle)
    )
    return optimizer, rate


def peer(ours: Trainer, folder: Path, micro_batch: int) -> tuple[Any, SequentialTrainer]:
    """A transformers model with our decoder's present weights, in a Trainer with our recipe's settings."""
    recipe, schedule = ours.recipe, ours.schedule
    model = stock_model(ours)
    optimizer, rate = stock_optimizer(ours, model)
    rows = schedule.segments[0].batch_size
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=rows // micro_batch,
        max_steps=schedule.steps,
        bf16=ours.plan.precision == "bfloat16",
        use_cpu=ours.device.type == "cpu",
        max_grad_norm=recipe.training.gradient_clip,
        logging_steps=LOG_EVERY,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=0,
    )
    order = Order(recipe, {name: stream.tokens for name, stream in ours.corpus.train.items()})
    trainer = SequentialTrainer(
        model=model,
        args=arguments,
        train_dataset=OrderedSequences(order, ours.corpus),
        optimizers=(optimizer, rate),
        data_collator=lambda rows: {key: torch.stack([row[key] for row in rows]) for key in rows[0]},
    )
    return model, trainer


def compare(recipe: Recipe, corpus: OpenCorpus, folder: Path, turn: int, who: str) -> dict[str, Any]:
    """Train one or both, in turns, and say how they did."""
    run = folder / "run"
    run.mkdir(parents=True)
    start = open_run(run, recipe, corpus)
    plan, _ = frozen_plan(run, recipe, corpus)
    apply_plan(plan)
    losses = Losses()
    result: dict[str, Any] = {"curves": {}, "bits_per_byte": {}, "tokens_per_second": {}}
    with Sinks(EventWriter(run, "benchmark"), [losses]) as sinks:
        ours = Trainer(recipe, corpus, run, plan, start, sinks)
        segment = ours.schedule.segments[0]
        micro_batch = plan.micro_batch_for(segment.batch_size, segment.sequence_length)
        speeds: dict[str, list[float]] = {}
        if who == "flyweight":
            ours.train(Interruption())
            speeds["flyweight"] = losses.speeds[1:]
        else:
            model, trainer = peer(ours, folder / "trainer", micro_batch)
            turns = TakeTurns(ours, turn, alone=who == "trainer")
            trainer.add_callback(turns)
            trainer.train()
            for name, seconds in turns.seconds.items():
                speeds[name] = [turn * segment.step_tokens / passed for passed in seconds[:-1]]
            result["curves"]["trainer"] = [
                (entry["step"], entry["loss"]) for entry in trainer.state.log_history if "loss" in entry
            ]
            result["bits_per_byte"]["trainer"] = _bits(_back(model, ours.decoder), corpus, recipe)
    if who != "trainer":
        result["curves"]["flyweight"] = losses.curve
        result["bits_per_byte"]["flyweight"] = _bits(ours.decoder, corpus, recipe)
    result["tokens_per_second"] = {name: _spread(values) for name, values in speeds.items() if values}
    if who == "both":
        ratios = [a / b for a, b in zip(speeds["flyweight"], speeds["trainer"], strict=True)]
        result["tokens_per_second"]["ratio"] = _spread(ratios)
        trainers = dict(result["curves"]["trainer"])
        result["largest_loss_difference"] = max(
            (abs(loss - trainers[step]) for step, loss in losses.curve if step in trainers), default=None
        )
    return {
        "tokens": ours.schedule.tokens,
        "batch_tokens": segment.step_tokens,
        "micro_batch": micro_batch,
        "precision": plan.precision,
        "threads": plan.threads,
        "hardware": plan.hardware,
        "versions": versions(),
        **result,
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _bits(decoder: Decoder, corpus: OpenCorpus, recipe: Recipe) -> dict[str, float]:
    model = DecoderModel(
        decoder, corpus.tokenizer, "float32", max_length=int(recipe.training.sequence_length.at(0))
    )
    return {name: bits_per_byte(model, text).bits_per_byte for name, text in corpus.held_out.items()}


def _back(model: Any, decoder: Decoder) -> Decoder:
    """The Trainer's weights in a decoder of ours: qkv and gate-up fused again."""
    state = model.state_dict()
    fused = {name.removeprefix("model."): value for name, value in state.items() if "_proj" not in name}
    for layer in range(decoder.config.num_hidden_layers):
        place = f"layers.{layer}."
        for target, parts in (
            ("self_attn.qkv_proj", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
            ("mlp.gate_up_proj", ("mlp.gate_proj", "mlp.up_proj")),
            ("self_attn.o_proj", ("self_attn.o_proj",)),
            ("mlp.down_proj", ("mlp.down_proj",)),
        ):
            rows = [state[f"model.{place}{part}.weight"] for part in parts]
            fused[f"{place}{target}.weight"] = torch.cat(rows)
    twin = Decoder(decoder.config, decoder.parametrization)
    wanted = twin.state_dict().keys()
    twin.load_state_dict({name: value for name, value in fused.items() if name in wanted})
    assert all(role in Role for role in parameter_roles(twin).values())
    return twin.to(next(decoder.parameters()).device)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpora", type=Path, help="folder with the .jsonl.zst files")
    parser.add_argument("--prepared", type=Path, help="folder of token shards, made or reused")
    parser.add_argument("--tokens", default="5M")
    parser.add_argument("--limit", default="12MB", help="text read from each source")
    parser.add_argument("--turn", type=int, default=10, help="steps of one before the other takes its turn")
    parser.add_argument("--who", choices=("both", "flyweight", "trainer"), default="both")
    parser.add_argument("--exclusive", action="store_true", help="with --who flyweight: exclusive attention")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    recipe = gpt_s_recipe(
        options.corpora, options.tokens, options.limit, options.exclusive, options.precision
    )
    with tempfile.TemporaryDirectory() as folder:
        corpus = prepare(recipe, options.prepared or Path(folder) / "corpus")
        result = compare(recipe, corpus, Path(folder), options.turn, options.who)
    write_json(options.out, result)
    print({key: value for key, value in result.items() if key != "curves"})


if __name__ == "__main__":
    main()
