"""`World`: the entities of the invented world and every fact about them, before any page is written."""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from ludus.tools.services.geography import invented_name, invented_places
from ludus.tools.services.world.relations import BY_SUBJECT, Kind
from ludus.tools.services.world.vocabulary import EPITHETS, GATHERINGS, ORDINALS, THEMES, WORDS, WORKSHOPS

T = TypeVar("T")
LEAST, MOST = 100, 30_000
"""The range for a world's number of entities."""
THIS_YEAR = 2031
SHARES = {"company": 0.22, "event": 0.18, "place": 0.15}
"""Shares of the entities; a few are countries, and the rest are people."""
KNOWN = 0.9
"""The share of facts that have been written down."""
ALIASED = 0.3
ELSEWHERE = ("spouse", "twin", "forerunner", "capital")
"""Relations whose facts are not drawn independently."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A person or thing that has a page."""

    number: int
    kind: Kind
    title: str
    """No other entity has this as its title or alias."""
    aliases: tuple[str, ...]
    facts: Mapping[str, int | str]
    """By relation: the number of another entity, or a word or year as written."""
    past: Mapping[str, int | str]
    """The former values of facts that have changed; empty if none has."""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.title, *self.aliases)


@dataclass(frozen=True, slots=True)
class World:
    """Its entities, by number."""

    entities: tuple[Entity, ...]

    def name(self, value: int | str) -> str:
        """The name of a relation's object."""
        return self.entities[value].title if isinstance(value, int) else value

    def plain(self) -> list[list[Any]]:
        """The world as JSON data, for `World.read`."""
        return [[e.kind, e.title, list(e.aliases), dict(e.facts), dict(e.past)] for e in self.entities]

    @classmethod
    def read(cls, plain: Sequence[Sequence[Any]]) -> "World":
        return cls(
            tuple(
                Entity(number, kind, title, tuple(aliases), facts, past)
                for number, (kind, title, aliases, facts, past) in enumerate(plain)
            )
        )


def invent(seed: int, size: int, namesakes: float = 0.2, outdated: float = 0.2) -> World:
    """A world: a pure function of the arguments.

    Args:
        size: how many entities it has, `LEAST` to `MOST`.
        namesakes: the share of people and companies with nearly the same name as another.
        outdated: the share of entities about which something was different some years ago.

    Raises:
        ValueError: for a size or a share out of range.
    """
    if not LEAST <= size <= MOST:
        raise ValueError(f"a world of {size} pages: give a number from {LEAST} to {MOST}")
    for name, share in (("namesakes", namesakes), ("outdated", outdated)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name} = {share}: give a share from 0 to 1")
    return _Maker(seed, size, namesakes).make(outdated)


@dataclass
class _Draft:
    kind: Kind
    title: str
    aliases: list[str] = field(default_factory=list)
    facts: dict[str, int | str] = field(default_factory=dict)
    past: dict[str, int | str] = field(default_factory=dict)
    year: int = 0
    """The year of birth, of foundation, or of the event."""


