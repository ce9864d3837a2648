"""`find`: the pages that match a query, best first; `snippet`: the sentence of each that shows why."""

import re
import sqlite3
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ludus.tools.services.search.encyclopedia import Encyclopedia

RANKED = 20
"""The maximum number of hits for a query."""
MAX_TERMS, MAX_LETTERS = 12, 40
TITLE_WEIGHT = 8.0
"""The weight in bm25 of a word in the title, relative to one in the text."""
SNIPPET = 240
"""Characters."""
_PLACES = 6
_ITEM = "- "
"""How a line of a list begins."""
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Match:
    row: int
    """Of the index, as in `Encyclopedia.pages`."""
    score: float
    """0 to 4, higher is better."""
    place: int
    """Where the sentence that shows why begins in the page's text."""


def terms(query: str) -> list[str]:
    """The words of a query as in the index; anything else in it is ignored."""
    # The rest is cut off: normalising a megabyte helps nobody.
    text = unicodedata.normalize("NFKD", query[:2_000]).casefold()
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    words = dict.fromkeys(word[:MAX_LETTERS] for word in _WORD.findall(text))
    return list(words)[:MAX_TERMS]


@lru_cache(maxsize=1_024)
def find(book: Encyclopedia, query: str) -> tuple[Match, ...]:
    """The best `RANKED` matches, best first; a pure function of its arguments.

    Candidates come from bm25 over the query's rare words, since a word on every tenth page says little and
    costs most. They are ordered by bm25, by how many of the query's words the title has, and by how many,
    common ones included, occur together in one sentence. A mention in a list says nothing about a name, and
    adds nothing.
    """
    words = terms(query)
    common = _common(book)
    told = [word for word in words if common.get(word, 0) * 4 < len(book.pages)] or words
    if not told:
        return ()
    candidates = _candidates(book.connection, told, common)
    if not candidates:
        return ()
    # The more negative bm25, the better.
    best = min(rank for _, rank in candidates) or -1.0
    phrase = " ".join(words)
    found = []
    for row, rank in candidates:
        title = book.titles[row]
        others = [word for word in told if word not in title]
        named = len(told) - len(others)
        # Every sentence of a page is about its title.
        place, together = _best_sentence(book.texts[row], others or told[:1])
        together = named + together if others else named
        score = rank / best + (2 * together + named * (1.0 if title == phrase else 0.8)) / len(told)
        found.append((-round(score, 4), row, place))
    found.sort()
    return tuple(Match(row, -score, place) for score, row, place in found[:RANKED])


def _candidates(
    connection: sqlite3.Connection, words: Sequence[str], common: dict[str, int]
) -> list[tuple[int, float]]:
    """Rows and their bm25: the best pages with any rare word, and, as if right after those, some that also
    have a common word; without rare words, some pages with the least common one."""
    rare = [word for word in words if word not in common]
    if rare:
        match = " OR ".join(map(_quoted, rare))
        ranked: list[tuple[int, float]] = connection.execute(
            f"SELECT rowid, bm25(words, {TITLE_WEIGHT}, 1.0) AS rank FROM words WHERE words MATCH ? "
            f"ORDER BY rank, rowid LIMIT {RANKED}",
            (match,),
        ).fetchall()
        if len(ranked) < RANKED or len(rare) == len(words):
            return ranked
        others = " OR ".join(_quoted(word) for word in words if word in common)
        found = dict(ranked)
        for (row,) in connection.execute(
            f"SELECT rowid FROM words WHERE words MATCH ? LIMIT {RANKED}", (f"({match}) AND ({others})",)
        ):
            found.setdefault(row, ranked[-1][1])
        return list(found.items())
    least = sorted(words, key=lambda word: (common[word], word))[:3]
    # Ranking would read every page with a common word: these come in stored order.
    found = {}
    for count in range(len(least), 0, -1):
        match = " AND ".join(map(_quoted, least[:count]))
        for row, place in (("title", f"title : ({match})"), ("text", match)):
            query = f"SELECT rowid FROM words WHERE words MATCH ? LIMIT {RANKED}"
            for (number,) in connection.execute(query, (place,)):
                found.setdefault(number, -1.0 if row == "title" else -0.5)
        if len(found) >= RANKED:
            break
    return list(found.items())[:RANKED]


def _quoted(word: str) -> str:
    # In quotation marks nothing is an operator, and letters and digits cannot close them.
    return f'"{word}"'


@lru_cache(maxsize=8)
def _common(book: Encyclopedia) -> dict[str, int]:
    """Words on many pages, and how many."""
    return dict(book.connection.execute("SELECT word, pages FROM common"))


def _best_sentence(lines: str, words: Sequence[str]) -> tuple[int, int]:
    """Where the first of the sentences with the most of the words begins, and their number; where they only
    stand in a list, its line and 0. Only the first `_PLACES` occurrences of a word count."""
    counts: dict[int, int] = {}
    listed: dict[int, int] = {}
    for word in words:
        place, last = lines.find(word), -1
        for _ in range(_PLACES):
            if place < 0:
                break
            start = lines.rfind(".", 0, place) + 1
            if start != last:
                found = listed if lines.startswith(_ITEM, start) else counts
                found[start] = found.get(start, 0) + 1
                last = start
            place = lines.find(word, place + 1)
    best, together = 0, 0
    for start, count in (counts or listed).items():
        if count > together or (count == together and start < best):
            best, together = start, count
    return best, together if counts else 0


def snippet(book: Encyclopedia, match: Match) -> str:
    """The sentence of a page that shows why it matches, or the line of a list after its heading."""
    start, text = match.place, book.pages[match.row].text
    end = book.texts[match.row].find(".", start) + 1
    said = text[start : min(end or start + SNIPPET, start + SNIPPET)].strip()
    if not said.startswith(_ITEM):
        return said
    heading = text[text.rindex("\n\n", 0, start) + 2 :].partition("\n")[0]
    return f"{heading} {said.removeprefix(_ITEM)}"
