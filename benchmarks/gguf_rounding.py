"""How far llama.cpp's logits are from the checkpoint's, by type of file, and with q and k in the wrong order.

    python benchmarks/gguf_rounding.py

Small random models of every kind that maps to a stock class, with wide weights and uneven gains (those of the tests).
Needs gguf and llama-cpp-python.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "release"))

import numpy as np
from release_models import CHAT_TOKENS, END_OF_TEXT, KINDS, make_decoder, make_recipe

from flyweight.corpus.tokenizers.bpe import train_bpe
from flyweight.model import FoldedWeights, stock_config
from flyweight.release.gguf.checks import measure_gguf
from flyweight.release.gguf.vocabulary import vocabulary
from flyweight.release.gguf.writing import interleaved, write_gguf


def main() -> None:
    tokenizer = train_bpe([Path(__file__).read_text()], 300, "qwen2", END_OF_TEXT, CHAT_TOKENS)
    print(f"{'model':24} {'type':5} {'rows':6} {'rms / spread':>12} {'largest / largest logit':>24}")
    for name, (stock, _, _) in KINDS.items():
        if stock == "FlyweightForCausalLM":
            continue
        recipe = make_recipe(name)
        decoder = make_decoder(recipe)
        config = stock_config(recipe.model, recipe.parametrization)
        for kind in ("f32", "f16", "bf16", "q8_0"):
            for order in ("right", "wrong") if stock == "LlamaForCausalLM" else ("right",):
                weights = dict(FoldedWeights(decoder.state_dict(), recipe.model, recipe.parametrization))
                if order == "wrong":
                    weights = {
                        key: _wrong(key, value, recipe.model.head_dim) for key, value in weights.items()
                    }
                with tempfile.TemporaryDirectory() as folder:
                    file = Path(folder) / "model.gguf"
                    words = vocabulary(tokenizer, recipe.model.vocab_size, name)
                    write_gguf(file, name, config, _Plain(weights), words, kind)  # type: ignore[arg-type]
                    measured, _ = measure_gguf(file, decoder, tokenizer, None)
                largest = max(measured["differences"].values()) / measured["largest_logit"]
                relative = max(measured["relative"].values())
                print(f"{name:24} {kind:5} {order:6} {relative:12.5f} {largest:24.5f}", flush=True)


class _Plain(dict):
    """Weights that are made already, as `write_gguf` asks for them."""

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self[name].shape)


def _wrong(name: str, weight, head_dim: int):
    """A query or key whose rows, put into llama.cpp's order, come out in Hugging Face's."""
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return weight
    order = interleaved(np.arange(len(weight))[:, None], head_dim)[:, 0]
    return weight[np.argsort(order)].contiguous()


if __name__ == "__main__":
    main()
