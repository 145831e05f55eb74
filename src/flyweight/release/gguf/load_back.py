"""Load a GGUF file as somebody with llama.cpp alone would, and measure what came back.

Run by path in a fresh process, `python load_back.py FILE PROBE`; it prints one JSON object. It measures and judges
nothing: `checks` holds the figures against what they should be. It imports llama_cpp and numpy only.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

import llama_cpp  # pyright: ignore[reportMissingImports]
import numpy as np


def measure(file: Path, probe: Path) -> dict[str, Any]:
    """What llama.cpp does with the inputs in `probe` (see `checks.write_probe`)."""
    asked = json.loads((probe / "probe.json").read_text(encoding="utf-8"))
    arrays = np.load(probe / "probe.npz")
    longest = asked["longest"]
    model = llama_cpp.Llama(
        str(file),
        n_ctx=longest,
        n_batch=longest,
        n_ubatch=longest,
        n_gpu_layers=0,
        # By default llama.cpp rounds keys and values to float16, whatever the file holds.
        type_k=llama_cpp.GGML_TYPE_F32,
        type_v=llama_cpp.GGML_TYPE_F32,
        logits_all=True,
        verbose=False,
    )
    names = sorted(name.removeprefix("tokens.") for name in arrays.files if name.startswith("tokens."))
    off = {name: _difference(model, arrays[f"tokens.{name}"], arrays[f"logits.{name}"]) for name in names}
    wrong = [
        text["text"]
        for text in asked["texts"]
        if model.tokenize(text["text"].encode(), add_bos=False, special=False) != text["tokens"]
    ]
    return {
        "differences": {name: float(np.abs(difference).max()) for name, difference in off.items()},
        "relative": {name: _relative(off[name], arrays[f"logits.{name}"]) for name in names},
        "positions": sum(arrays[f"logits.{name}"][..., 0].size for name in names),
        "largest_logit": max(float(np.abs(arrays[f"logits.{name}"]).max()) for name in names),
        "generated": _greedy(model, asked["prompt"], asked["new_tokens"]),
        **_conversation(model, asked["conversation"]),
        "texts": len(asked["texts"]),
        "wrong_texts": wrong,
        "architecture": model.metadata["general.architecture"],
        "end_of_text": model.token_eos(),
        "versions": {"python": sys.version.split()[0], "llama_cpp": llama_cpp.__version__},
    }


def _difference(model: Any, tokens: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """How far the logits at the last positions are from the reference's, (B, positions, V)."""
    found = []
    for row, expected in zip(tokens, reference, strict=True):
        model.reset()
        model.eval(row.tolist())
        found.append(model.scores[: len(row)][-len(expected) :] - expected)
    return np.stack(found)


def _relative(difference: np.ndarray, reference: np.ndarray) -> float:
    """The root mean square of `difference` over the spread of the reference's logits at each position."""
    spread = reference - reference.mean(axis=-1, keepdims=True)
    return float(np.sqrt((difference**2).mean() / (spread**2).mean()))


def _greedy(model: Any, prompt: list[int], new_tokens: int) -> list[int]:
    """The likeliest token, again and again, with llama.cpp's cache."""
    model.reset()
    model.eval(prompt)
    written: list[int] = []
    while len(written) < new_tokens:
        written.append(int(np.argmax(model.scores[model.n_tokens - 1])))
        model.eval(written[-1:])
    return written


def _conversation(model: Any, asked: dict[str, Any] | None) -> dict[str, Any]:
    """Whether the file's chat template, run by Python's Jinja, makes other tokens of a conversation, and how many."""
    template = model.metadata.get("tokenizer.chat_template")
    if asked is None or template is None:
        differs = (asked is None) != (template is None)
        return {"conversation_differs": differs, "conversation_tokens": None, "builtin_template": None}
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter  # pyright: ignore[reportMissingImports]

    end = model.detokenize([model.token_eos()], special=True).decode()
    text = Jinja2ChatFormatter(template, eos_token=end, bos_token="")(messages=asked["messages"]).prompt
    found = model.tokenize(text.encode(), add_bos=False, special=True)
    return {
        "conversation_differs": found != asked["tokens"],
        "conversation_tokens": len(found),
        "builtin_template": _builtin_template(model, template, asked),
    }


def _builtin_template(model: Any, template: str, asked: dict[str, Any]) -> str:
    """Whether llama.cpp's built-in renderer makes the same tokens: same, different, or unknown (to it).

    It does not run the template: it takes it for one of those that it has in C++, by marks in its text.
    """
    pairs = [(message["role"].encode(), message["content"].encode()) for message in asked["messages"]]
    messages = (llama_cpp.llama_chat_message * len(pairs))(*pairs)

    def render(buffer: Any, room: int) -> int:
        return llama_cpp.llama_chat_apply_template(
            template.encode(), messages, len(pairs), True, buffer, room
        )

    if (length := render(None, 0)) < 0:
        return "unknown"
    buffer = ctypes.create_string_buffer(length + 1)
    render(buffer, length + 1)
    found = model.tokenize(buffer.raw[:length], add_bos=False, special=True)
    return "same" if found == asked["tokens"] else "different"


def main() -> None:
    """Measure FILE against PROBE, without Flyweight."""
    sys.modules["flyweight"] = None  # type: ignore[assignment]  # from here on importing it is an error
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]))))


if __name__ == "__main__":
    main()
