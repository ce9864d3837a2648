"""The kinds of requests: each draws a goal into a world, and may refuse a world that does not suit it."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from ludus.envs.assistant.calendar.goals import Goal, change
from ludus.envs.assistant.calendar.world import (
    SLOT,
    WEEKS,
    WORK_BEGINS,
    WORK_ENDS,
    Person,
    Recipe,
    World,
    at_work,
    draw_world,
    fill,
    fill_day,
    slots_of,
    span,
)
from ludus.tools.services.calendar import edit, expand
from ludus.tools.services.calendar.model import Event, Item

MOST_SLOTS = 16
"""Free slots among which the first one is drawn."""
INVITATIONS = (5, 6)

Draw = Callable[[World, int], Goal | None]
"""Puts what a goal needs into a world. The number is that of the week, 0 for the current one."""


def day_text(day: date) -> str:
    return f"{day:%A}, {day.day} {day:%B} {day.year}"


def names_text(people: Sequence[Person], *more: str) -> str:
    names = [*(person.name for person in people), *more]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def clock_text(world: World, person: Person) -> str:
    return "my time" if person is world.user else f"{person.name}'s time"


def first_slot(world: World, days: Sequence[date], people: Sequence[Person], slots: int) -> datetime | None:
    """The time, on the user's clock, of the first slot in which everybody works and is free; None if there is
    none.

    The slot is drawn from those that are free, and somebody takes what was free before it, so that betting on
    the beginning of the day is rarely right. The first slot in which everybody works, which can be told
    without the calendars, never is.
    """
    rng, every = world.rng, list(working(world, days, people, slots))
    free = [start for start in every[1:] if world.are_free(people, start, slots)]
    if not free:
        return None
    chosen = rng.choice(free[:MOST_SLOTS])
    for start in every[: every.index(chosen)]:
        if world.are_free(people, start, slots):
            person, room = rng.choice(people), (chosen.astimezone(UTC) - start.astimezone(UTC)) // SLOT
            length = min(rng.randint(1, 3), room)
            if not world.is_free(person, start, length):
                length = 1
            world.put(world.event(rng.choice(world.common), start, length), [person])
    return chosen


def working(world: World, days: Sequence[date], people: Sequence[Person], slots: int) -> Iterator[datetime]:
    """The times within everybody's working hours, in order."""
    for day in days:
        for slot in range(2 * WORK_BEGINS, 2 * WORK_ENDS):
            start = world.at(day, slot, world.user)
            if all(at_work(person, start, slots) for person in people):
                yield start


def _others(world: World, most: int = 2) -> list[Person]:
    return world.rng.sample(world.people[1:], min(most, world.rng.randint(1, most), len(world.people) - 1))


def _goal(
    world: World, kind: str, text: str, people: Sequence[Person], *edits: tuple[Item | None, Item | None]
) -> Goal:
    return Goal(kind, text, *change(people, world.now, edits))


def _time(rng: random.Random) -> int:
    """A slot that is within working hours, and would still be an hour and a half later."""
    return rng.randrange(2 * WORK_BEGINS, 2 * WORK_ENDS - 3)


def _placed(
    world: World, title: str, week: int, others: Sequence[Person], slots: int, weekly: bool = False
) -> Item | None:
    """A meeting of the user's at a time when all its participants are free."""
    rng = world.rng
    people = [world.user, *others]
    for _ in range(12):
        start = world.at(world.day(week, rng.randrange(5)), _time(rng), world.user)
        item = world.event(title, start, slots, world.user, others, weekly=weekly)
        if all(world.are_free(people, begin, slots) for begin in world.starts(item)):
            return world.put(item, people)
    return None


def book(world: World, week: int) -> Goal | None:
    rng = world.rng
    others, clock = _others(world), rng.choice(world.people)
    if clock is not world.user and clock not in others:
        others = [clock, *others[1:]]
    title, slots, day = world.titles.pop(), rng.randint(1, 3), world.day(week, rng.randrange(5))
    start = world.at(day, _time(rng), clock)
    item = world.event(title, start, slots, world.user, others, ["needs-action"] * len(others))
    text = (
        f'Book "{title}" for {slots * 30} minutes with {names_text(others)} on {day_text(day)} at '
        f"{start:%H:%M} {clock_text(world, clock)}."
    )
    return _goal(world, "book", text, [world.user, *others], (None, item))


def book_series(world: World, week: int) -> Goal | None:
    rng = world.rng
    others, clock = _others(world), rng.choice(world.people)
    if clock is not world.user and clock not in others:
        others = [clock, *others[1:]]
    title, slots, day = world.serials.pop(), rng.randint(1, 2), world.day(week, rng.randrange(5))
    start, times = world.at(day, _time(rng), clock), rng.randint(3, 8)
    first = world.event(title, start, slots, world.user, others, ["needs-action"] * len(others))
    item = Item(replace(first.main, rule=f"FREQ=WEEKLY;COUNT={times}"))
    text = (
        f'Book "{title}" for {slots * 30} minutes with {names_text(others)} once a week, {times} times in '
        f"all: first on {day_text(day)} at {start:%H:%M} {clock_text(world, clock)}, and then on the same "
        "weekday at the same time on that clock."
    )
    return _goal(world, "book_series", text, [world.user, *others], (None, item))


