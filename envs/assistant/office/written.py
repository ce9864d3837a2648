"""Writes the services' answers for the assistant: short lines, in local time."""

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
        f"[{headline.id}] {_local(headline.date, zone)} {headline.sender}: {headline.subject}"
        f"{'' if headline.seen else ' (unread)'}"
        for headline in headlines
    ]
    return "\n".join(lines) or "There is no mail."


def written_message(message: Message, zone: tzinfo) -> str:
    head = f"From: {message.sender}\nTo: {', '.join(message.recipients)}\nDate: {_local(message.date, zone)}"
    thread = f"\nThread: {', '.join(map(str, message.thread))}" if len(message.thread) > 1 else ""
    return f"{head}\nSubject: {message.subject}{thread}\n\n{message.text}"


def written_events(events: Sequence[Event], office: Office) -> str:
    names = {person.address: person.name for person in office.people}
    lines = []
    for event in events:
        start, end = (moment.astimezone(office.zone) for moment in (event.start, event.end))
        people = [names.get(who.address, who.address) for who in event.details.attendees]
        beside = f"; with {', '.join(people)}" if people else ""
        place = f"; at {event.details.location}" if event.details.location else ""
        lines.append(f"[{event.uid}] {start:%H:%M}-{end:%H:%M} {event.summary}{beside}{place}")
    return "\n".join(lines) or "Nothing is in the calendar."


def written_places(places: Iterable[Mapping[str, Any]]) -> str:
    lines = [
        f"{place['name']} ({place.get('admin1', '')}, {place.get('country', '')}): "
        f"latitude {place['latitude']}, longitude {place['longitude']}"
        for place in places
    ]
    return "\n".join(lines) or "There is no such place."


def written_forecast(hourly: Mapping[str, Sequence[Any]]) -> str:
    """A line for each day, below one that says how to read them."""
    rows = zip(hourly["time"], hourly["temperature_2m"], hourly["precipitation"], strict=True)
    lines = ["(The millimetres of an hour are the rain or snow of the hour that ends then.)"]
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
