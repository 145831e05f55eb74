"""Load an exported folder as somebody without Flyweight would, and measure what came back.

Run by path in a fresh process, `python load_back.py FOLDER PROBE`; it prints one JSON object. It measures
and judges nothing: `checks` holds the figures against what they should be. It imports transformers, torch
and safetensors only, and `main` sees to it that neither it nor the modeling code can import anything else
of ours.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import safetensors
import tokenizers
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer


def measure(folder: Path, probe: Path) -> dict[str, Any]:
    """What model and tokenizer in `folder` do with the inputs in `probe` (see `checks.write_probe`)."""
    asked = json.loads((probe / "probe.json").read_text(encoding="utf-8"))
    trust = {"local_files_only": True, "trust_remote_code": asked["custom_code"]}
    loader: Any = AutoModelForCausalLM
    model, loading = loader.from_pretrained(folder, dtype=torch.float32, output_loading_info=True, **trust)
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, **trust)
    embedding, readout = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    with torch.no_grad():
        return {
            "model_class": type(model).__name__,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "missing_weights": sorted(loading["missing_keys"]),
            "unexpected_weights": sorted(loading["unexpected_keys"]),
            "tied": embedding.data_ptr() == readout.data_ptr(),
            **_logits(model, load_file(probe / "probe.safetensors")),
            **_generation(model, asked["prompt"], asked["new_tokens"], asked["stop_tokens"]),
            **_tokens(tokenizer, asked["texts"], asked["end_of_text"]),
            **_conversation(tokenizer, asked["conversation"]),
            "versions": {
                "python": sys.version.split()[0],
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "tokenizers": tokenizers.__version__,
                "safetensors": safetensors.__version__,
            },
        }


def _logits(model: Any, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The largest difference from the reference logits, by kind of input; the reference's largest logit."""
    differences, positions = {}, 0
    # One pass to warm up: on some CPUs the very first forward pass of a process has been seen to be off by
    # up to 6e-4, in about one process of ten, with the same weights and inputs; later passes never were.
    model(input_ids=max((t for n, t in tensors.items() if n.startswith("tokens.")), key=lambda t: t.shape[1]))
    for name in sorted(name.removeprefix("tokens.") for name in tensors if name.startswith("tokens.")):
        reference = tensors[f"logits.{name}"]
        found = model(input_ids=tensors[f"tokens.{name}"], logits_to_keep=reference.shape[1]).logits
        same_shape = found.shape == reference.shape
        differences[name] = (found - reference).abs().max().item() if same_shape else float("nan")
        positions += reference.shape[0] * reference.shape[1]
    largest = max(value.abs().max().item() for name, value in tensors.items() if name.startswith("logits."))
    return {"differences": differences, "largest_logit": largest, "positions": positions}


def _generation(model: Any, prompt: list[int], new_tokens: int, stop_tokens: list[int]) -> dict[str, Any]:
    """Greedy tokens with and without a cache, and the tokens that end text.

    `greedy_gaps` says how far the chosen tokens lie below the best ones under one full forward pass; it tells
    a tie that rounding broke the other way from a cache that is wrong.
    """
    tokens = torch.tensor([prompt])
    found: dict[str, list[int]] = {}
    gaps: dict[str, float] = {}
    for name, use_cache in (("cached", True), ("uncached", False)):
        whole = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            do_sample=False,
            use_cache=use_cache,
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,  # which also rules out what ends text
        )
        logits = model(input_ids=whole, use_cache=False).logits[0, len(prompt) - 1 : -1]
        logits[:, stop_tokens] = -torch.inf
        chosen = logits.gather(1, whole[0, len(prompt) :, None])[:, 0]
        found[name] = whole[0, len(prompt) :].tolist()
        gaps[name] = (logits.max(dim=1).values - chosen).max().item()
    stops = model.generation_config.eos_token_id
    return {
        "generated": found,
        "greedy_gaps": gaps,
        "stop_tokens": stops if isinstance(stops, list) else [stops],
    }


def _tokens(tokenizer: Any, texts: list[dict[str, Any]], end_of_text: int) -> dict[str, Any]:
    """The texts that the folder's tokenizer encodes or decodes otherwise, and what it holds for special."""
    wrong = []
    for text in texts:
        encoded = tokenizer(text["text"])["input_ids"]
        decoded = tokenizer.decode(text["tokens"], skip_special_tokens=False)
        if encoded != text["tokens"] or decoded != text["decoded"]:
            wrong.append(text["text"])
    return {
        "texts": len(texts),
        "wrong_texts": wrong,
        "special_tokens": [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id],
        "end_of_text_is_special": tokenizer.decode([end_of_text], skip_special_tokens=True) == "",
    }


def _conversation(tokenizer: Any, asked: dict[str, Any] | None) -> dict[str, Any]:
    """Whether the folder's chat template makes other tokens of a conversation, and how many."""
    if asked is None:
        return {"conversation_differs": tokenizer.chat_template is not None, "conversation_tokens": None}
    found = tokenizer.apply_chat_template(asked["messages"], add_generation_prompt=True, return_dict=False)
    return {"conversation_differs": found != asked["tokens"], "conversation_tokens": len(found)}


def main() -> None:
    """Measure FOLDER against PROBE, without Flyweight."""
    sys.modules["flyweight"] = None  # type: ignore[assignment]  # from here on importing it is an error
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]))))


if __name__ == "__main__":
    main()
