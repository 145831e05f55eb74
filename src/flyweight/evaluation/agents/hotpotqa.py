"""HotpotQA's questions (arXiv 1809.09600) over a corpus that the user gives, by ReAct.

ReAct asks a live encyclopedia, which changes and is not to be had offline. What is measured here has names of
its own: `hotpotqa-distractor-react` searches the ten paragraphs that the distractor set gives each question,
`hotpotqa-corpus-react` a corpus of the user's. Neither is comparable with numbers over all of Wikipedia.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flyweight.base import UserError
from flyweight.evaluation.agents.answers import exact_match, f1_score
from flyweight.evaluation.agents.articles import Article, ClosedCorpus, read_corpus
from flyweight.evaluation.agents.data import (
    examples,
    lacking,
    need_file,
    react_order,
    read_json_file,
    refuse_same_ids,
    text_field,
)
from flyweight.evaluation.agents.environment import Environment
from flyweight.evaluation.agents.layout import Layout, NumberedLayout
from flyweight.evaluation.agents.questions import Question
from flyweight.evaluation.agents.report import measure
from flyweight.evaluation.agents.writer import Writer
from flyweight.evaluation.results import TaskResult
from flyweight.evaluation.tasks.task import TaskInput

DISTRACTOR, CORPUS = "hotpotqa-distractor-react", "hotpotqa-corpus-react"
DISTRACTOR_FILE = "hotpot_dev_distractor_v1.json"
QUESTIONS_FILE = "hotpot_dev_v1_simplified.json"
CORPUS_FILE = "corpus.jsonl"
PROMPTS_FILE, PROMPT = "prompts_naive.json", "webthink_simple6"
INSTRUCTION = (
    "Answer the question in steps of a thought, an action and an observation. There are three actions: "
    "Search[title] shows how the article of this title begins, or which titles are like it; Lookup[word] shows "
    "the next sentence of this article that has the word; Finish[answer] gives the answer and ends the task.\n"
)


def question_layout(data: Path | None) -> Layout:
    """Our instruction, and ReAct's six examples where the user's folder has its prompts file."""
    text, shots = examples(data, PROMPTS_FILE, PROMPT, "Question:")
    return NumberedLayout(f"{INSTRUCTION}Here are some examples.{text}" if shots else INSTRUCTION, shots)


def read_distractor(file: Path, layout: Layout, limit: int | None = None) -> list[Environment]:
    """The questions of the distractor set, each with its own ten paragraphs.

    Raises:
        UserError: not the distractor set, such as the questions without paragraphs.
    """
    items = read_json_file(file, list)
    return [
        _question(number, item, _paragraphs(file, number, item), layout, file)
        for number, item in react_order(list(enumerate(items, 1)))[:limit]
    ]


def read_questions(
    file: Path, corpus: ClosedCorpus, layout: Layout, limit: int | None = None
) -> list[Environment]:
    """The questions of a file of {"question", "answer"}, all over `corpus`."""
    items = read_json_file(file, list)
    return [
        _question(number, item, corpus, layout, file)
        for number, item in react_order(list(enumerate(items, 1)))[:limit]
    ]


def run_distractor(task: TaskInput, writer: Writer | None = None) -> TaskResult:
    """`hotpotqa-distractor-react`: EM and F1 over the distractor set's own paragraphs, 7 steps."""
    file = need_file(DISTRACTOR, task.data, DISTRACTOR_FILE)
    environments = read_distractor(file, question_layout(task.data), task.limit)
    return measure(task, some(environments, file), file.name, writer)


def run_corpus(task: TaskInput, writer: Writer | None = None) -> TaskResult:
    """`hotpotqa-corpus-react`: EM and F1 over the user's corpus, 7 steps."""
    file = need_file(CORPUS, task.data, QUESTIONS_FILE)
    corpus_file = need_file(CORPUS, task.data, CORPUS_FILE)
    corpus = read_corpus(corpus_file)
    environments = read_questions(file, corpus, question_layout(task.data), task.limit)
    source = f"{file.name} over {corpus_file.name} ({len(corpus.articles)} articles)"
    return measure(task, some(environments, file), source, writer)


def missing_distractor(data: Path | None) -> str | None:
    """Why the task cannot run here; None where it can."""
    return lacking(data, DISTRACTOR_FILE)


def missing_corpus(data: Path | None) -> str | None:
    """Why the task cannot run here; None where it can."""
    return lacking(data, QUESTIONS_FILE) or lacking(data, CORPUS_FILE)


def some(environments: list[Environment], file: Path) -> list[Environment]:
    """`environments`, which are not none, each with an id of its own.

    Raises:
        UserError: they are none, or two have the same id.
    """
    if not environments:
        raise UserError(f"{file}: no items in this file; expected one or more.")
    refuse_same_ids([environment.identity for environment in environments], file)
    return environments


def judge(answer: str, gold: str) -> dict[str, float]:
    """`em` and `f1`."""
    return {"em": exact_match(answer, gold), "f1": f1_score(answer, gold)}


def _question(number: int, item: Any, corpus: ClosedCorpus, layout: Layout, file: Path) -> Environment:
    question = text_field(item, "question", file, number).strip()
    gold = text_field(item, "answer", file, number)
    identity, kind = str(item.get("_id", number)), str(item.get("type", ""))
    return Question(identity, kind, f"Question: {question}", gold, corpus, layout, judge)


def _paragraphs(file: Path, number: int, item: Any) -> ClosedCorpus:
    context = item.get("context") if isinstance(item, dict) else None
    try:
        if any(isinstance(sentences, str) for _, sentences in context or ()):
            raise TypeError("a text would come apart into its letters")
        articles = [
            Article(str(title), tuple(sentence.strip() for sentence in sentences if sentence.strip()))
            for title, sentences in context or ()
        ]
    except (TypeError, ValueError, AttributeError):
        articles = []
    if not articles:
        raise UserError(
            f"{file}, item {number}: no paragraphs; expected the distractor set, in which `context` is a list "
            "of [title, [sentence, ...]]."
        )
    return ClosedCorpus(articles)
