"""How the scripted agents read sentences in pages and search results."""

import re
from collections.abc import Sequence
from functools import lru_cache

from ludus.tools.services.world import RELATIONS
from ludus.tools.services.world.prose import ALSO, without_article

_FILLERS = re.compile("that|with|from|have|been|most|more|than|much|into|here|what|when|this|before|the")


@lru_cache(maxsize=128)
def _patterns(sentences: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    found = []
    for sentence in sentences:
        written = re.escape(sentence).replace(r"\{s\}", r"[^.\n]+?").replace(r"\{o\}", r"([^.\n]+?)")
        written = written.replace(r"\{p\}", "(?:[Hh]er|[Hh]is)")
        found.append(re.compile(rf"(?:^|(?<=\. )){written}", re.MULTILINE))
    return tuple(found)


def stated(text: str, relation: str) -> str | None:
    """The object that a text gives for a relation, if any."""
    for pattern in _patterns(RELATIONS[relation].sentences):
        if found := pattern.search(text):
            return without_article(found[1])
    return None


@lru_cache(maxsize=4)
def _also() -> tuple[re.Pattern[str], ...]:
    return _patterns(tuple(form.replace("{t}", "{s}").replace("{a}", "{o}") for form in ALSO))


def other_name(text: str) -> str | None:
    """The alias given in a page or a sentence, if any."""
    for pattern in _also():
        if found := pattern.search(text):
            return found[1]
    return None


@lru_cache(maxsize=128)
def telling_words(relation: str) -> str:
    """Words that sentences about a relation contain, to use in a query."""
    words = re.findall(r"[a-z]{4,}", " ".join(RELATIONS[relation].sentences))
    return " ".join(word for word in dict.fromkeys(words) if not _FILLERS.fullmatch(word))
