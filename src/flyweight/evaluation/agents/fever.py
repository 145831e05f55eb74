"""FEVER's claims (arXiv 1803.05355): by ReAct over a corpus that the user gives, and without any evidence.

`fever-corpus-react` is the agent; its numbers depend on the corpus and are not those over live Wikipedia.
`fever-claim-only` asks for the likeliest of three labels after the claim alone: a baseline that says how far one
gets without looking anything up.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

from flyweight.base import UserError
from flyweight.evaluation.agents.answers import exact_match
from flyweight.evaluation.agents.articles import read_corpus
from flyweight.evaluation.agents.data import (
    examples,
    lacking,
    need_file,
    react_order,
    refuse_same_ids,
    text_field,
)
from flyweight.evaluation.agents.environment import Environment
from flyweight.evaluation.agents.hotpotqa import some
from flyweight.evaluation.agents.layout import Layout, NumberedLayout
from flyweight.evaluation.agents.questions import Question
from flyweight.evaluation.agents.report import measure
from flyweight.evaluation.agents.writer import Writer
from flyweight.evaluation.items import read_json_lines
from flyweight.evaluation.likelihood import Request, score_requests
from flyweight.evaluation.results import Metric, TaskResult
from flyweight.evaluation.statistics import mean, standard_error
from flyweight.evaluation.tasks.task import TaskInput

CORPUS, CLAIM_ONLY = "fever-corpus-react", "fever-claim-only"
LABELS = ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO")
CLAIMS_FILE, CORPUS_FILE = "paper_dev.jsonl", "corpus.jsonl"
PROMPTS_FILE, PROMPT = "fever.json", "webthink_simple3"
INSTRUCTION = (
    "Find out whether articles support a claim, refute it, or do not say enough, in steps of a thought, an action "
    "and an observation. Search[title] shows how the article of this title begins, or which titles are like it; "
    "Lookup[word] shows the next sentence of this article that has the word; Finish[answer] ends the task, with "
    "SUPPORTS, REFUTES or NOT ENOUGH INFO as the answer.\n"
)


def claim_layout(data: Path | None) -> Layout:
    """ReAct's three examples, which bring their instruction, from the user's folder; else our instruction."""
    text, shots = examples(data, PROMPTS_FILE, PROMPT, "Claim:")
    return NumberedLayout(text.lstrip("\n") if shots else INSTRUCTION, shots)


def read_claims(file: Path, limit: int | None = None) -> list[tuple[str, str, str]]:
    """Identity, claim and label of the items, in ReAct's order.

    Raises:
        UserError: an item without a claim, or with another label.
    """
    claims = []
    for number, item in enumerate(read_json_lines(file), 1):
        label = text_field(item, "label", file, number)
        if label not in LABELS:
            raise UserError(f"{file}, item {number}: the label is {label!r}; expected {', '.join(LABELS)}.")
        claims.append((str(item.get("id", number)), text_field(item, "claim", file, number).strip(), label))
    refuse_same_ids([identity for identity, _, _ in claims], file)
    return react_order(claims)[:limit]


def run_corpus(task: TaskInput, writer: Writer | None = None) -> TaskResult:
    """`fever-corpus-react`: share of right labels over the user's corpus, 7 steps."""
    file = need_file(CORPUS, task.data, CLAIMS_FILE)
    corpus_file = need_file(CORPUS, task.data, CORPUS_FILE)
    corpus, layout = read_corpus(corpus_file), claim_layout(task.data)
    environments: list[Environment] = [
        Question(identity, label, f"Claim: {claim}", label, corpus, layout, judge, LABELS)
        for identity, claim, label in read_claims(file, task.limit)
    ]
    source = f"{file.name} over {corpus_file.name} ({len(corpus.articles)} articles)"
    return measure(task, some(environments, file), source, writer)


def run_claim_only(task: TaskInput) -> TaskResult:
    """`fever-claim-only`: share of claims whose right label is the likeliest after the claim, no evidence.

    `acc` compares summed log-likelihoods, `acc_norm` those divided by the label's letters; the first label
    wins ties.
    """
    file = need_file(CLAIM_ONLY, task.data, CLAIMS_FILE)
    claims = read_claims(file, task.limit)
    if not claims:
        raise UserError(f"{file}: no claims in this file; expected one or more.")
    scores = score_requests(
        task.model, _requests(task, [claim for _, claim, _ in claims]), progress=task.progress
    )
    rows = [scores.values[start : start + len(LABELS)] for start in range(0, len(scores.values), len(LABELS))]
    gold = [LABELS.index(label) for _, _, label in claims]
    lengths = [len(label) for label in LABELS]
    hits = {
        "acc": [_right(row, [1] * len(LABELS), right) for row, right in zip(rows, gold, strict=True)],
        "acc_norm": [_right(row, lengths, right) for row, right in zip(rows, gold, strict=True)],
    }
    counts = Counter(label for _, _, label in claims)
    return TaskResult(
        metrics={name: _metric(values) for name, values in hits.items()},
        items={
            "id": [identity for identity, _, _ in claims], **hits, "loglikelihoods": rows, "gold": gold,
        },
        chance=1 / len(LABELS),
        subsets=_by_label(claims, hits),
        fit={"requests": len(scores.values), "truncated": scores.truncated},
        data={"source": file.name, "fingerprint": _fingerprint(claims)},
        details={
            "evidence": "none: the model sees the claim alone",
            "labels": list(LABELS),
            "baselines": {"most frequent label": {"acc": max(counts.values()) / len(claims)}},
        },
    )  # fmt: skip


def missing_corpus(data: Path | None) -> str | None:
    """Why `fever-corpus-react` cannot run here; None where it can."""
    return lacking(data, CLAIMS_FILE) or lacking(data, CORPUS_FILE)


def missing_claim_only(data: Path | None) -> str | None:
    """Why `fever-claim-only` cannot run here; None where it can."""
    return lacking(data, CLAIMS_FILE)


def judge(answer: str, gold: str) -> dict[str, float]:
    """`em`: the label, once normalised, is the right one."""
    return {"em": exact_match(answer, gold)}


def _requests(task: TaskInput, claims: list[str]) -> list[Request]:
    """Encoded jointly and split by the context's length, as lm-eval does."""
    contexts = [f"Claim: {claim}\nSUPPORTS, REFUTES or NOT ENOUGH INFO?\nAnswer:" for claim in claims]
    texts = [f"{context} {label}" for context in contexts for label in LABELS]
    encode: Any = task.model.tokenizer.encode_batch
    lengths = [len(tokens) for tokens in encode(contexts) for _ in LABELS]
    return [(tokens[:length], tokens[length:]) for tokens, length in zip(encode(texts), lengths, strict=True)]


def _right(row: list[float], lengths: list[int], gold: int) -> float:
    values = [value / length for value, length in zip(row, lengths, strict=True)]
    return float(values.index(max(values)) == gold)


def _by_label(
    claims: list[tuple[str, str, str]], hits: dict[str, list[float]]
) -> dict[str, dict[str, Metric]]:
    subsets = {}
    for label in LABELS:
        places = [place for place, claim in enumerate(claims) if claim[2] == label]
        if places:
            subsets[label] = {name: _metric([values[p] for p in places]) for name, values in hits.items()}
    return subsets


def _metric(values: list[float]) -> Metric:
    return Metric(mean(values), standard_error(values), len(values))


def _fingerprint(claims: list[tuple[str, str, str]]) -> str:
    return hashlib.sha256("\x1e".join("\x1f".join(claim) for claim in claims).encode()).hexdigest()[:16]