def find_slot(world: World, week: int) -> Goal | None:
    rng = world.rng
    others, slots = _others(world), rng.randint(1, 3)
    people = [world.user, *others]
    first = rng.randrange(3)
    days = [world.day(week, weekday) for weekday in range(first, 5)]
    start = first_slot(world, days, people, slots)
    # Booking the first time when everybody is at work, without looking, must not be right.
    if start is None or start == next(working(world, days, people, slots), None):
        return None
    title = world.titles.pop()
    item = world.event(title, start, slots, world.user, others, ["needs-action"] * len(others))
    text = (
        f"Find the first {slots * 30}-minute slot from {day_text(days[0])} to {day_text(days[-1])} in which "
        f'{names_text(others, "I")} are free, and book "{title}" for us then.'
    )
    return _goal(world, "find_slot", text, people, (None, item))


def move(world: World, week: int) -> Goal | None:
    rng = world.rng
    others, slots = _others(world), rng.randint(1, 3)
    title = world.titles.pop()
    found = _placed(world, title, week, others, slots)
    # A second meeting with the same name, on another day.
    other = _placed(world, title, week + 1 if rng.random() < 0.5 else week, _others(world), slots)
    if found is None or other is None or _day(world, found) == _day(world, other):
        return None
    clock = rng.choice([world.user, *others])
    day = world.day(week, rng.randrange(5))
    start = world.at(day, _time(rng), clock)
    # "From Monday to the same Monday" would be an odd thing to say.
    if day == _day(world, found):
        return None
    text = (
        f'Move "{title}" from {day_text(_day(world, found))} to {day_text(day)} at {start:%H:%M} '
        f"{clock_text(world, clock)}. It keeps its length."
    )
    moved = edit.moved(found, start, start + slots * SLOT)
    return _goal(world, "move", text, [world.user, *others], (found, moved))


def cancel(world: World, week: int) -> Goal | None:
    others, slots = _others(world), world.rng.randint(1, 3)
    title = world.titles.pop()
    found = _placed(world, title, week, others, slots)
    other = _placed(world, title, week, _others(world), slots)
    if found is None or other is None or _day(world, found) == _day(world, other):
        return None
    text = f'Cancel the "{title}" on {day_text(_day(world, found))}.'
    return _goal(world, "cancel", text, [world.user, *others], (found, None))


def cancel_occurrence(world: World, week: int) -> Goal | None:
    found, others, event = _series(world)
    if found is None or event is None:
        return None
    title, day = found.main.summary, event.start.date()
    people = [world.user, *others]
    if world.rng.random() < 0.5:
        text = f'"{title}" will not take place on {day_text(day)}: cancel that date only.'
        return _goal(world, "cancel_occurrence", text, people, (found, edit.occurrence_removed(found, event)))
    text = f'End "{title}": cancel it from {day_text(day)} onwards, including that date.'
    head, _ = edit.split(found, event, world.user.clock)
    return _goal(world, "cancel_occurrence", text, people, (found, head))


def reschedule_series(world: World, week: int) -> Goal | None:
    found, others, event = _series(world)
    if found is None or event is None:
        return None
    slots = slots_of(found)
    start = world.at(event.start.date(), _time(world.rng), world.user)
    if start == event.start:
        return None
    head, tail = edit.split(found, event, world.user.clock)
    moved = edit.moved(tail, start, start + slots * SLOT)
    text = (
        f'From {day_text(event.start.date())} onwards, including that date, "{found.main.summary}" should '
        f"begin at {start:%H:%M} my time, still on the same weekday. Earlier dates stay as they are."
    )
    return _goal(world, "reschedule_series", text, [world.user, *others], (found, head), (None, moved))


