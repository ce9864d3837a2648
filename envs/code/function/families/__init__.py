"""The families of programming tasks, by topic."""

from collections.abc import Mapping

from ludus.envs.code.function.families import (
    basics,
    dynamic,
    games,
    graphs,
    numbers,
    parsing,
    search,
    simulation,
    strings,
)
from ludus.envs.code.function.families.family import Cases, Family, Task, Timed, call, draw, run_trusted

_TOPICS = (basics, strings, parsing, numbers, search, dynamic, graphs, simulation, games)

FAMILIES: Mapping[str, Family] = {family.name: family for topic in _TOPICS for family in topic.FAMILIES}
"""The families, by name."""

TOPICS: Mapping[str, tuple[str, ...]] = {
    topic: tuple(family.name for family in FAMILIES.values() if family.topic == topic)
    for topic in dict.fromkeys(family.topic for family in FAMILIES.values())
}
"""The names of each topic's families."""

__all__ = ["FAMILIES", "TOPICS", "Cases", "Family", "Task", "Timed", "call", "draw", "run_trusted"]
