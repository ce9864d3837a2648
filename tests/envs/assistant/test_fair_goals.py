"""A goal wants nothing but what the request, the mails, the tools or a natural question can bring out."""

import re
from datetime import date, datetime
from itertools import pairwise

import pytest

from ludus.envs.assistant.calendar.environment import Calendar
from ludus.envs.assistant.calendar.kinds import KINDS as CALENDAR_KINDS
from ludus.envs.assistant.office.environment import Assistant
from ludus.envs.assistant.office.state import OfficeState
from ludus.envs.assistant.office.tasks import KINDS as ASSISTANT_KINDS
from ludus.envs.assistant.user import Automaton, Brief
from ludus.envs.chat import content_text, user
from ludus.tools.services.calendar import ics

SEEDS = range(300, 325)

NATURAL = {
    # Whoever is to enter something needs to know how long it is,
    "How long should it take?": r"\bmeet|\bbook\b|\benter\b|\bcalendar|\b(?:mail|wrote)\b.*\babout\b",
    # whom to invite only where the request speaks of others,
    "Should I invite anybody?": r"\btwo (?:colleagues|people|who will take part)\b",
    # at what time only where it says none,
    "At what time?": r"^(?!.*\d\d:\d\d)(?=.*\b(?:meeting)\b)",
    # which day only where the user's own day is said to matter,
    "Which day suits you?": r"\bnot every day suits me\b",
    # and which mail where there may be several.
    "Which mail do you mean?": r"\bone of\b|\bsomebody\b",
}
"""Questions, and what in a request makes one think of them."""


def known(env: Assistant, state: OfficeState) -> str:
    """What can be read and asked: the request, the mails, and the user's answers to natural questions."""
    brief = state.task.brief
    mails = [env.mail.read(headline.id).text for headline in env.mail.list("inbox")]
    answers = [
        Automaton().answer(brief, [user(brief.request)], question)
        for question, reason in NATURAL.items()
        if re.search(reason, brief.request, re.IGNORECASE | re.DOTALL)
    ]
    # A colleague who is to be asked by mail answers.
    replies = [
        rule.answer
        for address, rule in state.task.rules
        for person in state.office.team
        if person.address == address and person.name in brief.request and "mail" in brief.request
    ]
    return "\n".join([brief.request, *mails, *answers, *replies])


def said(day: date) -> str:
    return f"{day:%A}, {day.day} {day:%B}"


