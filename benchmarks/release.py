"""The four systems, scaled down and trained a little on real text, exported and loaded by others.

    python benchmarks/release.py --corpora FOLDER --tokenizers FOLDER --work FOLDER --out benchmarks/results/NAME.json

Each system is trained, exported to a Hugging Face folder and, where a stock class holds it, to GGUF in float32, by the
command line alone. The exports' own checks run in fresh processes; beside them the usage snippets of the four models'
cards run in a process that has transformers only, and the refusal for exclusive attention is written down.

FOLDER of --corpora holds textbooks, python_code, math and instructions as .jsonl.zst, that of --tokenizers deepseek_v3.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from flyweight.base import write_json
from flyweight.recipe import load_recipe, recipe_from_dict
from flyweight.training.run import versions

SYSTEMS = {
    # recipe, how much narrower and shallower, tokens
    "gpt-x2-125m": (8, "400K"),
    "gpt-s-5m": (2, "400K"),
    "xmodel-2-1.2b": (16, "400K"),
    "xmodel-2.5-1.3b": (16, "100K"),
}

SNIPPETS = {
    # The calls of the cards: what they load, and every sampling option that they set.
    "gpt-x2-125m": """
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True).eval()
inputs = tokenizer("The future of AI is", return_tensors="pt", add_special_tokens=True)
output = model.generate(**inputs, max_new_tokens=50, do_sample=True, temperature=0.8, repetition_penalty=1.1,
                        pad_token_id=tokenizer.eos_token_id)
print(tokenizer.decode(output[0], skip_special_tokens=True))
""",
    "gpt-s-5m": """
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(FOLDER, trust_remote_code=True)
model = AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True, torch_dtype=torch.float32).eval()
inputs = tokenizer("Once upon a time", return_tensors="pt")
with torch.no_grad():
    output = model.generate(**inputs, max_new_tokens=100, do_sample=True, temperature=0.7, top_p=0.9,
                            repetition_penalty=1.2, no_repeat_ngram_size=3, eos_token_id=tokenizer.eos_token_id)
print(tokenizer.decode(output[0], skip_special_tokens=True))
""",
    "xmodel-2-1.2b": """
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(FOLDER, trust_remote_code=True)
model = AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True, dtype="auto").eval()
messages = [{"role": "user", "content": "Give me a short introduction to large language models."}]
text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
inputs = tokenizer([text], return_tensors="pt").to(model.device)
output = model.generate(inputs.input_ids, attention_mask=inputs.attention_mask, max_new_tokens=64, do_sample=True,
                        top_p=0.9, temperature=0.7)
print(tokenizer.batch_decode(output[:, inputs.input_ids.shape[1]:], skip_special_tokens=True)[0])
""",
    "xmodel-2.5-1.3b": """
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(FOLDER, trust_remote_code=True)
model = AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True, device_map=None)
inputs = tokenizer("Solve step by step: 12 * 7 =", return_tensors="pt").to(model.device)
output = model.generate(**inputs, max_new_tokens=64, do_sample=True, temperature=0.7, top_p=0.95, top_k=40)
print(tokenizer.decode(output[0], skip_special_tokens=True))
""",
}


def small_recipe(system: str, corpora: Path, tokenizers: Path) -> dict[str, Any]:
    """A system's recipe, smaller, on text of the same kinds."""
    factor, tokens = SYSTEMS[system]
    values = load_recipe(system).scaled(tokens, factor).to_dict()
    early, late = {"textbooks": 0.6, "python_code": 0.2, "math": 0.2}, {"textbooks": 0.8, "math": 0.2}
    if system == "xmodel-2-1.2b":  # instructions in the decay
        early, late = early | {"instructions": 0.0}, {"textbooks": 0.5, "instructions": 0.5}
    values["sources"] = {
        name: {"kind": "files", "path": str(corpora / f"{name}.jsonl.zst"), "limit": "4MB"} for name in early
    }
    values["sources"]["python_code"]["tinydsl"] = "compact"
    mixture = values["training"]["mixture"]
    values["training"]["mixture"] = [{"at": mixture[0]["at"], "weights": early}]
    if len(mixture) > 1:
        late = dict.fromkeys(early, 0.0) | late
        values["training"]["mixture"].append({"at": mixture[-1]["at"], "weights": late})
    values["tokenizer"] = {"kind": "bpe", "vocab_size": 4096, "sample": "8MB"}
    values["model"]["vocab_size"] = 4096
    if system == "xmodel-2-1.2b":
        values["sources"]["instructions"]["messages_field"] = "messages"
        values["tokenizer"]["special_tokens"] = ["<|im_start|>", "<|im_end|>"]
        values["tokenizer"]["pattern"] = "llama-bpe"
    if system == "xmodel-2.5-1.3b":
        values["tokenizer"] = load_recipe(system).to_dict()["tokenizer"]
        values["tokenizer"]["path"] = str(tokenizers / "deepseek_v3")
        values["model"]["vocab_size"] = 129_280
    values["corpus"] = {"held_out": 0.02, "held_out_limit": "100KB"}
    values["evaluation"] |= {"every": 0, "tasks": [], "tokens": 20_000}
    values["execution"] |= {"trackers": [], "checkpoint_every": 0, "milestones": [], "compile": "off"}
    values["execution"]["fp8"] = {"scaling": "off"}
    return recipe_from_dict(values).to_dict()


