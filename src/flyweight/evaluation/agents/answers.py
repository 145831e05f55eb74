"""How a written answer is compared with the right one: the measures of SQuAD and HotpotQA."""

from __future__ import annotations

import re
import string
from collections import Counter

PUNCTUATION = frozenset(string.punctuation)
CLOSED_ANSWERS = frozenset({"yes", "no", "noanswer"})
"""Answers that are right or wrong as a whole (HotpotQA, arXiv 1809.09600)."""


def normalize_answer(text: str) -> str:
    """Small letters, no ASCII punctuation, no articles, single spaces (SQuAD, arXiv 1606.05250)."""
    letters = "".join(letter for letter in text.lower() if letter not in PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", letters).split())


def exact_match(answer: str, gold: str) -> float:
    """1 where both are the same once normalised, else 0."""
    return float(normalize_answer(answer) == normalize_answer(gold))


def f1_score(answer: str, gold: str) -> float:
    """Harmonic mean of precision and recall over normalised words; 0 where a closed answer is missed."""
    ours, theirs = normalize_answer(answer), normalize_answer(gold)
    if ours != theirs and (ours in CLOSED_ANSWERS or theirs in CLOSED_ANSWERS):
        return 0.0
    words, wanted = ours.split(), theirs.split()
    common = sum((Counter(words) & Counter(wanted)).values())
    return 2 * common / (len(words) + len(wanted)) if common else 0.0
