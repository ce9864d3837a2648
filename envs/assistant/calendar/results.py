"""Call results as the agent reads them, with times on the user's clock."""

import json
from datetime import datetime
from typing import Any

from ludus.envs.assistant.calendar.state import CalendarState
from ludus.envs.tool_env import Answer
from ludus.tools.services.calendar import Event


def shown(state: CalendarState, value: Any, more: str = "") -> Answer:
    return Answer(state, json.dumps(value, ensure_ascii=False) + more)


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="minutes")


def event_shown(event: Event, state: CalendarState) -> dict[str, Any]:
    details, person = event.details, state.user
    shown: dict[str, Any] = {
        "event": details.uid,
        "title": details.summary,
        "start": iso(event.start.astimezone(person.clock)),
        "end": iso(event.end.astimezone(person.clock)),
    }
    if event.is_series and event.occurrence is not None:
        shown["occurrence"] = iso(event.occurrence.astimezone(person.clock))
    if details.organizer:
        shown["organizer"] = details.organizer
    guests = {
        attendee.address: attendee.status
        for attendee in details.attendees
        if attendee.address != person.address
    }
    if guests:
        shown["attendees"] = guests
    own = details.answer_of(person.address)
    if own is not None and details.organizer != person.address:
        shown["your_answer"] = own
    if details.status != "CONFIRMED":
        shown["status"] = details.status.lower()
    if details.transparent:
        shown["takes_no_time"] = True
    return shown