def command(*words: str) -> tuple[int, str, float]:
    """The exit code, what was printed, and the seconds of a command of ours."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "flyweight", *words], capture_output=True, text=True, check=False
    )
    return done.returncode, (done.stdout + done.stderr)[-2000:], time.monotonic() - started


def run_snippet(system: str, folder: Path) -> str:
    """What a card's snippet prints, by somebody who has transformers and not Flyweight."""
    script = f"import sys; sys.modules['flyweight'] = None; FOLDER = {str(folder)!r}\n{SNIPPETS[system]}"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        raise SystemExit(f"{system}: the snippet failed:\n{done.stderr[-2000:]}")
    return done.stdout.strip()


def released(system: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train, export both ways, use."""
    work = options.work / system
    work.mkdir(parents=True, exist_ok=True)
    recipe = work / "recipe.yaml"
    recipe.write_text(json.dumps(small_recipe(system, options.corpora, options.tokenizers)))
    run, hf, gguf = work / "run", work / "hf", work / "gguf"
    code, said, seconds = command("train", str(recipe), "--run", str(run), "--corpus", str(work / "corpus"))
    if code:
        raise SystemExit(f"{system}: training failed:\n{said}")
    row: dict[str, Any] = {"training seconds": round(seconds, 1)}
    code, said, seconds = command("export", str(run), str(hf), "--licence", "apache-2.0")
    if code:
        raise SystemExit(f"{system}: the export failed:\n{said}")
    record = json.loads((hf / "flyweight_export.json").read_text())
    keys = (
        "maximum_difference",
        "same_tokens",
        "generated_tokens",
        "texts",
        "conversation_tokens",
        "positions",
        "parameters",
    )
    row["Hugging Face"] = {"class": record["model_class"], "seconds": round(seconds, 1)}
    row["Hugging Face"] |= {key: record["checks"][key] for key in keys}
    code, said, seconds = command("export", str(run), str(gguf), "--to", "gguf", "--dtype", "f32")
    if code:
        row["GGUF"] = {"refused": said.strip().splitlines()[-1]}
    else:
        checks = json.loads((gguf / "flyweight_export.json").read_text())["checks"] or {}
        keys = ("differences", "same_tokens", "generated_tokens", "texts", "conversation_tokens", "versions")
        row["GGUF"] = {key: checks.get(key) for key in keys} | {"seconds": round(seconds, 1)}
    row["snippet"] = run_snippet(system, hf)[:300]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--tokenizers", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS))
    options = parser.parse_args()
    found = {}
    for system in options.systems:
        found[system] = released(system, options)
        print(system, json.dumps(found[system], ensure_ascii=False), flush=True)
    write_json(options.out, {"systems": found, "versions": versions()})


if __name__ == "__main__":
    main()
