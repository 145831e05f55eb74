from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.base import UserError
from flyweight.evaluation.agents.answers import exact_match, f1_score, normalize_answer
from flyweight.evaluation.agents.articles import Article, ClosedCorpus, read_corpus, split_sentences
from flyweight.evaluation.agents.data import react_order
from flyweight.evaluation.agents.fever import LABELS, claim_layout, read_claims, run_claim_only
from flyweight.evaluation.agents.fever import run_corpus as run_fever
from flyweight.evaluation.agents.hotpotqa import judge, question_layout, run_distractor
from flyweight.evaluation.agents.hotpotqa import run_corpus as run_hotpotqa
from flyweight.evaluation.agents.layout import NumberedLayout
from flyweight.evaluation.agents.questions import Question
from flyweight.evaluation.tasks.task import TaskInput
from flyweight.inference import LanguageModel

TaskOf = Callable[..., TaskInput]
SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "agents"

FOX = ("The red fox is a fox.", "It eats mice.", "It lives in Europe.", "Four.", "Five.", "Six mice.")
CORPUS = ClosedCorpus(
    [
        Article("Red Fox", FOX),
        Article("Grey Wolf", ("The wolf is not a fox.",)),
        Article("Fox Film", ("A studio.",)),
        Article("Lake", ("Water.",)),
    ]
)  # fmt: skip
DISTRACTOR = [
    {
        "_id": f"id{number}",
        "question": f"Which town has number {number}?",
        "answer": f"Town {number}",
        "type": "bridge" if number % 2 else "comparison",
        "context": [[f"Town {number}", [f"Town {number} has number {number}.", " It is small."]], ["Sea", ["Wet."]]],
    }
    for number in range(6)
]  # fmt: skip


def test_items_that_share_an_id_are_told(tmp_path: Path, task_of: TaskOf):
    (tmp_path / "hotpot_dev_distractor_v1.json").write_text(json.dumps([DISTRACTOR[0], DISTRACTOR[0]]))
    with pytest.raises(UserError, match="more than once, such as 'id0'"):
        run_distractor(task_of(tmp_path))
    file = tmp_path / "claims.jsonl"
    claim = {"id": 7, "claim": "Foxes swim.", "label": "SUPPORTS"}
    file.write_text(f"{json.dumps(claim)}\n{json.dumps(claim)}\n")
    with pytest.raises(UserError, match="more than once, such as '7'"):
        read_claims(file)


def test_a_folder_in_place_of_a_file_is_told(tmp_path: Path, task_of: TaskOf):
    (tmp_path / "hotpot_dev_distractor_v1.json").mkdir()
    with pytest.raises(UserError, match="this is a folder"):
        run_distractor(task_of(tmp_path))


def question(gold: str = "Europe") -> Question:
    return Question("1", "", "Question: Where do foxes live?", gold, CORPUS, NumberedLayout(""), judge)


def test_a_search_shows_the_first_five_sentences_and_a_lookup_the_next_with_the_word():
    asked = question()
    assert asked.step("Search[ red  FOX ]").observation == (
        "The red fox is a fox. It eats mice. It lives in Europe. Four. Five."
    )
    assert asked.step("Lookup[Mice]").observation == "(Result 1 / 2) It eats mice."
    assert asked.step("Lookup[Mice]").observation == "(Result 2 / 2) Six mice."
    assert asked.step("Lookup[Mice]") == ("No more results.", False, False)
    assert asked.step("Lookup[europe]").observation == "(Result 1 / 1) It lives in Europe."
    assert asked.step("Lookup[Mice]").observation == "(Result 1 / 2) It eats mice."
    # A miss keeps the open article, a hit opens another.
    assert not asked.step("Search[nothing]").possible
    assert asked.step("Lookup[europe]").possible
    asked.step("Search[Lake]")
    assert not asked.step("Lookup[europe]").possible
    asked.reset()
    assert not asked.step("Lookup[water]").possible


def test_a_miss_names_titles_by_shared_words_titles_first():
    assert question().step("Search[foxes of fox]").observation == (
        "Could not find [foxes of fox]. Similar: ['Red Fox', 'Fox Film', 'Grey Wolf']."
    )
    assert CORPUS.similar("mice") == ["Red Fox"]
    assert CORPUS.similar("???") == []
    many = ClosedCorpus([Article(f"same {number}", ("x",)) for number in range(9)])
    assert many.similar("same") == [f"same {number}" for number in range(5)]


def test_only_the_answer_counts_and_none_is_wrong():
    for action, expected in (("Finish[the europe!]", 1.0), ("Finish[]", 0.0), ("Finish[Asia]", 0.0)):
        asked = question()
        assert asked.step(action).done
        assert asked.scores()["em"] == expected
    assert question().scores() == {"em": 0.0, "f1": 0.0}


