"""Seconds until a turn's first token, when the whole conversation is read and when only what is new is.

    python benchmarks/chat_turns.py [--recipe gpt-x2-125m] [--said 800] [--new 50] [--repeats 7] [--out FILE]

The weights and the tokens are random: what reading takes does not depend on them. Both ways take turns.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import torch

from flyweight.base import write_json
from flyweight.corpus.tokenizers.bpe import train_bpe
from flyweight.inference import DecoderModel, PrefixCache
from flyweight.model import Decoder
from flyweight.recipe import load_recipe
from flyweight.training.run import versions


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--recipe", default="gpt-x2-125m")
    parser.add_argument("--said", type=int, default=800, help="tokens of the conversation so far")
    parser.add_argument("--new", type=int, default=50, help="tokens of the turn")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    recipe = load_recipe(chosen.recipe)
    decoder = Decoder(recipe.model, recipe.parametrization).initialize(0).eval()
    model = DecoderModel(decoder, train_bpe(["nothing"], 257, "qwen2", "<|endoftext|>"))
    random = torch.Generator().manual_seed(0)
    text = torch.randint(0, recipe.model.vocab_size, (chosen.said + chosen.new,), generator=random).tolist()
    room = len(text) + 1
    seconds: dict[str, list[float]] = {"all of it": [], "what is new": []}
    difference = 0.0
    for _ in range(chosen.repeats):
        logits = []
        for what, times in seconds.items():
            cache = PrefixCache(model)
            if what == "what is new":
                cache.begin(text[: chosen.said], room)
                cache.read(text[: chosen.said])
            start = time.perf_counter()
            known = cache.begin(text, room)
            logits.append(cache.read(text[known:]))
            times.append(time.perf_counter() - start)
        difference = max(difference, float((logits[0] - logits[1]).abs().max()))
    medians = {what: median(times) for what, times in seconds.items()}
    for what, value in medians.items():
        print(f"{what}: {value:.3f} s (median of {chosen.repeats})")
    ratio = medians["all of it"] / medians["what is new"]
    print(f"{ratio:.1f} times faster; largest difference of logits {difference:.1e}")
    if chosen.out:
        about = {
            "recipe": chosen.recipe,
            "said": chosen.said,
            "new": chosen.new,
            "threads": torch.get_num_threads(),
        }
        write_json(
            chosen.out,
            {**about, "seconds": seconds, "ratio": ratio, "difference": difference, "versions": versions()},
        )


if __name__ == "__main__":
    main()
