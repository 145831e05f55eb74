"""Records of a benchmark are data: what stands in them is neither a template nor an expression."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flyweight.evaluation import Settings, Wanted, evaluate
from flyweight.inference import DecoderModel

RECORDS = {
    "piqa": {"goal": "X", "sol1": "X", "sol2": "X", "label": 0},
    "hellaswag": {
        "activity_label": "X", "ctx_a": "X", "ctx_b": "X", "ctx": "X", "endings": ["X"] * 4, "label": "1",
    },
    "winogrande": {"sentence": "X _ X", "option1": "X", "option2": "X", "answer": "1"},
    "boolq": {"question": "X", "passage": "X", "label": 1},
}  # fmt: skip


@pytest.mark.parametrize("task", RECORDS)
@pytest.mark.parametrize(
    "attack",
    [
        "{{ cycler.__init__.__globals__.os.system('touch MARK') }}",
        "{{ lipsum.__globals__['os'].system('touch MARK') }}{% raw %}",
        "__import__('os').system('touch MARK')",
        "[__import__('os').system('touch MARK')]",
    ],
)
def test_a_record_runs_nothing(model: DecoderModel, tmp_path: Path, task: str, attack: str) -> None:
    mark = tmp_path / "it-ran"
    text = json.dumps(RECORDS[task]).replace("X", attack.replace("MARK", str(mark)))
    folder = tmp_path / "data" / task
    folder.mkdir(parents=True)
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text(f"{text}\n{text}\n")
    results = evaluate(model, [Wanted(task)], Settings(data=tmp_path / "data"))
    assert not mark.exists()
    # HellaSwag takes out what stands in brackets, which leaves nothing of one of these.
    assert task in results["tasks"] or (task, attack[0]) == ("hellaswag", "[")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch MARK')",
        "The final answer is $__import__('os').system('touch MARK')$. I hope it is correct.",
        "\\boxed{__import__('os').system('touch MARK')}",
        "final answer is 1+__import__('os').system('touch MARK')",
        "The final answer is 1 + (lambda: open('MARK', 'w'))()",
        "$\\text{__import__('os').system('touch MARK')}$",
    ],
)
def test_an_answer_in_mathematics_is_not_evaluated(tmp_path: Path, text: str) -> None:
    """sympy's parser evaluates Python; what a model wrote gets there only as numbers and operators."""
    from math_verify import parse, verify

    mark = tmp_path / "it-ran"
    written = text.replace("MARK", str(mark))
    verify(parse("$1$"), parse(written, parsing_timeout=3), timeout_seconds=3)
    assert not mark.exists()