@pytest.mark.parametrize(
    ("answer", "gold", "em", "f1"),
    [
        ("The Cat!", "cat", 1, 1),
        ("a cat", "the  dog", 0, 0),
        ("yes", "no", 0, 0),
        ("yes it is", "yes", 0, 0),  # closed answers are right or wrong as a whole
        ("noanswer", "no", 0, 0),
        ("New York City", "York", 0, 0.5),
        ("cat cat", "cat", 0, 2 / 3),  # words count as often as they come
        ("", "cat", 0, 0),
        ("U.S.A.", "usa", 1, 1),
        ("the", "a", 1, 0),  # nothing is left of either
    ],
)
def test_answers_are_compared_as_squad_and_hotpotqa_do(answer: str, gold: str, em: float, f1: float):
    assert exact_match(answer, gold) == em
    assert f1_score(answer, gold) == pytest.approx(f1)


@given(st.text(), st.text())
def test_scores_of_answers_are_symmetric_shares_and_normalising_twice_changes_nothing(
    first: str, second: str
):
    assert f1_score(first, second) == f1_score(second, first)
    assert 0 <= f1_score(first, second) <= 1
    assert (
        normalize_answer(normalize_answer(first)) == normalize_answer(first) or "ſ" in first + first.lower()
    )
    if normalize_answer(first):
        assert exact_match(first, first) == f1_score(first, first) == 1.0


@given(st.text())
def test_sentences_lose_nothing_but_space(text: str):
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())


def test_sentences_end_where_a_capital_follows():
    assert split_sentences('He said "no." Then e.g. this, 3.5 m. 2 men\nleft! "Why?" 1') == (
        'He said "no."', "Then e.g. this, 3.5 m.", "2 men", "left!", '"Why?"', "1",
    )  # fmt: skip


@given(st.integers(0, 30))
def test_an_order_is_a_permutation(count: int):
    assert sorted(react_order(list(range(count)))) == list(range(count))


def test_the_order_is_that_of_the_reference():
    order = list(range(7405))
    Random(233).shuffle(order)
    assert react_order(list(range(7500))) == order + list(range(7405, 7500))


def test_the_distractor_set_is_played_over_its_own_paragraphs(
    tmp_path: Path, scripted: Callable[..., Any], task_of: TaskOf
):
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "hotpot_dev_distractor_v1.json").write_text(json.dumps(DISTRACTOR))

    def answer(prompt: str) -> str:
        number = prompt.split("Which town has number ")[1].split("?")[0]
        if prompt.endswith("Thought 1:"):
            return f" Search it.\nAction 1: Search[Town {number}]"
        assert f"Observation 1: Town {number} has number {number}. It is small.\n" in prompt
        wrong = "x" if number == "2" else ""
        return f" Found.\nAction 2: finish[town {number}{wrong}]"

    result = run_distractor(task_of(tmp_path), scripted(answer))
    assert result.metrics["em"].value == pytest.approx(5 / 6)
    assert result.metrics["f1"].value == pytest.approx((5 + 0.5) / 6)
    assert result.metrics["steps"].value == 2
    assert result.details["baselines"]["oracle"]["em"]["value"] == 1.0
    assert result.details["baselines"]["random"]["em"]["value"] < 1.0
    assert set(result.subsets) == {"bridge", "comparison"}
    assert sorted(result.items["id"]) == [f"id{number}" for number in range(6)]
    assert result.shots == 0
    limited = run_distractor(task_of(tmp_path, limit=2), scripted(answer))
    assert limited.items["id"] == result.items["id"][:2]


def test_a_users_corpus_serves_questions_and_claims(
    tmp_path: Path, scripted: Callable[..., Any], task_of: TaskOf
):
    (tmp_path / "hotpot_dev_v1_simplified.json").write_text(
        json.dumps([{"question": "Where?", "answer": "Rome"}, {"question": "Who?", "answer": "yes"}])
    )
    (tmp_path / "paper_dev.jsonl").write_text(
        "".join(
            json.dumps({"id": number, "claim": f"Claim {number}.", "label": label}) + "\n"
            for number, label in enumerate(LABELS)
        )
    )
    (tmp_path / "corpus.jsonl").write_text(
        json.dumps({"title": "Rome", "text": "Rome is a town. It is old."})
    )
    assert read_corpus(tmp_path / "corpus.jsonl").find("rome") == Article(
        "Rome", ("Rome is a town.", "It is old.")
    )
    result = run_hotpotqa(task_of(tmp_path), scripted(lambda prompt: " t\nAction 1: Finish[rome]"))
    assert result.metrics["em"].value == 0.5
    assert result.data["source"] == "hotpot_dev_v1_simplified.json over corpus.jsonl (1 articles)"
    claims = run_fever(task_of(tmp_path), scripted(lambda prompt: " t\nAction 1: Finish[not enough info]"))
    assert claims.metrics["em"].value == pytest.approx(1 / 3)
    assert claims.subsets["NOT ENOUGH INFO"]["em"].value == 1.0
    assert claims.details["baselines"]["oracle"]["em"]["value"] == 1.0


