"""`Task`: one question about one draw of a world's tables, and a second draw to try the program on."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np

from ludus.envs.code.analysis.answers import Value
from ludus.envs.code.analysis.club import CLUB
from ludus.envs.code.analysis.library import LIBRARY
from ludus.envs.code.analysis.shop import SHOP
from ludus.envs.code.analysis.weather import WEATHER
from ludus.envs.code.analysis.world import Kind, Tables, World

WORLDS: Mapping[str, World] = {world.name: world for world in (SHOP, WEATHER, CLUB, LIBRARY)}
KINDS: Mapping[str, Kind] = {kind.name: kind for world in WORLDS.values() for kind in world.kinds}

_DRAWS = 64
"""The most second draws until the answer differs; with a dozen possible answers one or two are enough."""


@dataclass(frozen=True, slots=True)
class Task:
    """A question; everything else about the task follows from its fields."""

    kind: str
    parameters: tuple[tuple[str, str], ...]
    seed: int
    rows: int
    """Roughly how many rows the largest table has."""

    @property
    def world(self) -> World:
        return WORLDS[self.kind.partition("/")[0]]

    @property
    def key(self) -> str:
        """The content key of the task."""
        parameters = ",".join(f"{name}={value}" for name, value in self.parameters)
        return f"{self.kind}({parameters})#{self.seed}x{self.rows}"

    @property
    def question(self) -> str:
        return KINDS[self.kind].question.format(**dict(self.parameters))


@dataclass(frozen=True, slots=True)
class Case:
    """Files, and the answer for them."""

    files: Mapping[str, bytes]
    expected: Value


def draw_task(rng: np.random.Generator, worlds: tuple[str, ...], rows: int) -> Task:
    """Draw a task about one of the worlds."""
    kinds = [kind for world in worlds for kind in WORLDS[world].kinds]
    kind = kinds[rng.integers(len(kinds))]
    parameters = tuple(
        (name, choices[int(rng.integers(len(choices)))]) for name, choices in kind.parameters.items()
    )
    return Task(kind.name, parameters, int(rng.integers(2**48)), rows)


@lru_cache(maxsize=64)
def given_case(task: Task) -> Case:
    """The tables that the agent gets."""
    return _case(task, _tables(task, 0))


@lru_cache(maxsize=64)
def other_case(task: Task) -> Case:
    """Tables of the same form with different numbers and a different answer."""
    kind = KINDS[task.kind]
    expected = given_case(task).expected
    for number in range(1, _DRAWS):
        case = _case(task, _tables(task, number))
        if not kind.form.same(case.expected, expected):
            return case
    raise RuntimeError(f"{task.key}: every draw of the tables gives the answer {expected}")


def _tables(task: Task, number: int) -> Tables:
    rng = Random(f"{task.world.name} {task.seed} {number}")
    # The number of rows must not reveal which draw this is.
    return task.world.draw(rng, rng.randint(task.rows * 4 // 5, task.rows * 6 // 5))


def _case(task: Task, tables: Tables) -> Case:
    return Case(tables.files, KINDS[task.kind].reference(tables.records, **dict(task.parameters)))


def recognise(question: str) -> tuple[Kind, dict[str, str]]:
    """The kind and the parameters of a question, read from its text alone.

    Raises:
        ValueError: the text matches no kind of question.
    """
    for kind, pattern in _patterns():
        if found := pattern.search(question):
            return kind, found.groupdict()
    raise ValueError(f"no kind of question fits {question!r:.200}")


@lru_cache(maxsize=1)
def _patterns() -> list[tuple[Kind, re.Pattern[str]]]:
    return [(kind, re.compile("".join(_pattern(kind.question)))) for kind in KINDS.values()]


def _pattern(template: str) -> Iterator[str]:
    for index, piece in enumerate(re.split(r"\{(\w+)\}", template)):
        yield f"(?P<{piece}>.+?)" if index % 2 else re.escape(piece)
