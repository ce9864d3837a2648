"""`ludus/Calendar-v0`: an assistant that keeps a user's calendar."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, timedelta
from hashlib import blake2b
from typing import Any, ClassVar, Literal

import numpy as np

from ludus.envs.arguments import as_choices, as_integer, as_number
from ludus.envs.assistant.calendar.arguments import read_occurrence, read_person, read_time, same_answer
from ludus.envs.assistant.calendar.goals import Difference, Goal, difference, in_words, task_key
from ludus.envs.assistant.calendar.kinds import KINDS, draw
from ludus.envs.assistant.calendar.outside import shown_by
from ludus.envs.assistant.calendar.results import event_shown, iso, shown
from ludus.envs.assistant.calendar.scripted import SCRIPTED, Oracle
from ludus.envs.assistant.calendar.state import CalendarState, looked
from ludus.envs.assistant.calendar.world import (
    CLUSTERS,
    MAX_SHOWN,
    WORK_BEGINS,
    WORK_ENDS,
    Recipe,
    World,
)
from ludus.envs.assistant.exchange import Exchange
from ludus.envs.assistant.service_env import ServiceEnv
from ludus.envs.base import Outcome, Start
from ludus.envs.chat import Reply, system, user
from ludus.envs.errors import ArgumentError
from ludus.envs.scripted import ScriptedAgent
from ludus.envs.tool_env import Answer
from ludus.tools.content import content_key
from ludus.tools.errors import ToolError
from ludus.tools.services.calendar import CalendarClient, CalendarService
from ludus.tools.services.calendar.model import Status
from ludus.tools.services.calendar.shelves import Shelves, shelf
from ludus.tools.tool import tool

WEIGHTS: Mapping[str, float] = {"goal": 1.0, "damage": -1.0, "milestones": 0.2}
ALL_DAMAGED = 4
"""The number of wrongly changed entries at which the term `damage` is 1."""
ANSWERS: Mapping[str, Status] = {"accept": "accepted", "decline": "declined", "tentative": "tentative"}
RULES: Mapping[str, str] = {
    "daily": "FREQ=DAILY",
    "weekly": "FREQ=WEEKLY",
    "every 2 weeks": "FREQ=WEEKLY;INTERVAL=2",
    "monthly": "FREQ=MONTHLY",
}


class Calendar(ServiceEnv):
    """Keep a user's calendar: book, move, cancel, find time for several people, repair series, answer.

    ## Task
    A user with colleagues in other time zones makes a single request. Everybody's calendar is on a CalDAV
    server (in this process): iCalendar objects with zones and series with exceptions. Half of the episodes
    are in weeks at whose end clocks change somewhere. The kinds:

    | kind | request | right result |
    |---|---|---|
    | `book` | a meeting with people at a time, on anyone's clock | that meeting |
    | `book_series` | the same, weekly, always at the same time on that clock | those dates |
    | `find_slot` | book the first slot within some days when several people are free | the earliest one |
    | `move` | move a meeting that has a namesake on another day | the new time |
    | `cancel` | cancel a meeting that has a namesake on another day | that meeting gone |
    | `cancel_occurrence` | cancel one date of a series, or all from one date on | those dates gone |
    | `reschedule_series` | move a series to another time from one date on | those dates moved |
    | `repair` | move the one conflicting date of a series to the day's first free slot | that slot |
    | `answer_invitations` | accept invitations without a conflict, decline the rest | each answer |
    | `ask_slot` | when several people are first free on a day | the time |
    | `ask_minutes` | how many minutes of a week are busy | the number |

    A goal is unique, does not hold yet, and can be reached through the tools: the oracle does, whatever the
    arguments; with `faults` it is played before, and another goal is drawn where it fails.
    Calendars are compared by what takes place, occurrence by occurrence: any way of writing it is right.
    Working hours are 8:00 to 18:00 on each person's own clock, Monday to Friday; slots begin on the hour or
    half hour. Cancelled, transparent and declined entries take no time. `task_name` is the kind and a digest
    of the calendars and the request (`find_slot:1f0c…`).

    ## Observation
    `Chat`. After `reset`: a system message (whom the agent works for, the place and the time) and the user's
    request. Then a `tool` message for each call: JSON, with times on the user's clock; or a user message.

    ## Actions
    `Reply`, with calls of `people`, `list_events`, `free_busy`, `create_event`, `move_event`, `cancel_event`,
    `answer_invitation` and, at the end, `finish`. Times are ISO 8601, on the user's clock if they have no
    offset. People are given by address, or by a name that only one person has. The agent can read its user's
    calendar; of other people it only sees when they are busy. Only the organizer of a meeting can change it.

    ## Rewards
    | term | value | weight |
    |---|---|---|
    | `goal` | 1 at `finish` if every requested change was made; for questions, see below | 1 |
    | `damage` | ¼ for each entry in any calendar that is wrongly gone or new; see below | −1 |
    | `milestones` | at `finish`, the share of the changes made (only with `milestones=True`) | 0.2 |
    | `calls` | calls made | −0.01 |
    | `tool_errors` | invalid calls: no such tool, malformed arguments | −0.02 |
    | `malformed` | 1 for a reply without calls | −0.05 |

    `damage` is charged for the reply that does it, at most 1 in total, and refunded when undone: the sum over
    an episode is that of the calendars as they are left, with or without `finish`. A right answer to a
    question (`ask_slot`, `ask_minutes`) counts only after looking: `list_events` or `free_busy` must have
    shown the times that the answer is about, for everybody it is about.

    ## End of episode
    `finish` terminates the episode. Truncated after 16 replies, with no reward for the goal.
    `info["success"]` is whether `goal` is 1 and nothing else changed.

    ## Arguments
    - `kinds` (all of the above): the kinds to draw from.
    - `people` (4): the number of people with calendars, 2 to 12.
    - `zones` (3): the number of time zones they live in, 1 to 4.
    - `busyness` (0.3): the probability that someone is busy at an otherwise free time, 0 to 0.8.
    - `recurrence` (1): the number of weekly series per person, 0 to 4.
    - `lookalikes` (2): the number of the user's entries that take no time (cancelled or transparent), 0 to
      10.
    - `distractors` (0): how many useless but plausible tools to mix in.
    - `renamed` (False): rename tools and arguments; a number is the seed of the names.
    - `faults` (None): what goes wrong with requests to the server, as shares: `slow`, `timeout`, `refused`,
      `broken`, `stale`; and `seed`.
    - `milestones` (False): reward progress.
    - `weights` (None): reward weights to change, by term.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version. Before its release: text with control characters or lone surrogates is an error of
      the call, not a later fault; each occurrence of a series has the requested length, even across a clock
      change; a task's key does not depend on the machine's zone data.
    """

    max_turns = 16
    last_call = "finish"
    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = SCRIPTED

    def __init__(
        self,
        kinds: Sequence[str] = tuple(KINDS),
        people: int = 4,
        zones: int = 3,
        busyness: float = 0.3,
        recurrence: int = 1,
        lookalikes: int = 2,
        distractors: int = 0,
        renamed: bool | int = False,
        faults: Mapping[str, float] | None = None,
        milestones: bool = False,
        weights: Mapping[str, float] | None = None,
        render_mode: str | None = None,
    ) -> None:
        service = CalendarService()
        super().__init__(
            {"calendar": service}, WEIGHTS, weights, distractors, renamed, faults, milestones, render_mode
        )
        self._service = service
        self._client = CalendarClient(self.connect("calendar"), lambda: service.clock.now)
        self.kinds = as_choices("kinds", kinds, KINDS)
        self.recipe = Recipe(
            as_integer("people", people, 2, 12),
            as_integer("zones", zones, 1, min(map(len, CLUSTERS))),
            as_number("busyness", busyness, 0, 0.8),
            as_integer("recurrence", recurrence, 0, 4),
            as_integer("lookalikes", lookalikes, 0, 10),
        )

    @property
    def difficulties(self) -> Mapping[str, Sequence[Any]]:
        return {"people": (2, 4, 6), "busyness": (0.1, 0.3, 0.6), "lookalikes": (0, 2, 4)}

    # An episode

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        draws = random.Random(int(rng.bit_generator.random_raw()))
        for _ in range(200):
            drawn = draw(draws, draws.choice(self.kinds), self.recipe)
            if drawn is None:
                continue
            begun = self._begin(rng, *drawn)
            if not self._judged(begun.state, "")[1] and self.is_reachable(begun, Oracle(self)):
                self.rewind(begun.state.worlds)
                return begun
        raise ArgumentError(
            f"in 200 drawn worlds no goal of the kinds {', '.join(self.kinds)} could be reached: give less "
            "busyness, less recurrence or fewer faults"
        )

    def _begin(self, rng: np.random.Generator, world: World, goal: Goal) -> Start:
        shelves = Shelves(
            {
                person.address: shelf(person.calendar, world.items[person.address].values())
                for person in sorted(world.people, key=lambda person: person.address)
            }
        )
        self._service.state = shelves
        self._service.clock.now = world.now.astimezone(UTC)
        state = CalendarState(
            people={person.address: person for person in world.people},
            now=world.now,
            goal=goal,
            begun=shelves,
            worlds=self.begin(rng),
        )
        said = [system(self._instructions(state)), user(goal.text)]
        return Start(said, task_key(goal, shelves), state, goal.kind)

    def _instructions(self, state: CalendarState) -> str:
        person, now = state.user, state.now
        return self.toolbox.worded(
            f"You keep the calendar of {person.name} ({person.address}), who lives in the time zone "
            f"{person.zone}. It is {now:%A}, {now.day} {now:%B} {now.year}, {now:%H:%M} there. Times are ISO "
            f"8601, such as {now:%Y-%m-%dT%H:%M}; without an offset they are on {person.name}'s clock. If a "
            "request gives a time on somebody else's clock, the day that goes with it is on that clock, too. "
            f"Working hours are {WORK_BEGINS}:00 to {WORK_ENDS}:00 on each person's own clock, Monday to "
            "Friday. A slot begins on the hour or half hour and lies wholly within the working hours of "
            "everybody concerned; a time that the request names may lie outside them. Entries that are "
            "cancelled or declined or take no time leave people free. Do what is asked and nothing else, "
            "then call `finish`."
        )

    def answer(self, state: Any, action: Reply) -> Outcome:
        outcome = super().answer(state, action)
        after: CalendarState = outcome.state
        if all(new.state is old.state for new, old in zip(after.worlds, state.worlds, strict=True)):
            return outcome
        after, damage = self._charged(after)
        return replace(outcome, state=after, terms={**outcome.terms, "damage": damage})

    def witness(self, state: CalendarState, exchange: Exchange) -> Outcome:
        if (seen := shown_by(exchange)) is not None:
            state = looked(state, [seen.person], seen.low, seen.high)
        state, damage = self._charged(state)
        return Outcome(state, [], {"damage": damage})

    def _charged(self, state: CalendarState) -> tuple[CalendarState, float]:
        """The state after the calendars' present damage was charged, and the charge."""
        damage = min(1.0, self._apart(state).damaged / ALL_DAMAGED)
        return replace(state, damage=damage), damage - state.damage

    def respond(self, state: CalendarState, text: str) -> Outcome:
        message = self.toolbox.worded("That calls no tool. Use the tools; when all is done, call `finish`.")
        return Outcome(state, [user(message)], {"malformed": 1.0})

    def _apart(self, state: CalendarState) -> Difference:
        """How far the calendars are now from the goal."""
        return difference(state.goal, state.people, state.now, state.begun, self._service.state)

    def _judged(self, state: CalendarState, answer: str) -> tuple[dict[str, float], bool]:
        """The terms of ending with the calendars as they are now, and whether that is a success."""
        goal, apart = state.goal, self._apart(state)
        right = (
            same_answer(goal.answer, answer) and state.seen == goal.needs
            if goal.answer
            else apart.done == 1.0
        )
        progress = float(right) if goal.answer else apart.done
        terms = {"goal": float(right), "milestones": progress}
        return terms, right and not apart.damaged

    # Tools

    @tool
    def people(self, state: CalendarState) -> Answer:
        """Who has a calendar: names, addresses and time zones."""
        listed = [
            {
                "name": person.name,
                "address": person.address,
                "zone": person.zone,
                **({"you_work_for": True} if person is state.user else {}),
            }
            for person in state.people.values()
        ]
        return shown(state, listed)

    @tool
    def list_events(self, state: CalendarState, start: str, end: str) -> Answer:
        """List what is in the user's calendar between two times, in order. Each date of a series has an
        `occurrence`: the start that names it, which stays the same if that date alone is moved. Dates that
        were moved together with all later ones belong to a new series, with an `event` of its own.

        Args:
            start: the earliest time, or the first day
            end: the time, or the day, before which to stop: `2031-03-08` leaves out 8 March
        """
        low, high = read_time(state, start, "start"), read_time(state, end, "end")
        found = self._client.events(state.user.address, low, high)
        listed = [event_shown(event, state) for event in found[:MAX_SHOWN]]
        more = len(found) - len(listed)
        state = looked(state, [state.user.address], low, high)
        return shown(state, listed, f"\n… and {more} more: ask for a shorter time" if more else "")

    @tool
    def free_busy(self, state: CalendarState, people: list[str], start: str, end: str) -> Answer:
        """When people are busy between two times: merged, in order, on the user's clock.

        Args:
            people: addresses or names
            start: the earliest time, or the first day
            end: the time, or the day, before which to stop: `2031-03-08` leaves out 8 March
        """
        low, high = read_time(state, start, "start"), read_time(state, end, "end")
        asked = [read_person(state, name).address for name in people]
        clock = state.user.clock
        found = {
            address: [
                f"{iso(busy.start.astimezone(clock))}/{iso(busy.end.astimezone(clock))}"
                for busy in taken[:MAX_SHOWN]
            ]
            for address, taken in self._client.free_busy(asked, low, high).items()
        }
        return shown(looked(state, asked, low, high), found)

    @tool
    def create_event(
        self,
        state: CalendarState,
        title: str,
        start: str,
        minutes: int,
        attendees: list[str] = [],  # noqa: B006 (pydantic copies it)
        repeat: Literal["never", "daily", "weekly", "every 2 weeks", "monthly"] = "never",
        times: int = 1,
        zone: str = "",
    ) -> Answer:
        """Put an event into the user's calendar, and invite people to it.

        Args:
            title: what it is called
            start: when it begins
            minutes: how long it takes
            attendees: addresses or names of those to invite, without the user
            repeat: how often it takes place
            times: how many times it takes place in all, 2 to 60, if it repeats
            zone: the time zone of the event, by its IANA name: a start without an offset is on its clock, and
                a series keeps its time of day on that clock; if empty, the user's zone
        """
        if not title.strip():
            raise ToolError("title is empty; give the event a name")
        if not 1 <= minutes <= 24 * 60:
            raise ToolError(f"minutes={minutes}: give a length from 1 to {24 * 60} minutes")
        if (repeat == "never") != (times == 1) or not 1 <= times <= 60:
            raise ToolError(
                f"repeat={repeat!r} with times={times}: give 2 to 60 times if it repeats, else leave out both"
            )
        begins = read_time(state, start, "start", zone)
        ends = (begins.astimezone(UTC) + timedelta(minutes=minutes)).astimezone(begins.tzinfo)
        guests = dict.fromkeys(read_person(state, name) for name in attendees)
        guests.pop(state.user, None)
        rule = "" if repeat == "never" else f"{RULES[repeat]};COUNT={times}"
        address = state.user.address
        # Repeating a call names the same event: it completes what was begun instead of making a second one.
        parts = (
            title,
            begins.isoformat(),
            str(begins.tzinfo),
            minutes,
            rule,
            *(guest.address for guest in guests),
        )
        uid = blake2b(json.dumps(parts).encode(), digest_size=6).hexdigest()
        item = self._client.create(
            address, uid, title, begins, ends, attendees=[guest.attendee() for guest in guests], rule=rule
        )
        invited = [attendee.address for attendee in item.main.attendees if attendee.address != address]
        made = {"event": uid, "start": iso(begins), "end": iso(ends), "invited": invited}
        return shown(state, {**made, **({"repeats": f"{repeat}, {times} times"} if rule else {})})

    @tool
    def move_event(
        self, state: CalendarState, event: str, start: str, occurrence: str = "", following: bool = False
    ) -> Answer:
        """Move an event of the user's to another time; it keeps its length. Those who are invited are told.

        Args:
            event: the event, as `list_events` names it
            start: when it, or that date of it, is to begin
            occurrence: which date of a series, as `list_events` names it; empty moves the whole series
            following: whether all later dates move along with `occurrence`: these dates then become a new
                series, whose `event` the result gives under `moved`
        """
        begins = read_time(state, start, "start")
        which = read_occurrence(state, occurrence, following)
        item = self._client.move(state.user.address, event, begins, occurrence=which, following=following)
        scope = "all" if which is None else "this date and those that follow" if following else "this date"
        return shown(
            state, {"moved": item.uid, "to": iso(begins), "scope": scope if item.is_series else "event"}
        )

    @tool
    def cancel_event(
        self, state: CalendarState, event: str, occurrence: str = "", following: bool = False
    ) -> Answer:
        """Cancel an event of the user's. Those who are invited are told.

        Args:
            event: the event, as `list_events` names it
            occurrence: which date of a series, as `list_events` names it; empty cancels the whole series
            following: whether all later dates are cancelled along with `occurrence`
        """
        which = read_occurrence(state, occurrence, following)
        self._client.cancel(state.user.address, event, occurrence=which, following=following)
        scope = (
            "all of it" if which is None else "this date and those that follow" if following else "this date"
        )
        return shown(state, {"cancelled": event, "scope": scope})

    @tool
    def answer_invitation(
        self,
        state: CalendarState,
        event: str,
        answer: Literal["accept", "decline", "tentative"],
        occurrence: str = "",
    ) -> Answer:
        """Answer an invitation of somebody else's in the user's name.

        Args:
            event: the event, as `list_events` names it
            answer: the answer
            occurrence: which date of a series, as `list_events` names it; empty answers for all of it
        """
        which = read_occurrence(state, occurrence, False)
        self._client.answer(state.user.address, event, ANSWERS[answer], which)
        return shown(state, {"answered": event, "answer": ANSWERS[answer]})

    @tool
    def finish(self, state: CalendarState, answer: str = "") -> Answer:
        """End the work, when all is done.

        Args:
            answer: what was asked for, if the user asked a question: the time or the number alone
        """
        terms, success = self._judged(state, answer)
        said = "Done." if success else "This is not what was asked for."
        return Answer(state, said, terms, True, success, self._failure_of(state, answer))

    def anchor(self, state: CalendarState) -> int:
        # Mostly none or all of the goal's needs have been seen, which their number tells faster.
        is_partly = 0 < len(state.seen) < len(state.goal.needs)
        return content_key((self.services_key(state), state.seen if is_partly else len(state.seen)))

    def expected(self, state: CalendarState) -> str:
        goal = state.goal
        parts = {"": goal.answer, "gone: ": in_words(goal.gone), "new: ": in_words(goal.new)}
        return "; ".join(f"{what}{said}" for what, said in parts.items() if said)

    def unfinished(self, state: CalendarState) -> str:
        return self._apart(state).failure

    def _failure_of(self, state: CalendarState, answer: str) -> str:
        """What is wrong with an end with the calendars as they are now, in words."""
        goal, said = state.goal, []
        if goal.answer and not same_answer(goal.answer, answer):
            said.append(f"answered {answer[:300] or 'nothing'}")
        if unseen := len(goal.needs - state.seen):
            said.append(f"{unseen} half hours not looked at")
        return "; ".join(filter(None, [*said, self._apart(state).failure]))
