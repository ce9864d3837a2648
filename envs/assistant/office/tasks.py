"""The kinds of tasks, and how each is drawn: the user's request, the mails and the goal."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np

from ludus.envs.assistant.office.goal import Booking, Goal, Letter, Move
from ludus.envs.assistant.office.office import (
    CLOSES,
    NOON,
    OPENS,
    PARTS,
    WEEKDAYS,
    Engagement,
    Office,
    Person,
)
from ludus.envs.assistant.office.phrases import DETAILS, MAILS, QUESTIONS, REQUESTS, TOLD, filled
from ludus.envs.assistant.office.rain import HOURS, Rain
from ludus.envs.assistant.user import Brief
from ludus.tools.services.mail import Rule
from ludus.tools.services.search.encyclopedia import Encyclopedia

RAINY = 0.5
"""The probability that it rains if the weather matters, so that an agent that forgets to look is often wrong.
Drawn before everything else, since rain is rare."""
TITLES = (
    *("harvest report", "bridge plans", "spring fair", "new catalogue", "old archive"),
    *("water tower", "museum visit", "choir evening", "delivery route", "roof garden"),
    *("winter schedule", "lantern parade", "river survey", "apprentice day", "second edition"),
)
OUTDOORS = (
    *(
        "walking tour",
        "photo walk",
        "kite class",
        "lantern rehearsal",
        "open-air rehearsal",
        "garden workshop",
    ),
    *("running group", "river survey", "bird count", "drawing class", "boules practice", "map training"),
)
"""What takes place outdoors, day after day."""
ROOMS = tuple(
    f"{name} Room"
    for name in (
        *("Amber", "Beech", "Cedar", "Dune", "Fjord", "Garnet", "Heron", "Ivory", "Juniper", "Kestrel"),
        *("Larch", "Maple", "Nettle", "Otter", "Poplar", "Quartz"),
    )
)
MINUTES = (30, 45, 60, 90)
RAINY_DAYS = tuple(days for count in (1, 2) for days in combinations(range(5), count))
"""The days of the week on which it rains, for a picnic: each combination is as likely as any other."""


@dataclass(frozen=True, slots=True)
class Task:
    """The request, what the world contains for it, and what the world should be like afterwards."""

    kind: str
    brief: Brief
    goal: Goal
    office: Office
    """The office, with the events that exist for the task."""
    letters: tuple[tuple[Person, str, str], ...] = ()
    """Colleagues' mails that the task is about: sender, subject, text."""
    rules: tuple[tuple[str, Rule], ...] = ()
    """How people answer mail, by address."""


