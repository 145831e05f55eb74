from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.evaluation.agents.alfworld_games import GRAMMAR as ALFWORLD
from flyweight.evaluation.agents.grammar import CallGrammar, CommandGrammar, Grammar, fill
from flyweight.evaluation.agents.household import GRAMMAR as HOUSEHOLD
from flyweight.evaluation.agents.questions import GRAMMAR as QUESTIONS
from flyweight.evaluation.agents.webshop import GRAMMAR as SHOP

GRAMMARS = [QUESTIONS, SHOP, HOUSEHOLD, ALFWORLD]
NAMES = st.from_regex(r"[a-z]{1,8}( [a-z]{1,8})? [0-9]{1,2}", fullmatch=True)
ARGUMENTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp", "Cs")), min_size=1)


@pytest.mark.parametrize("grammar", GRAMMARS)
@given(text=st.one_of(st.text(), st.from_regex(r"[a-z\[\]{} ]{0,40}")))
def test_any_text_is_an_action_in_one_form_or_none(grammar: Grammar, text: str):
    parsed = grammar.parse(text)
    if parsed is not None:
        assert grammar.parse(parsed) == parsed
        assert len(parsed.splitlines()) == 1


@given(argument=ARGUMENTS.map(str.strip).filter(bool), name=st.sampled_from(sorted(QUESTIONS.arguments)))
def test_a_call_is_read_back_as_it_was_written(argument: str, name: str):
    assert QUESTIONS.split(f"{name}[{argument}]") == (name, argument)
    assert QUESTIONS.parse(f"  {name[0].lower()}{name[1:]}[ {argument} ] ") == f"{name}[{argument}]"


@given(template=st.sampled_from(HOUSEHOLD.templates), names=st.lists(NAMES, min_size=2, max_size=2))
def test_a_command_is_read_back_as_it_was_written(template: str, names: list[str]):
    names = names[: template.count("{")]
    command = fill(template, names)
    assert HOUSEHOLD.split(command) == (template, tuple(names))
    assert HOUSEHOLD.parse(f" {command.upper()}  ") == command


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        *((QUESTIONS, text) for text in (
            "", " ", "Search", "Search[]", "Search[ ]", "SEARCH[x]", "Find[x]", "Search[x", "Searchx]",
            "Search[x].", "I will Search[x]", "Search [x]", "Search[x]\nLookup[y]", "Search[x\ny]",
        )),
        *((HOUSEHOLD, text) for text in (
            "", "go", "go to", "go to ", "take cup 1", "take cup 1 from", "put cup 1 on table 1", "> look",
            "look around", "go to table 1.!", "look\nlook", "wash", "go to {place}",
        )),
    ],
)  # fmt: skip
def test_nonsense_is_no_action(grammar: Grammar, text: str):
    assert grammar.parse(text) is None


def test_an_empty_answer_is_one_only_where_the_grammar_says_so():
    assert QUESTIONS.parse("Finish[]") == "Finish[]"
    assert CallGrammar({"Finish": "answer"}).parse("Finish[]") is None


def test_a_grammar_says_its_forms():
    assert CommandGrammar(["look"]).describe() == "look"
    forms = ["look", "open {c}", "open {d}", "put {thing} in {place}"]
    assert CommandGrammar(forms).describe() == "look, open ... or put ... in ..."
    assert SHOP.describe() == "search[words] or click[what stands in brackets]"


def test_the_first_form_that_fits_counts_and_slots_are_not_greedy():
    assert HOUSEHOLD.split("take old key from antique trunk") == (
        "take {thing} from {place}", ("old key", "antique trunk"),
    )  # fmt: skip
    grammar = CommandGrammar(["take {o}", "take {o} from {c}"])
    assert grammar.parse("take old key from antique trunk") == "take old key from antique trunk"