class _Maker:
    """Draws a world, kind by kind: first the entities, then the facts."""

    def __init__(self, seed: int, size: int, namesakes: float) -> None:
        self.rng = random.Random(f"world {seed} {size}")
        self.names = np.random.Generator(np.random.PCG64([seed, size]))
        self.namesakes = namesakes
        self.drafts: list[_Draft] = []
        self.taken: set[str] = set()
        self.towns: frozenset[str] = frozenset()
        """Their names, without the region that a title may add."""
        self.numbers: dict[str, list[int]] = {}
        self.size, self.seed = size, seed

    def make(self, outdated: float) -> World:
        self._places(round(self.size * SHARES["place"]))
        self._companies(round(self.size * SHARES["company"]))
        self._events(round(self.size * SHARES["event"]))
        self._people(self.size - len(self.drafts))
        for number, draft in enumerate(self.drafts):
            self._aliases(draft)
            self._facts(number, draft)
        self._pair("person", "spouse", 0.6)
        self._pair("place", "twin", 0.9)
        for draft in self.drafts:
            changing = [r.name for r in BY_SUBJECT[draft.kind] if r.changes and r.name in draft.facts]
            if changing and self._chance(outdated):
                self._remember(draft, changing)
        return World(
            tuple(
                Entity(number, d.kind, d.title, tuple(d.aliases), d.facts, d.past)
                for number, d in enumerate(self.drafts)
            )
        )

    # The entities.

    def _add(self, draft: _Draft) -> None:
        self.taken.add(draft.title.casefold())
        self.numbers.setdefault(draft.kind, []).append(len(self.drafts))
        self.drafts.append(draft)

    def _places(self, count: int) -> None:
        places = invented_places(self.seed, count)
        known: dict[str, int] = {}
        for place in places:
            known[place.name] = known.get(place.name, 0) + 1
        self.towns = frozenset(known)
        countries: dict[str, _Draft] = {}
        for place in places:
            if place.country not in countries:
                countries[place.country] = _Draft("country", place.country)
                self._add(countries[place.country])
        at = {draft.title: number for number, draft in enumerate(self.drafts)}
        for place in places:
            title = place.name if known[place.name] == 1 else f"{place.name} ({place.region})"
            country = countries[place.country]
            if place.is_capital:
                country.facts["capital"] = len(self.drafts)
            draft = _Draft("place", title, year=self._integer(1100, 1850))
            draft.facts |= {"country": at[place.country], "charter_year": str(draft.year)}
            self._add(draft)

    def _companies(self, count: int) -> None:
        for _ in range(count):
            title = self._title("company", lambda: invented_name(self.names, "company"))
            self._add(_Draft("company", title, year=self._integer(1960, 2025)))

    def _events(self, count: int) -> None:
        end = len(self.drafts) + count
        while len(self.drafts) < end:
            series = self._series()
            year, editions = self._integer(1990, 2020), self._integer(1, 5)
            for edition in range(min(editions, end - len(self.drafts))):
                draft = _Draft("event", f"{ORDINALS[edition]} {series}", year=year)
                if edition:
                    draft.facts["forerunner"] = len(self.drafts) - 1
                self._add(draft)
                year += self._integer(1, 2)

    def _series(self) -> str:
        while True:
            word = invented_name(self.names, "place")
            series = f"{word} {self._pick(THEMES)} {self._pick(GATHERINGS)}"
            if f"{ORDINALS[0]} {series}".casefold() not in self.taken:
                return series

    def _people(self, count: int) -> None:
        for _ in range(count):
            title = self._title("person", lambda: invented_name(self.names, "person"))
            self._add(_Draft("person", title, year=self._integer(1930, 2006)))
        people = self.numbers["person"]
        people.sort(key=lambda number: (self.drafts[number].year, number))
        self.births = [self.drafts[number].year for number in people]

    def _title(self, kind: Kind, invent: Any) -> str:
        while True:
            others = self.numbers.get(kind)
            if others and self._chance(self.namesakes):
                title = self._nearly(self.drafts[self._pick(others)].title)
            else:
                title = invent()
            if title.casefold() not in self.taken:
                return title

    def _nearly(self, name: str) -> str:
        """The same name except for a vowel, a doubled letter, or the last word."""
        letters = [i for i in range(1, len(name)) if name[i] in "aeiou"]
        where = self._pick(letters)
        if self._chance(0.7):
            others = [vowel for vowel in "aeiou" if vowel != name[where]]
            return name[:where] + self._pick(others) + name[where + 1 :]
        first, _, last = name.rpartition(" ")
        return f"{first} {last}{last[-1]}" if self._chance(0.5) else f"{first}{first[-1]} {last}"

    def _aliases(self, draft: _Draft) -> None:
        if not self._chance(ALIASED):
            return
        first = draft.title.split(" ")[0].strip(",")
        last = draft.title.split(" ")[-1]
        alias = {
            "person": lambda: f"the {self._pick(EPITHETS)} {self._pick((first, last))}",
            "company": lambda: f"the {self._pick(EPITHETS)} {self._pick(WORKSHOPS)} of {first}",
            "place": lambda: f"Old {invented_name(self.names, 'place')}",
            "event": lambda: f"the {self._pick(EPITHETS)} {draft.title.split(' ', 2)[2]} of {draft.year}",
            "country": lambda: f"the Land of {invented_name(self.names, 'region')}",
        }[draft.kind]()
        # Nor is a town called Old what another is called.
        if alias.casefold() not in self.taken and alias.removeprefix("Old ") not in self.towns:
            self.taken.add(alias.casefold())
            draft.aliases.append(alias)

    # The facts.

    def _facts(self, number: int, draft: _Draft) -> None:
        for relation in BY_SUBJECT[draft.kind]:
            name = relation.name
            if name in draft.facts or name in ELSEWHERE:
                continue
            if not self._chance(KNOWN):
                continue
            value = self._object(number, draft, name, relation.object)
            if value is not None:
                draft.facts[name] = value

    def _object(self, number: int, draft: _Draft, name: str, kind: str) -> int | str | None:
        if kind == "word":
            return self._pick(WORDS[name])
        if kind == "year":
            return str(draft.year)
        if kind == "person":
            born = {
                "mentor": (draft.year - 40, draft.year - 8),
                "mother": (draft.year - 40, draft.year - 19),
                "founder": (draft.year - 50, draft.year - 22),
                "winner": (draft.year - 60, draft.year - 18),
            }.get(name, (1940, 2000))
            return self._person(*born)
        others = self.numbers[kind]
        other = self._pick(others)
        return None if other == number else other

    def _person(self, first: int, last: int) -> int | None:
        """Someone born in these years, if anyone was."""
        low, high = bisect_left(self.births, first), bisect_right(self.births, last)
        return self.numbers["person"][self._integer(low, high - 1)] if low < high else None

    def _pair(self, kind: str, relation: str, share: float) -> None:
        """Symmetric facts: between neighbours (people are ordered by age), at most one for each."""
        numbers = self.numbers[kind]
        for left, right in zip(numbers[::2], numbers[1::2], strict=False):
            if self._chance(share):
                self.drafts[left].facts[relation], self.drafts[right].facts[relation] = right, left

    def _remember(self, draft: _Draft, changing: Sequence[str]) -> None:
        for name in changing:
            if self._chance(0.7) or name == changing[-1]:
                now = draft.facts[name]
                assert isinstance(now, int)
                kind = self.drafts[now].kind
                before = self._pick(self.numbers[kind])
                if before != now and self.drafts[before] is not draft:
                    draft.past[name] = before

    # Random draws. Python promises to keep `random()` as it is; `choice` and `randrange` have changed before.

    def _chance(self, share: float) -> bool:
        return self.rng.random() < share

    def _integer(self, low: int, high: int) -> int:
        return low + int(self.rng.random() * (high - low + 1))

    def _pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.random() * len(options))]