@dataclass(frozen=True)
class Material:
    """What tasks are made of."""

    office: Office
    rain: Rain
    """The rain of the office's week; empty if the weather does not matter to the kind of task."""
    rainy: bool
    """Whether it must rain at a time that would do otherwise."""
    book: Encyclopedia
    vague: float
    """The probability that the user leaves out a detail."""
    rng: np.random.Generator

    def some(self, options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def team(self, count: int) -> list[Person]:
        """Distinct colleagues."""
        chosen = self.rng.choice(len(self.office.team), count, replace=False)
        return [self.office.team[int(number)] for number in chosen]

    def crowd(self, people: Sequence[str], day: date, part: str, minutes: int) -> tuple[Office, datetime]:
        """The office with fuller calendars for these people, and when all of them are first free."""
        office = self.office.crowded(self.rng, people, day, part, minutes)
        start = office.first_free(people, day, part, minutes)
        assert start is not None
        return office, start

    def brief(self, kind: str, fields: Mapping[str, object], details: Mapping[str, str]) -> Brief:
        """A user who gives some of the details at once and the others when asked.

        Args:
            details: the template in `DETAILS` for each slot of the user's knowledge.
        """
        said, known = [filled(self.some(REQUESTS[kind]), fields)], []
        for slot, detail in details.items():
            sentence = filled(self.some(DETAILS[detail]), fields)
            known.append((slot, sentence))
            if self.rng.random() >= self.vague:
                said.append(sentence)
        told = [(slot, filled(sentence, fields)) for slot, sentence in TOLD.get(kind, {}).items()]
        return Brief(self.office.owner.name, " ".join(said), (*known, *told))


def outdoors(given: Material) -> Task | None:
    """Mail, calendars, weather: the first dry afternoon on which three people are free."""
    office = given.office
    a, b = given.team(2)
    title, minutes = given.some(TITLES), given.some(MINUTES)
    people = (office.owner.address, a.address, b.address)
    rained = not given.rainy
    for day, hours in zip(office.days, given.rain, strict=True):
        afternoon = hours[:-1]
        # Rain only in the hour before 13:00 would make the answer depend on how the table is read.
        if afternoon[0] and not any(afternoon[1:]):
            return None
        start = office.first_free(people, day, "afternoon", minutes)
        if start is not None and not any(afternoon):
            break
        rained = rained or start is not None
    else:
        return None
    if not rained:
        return None
    office, start = given.crowd(people, day, "afternoon", minutes)
    end = start + timedelta(minutes=minutes)
    fields = {"a": a.name, "b": b.name, "title": title, "minutes": minutes, **_week(office)}
    booking = Booking(start, end, frozenset(people))
    goal = Goal(
        booking=booking, letters=(_letter_about(office, a, start, end),), forecast=frozenset({start.date()})
    )
    letter = (a, _subject(title), filled(given.some(MAILS["outdoors"]), fields))
    brief = given.brief("outdoors", fields, {"minutes": "minutes"})
    return Task("outdoors", brief, goal, office, (letter,))


def meeting(given: Material) -> Task | None:
    """Calendars, and a user who says little: a meeting as early as possible."""
    office = given.office
    b, c = given.team(2)
    title, minutes, part, day = (
        given.some(options) for options in (TITLES, MINUTES, tuple(PARTS), office.days)
    )
    people = (office.owner.address, b.address, c.address)
    office, start = given.crowd(people, day, part, minutes)
    fields = {"b": b.name, "c": c.name, "title": title, "minutes": minutes, "part": part, "day": _day(day)}
    details = {"people": "people", "minutes": "minutes", "time": "time"}
    booking = Booking(start, start + timedelta(minutes=minutes), frozenset(people), title=_subject(title))
    return Task("meeting", given.brief("meeting", fields, details), Goal(booking=booking), office)


def move(given: Material) -> Task | None:
    """Mail and calendars: another time for a meeting."""
    office = given.office
    (a,) = given.team(1)
    old, day = (office.days[int(number)] for number in given.rng.choice(5, 2, replace=False))
    title, minutes, part = (given.some(options) for options in (TITLES, MINUTES, tuple(PARTS)))
    people = (office.owner.address, a.address)
    before = office.first_free(people, old, given.some(tuple(PARTS)), minutes)
    if before is None:
        return None
    office, start = given.crowd(people, day, part, minutes)
    length = timedelta(minutes=minutes)
    event = Engagement("m1", _subject(title), before, before + length, people)
    fields = {"a": a.name, "title": title, "part": part, "day": _day(day)}
    goal = Goal(
        move=Move(event.uid, start, start + length),
        letters=(_letter_about(office, a, start, start + length, before, before + length),),
    )
    letter = (a, _subject(title), filled(given.some(MAILS["move"]), fields))
    return Task("move", given.brief("move", fields, {"day": "day"}), goal, office.joined(event), (letter,))


def question(given: Material) -> Task | None:
    """Mail and search: look up a fact for a colleague."""
    a, b = given.team(2)
    relation, other = (list(QUESTIONS)[int(number)] for number in given.rng.choice(4, 2, replace=False))
    asked, right, never, wrong = _fact(given, relation)
    also, *_ = _fact(given, other)
    if not right or asked == also:
        return None
    letters = []
    for person, name, subject in ((a, relation, asked), (b, other, also)):
        text = filled(given.some(QUESTIONS[name]), {"subject": subject})
        letters.append((person, "A question", text))
    if given.rng.random() < 0.5:
        letters.reverse()
    said = "|".join(map(re.escape, right))
    letter = Letter(a.address, says=rf"(?<!\w)(?:{said})(?!\w)", right=right, never=never, names=wrong)
    brief = given.brief("question", {"a": a.name}, {"which": "which"})
    return Task("question", brief, Goal(letters=(letter,)), given.office, tuple(letters))


def picnic(given: Material) -> Task | None:
    """Calendars, weather, mail: cancel an event on the days on which it rains."""
    office = given.office
    b, *_ = given.team(1)
    title = given.some(OUTDOORS)
    people = (office.owner.address, b.address)
    length = timedelta(minutes=120)
    events: list[Engagement] = []
    cancelled: dict[str, date] = {}
    for number, (day, hours) in enumerate(zip(office.days, given.rain, strict=True)):
        # The table shows the rain of the hour before: what that means for the picnic must be clear.
        fell = {hour - 1: rains for hour, rains in zip(HOURS, hours, strict=True)}
        starts = [
            start
            for start in (office.at(day, time(hour)) for hour in range(NOON.hour, CLOSES.hour - 1))
            if any(fell[hour] for hour in range(start.hour, (start + length).hour)) == any(hours)
        ]
        if not starts:
            return None
        start = given.some(starts)
        events.append(Engagement(f"p{number + 1}", _subject(title), start, start + length, people))
        if any(hours):
            cancelled[events[-1].uid] = day
    office = office.cleared(events)
    fields = {"title": title, "b": b.name, **_week(office)}
    letter = Letter(b.address, off=frozenset(cancelled.values()))
    goal = Goal(cancelled=frozenset(cancelled), letters=(letter,), forecast=frozenset(office.days))
    return Task("picnic", given.brief("picnic", fields, {}), goal, office.joined(*events))


def room(given: Material) -> Task | None:
    """Mail to a colleague who knows what the user does not, then calendars."""
    office = given.office
    a, b, c = given.team(3)
    title, minutes, day, place = (given.some(options) for options in (TITLES, MINUTES, office.days, ROOMS))
    start = office.at(day, given.some((OPENS, time(10), time(11, 30), NOON, time(14, 30), time(15))))
    people = (office.owner.address, b.address, c.address)
    fields = {
        "a": a.name,
        "b": b.name,
        "c": c.name,
        "title": title,
        "minutes": minutes,
        "day": _day(day),
        "time": f"{start:%H:%M}",
    }
    end = start + timedelta(minutes=minutes)
    booking = Booking(start, end, frozenset(people), place, _subject(title))
    # An answer to any mail, because only the room can be meant.
    rule = Rule((), f"It is the {place}.")
    brief = given.brief("room", fields, {"people": "people", "minutes": "minutes"})
    goal = Goal(booking=booking, may_ask=frozenset({a.address}))
    return Task("room", brief, goal, office, rules=((a.address, rule),))


KINDS: Mapping[str, Callable[[Material], Task | None]] = {
    kind.__name__: kind for kind in (outdoors, meeting, move, question, picnic, room)
}


def _wet_then_dry(rain: Rain) -> bool:
    wet = [any(hours[:-1]) for hours in rain]
    return True in wet and False in wet[wet.index(True) :]


def suitable(kind: str, rainy: bool, rng: np.random.Generator) -> Callable[[Rain], bool] | None:
    """The weeks that suit a kind of task; None if any does."""
    if kind == "outdoors" and rainy:
        return _wet_then_dry
    if kind == "picnic":
        wet = RAINY_DAYS[int(rng.integers(len(RAINY_DAYS)))]
        return lambda rain: tuple(day for day, hours in enumerate(rain) if any(hours)) == wet
    return None


WEATHER = ("outdoors", "picnic")
"""The kinds of tasks to which the weather matters."""


def _week(office: Office) -> dict[str, str]:
    """The first and the last day of the week that a task is about."""
    return {"first": _day(office.days[0]), "last": _day(office.days[-1])}


def _day(day: date) -> str:
    """A day with its date, so that nobody can take it for another."""
    return f"{WEEKDAYS[day.weekday()]}, {day.day} {day:%B}"


def _subject(title: str) -> str:
    """A title as a subject."""
    return title.capitalize()


def _letter_about(office: Office, to: Person, start: datetime, end: datetime, *before: datetime) -> Letter:
    """A mail that says when something takes place. It may also say when that was before, why no earlier day
    was taken, and what was said: from which day to which, when mornings and afternoons begin and end."""
    passed = (office.at(day, OPENS) for day in office.days if day < start.date())
    days = (start, *before, *passed, office.at(office.days[0], OPENS), office.at(office.days[-1], CLOSES))
    times = (start.time(), end.time(), *(moment.time() for moment in before), OPENS, NOON, CLOSES)
    return Letter(
        to.address,
        days=tuple(dict.fromkeys(moment.date() for moment in days)),
        times=tuple(dict.fromkeys(f"{moment:%H:%M}" for moment in times)),
    )


def _fact(given: Material, relation: str) -> tuple[str, tuple[str, ...], str, tuple[str, ...]]:
    """A fact to ask for: its subject, the names of the answer, and a pattern and names of wrong answers; all
    empty if none was found."""
    world = given.book.world
    kind = "company" if relation.startswith("found") else "person"
    for _ in range(50):
        entity = given.some(world.entities)
        if entity.kind == kind and relation in entity.facts:
            break
    else:
        return "", (), "", ()
    object = entity.facts[relation]
    if isinstance(object, str):
        return entity.title, (object,), rf"\b(?!{object}\b)\d{{4}}\b", ()
    answer = world.entities[object]
    # In a mail, a town's name will do without its region.
    spelt = (spelling for name in answer.names for spelling in (name, name.partition(" (")[0]))
    right = tuple(dict.fromkeys(spelling.casefold() for spelling in spelt))
    every = _names(given.book, answer.kind)
    return (
        entity.title,
        right,
        "",
        tuple(name for name in every if not any(name in spelling for spelling in right)),
    )


@lru_cache(maxsize=32)
def _names(book: Encyclopedia, kind: str) -> tuple[str, ...]:
    return tuple(
        name.casefold() for entity in book.world.entities if entity.kind == kind for name in entity.names
    )
