"""A closed corpus of articles that an agent searches in, in place of a live encyclopedia."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from flyweight.evaluation.agents.data import text_field
from flyweight.evaluation.items import read_json_lines

SIMILAR_TITLES = 5
TITLE_WEIGHT = 2.0
"""What a word of a query counts in a title, against 1 in the text."""
WORD = re.compile(r"\w+")
SENTENCE_END = re.compile(r"""(?:(?<=[.!?])|(?<=[.!?]["')\]]))\s+(?=["'(\[]*[^\Wa-z])""")


class Article(NamedTuple):
    """A titled text."""

    title: str
    sentences: tuple[str, ...]


class ClosedCorpus:
    """Articles by title, and titles that are like a query."""

    def __init__(self, articles: Sequence[Article]) -> None:
        """Index `articles`; of several with one title the first counts."""
        self.articles = tuple(articles)
        self._by_title: dict[str, Article] = {}
        for article in self.articles:
            self._by_title.setdefault(title_key(article.title), article)

    def find(self, query: str) -> Article | None:
        """The article of this title; letters' case and white space do not matter."""
        return self._by_title.get(title_key(query))

    def similar(self, query: str) -> list[str]:
        """Titles of the five articles that share most with the words of `query`, best first.

        An article's score is the sum over the query's words of log(1 + articles / articles with the word),
        twice that for a word in the title. Equal scores stand in the corpus's order; 0 does not count.
        """
        scores: dict[int, float] = {}
        for postings, weight in ((self._title_words, TITLE_WEIGHT), (self._text_words, 1.0)):
            for word in dict.fromkeys(words_of(query)):
                places = postings.get(word, ())
                for place in places:
                    rarity = math.log(1 + len(self.articles) / len(places))
                    scores[place] = scores.get(place, 0.0) + weight * rarity
        best = sorted(scores, key=lambda place: (-scores[place], place))[:SIMILAR_TITLES]
        return [self.articles[place].title for place in best]

    # Built at the first miss: a corpus in which every search hits needs neither.
    @cached_property
    def _title_words(self) -> dict[str, array[int]]:
        return _postings([article.title for article in self.articles])

    @cached_property
    def _text_words(self) -> dict[str, array[int]]:
        return _postings([" ".join(article.sentences) for article in self.articles])


def read_corpus(file: Path) -> ClosedCorpus:
    """The corpus in a JSON-lines file of {"title": ..., "text": ...}.

    Raises:
        UserError: no such file, or a line without a title or a text.
    """
    return ClosedCorpus(
        [
            Article(
                text_field(item, "title", file, number).strip(),
                split_sentences(text_field(item, "text", file, number)),
            )
            for number, item in enumerate(read_json_lines(file), 1)
        ]
    )


def split_sentences(text: str) -> tuple[str, ...]:
    """Sentences, cut at line ends and after `.`, `!`, `?` where a capital letter or a number follows."""
    parts = [part.strip() for line in text.splitlines() for part in SENTENCE_END.split(line)]
    return tuple(part for part in parts if part)


def title_key(title: str) -> str:
    """What titles are compared by."""
    return " ".join(title.casefold().split())


def words_of(text: str) -> list[str]:
    """Words in small letters."""
    return WORD.findall(text.casefold())


def _postings(texts: list[str]) -> dict[str, array[int]]:
    postings: dict[str, array[int]] = {}
    for place, text in enumerate(texts):
        for word in dict.fromkeys(words_of(text)):
            postings.setdefault(word, array("I")).append(place)
    return postings
