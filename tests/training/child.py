"""A training process that sends itself a signal: python child.py RECIPE CORPUS RUN SIGNAL MOMENT [FROM]."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from flyweight.corpus import open_corpus
from flyweight.recipe import load_recipe
from flyweight.training import checkpoint, train


class Hit:
    """Sends the signal at `step:N`, or in the middle of the N-th checkpoint at `save:N`."""

    def __init__(self, number: int, moment: str):
        self.number = number
        self.kind, _, count = moment.partition(":")
        self.count = int(count or 0)
        if self.kind == "save":
            original, calls = checkpoint.write_json, []

            def write_json(path, value):
                calls.append(path)
                if len(calls) == 2 * self.count - 1:  # two JSON files in each checkpoint
                    os.kill(os.getpid(), self.number)
                original(path, value)

            checkpoint.write_json = write_json

    def handle(self, event) -> None:
        if self.kind == event.kind and event.step >= self.count:
            os.kill(os.getpid(), self.number)

    def close(self) -> None:
        pass


def main() -> None:
    recipe_file, corpus, run, number, moment, *origin = sys.argv[1:]
    recipe = load_recipe(recipe_file)
    sinks = [Hit(getattr(signal, number), moment)] if moment != "never" else []
    start_from = origin[0] if origin else None
    result = train(recipe, open_corpus(Path(corpus)), Path(run), sinks=sinks, start_from=start_from)
    print("finished" if result.finished else "interrupted", result.clock)


if __name__ == "__main__":
    main()
