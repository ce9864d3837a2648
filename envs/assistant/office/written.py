"""What the assistant reads of the services' answers: short lines, in local time."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, tzinfo
from itertools import groupby
from typing import Any

from ludus.envs.assistant.office.office import Office
from ludus.tools.services.calendar import Event
from ludus.tools.services.mail import Headline, Message

SHOWN_HOURS = range(8, 19)


def written_headlines(headlines: Iterable[Headline], zone: tzinfo) -> str:
    lines = [
        f"[{one.id}] {_local(one.date, zone)} {one.sender}: {one.subject}{'' if one.seen else ' (unread)'}"
        for one in headlines
    ]
    return "\n".join(lines) or "There is no mail."


def written_message(message: Message, zone: tzinfo) -> str:
    head = f"From: {message.sender}\nTo: {', '.join(message.recipients)}\nDate: {_local(message.date, zone)}"
    thread = f"\nThread: {', '.join(map(str, message.thread))}" if len(message.thread) > 1 else ""
    return f"{head}\nSubject: {message.subject}{thread}\n\n{message.text}"


def written_events(events: Sequence[Event], office: Office) -> str:
    names = {one.address: one.name for one in office.people}
    lines = []
    for one in events:
        start, end = (moment.astimezone(office.zone) for moment in (one.start, one.end))
        people = [names.get(who.address, who.address) for who in one.details.attendees]
        beside = f"; with {', '.join(people)}" if people else ""
        place = f"; at {one.details.location}" if one.details.location else ""
        lines.append(f"[{one.uid}] {start:%H:%M}-{end:%H:%M} {one.summary}{beside}{place}")
    return "\n".join(lines) or "Nothing is in the calendar."


def written_places(places: Iterable[Mapping[str, Any]]) -> str:
    lines = [
        f"{one['name']} ({one.get('admin1', '')}, {one.get('country', '')}): latitude {one['latitude']}, "
        f"longitude {one['longitude']}"
        for one in places
    ]
    return "\n".join(lines) or "There is no such place."


def written_forecast(hourly: Mapping[str, Sequence[Any]]) -> str:
    """A line for each day."""
    rows = zip(hourly["time"], hourly["temperature_2m"], hourly["precipitation"], strict=True)
    lines = []
    for day, hours in groupby(rows, key=lambda row: row[0][:10]):
        shown = [
            f"{moment[11:]} {warmth} °C {rain} mm"
            for moment, warmth, rain in hours
            if int(moment[11:13]) in SHOWN_HOURS
        ]
        lines.append(f"{date.fromisoformat(day):%A} {day}: {', '.join(shown)}")
    return "\n".join(lines)


def _local(moment: str, zone: tzinfo) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(zone):%Y-%m-%d %H:%M}"
