"""What CalDAV shows a client from outside, as evidence that it looked before it answered."""

from dataclasses import dataclass
from datetime import UTC, datetime

from ludus.envs.assistant.exchange import Exchange
from ludus.tools.services.calendar.dav.filters import read_period
from ludus.tools.services.calendar.dav.xml import CALDAV, parse

_ALWAYS = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Seen:
    """A person's calendar from one time to another."""

    person: str
    low: datetime
    high: datetime


def shown_by(exchange: Exchange) -> Seen | None:
    """The time of a calendar that an exchange showed; None if it showed none.

    A report about a period shows that period, unless it also asks for properties: then it leaves entries out.
    Any other answer with entries shows the whole calendar: a client that fetches objects by their names got
    these from a list of all.
    """
    person = exchange.path.strip("/").partition("/")[0]
    if exchange.status not in (200, 207) or not person:
        return None
    if exchange.method == "REPORT":
        report = parse(exchange.body)
        if report.tag in (f"{CALDAV}calendar-query", f"{CALDAV}free-busy-query"):
            if report.find(f".//{CALDAV}prop-filter") is not None:
                return None
            found = report if report.tag.endswith("free-busy-query") else report.find(f"{CALDAV}filter")
            period = None if found is None else found.find(f".//{CALDAV}time-range")
            if period is not None:
                read = read_period(period)
                return Seen(person, read.start, read.end)
    return Seen(person, *_ALWAYS) if b"BEGIN:VCALENDAR" in exchange.answer else None