@pytest.mark.parametrize("kind", ASSISTANT_KINDS)
def test_what_an_assistant_has_to_do_can_be_known(kind: str) -> None:
    env = Assistant(kinds=[kind])
    for seed in SEEDS:
        env.reset(seed=seed)
        state: OfficeState = env.snapshot()[0]
        env.rewind(state.worlds)
        goal, office, text = state.task.goal, state.office, known(env, state)
        names = {person.address: person.name for person in office.people}
        wanted = [names[letter.to] for letter in goal.letters]
        if goal.booking is not None:
            wanted += [names[address] for address in goal.booking.people - {office.owner.address}]
            minutes = int((goal.booking.end - goal.booking.start).total_seconds() // 60)
            wanted += [f"{minutes} minutes", goal.booking.place, goal.booking.title.lower()]
        start = goal.booking.start if goal.booking else goal.move.start if goal.move else None
        if start is not None:
            part = "morning" if start.hour < 13 else "afternoon"
            assert part in text or f"{start:%H:%M}" in text, (seed, text)
            wanted += [said(day) for day in office.days[::4]] if kind == "outdoors" else [said(start.date())]
        if goal.cancelled:
            (title,) = {
                engagement.title for engagement in office.engagements if engagement.uid in goal.cancelled
            }
            wanted += [title.lower(), *(said(day) for day in office.days[::4])]
        assert not [element for element in wanted if element not in text], (seed, wanted, text)


@pytest.mark.parametrize("kind", ASSISTANT_KINDS)
def test_a_user_never_waives_what_the_goal_wants(kind: str) -> None:
    """Asked for what the request says, the user says it again."""
    env = Assistant(kinds=[kind])
    for seed in range(8):
        env.reset(seed=seed)
        task = env.snapshot()[0].task
        goal, brief = task.goal, task.brief

        def answer(question: str, brief: Brief = brief) -> str:
            return Automaton().answer(brief, [user(brief.request)], question)

        if goal.booking and goal.booking.title:
            assert goal.booking.title.lower() in answer("What is the title?")
        if goal.booking and goal.booking.place:
            assert "knows which room" in answer("Which room is it in?")
        if kind == "room":
            assert f"{goal.booking.start:%H:%M}" in answer("At what time does it begin?")
        if kind in ("room", "meeting"):
            assert said(goal.booking.start.date()) in answer("On which day is it?")
        if kind == "picnic":
            to = next(each.name for each in task.office.team if each.address == goal.letters[0].to)
            assert to in answer("Who should get the mail?")
        if kind == "move":
            assert "keeps its length" in answer("How long will it be?")


UNDATED = re.compile(
    r"\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b(?!, \d{1,2} [A-Z])"
    r"|\b(?:today|tomorrow|yesterday|tonight|weekend)\b|\b(?:this|next|last|coming) (?:week|month|\w+day)\b"
)


def test_no_day_is_said_without_its_date() -> None:
    env = Assistant(injections=0, news=10)
    for seed in range(60):
        env.reset(seed=seed)
        state: OfficeState = env.snapshot()[0]
        env.rewind(state.worlds)
        said = [state.task.brief.request, *(answer for _, answer in state.task.brief.knows)]
        said += [env.mail.read(headline.id).text for headline in env.mail.list("inbox")]
        assert not [text for text in said if UNDATED.search(text)]


@pytest.mark.parametrize("kind", CALENDAR_KINDS)
def test_what_is_to_change_in_a_calendar_can_be_known(kind: str) -> None:
    env = Calendar(kinds=[kind])
    for seed in SEEDS:
        observation, _ = env.reset(seed=seed)
        text, state = content_text(observation[-1]), env.snapshot()[0]
        goal, me = state.goal, state.user
        shelf = state.begun.by_person[me.address]
        mine = [ics.read(written).main for written in shelf.objects.values()]
        # Every day that is named is named with its date.
        assert len(re.findall(r"\b\w+day\b", text)) == len(
            re.findall(r"\b\w+day, \d+ \w+ \d{4}", text)
        ) + text.count("same weekday")
        for address, title, start, end, _, _, _, *guests in (*goal.new, *goal.gone):
            there = [event for event in mine if event.summary.casefold() == title]
            assert title in text.casefold() or there
            if not there:
                others = {*guests} - {me.address}
                assert all(state.people[guest].name in text for guest in others)
                length = datetime.fromisoformat(end) - datetime.fromisoformat(start)
                assert re.search(rf"\b{length.seconds // 60}[ -]minute", text)
            assert address in state.people
        if kind in ("book", "book_series", "move", "reschedule_series"):
            clocks = [person.clock for person in state.people.values()]
            starts = [datetime.fromisoformat(entry[2]) for entry in goal.new if entry[0] == me.address]
            assert any(f"{start.astimezone(clock):%H:%M}" in text for start in starts for clock in clocks)
        if kind in ("find_slot", "ask_slot"):
            asked = {address for address, _ in goal.needs} or {entry[0] for entry in goal.new}
            assert all(state.people[address].name in text for address in asked - {me.address})


def test_the_days_that_a_request_names_are_in_order() -> None:
    """From a Monday to a Friday, of the week that comes."""
    env = Assistant(kinds=["picnic", "outdoors"])
    for seed in SEEDS:
        env.reset(seed=seed)
        days = env.snapshot()[0].office.days
        assert all((after - before).days == 1 for before, after in pairwise(days))
        assert (days[0].weekday(), days[-1].weekday()) == (0, 4)
