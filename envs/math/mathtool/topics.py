"""The kinds of problems of `ludus/MathTool-v0`, by topic, and how a question is read back."""

import ast
import re
from collections.abc import Mapping, Sequence

from ludus.envs.arguments import as_choices
from ludus.envs.math.mathtool import algebra, calculus, counting, integers
from ludus.envs.math.mathtool.kinds import Field, Kind

TOPICS: Mapping[str, tuple[Kind, ...]] = {
    "integers": integers.KINDS,
    "counting": counting.KINDS,
    "calculus": calculus.KINDS,
    "algebra": algebra.KINDS,
}
KINDS: Mapping[str, Kind] = {kind.name: kind for kinds in TOPICS.values() for kind in kinds}

# Wordings with the most fixed text come first: "({f})*e^x" also matches "{f}".
_MOST_WORDS_FIRST = sorted(KINDS.values(), key=lambda kind: -len(re.sub(r"\{\w+\}", "", kind.wording)))


def checked_topics(topics: Sequence[str]) -> tuple[Kind, ...]:
    """The kinds of problems that a list of topics and kinds stands for.

    Raises:
        ArgumentError: a name is unknown, or there are no names.
    """
    chosen: dict[str, Kind] = {}
    for name in as_choices("topics", topics, [*TOPICS, *KINDS]):
        chosen |= {kind.name: kind for kind in TOPICS.get(name) or (KINDS[name],)}
    return tuple(chosen.values())


def parse(question: str) -> tuple[Kind, dict[str, Field]]:
    """The kind of a question, and its fields.

    Raises:
        ValueError: no known kind matches the question.
    """
    for kind in _MOST_WORDS_FIRST:
        if match := kind.pattern.match(question):
            return kind, {name: _field(text) for name, text in match.groupdict().items()}
    raise ValueError(f"no kind of problem has this question: {question!r}")


def _field(text: str) -> Field:
    try:
        value: Field = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text  # a function of x, or a word
    return value
