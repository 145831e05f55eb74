"""A step of our Muon against one of torch.optim.Muon, on the matrices of GPT-S-5M and GPT-X2-125M.

    python benchmarks/muon.py --threads 1 --out benchmarks/results/NAME.json

Each case is a recipe, how many of its layers are taken, and whether fused projections are orthogonalised
whole or split; torch's has one parameter for every matrix that ours orthogonalises. The two take steps in
turns, from the same weights and gradients, and a case whose first update differs by more than 3 % is refused.
torch's computes in bfloat16 always. Momentum, decay and the update of the weights are in the time, the trial
that chooses the methods is not: it has a figure of its own. With one thread on a CPU the processor's time
counts, which a neighbour on the same core does not lengthen; else the wall's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from flyweight.base import write_json
from flyweight.inference import choose_precision, pick_device
from flyweight.model import Decoder
from flyweight.recipe import Recipe, load_recipe, recipe_from_dict
from flyweight.training import versions
from flyweight.training.hardware import hardware_name
from flyweight.training.optimizers import Muon, measured_methods, methods_to_plain, muon_rows

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
CASES = (
    ("gpt-s-5m", None, "split"),
    ("gpt-s-5m", None, "whole"),
    ("gpt-x2-125m", 3, "split"),
    ("gpt-x2-125m", 3, "whole"),
)
"""Recipe, layers (all where None), fused projections."""

RATE, DECAY = 1e-3, 0.1


def taken(name: str, layers: int | None, fused: str) -> Recipe:
    """The recipe with Muon from the start, and with fewer layers of the same shapes."""
    data = load_recipe(RECIPES / f"{name}.yaml").to_dict()
    data["training"]["optimizer"] = "muon"
    data["training"]["muon"]["fused_projections"] = fused
    data["model"]["num_hidden_layers"] = layers or data["model"]["num_hidden_layers"]
    return recipe_from_dict(data)


def compare(recipe: Recipe, rounds: int, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Times of both, and how far apart their first updates are."""
    with torch.device("meta"):
        decoder = Decoder(recipe.model, recipe.parametrization)
    parts = muon_rows(decoder, recipe.training)
    generator = torch.Generator().manual_seed(0)
    ours, theirs, rows = [], [], {}
    for name, part_rows in parts.items():
        shape = decoder.get_parameter(name).shape
        parameter = torch.nn.Parameter(0.02 * torch.randn(shape, generator=generator).to(device))
        parameter.grad = torch.randn(shape, generator=generator).to(device)
        ours.append(parameter)
        rows[parameter] = part_rows
        for weight, gradient in zip(
            parameter.detach().split(part_rows), parameter.grad.split(part_rows), strict=True
        ):
            theirs.append(torch.nn.Parameter(weight.clone()))
            theirs[-1].grad = gradient.clone()
    begin = time.perf_counter()
    shapes = Counter(tuple(p.shape) for p in theirs)
    methods = measured_methods(shapes, 5, dtype, device)
    trial = time.perf_counter() - begin
    groups = [{"params": ours, "lr": RATE, "weight_decay": DECAY}]
    flyweight = Muon(groups, dtype=dtype, methods=methods, rows=rows)
    peer = torch.optim.Muon(theirs, lr=RATE, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw")
    before = torch.cat([p.detach().flatten() for p in ours])
    flyweight.step()
    peer.step()
    ours_after, theirs_after = (torch.cat([p.detach().flatten() for p in ps]) for ps in (ours, theirs))
    difference = float((ours_after - theirs_after).norm() / (theirs_after - before).norm())
    seconds = in_turns({"flyweight": flyweight.step, "torch": peer.step}, rounds, device)
    ratios = [a / b for a, b in zip(seconds["flyweight"], seconds["torch"], strict=True)]
    return {
        "matrices": len(theirs),
        "shapes": {f"{r}x{c}": count for (r, c), count in shapes.items()},
        "methods": methods_to_plain(methods),
        "trial_seconds": trial,
        "difference_of_first_update": difference,
        "milliseconds": {name: spread([1e3 * s for s in values]) for name, values in seconds.items()},
        "ratio": spread(ratios),
        "accepted": difference < 0.03,
    }


def in_turns(
    steps: dict[str, Callable[[], Any]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each step, one after the other; the first round warms up."""
    own_core = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if own_core else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            wait(device)
            begin = clock()
            step()
            wait(device)
            seconds[name].append(clock() - begin)
    return {name: values[1:] for name, values in seconds.items()}


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--precision", choices=("auto", "bfloat16", "float32"), default="auto", help="of ours"
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    precision = choose_precision(options.precision, device)
    result: dict[str, Any] = {
        "hardware": hardware_name(device),
        "threads": options.threads,
        "versions": versions(),
        "precision": precision,
        "clock": "processor" if device.type == "cpu" and options.threads == 1 else "wall",
        "cases": {},
    }
    for name, layers, fused in CASES:
        recipe = taken(name, layers, fused)
        case = f"{name}, {layers or 'all'} layers, {fused}"
        found = compare(
            recipe, options.rounds, device, torch.bfloat16 if precision == "bfloat16" else torch.float32
        )
        result["cases"][case] = found
        print(case, found["matrices"], found["milliseconds"], found["ratio"], found["methods"], flush=True)
        print(
            f"  first update {found['difference_of_first_update']:.4f}, trial {found['trial_seconds']:.1f} s"
        )
    write_json(options.out, result)
    if refused := [case for case, found in result["cases"].items() if not found["accepted"]]:
        raise SystemExit(f"the updates differ by more than 3 % in {refused}: these times say nothing")


if __name__ == "__main__":
    main()