def repair(world: World, week: int) -> Goal | None:
    """One date of a series conflicts with something, and must be moved to a time that suits everybody."""
    rng = world.rng
    found, others, event = _series(world)
    if found is None or event is None:
        return None
    people, slots = [world.user, *others], slots_of(found)
    day = event.start.date()
    for person in people:
        fill_day(world, person, day)
    shift = rng.choice((-1, 0, 1))
    start = world.at(day, event.start.hour * 2 + event.start.minute // 30 + shift, world.user)
    own = span(event.start, slots)
    # The user must have nothing else at that time.
    others_then = [
        slot for slot in span(start, 2) if slot in world.taken[world.user.address] and slot not in own
    ]
    if others_then or set(own).isdisjoint(span(start, 2)):
        return None
    world.put(world.event(rng.choice(world.common), start, 2), [world.user])
    to = first_slot(world, [day], people, slots)
    without = {person: world.taken[person.address] - set(own) for person in people}
    without[world.user] |= set(span(start, 2))
    again = next(
        (
            begin
            for begin in working(world, [day], people, slots)
            if all(without[each].isdisjoint(span(begin, slots)) for each in people)
        ),
        None,
    )
    # It must make no difference whether the date's own time counts as free.
    if to is None or to != again:
        return None
    moved = edit.occurrence_moved(found, event, to, to + slots * SLOT)
    text = (
        f'One date of "{found.main.summary}" clashes with another of my appointments. Move only that date, '
        "to that day's first slot in which everybody who takes part is free. It keeps its length."
    )
    return _goal(world, "repair", text, people, (found, moved))


def answer_invitations(world: World, week: int) -> Goal | None:
    rng, user = world.rng, world.user
    edits: list[tuple[Item | None, Item | None]] = []
    invitations: list[Item] = []
    organizers: list[Person] = []
    times: set[datetime] = set()
    count = rng.choice(INVITATIONS)
    declined = rng.randint(2, count - 2)
    for collides in rng.sample([True] * declined + [False] * (count - declined), count):
        for _ in range(20):
            organizer, slots = rng.choice(world.people[1:]), rng.randint(1, 3)
            start = world.at(world.day(week, rng.randrange(5)), _time(rng), user)
            when = span(start, slots)
            if times.isdisjoint(when) and world.is_free(user, start, slots) != collides:
                break
        else:
            return None
        times.update(when)
        item = world.event(rng.choice(world.common), start, slots, organizer, [user], ["needs-action"])
        edits.append((item, edit.answered(item, user.address, "declined" if collides else "accepted")))
        invitations.append(item)
        organizers.append(organizer)
    for item, organizer in zip(invitations, organizers, strict=True):
        world.put(item, [organizer, user], busy=False)
    text = (
        f"Answer my open invitations for the week of {day_text(world.day(week, 0))}: accept those that do "
        "not overlap anything else that takes up my time, and decline the rest."
    )
    # A guest's answer does not change the organizer's own entry.
    return _goal(world, "answer_invitations", text, [user], *edits)


def ask_slot(world: World, week: int) -> Goal | None:
    rng = world.rng
    others, slots, day = _others(world), rng.randint(1, 3), world.day(week, rng.randrange(5))
    people = [world.user, *others]
    start = first_slot(world, [day], people, slots)
    if start is None:
        return None
    text = (
        f"On {day_text(day)}, when does the first {slots * 30}-minute slot begin in which "
        f"{names_text(others, 'I')} are free? Book nothing; answer with the time on my clock, such as 14:30."
    )
    # A single participant can rule out an earlier time; that this one is free depends on all of them.
    needs = frozenset((person.address, slot) for person in people for slot in span(start, slots))
    return Goal("ask_slot", text, answer=f"{start:%H:%M}", needs=needs)


def ask_minutes(world: World, week: int) -> Goal | None:
    days = [world.day(week, weekday) for weekday in range(5)]
    slots = [
        world.at(day, slot, world.user) for day in days for slot in range(2 * WORK_BEGINS, 2 * WORK_ENDS)
    ]
    taken = sum(not world.is_free(world.user, slot, 1) for slot in slots)
    if not 1 < taken < len(slots):
        return None
    text = (
        f"How many minutes of my working hours are taken from {day_text(days[0])} to {day_text(days[-1])}? "
        "Count overlapping time only once. Answer with the number."
    )
    needs = frozenset((world.user.address, slot) for slot in slots)
    return Goal("ask_minutes", text, answer=str(30 * taken), needs=needs)


KINDS: Mapping[str, Draw] = {
    "book": book,
    "book_series": book_series,
    "find_slot": find_slot,
    "move": move,
    "cancel": cancel,
    "cancel_occurrence": cancel_occurrence,
    "reschedule_series": reschedule_series,
    "repair": repair,
    "answer_invitations": answer_invitations,
    "ask_slot": ask_slot,
    "ask_minutes": ask_minutes,
}
"""The kinds of requests, by name."""


def draw(rng: random.Random, kind: str, recipe: Recipe) -> tuple[World, Goal] | None:
    """A world with a goal of a kind; None if the world does not suit it."""
    world = draw_world(rng, recipe)
    week = rng.randrange(1, 3) if rng.random() < 0.7 else 0
    fill(world, recipe, [week])
    while world.titles and world.serials:
        left = len(world.titles) + len(world.serials)
        goal = KINDS[kind](world, week)
        if goal is not None:
            return world, goal
        if left == len(world.titles) + len(world.serials):
            # Kinds that need no names may try as often as the others.
            world.titles.pop()
    return None


def _day(world: World, item: Item) -> date:
    assert isinstance(item.main.start, datetime)
    return item.main.start.astimezone(world.user.clock).date()


def _series(world: World) -> tuple[Item | None, list[Person], Event | None]:
    """One of the user's series, with one of its later dates."""
    others, slots = _others(world), world.rng.randint(1, 2)
    found = _placed(world, world.serials.pop(), 0, others, slots, weekly=True)
    if found is None:
        return None, others, None
    which = world.rng.randrange(1, WEEKS - 1)
    start = world.starts(found)[which]
    event = expand.events([found], start, start + timedelta(minutes=1), world.user.clock)[0]
    return found, others, event
