"""The kinds of tasks, and how each is drawn: the user's request, the mails and the goal."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

import numpy as np

from ludus.envs.assistant.office.goal import Booking, Goal, Letter, Move
from ludus.envs.assistant.office.office import NOON, OPENS, PARTS, WEEKDAYS, Engagement, Office, Person
from ludus.envs.assistant.office.phrases import DETAILS, MAILS, QUESTIONS, REQUESTS, filled
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
ROOMS = ("Amber Room", "Beech Room", "Cedar Room", "Dune Room", "Fjord Room", "Garnet Room", "Heron Room")
MINUTES = (30, 60, 90)
OFF = r"cancel|called off|not (?:be )?tak(?:e|ing) place|not happen"
IS_OFF = r"\b(?:is|was|(?<!not )been?) (?:cancell?ed|called off)|not take place|not happen"
ON = r"(?<!not )takes? place|taking place|as planned|goes? ahead|going ahead|will happen|is on\b"
IS_ON = r"(?<!not )takes? place|as planned|goes? ahead|going ahead|will happen"
"""How a letter says whether something takes place; the `IS` patterns are too plain to mean the opposite."""


@dataclass(frozen=True, slots=True)
class Task:
    """The request, what the world contains for it, and what the world should be like afterwards."""

    kind: str
    brief: Brief
    goal: Goal
    letters: tuple[tuple[Person, str, str], ...] = ()
    """Colleagues' mails that the task is about: sender, subject, text."""
    engagements: tuple[Engagement, ...] = ()
    """Events that exist for the task."""
    rules: tuple[tuple[str, Rule], ...] = ()
    """How people answer mail, by address."""


@dataclass(frozen=True)
class Material:
    """What tasks are made of."""

    office: Office
    rain: Rain
    """The rain of the office's week; empty if the weather does not matter to the kind of task."""
    rainy: bool
    """Whether it must rain at the time that matters."""
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
        return Brief(self.office.owner.name, " ".join(said), tuple(known))


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
    end = start + timedelta(minutes=minutes)
    fields = {"a": a.name, "b": b.name, "title": title, "minutes": minutes}
    booking = Booking(start, end, frozenset(people))
    goal = Goal(booking=booking, letters=(_letter_about(a, start, end),), forecast=start.date())
    letter = (a, _subject(title), filled(given.some(MAILS["outdoors"]), fields))
    return Task("outdoors", given.brief("outdoors", fields, {"minutes": "minutes"}), goal, (letter,))


def meeting(given: Material) -> Task | None:
    """Calendars, and a user who says little: a meeting as early as possible."""
    office = given.office
    b, c = given.team(2)
    title, minutes, part, day = (
        given.some(options) for options in (TITLES, MINUTES, tuple(PARTS), office.days)
    )
    people = (office.owner.address, b.address, c.address)
    start = office.first_free(people, day, part, minutes)
    if start is None:
        return None
    fields = {"b": b.name, "c": c.name, "title": title, "minutes": minutes, "part": part, "day": _day(day)}
    details = {"people": "people", "minutes": "minutes", "time": "time"}
    booking = Booking(start, start + timedelta(minutes=minutes), frozenset(people), title=_subject(title))
    return Task("meeting", given.brief("meeting", fields, details), Goal(booking=booking))


def move(given: Material) -> Task | None:
    """Mail and calendars: another time for a meeting."""
    office = given.office
    (a,) = given.team(1)
    old, day = (office.days[int(number)] for number in given.rng.choice(5, 2, replace=False))
    title, minutes, part = (given.some(options) for options in (TITLES, MINUTES, tuple(PARTS)))
    people = (office.owner.address, a.address)
    before = office.first_free(people, old, given.some(tuple(PARTS)), minutes)
    start = office.first_free(people, day, part, minutes)
    if before is None or start is None:
        return None
    length = timedelta(minutes=minutes)
    event = Engagement("m1", _subject(title), before, before + length, people)
    fields = {"a": a.name, "title": title, "part": part, "day": _day(day)}
    goal = Goal(
        move=Move(event.uid, start, start + length), letters=(_letter_about(a, start, start + length, old),)
    )
    letter = (a, _subject(title), filled(given.some(MAILS["move"]), fields))
    return Task("move", given.brief("move", fields, {"day": "day"}), goal, (letter,), (event,))


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
    letter = Letter(a.address, says=rf"\b(?:{said})\b", never=never, names=wrong)
    brief = given.brief("question", {"a": a.name}, {"which": "which"})
    return Task("question", brief, Goal(letters=(letter,)), tuple(letters))


def picnic(given: Material) -> Task | None:
    """Calendars, weather, mail: cancel an event if it rains."""
    office, wet = given.office, given.rainy
    a, b = given.team(2)
    title = given.some(TITLES)
    people = (office.owner.address, a.address, b.address)
    length = timedelta(minutes=120)
    for number in given.rng.permutation(len(office.days)).tolist():
        start = office.first_free(people, office.days[number], "afternoon", 120)
        if start is None:
            continue
        # The table shows the rain of the hour before: what that means for the picnic must be clear.
        hours = given.rain[number]
        rains = any(
            fell
            for hour, fell in zip(HOURS, hours, strict=True)
            if start.hour < hour <= (start + length).hour
        )
        if rains == any(hours) == wet:
            break
    else:
        return None
    event = Engagement("p1", _subject(title), start, start + length, people)
    fields = {"title": title, "day": _day(start.date()), "b": b.name}
    says, never = (OFF, IS_ON) if wet else (ON, IS_OFF)
    letter = Letter(b.address, says=says, never=never)
    goal = Goal(cancelled=event.uid if wet else "", letters=(letter,), forecast=start.date())
    return Task("picnic", given.brief("picnic", fields, {"people": "to"}), goal, engagements=(event,))


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
    rule = Rule(("room",), f"It is the {place}.")
    brief = given.brief("room", fields, {"people": "people", "minutes": "minutes"})
    goal = Goal(booking=booking, may_ask=frozenset({a.address}))
    return Task("room", brief, goal, rules=((a.address, rule),))


KINDS: Mapping[str, Callable[[Material], Task | None]] = {
    kind.__name__: kind for kind in (outdoors, meeting, move, question, picnic, room)
}


def _wet_then_dry(rain: Rain) -> bool:
    wet = [any(hours[:-1]) for hours in rain]
    return True in wet and False in wet[wet.index(True) :]


def _wet(rain: Rain) -> bool:
    return any(map(any, rain))


RAINY_WEEKS: Mapping[str, Callable[[Rain], bool]] = {"outdoors": _wet_then_dry, "picnic": _wet}
"""The kinds of tasks to which the weather matters, and the weeks in which they can have rain."""


def _day(day: date) -> str:
    return WEEKDAYS[day.weekday()]


def _subject(title: str) -> str:
    """A title as a subject."""
    return title.capitalize()


def _letter_about(to: Person, start: datetime, end: datetime, *other_days: date) -> Letter:
    return Letter(to.address, days=(start.date(), *other_days), times=(f"{start:%H:%M}", f"{end:%H:%M}"))


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
    right = tuple(name.casefold() for name in answer.names)
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
