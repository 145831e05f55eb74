"""What one suggestion of each sampler costs after a number of trials, and how good the best trial is by then.

    python benchmarks/samplers.py 60

No model is trained: the objective is a smooth bowl over the knobs of Xmodel-2's table 5.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time
from pathlib import Path

from flyweight.recipe import load_recipe
from flyweight.windtunnel.proxy import proxy_recipe
from flyweight.windtunnel.study import Study

SEEDS = 3


def bowl(values: dict[str, float]) -> float:
    """Lowest, 0, at a learning rate of 0.02, scale_emb 10, scale_depth 2 and dim_model_base 128."""
    return (
        (math.log10(values["training.learning_rate"]) - math.log10(0.02)) ** 2
        + 0.01 * (values["parametrization.scale_emb"] - 10) ** 2
        + 0.2 * (values["parametrization.scale_depth"] - 2) ** 2
        + 0.1 * (math.log2(values["parametrization.dim_model_base"]) - 7) ** 2
    )


def drive(sampler: str, seed: int, count: int, folder: Path) -> tuple[float, list[float]]:
    """The best value of `count` trials, and the seconds of the last ten suggestions."""
    words = [f"tunnel.sampler={sampler}", f"seed={seed}", f"tunnel.trials={count}"]
    recipe = load_recipe(str(Path(__file__).parent / "tunnel.yaml"), words)
    study = Study(folder, proxy_recipe(recipe, recipe.tunnel.proxy), recipe.tunnel, None)
    best, seconds = math.inf, []
    for number in range(count):
        record = study.load(number)
        began = time.process_time()
        trial = record.ask(study.distributions())
        seconds.append(time.process_time() - began)
        value = bowl(trial.params)
        best = min(best, value)
        record.tell(trial, value)
    return best, seconds[-10:]


def main() -> None:
    count = int(sys.argv[1])
    print(f"after {count} trials, {SEEDS} seeds:")
    for sampler in ("random", "tpe", "gp"):
        bests, seconds = [], []
        for seed in range(SEEDS):
            with tempfile.TemporaryDirectory() as folder:
                best, last = drive(sampler, seed, count, Path(folder))
            bests.append(best)
            seconds += last
        found = ", ".join(f"{best:.4f}" for best in bests)
        print(
            f"{sampler}: {statistics.median(seconds):.3f} CPU-seconds a suggestion; best {found}", flush=True
        )


if __name__ == "__main__":
    main()
