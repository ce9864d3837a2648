"""Questions about the invented world, their answers, and the pages that prove them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ludus.envs.assistant.search.phrases import BACK, FORWARD, Hop, ask
from ludus.tools.services.search import Encyclopedia

BY_ALIAS = 0.3
"""How often a question calls its starting point by its other name, if it has one."""
TURNED_BACK = 0.3
"""How often a hop goes backwards, from an object to its only subject, if there is exactly one."""
OVERTAKEN = 0.5
"""How often a hop follows a fact that has changed in recent years, if there is one."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and what only the judge knows."""

    text: str
    key: str
    """Its content, whatever its wording: `Name/relation/~relation`, with a tilde for a backward hop."""
    answers: tuple[str, ...]
    """The right answers, as written by `plain`."""
    proof: tuple[str, ...]
    """For each hop, the id of the page whose present version states it."""


@dataclass(frozen=True, slots=True)
class _Steps:
    """The hops from an entity: to other entities, or to a final word or year."""

    onward: tuple[tuple[Hop, int], ...]
    changed: tuple[tuple[Hop, int], ...]
    """The `onward` hops that an earlier version of the page contradicts."""
    back: tuple[tuple[Hop, int], ...]
    last: tuple[tuple[Hop, str], ...]


def plain(answer: str) -> str:
    """An answer without what does not matter: case, spaces, articles and surrounding punctuation."""
    words = " ".join(answer.casefold().split()).strip(" .,;:!?\"'`*")
    for article in ("the ", "a ", "an "):
        if words.startswith(article):
            return words.removeprefix(article)
    return words


def written(relation: str, value: str) -> tuple[str, ...]:
    """The ways to write a word or a year that answers a question."""
    return (value, f"river {value}", f"{value} river") if relation == "river" else (value,)


def draw(book: Encyclopedia, chance: Callable[[], float], lengths: Sequence[int]) -> Question | None:
    """A question, or None if the walk reaches a dead end.

    The answer follows from the present versions of the pages alone, and is unique: a page states one object
    for each relation, and a hop goes backwards only if there is exactly one subject.

    Args:
        chance: numbers from 0 to 1.
        lengths: numbers of hops to choose from.
    """
    world, graph = book.world, _graph(book)
    start = place = int(chance() * len(world.entities))
    count = lengths[int(chance() * len(lengths))]
    hops: list[Hop] = []
    proof: list[str] = []
    visited = {start}
    end: int | str = start
    for number in range(count):
        steps = graph[place]
        choices: Sequence[tuple[Hop, int | str]] = steps.onward
        if steps.back and chance() < TURNED_BACK:
            choices = steps.back
        elif steps.changed and chance() < OVERTAKEN:
            choices = steps.changed
        elif number == count - 1:
            choices = (*steps.onward, *steps.last)
        if not choices:
            return None
        hop, end = choices[int(chance() * len(choices))]
        if hops and hop == hops[-1]:
            # "The supplier of the supplier of" is hard to count.
            return None
        if isinstance(end, int):
            if end in visited:
                return None
            visited.add(end)
        told_by = end if hop.is_back else place
        assert isinstance(told_by, int)
        proof.append(book.pages[told_by].id)
        hops.append(hop)
        if isinstance(end, int):
            place = end
    names = world.entities[start].names
    name = names[-1] if len(names) > 1 and chance() < BY_ALIAS else names[0]
    text = ask(name, hops, [chance() for _ in range(count + 1)])
    answers = world.entities[end].names if isinstance(end, int) else written(hops[-1].relation, end)
    if any(plain(answer) in text.casefold() for answer in answers):
        return None
    key = "/".join([names[0], *(("~" if hop.is_back else "") + hop.relation for hop in hops)])
    return Question(text, key, tuple(map(plain, answers)), tuple(proof))


@lru_cache(maxsize=8)
def _graph(book: Encyclopedia) -> tuple[_Steps, ...]:
    """The steps from each entity."""
    entities = book.world.entities
    subjects: dict[tuple[str, int], list[int]] = {}
    for entity in entities:
        for relation, value in entity.facts.items():
            if relation in BACK and isinstance(value, int):
                subjects.setdefault((relation, value), []).append(entity.number)
    only: dict[int, list[tuple[Hop, int]]] = {}
    for (relation, value), found in subjects.items():
        if len(found) == 1:
            only.setdefault(value, []).append((_hop(relation, True), found[0]))
    steps = []
    for entity in entities:
        facts: Mapping[str, int | str] = entity.facts
        onward, last = [], []
        for relation, value in facts.items():
            if relation not in FORWARD:
                continue
            if isinstance(value, int):
                onward.append((_hop(relation, False), value))
            else:
                last.append((_hop(relation, False), value))
        changed = tuple(step for step in onward if step[0].relation in entity.past)
        steps.append(_Steps(tuple(onward), changed, tuple(only.get(entity.number, ())), tuple(last)))
    return tuple(steps)


@lru_cache(maxsize=256)
def _hop(relation: str, is_back: bool) -> Hop:
    return Hop(relation, is_back)
