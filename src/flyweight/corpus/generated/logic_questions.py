"""Exercises of logic that ask: is a claim true, how do two compare, which of four conclusions follows."""

from __future__ import annotations

from flyweight.corpus.generated.draws import Random, Weighted, pick
from flyweight.corpus.generated.logic_problems import draw_options
from flyweight.corpus.generated.logic_wordings import OTHERS, Draft, Exercise, join
from flyweight.corpus.generated.premises import Pair, Premises, pick_other_pair
from flyweight.corpus.generated.relations import ANYTHING, SYMBOLS, WAYS, Statement

_VERDICTS = Weighted((0.4, "true"), (0.35, "false"), (0.25, "unknown"))
_CLAIMS: tuple[tuple[str, dict[str, str]], ...] = (
    (
        "Premises: {listed}. Claim: {claim}. Verdict: {verdict}.",
        {"true": "true", "false": "false", "unknown": "unknown"},
    ),
    (
        "{joined}. True, false or unknown: {claim}? {verdict}",
        {"true": "True.", "false": "False: {known}.", "unknown": "Unknown."},
    ),
    (
        "We know that {joined}. Does it follow that {claim}? {verdict}",
        {"true": "Yes.", "false": "No, {known}.", "unknown": "No, {known}."},
    ),
    (
        "Is it true that {claim} if {joined}? {verdict}",
        {"true": "Yes, it is.", "false": "No, {known}.", "unknown": "That is not certain: {known}."},
    ),
)


def judged(draft: Draft) -> Exercise | None:
    """A claim about two quantities, and whether it is true, false or left open."""
    verdict = _VERDICTS.draw(draft.rng)
    premises = draft.premises(2 if verdict == "unknown" else OTHERS.draw(draft.rng))
    drawn = _draw_claim(draft.rng, premises, draft.hops, verdict)
    if drawn is None:
        return None
    claim, pair = drawn
    written = draft.say_all(premises)
    template, answers = pick(draft.rng, _CLAIMS)
    known = (
        _all_that_is_known(draft, premises, pair) if verdict == "unknown" else _known(draft, premises, pair)
    )
    text = template.format(
        listed=", ".join(written),
        joined=join(written),
        claim=draft.say(claim),
        verdict=answers[verdict].format(known=known),
    )
    return Exercise(text, [premises.chain(*pair)])


def _draw_claim(rng: Random, premises: Premises, hops: int, verdict: str) -> tuple[Statement, Pair] | None:
    ends: Pair = (0, hops)
    ways, _ = premises.compose(*ends)
    if verdict == "true":  # what is weaker than what is known is true as well
        fitting = [relation for relation, said in WAYS.items() if not ways & ~said]
        relation = SYMBOLS[ways] if rng.random() < 0.7 else pick(rng, fitting)
        return premises.state(0, relation, hops), ends
    if verdict == "false":
        fitting = [relation for relation, said in WAYS.items() if not ways & said]
        return premises.state(0, pick(rng, fitting), hops), ends
    relation = pick(rng, tuple(WAYS))
    pair = pick_other_pair(rng, premises, ends, (relation, SYMBOLS[ANYTHING - WAYS[relation]]))
    return None if pair is None else (premises.state(pair[0], relation, pair[1]), pair)


def _known(draft: Draft, premises: Premises, pair: Pair) -> str:
    known = premises.known(*pair)
    return "" if known is None else draft.say(known)


def _all_that_is_known(draft: Draft, premises: Premises, pair: Pair) -> str:
    known = _known(draft, premises, pair)
    return f"we only know that {known}" if known else "the premises leave it open"


def compared(draft: Draft) -> Exercise:
    """How two quantities compare, or which of them is greater."""
    rng = draft.rng
    premises = draft.premises(OTHERS.draw(rng))
    start, end = pick(rng, premises.pairs()) if rng.random() < 0.2 else (0, draft.hops)
    pair = (start, end) if rng.random() < 0.5 else (end, start)
    first, last = (premises.names[place] for place in pair)
    known = premises.known(*pair)
    if rng.random() < 0.5:
        question = f"How do {first} and {last} compare?"
        answer = "The premises leave it open" if known is None else draft.say(known)
    else:
        question = f"Which is {draft.voice.greater}, {first} or {last}?"
        if known is not None and known.relation in "<>":
            answer = last if known.relation == "<" else first
        elif known is not None and known.relation == "=":
            answer = f"Neither: {draft.say(known)}"
        else:
            answer = f"Not certain: {_all_that_is_known(draft, premises, pair)}"
    text = f"We know that {join(draft.say_all(premises))}. {question} {answer}."
    return Exercise(text, [premises.chain(*pair)])


_QUESTIONS = ("Which of these must be true?", "What follows?", "Which conclusion follows?")
_MARKS = (("(A)", "(B)", "(C)", "(D)"), ("A.", "B.", "C.", "D."), ("1)", "2)", "3)", "4)"))


def chosen(draft: Draft) -> Exercise | None:
    """Four conclusions to choose from, and the one that follows."""
    premises = draft.premises(2)
    drawn = draw_options(draft.rng, premises, draft.hops)
    if drawn is None:
        return None
    options, answer = drawn
    marks = pick(draft.rng, _MARKS)
    lines = [f"{mark} {draft.voice.say(option)}" for mark, option in zip(marks, options, strict=True)]
    question = f"{join(draft.say_all(premises))}. {pick(draft.rng, _QUESTIONS)}"
    place = {name: i for i, name in enumerate(premises.names)}
    chains = [premises.chain(place[option.left], place[option.right]) for option in options]
    # An empty line after it: the next exercise is not one more option.
    text = "\n".join([question, *lines, f"Answer: {lines[answer]}", ""])
    return Exercise(text, [chains[answer], *chains])
