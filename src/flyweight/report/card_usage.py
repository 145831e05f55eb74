"""How an export is used, as its card says it: code that runs as it stands, beside the files."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flyweight.recipe import format_bytes
from flyweight.release import EXPORT_FILE
from flyweight.release.publish import EXAMPLE_FOLDER
from flyweight.report.markdown import fenced, section, table

PROMPT, QUESTION = "Once upon a time", "What is the sea?"
NEW_TOKENS = 128
SAMPLING = {"temperature": 0.8, "top_p": 0.95, "repetition_penalty": 1.1}
_CHATS = "It knows the format of conversations:"
NO_REPEAT = 3
"""Runs of so many tokens are not written twice: small models go round in circles."""


def usage_text(export: Mapping[str, Any], folder: Path, context: int) -> str:
    """How to load it and let it write.

    Args:
        export: flyweight_export.json.
        folder: of the export.
        context: tokens that the model has seen at once.
    """
    if "file" in export:
        return section("How to use", _llama_cpp(export, folder, context))
    own = bool(export.get("custom_code"))
    trust = ", trust_remote_code=True" if own else ""
    why = (
        "The model comes with its own modeling code in this folder, so transformers asks for "
        "`trust_remote_code=True`; read the code first."
        if own
        else f"The weights fit the stock class `{export.get('model_class')}`, so nothing but transformers is needed."
    )
    parts = [why, fenced(_loading(trust, context) + _writing(), "python")]
    if knows_conversations(export):
        parts += [_CHATS, fenced(_chatting(), "python")]
    return section("How to use", "\n\n".join([*parts, *_checked(export)]))


def knows_conversations(export: Mapping[str, Any]) -> bool:
    """Whether the export brings a chat template."""
    return export.get("chat_template") is True


def _loading(trust: str, context: int) -> str:
    return f"""from transformers import AutoModelForCausalLM, AutoTokenizer

{EXAMPLE_FOLDER}
tokenizer = AutoTokenizer.from_pretrained(folder{trust})
model = AutoModelForCausalLM.from_pretrained(folder{trust})

# Beyond {context} tokens the model has seen nothing.
sampling = dict(
    max_new_tokens={min(NEW_TOKENS, max(1, context // 2))},
    do_sample=True,
    temperature={SAMPLING["temperature"]},
    top_p={SAMPLING["top_p"]},
    repetition_penalty={SAMPLING["repetition_penalty"]},
    no_repeat_ngram_size={NO_REPEAT},
)
"""


def _writing() -> str:
    return f"""inputs = tokenizer("{PROMPT}", return_tensors="pt")
output = model.generate(**inputs, **sampling)
print(tokenizer.decode(output[0], skip_special_tokens=True))"""


def _chatting() -> str:
    return f"""messages = [{{"role": "user", "content": "{QUESTION}"}}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
output = model.generate(**inputs, **sampling)
print(tokenizer.decode(output[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True))"""


def _checked(export: Mapping[str, Any]) -> list[str]:
    """What the check after the export found."""
    checks = export.get("checks")
    if not isinstance(checks, Mapping):
        return (
            ["Nobody has loaded this file yet and compared it with the checkpoint."]
            if "file" in export
            else []
        )
    differences = checks.get("differences")
    found = checks.get("maximum_difference")
    if found is None and isinstance(differences, Mapping) and differences:
        found = max(differences.values())
    if not isinstance(found, int | float):
        return []
    largest = checks.get("largest_logit")
    beside = f" (the largest logit is {largest:.1f})" if isinstance(largest, int | float) else ""
    by = (
        f"differed from the checkpoint's by {found:.1e} at most{beside}"
        if found
        else "were the checkpoint's exactly"
    )
    return [f"Loaded back in a fresh process after the export, its logits {by}."]


def _llama_cpp(export: Mapping[str, Any], folder: Path, context: int) -> str:
    file, words = str(export["file"]), min(NEW_TOKENS, max(1, context // 2))
    temperature, top_p, penalty = SAMPLING.values()

    def command(asked: str) -> str:
        return fenced(
            f"llama-completion -m {shlex.quote(file)} -c {context} -n {words} {asked} \\\n"
            f"  --temp {temperature} --top-p {top_p} --repeat-penalty {penalty}",
            "sh",
        )

    python = f"""from llama_cpp import Llama

model = Llama({json.dumps(file)}, n_ctx={context}, verbose=False)
sampling = dict(max_tokens={words}, temperature={temperature}, top_p={top_p}, repeat_penalty={penalty})
prompt = "{PROMPT}"
print(prompt + model(prompt, **sampling)["choices"][0]["text"])"""
    chat = f"""messages = [{{"role": "user", "content": "{QUESTION}"}}]
answer = model.create_chat_completion(messages, **sampling)
print(answer["choices"][0]["message"]["content"])"""
    parts = [
        "With llama.cpp (older versions call this program `llama-cli`):",
        command(f'-no-cnv -p "{PROMPT}"'),
        "The same from Python, with llama-cpp-python:",
        fenced(python, "python"),
    ]
    if knows_conversations(export):
        parts += [_CHATS, command(f'-cnv -st -p "{QUESTION}"'), fenced(chat, "python")]
    return "\n\n".join([*parts, *_checked(export), *_files(export, folder)])


def _files(export: Mapping[str, Any], folder: Path) -> list[str]:
    """What lies in the folder of a GGUF file."""
    about = {
        str(export["file"]): f"weights in {export.get('dtype')}, tokenizer and settings in one file",
        EXPORT_FILE: "where it comes from, how it was checked, a hash of what was checked",
    }
    rows = [
        [name, what, format_bytes((folder / name).stat().st_size)]
        for name, what in about.items()
        if (folder / name).is_file()
    ]
    return [table(["File", "What it is", "Size"], rows, left=2)] if rows else []