def test_the_users_examples_stand_before_the_task(tmp_path: Path):
    assert question_layout(tmp_path).shots == claim_layout(None).shots == 0
    (tmp_path / "prompts_naive.json").write_text(
        json.dumps({"webthink_simple6": "\nQuestion: a\nQuestion: b\n"})
    )
    (tmp_path / "fever.json").write_text(json.dumps({"webthink_simple3": "\nJudge.\nClaim: c\n\n"}))
    layout = question_layout(tmp_path)
    assert layout.shots == 2
    assert layout.opening.endswith("examples.\nQuestion: a\nQuestion: b\n")
    assert (claim_layout(tmp_path).opening, claim_layout(tmp_path).shots) == ("Judge.\nClaim: c\n\n", 1)
    (tmp_path / "fever.json").write_text("{}")
    with pytest.raises(
        UserError, match=r"fever\.json: expected a prompt with 'Claim:' under 'webthink_simple3'"
    ):
        claim_layout(tmp_path)


def test_claims_alone_are_judged_by_the_likeliest_label(
    judging: Callable[[Callable[[str], float]], LanguageModel], tmp_path: Path
):
    labels = ["SUPPORTS", "SUPPORTS", "REFUTES", "NOT ENOUGH INFO"]
    (tmp_path / "paper_dev.jsonl").write_text(
        "".join(
            json.dumps({"id": n, "claim": f"c{n}", "label": label}) + "\n" for n, label in enumerate(labels)
        )
    )

    def run(judge: Callable[[str], float]):
        return run_claim_only(TaskInput(judging(judge), tmp_path, None, 0, None, None))

    # Summed, the long label loses; per letter it wins: -15/15 > -9/8.
    result = run(lambda text: -15.0 if text.endswith("NOT ENOUGH INFO") else -9.0)
    assert (result.metrics["acc"].value, result.metrics["acc_norm"].value) == (0.5, 0.25)
    assert result.chance == pytest.approx(1 / 3)
    assert result.details["baselines"]["most frequent label"]["acc"] == 0.5
    assert result.subsets["REFUTES"]["acc"].value == 0.0
    right = run(lambda text: -float(not text.endswith(f" {labels[int(text.split('c')[1][0])]}")))
    assert right.metrics["acc"].value == 1.0
    assert right.details["evidence"].startswith("none")


def test_files_of_another_kind_are_refused(tmp_path: Path, task_of: TaskOf):
    file = tmp_path / "hotpot_dev_distractor_v1.json"
    for content, message in (
        ("{", "not valid JSON"),
        ("{}", "expected a JSON list, found a JSON object"),
        ("[]", "no items in this file"),
        ('[{"question": "q", "answer": "a"}]', "item 1: no paragraphs; expected the distractor set"),
        ('[{"question": "q", "answer": "a", "context": [["t"]]}]', "item 1: no paragraphs"),
        (
            '[{"question": "q", "answer": "a", "context": [["t", ["s"]], ["u", "no list"]]}]',
            "item 1: no paragraphs",
        ),
        ('[{"question": "q", "context": [["t", ["s"]]]}]', "item 1: expected a text under 'answer'"),
        ("[3]", "item 1: no paragraphs"),
    ):
        file.write_text(content)
        with pytest.raises(UserError, match=message):
            run_distractor(task_of(tmp_path))
    (tmp_path / "paper_dev.jsonl").write_text('{"claim": "c", "label": "MAYBE"}')
    with pytest.raises(UserError, match=r"paper_dev\.jsonl, item 1: the label is 'MAYBE'; expected SUPPORTS"):
        read_claims(tmp_path / "paper_dev.jsonl")
    (tmp_path / "corpus.jsonl").write_text('{"title": "t"}')
    with pytest.raises(UserError, match=r"corpus\.jsonl, item 1: expected a text under 'text'"):
        read_corpus(tmp_path / "corpus.jsonl")


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no files for agents at {SHARED}")
def test_the_published_questions_claims_and_prompts_load(
    scripted: Callable[..., Any], task_of: TaskOf, tmp_path: Path
):
    assert question_layout(SHARED).shots == 6
    assert claim_layout(SHARED).shots == 3
    claims = read_claims(SHARED / "paper_dev.jsonl")
    assert len(claims) == 9999
    assert len({identity for identity, _, _ in claims}) == 9999
    (tmp_path / "corpus.jsonl").write_text('{"title": "Nothing", "text": "Nothing."}')
    for name in ("hotpot_dev_v1_simplified.json", "paper_dev.jsonl", "prompts_naive.json", "fever.json"):
        (tmp_path / name).symlink_to(SHARED / name)
    # 500 questions as in the reference; prompts of six examples are some 1,500 words.
    finish = scripted(lambda prompt: " t\nAction 1: Finish[yes]")
    result = run_hotpotqa(task_of(tmp_path, limit=500), finish)
    assert result.details["baselines"]["oracle"]["em"]["value"] == 1.0
    assert result.metrics["em"].value == pytest.approx(0.036, abs=0.03)
    short = scripted(lambda prompt: "", max_length=512)
    assert run_hotpotqa(task_of(tmp_path, limit=3), short).metrics["does_not_fit"].value == 1.0
    guesses = run_fever(task_of(tmp_path, limit=500), finish).details["baselines"]
    assert guesses["oracle"]["em"]["value"] == 1.0
    assert guesses["random"]["em"]["value"] == pytest.approx(1 / 3, abs=0.07)
