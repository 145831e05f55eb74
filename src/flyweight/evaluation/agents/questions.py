"""Questions and claims that are answered by searching a closed corpus: Search, Lookup, Finish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from flyweight.evaluation.agents.articles import Article, ClosedCorpus, words_of
from flyweight.evaluation.agents.environment import Environment, Step
from flyweight.evaluation.agents.grammar import CallGrammar
from flyweight.evaluation.agents.layout import Layout

SEARCH, LOOKUP, FINISH = "Search", "Lookup", "Finish"
STEP_LIMIT = 7
"""ReAct's for questions and claims alike."""
FIRST_SENTENCES = 5
"""That a search shows of an article."""
GRAMMAR = CallGrammar({SEARCH: "title", LOOKUP: "word", FINISH: "answer"}, may_be_empty=[FINISH])


class Question(Environment):
    """One question; the answer is what `Finish` is given.

    As in ReAct's environment: a search of a title shows the article's first sentences, any other the titles
    that are like it; a lookup shows the next sentence of the article with the word; an agent that does not
    finish in time finishes with an empty answer.
    """

    grammar = GRAMMAR
    step_limit = STEP_LIMIT
    has_oracle = True
    forced_finish = f"{FINISH}[]"

    def __init__(
        self,
        identity: str,
        kind: str,
        text: str,
        gold: str,
        corpus: ClosedCorpus,
        layout: Layout,
        judge: Callable[[str, str], dict[str, float]],
        guesses: Sequence[str] = (),
    ) -> None:
        """Set up a question.

        Args:
            identity: see `Environment`.
            kind: see `Environment`.
            text: the question as the prompt shows it.
            gold: the right answer.
            corpus: what is searched.
            layout: see `Environment`.
            judge: metrics of (answer, gold).
            guesses: answers that the random agent draws from; left out: the corpus's titles, yes and no.
        """
        super().__init__(identity, kind)
        self.text, self.gold, self.corpus, self.layout = text, gold, corpus, layout
        self._judge, self._guesses = judge, guesses
        self.reset()

    def reset(self) -> str:
        """See `Environment`."""
        self.answer = ""
        self._article: Article | None = None
        self._keyword, self._place = "", 0
        return self.text

    def step(self, action: str) -> Step:
        """See `Environment`."""
        parts = GRAMMAR.split(action)
        assert parts is not None, f"{action!r} is no action"
        name, argument = parts
        if name == FINISH:
            self.answer = argument
            return Step("Episode finished.", done=True)
        return self._search(argument) if name == SEARCH else self._lookup(argument)

    def scores(self) -> dict[str, float]:
        """See `Environment`."""
        return self._judge(self.answer, self.gold)

    def random_action(self, random: Random) -> str:
        """One of the three actions, and an argument: a title, a word of what is open, a guess."""
        name = random.choice((SEARCH, LOOKUP, FINISH))
        if name == LOOKUP:
            seen = self.text if self._article is None else " ".join(self._article.sentences)
            return f"{LOOKUP}[{random.choice(words_of(seen) or ['word'])}]"
        if name == FINISH and self._guesses:
            return f"{FINISH}[{random.choice(self._guesses)}]"
        answers = ("yes", "no") if name == FINISH else ()
        place = random.randrange(len(self.corpus.articles) + len(answers))
        titles = self.corpus.articles
        return f"{name}[{titles[place].title if place < len(titles) else answers[place - len(titles)]}]"

    def oracle_action(self) -> str:
        """Finishes with the right answer: it checks the form of answers, not the search."""
        return f"{FINISH}[{self.gold}]"

    def _search(self, query: str) -> Step:
        article = self.corpus.find(query)
        if article is None:
            # The form that ReAct's examples show.
            return Step(f"Could not find [{query}]. Similar: {self.corpus.similar(query)}.", possible=False)
        self._article, self._keyword, self._place = article, "", 0
        return Step(" ".join(article.sentences[:FIRST_SENTENCES]))

    def _lookup(self, keyword: str) -> Step:
        if keyword != self._keyword:
            self._keyword, self._place = keyword, 0
        sentences = () if self._article is None else self._article.sentences
        hits = [sentence for sentence in sentences if keyword.casefold() in sentence.casefold()]
        if self._place >= len(hits):
            return Step("No more results.", possible=False)
        self._place += 1
        return Step(f"(Result {self._place} / {len(hits)}) {hits[self._place - 1]}")
