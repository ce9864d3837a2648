"""The reports on a calendar: calendar-query, calendar-multiget and free-busy-query (RFC 4791, 7), and
sync-collection (RFC 6578)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element
from zoneinfo import ZoneInfo

from ludus.tools.services.calendar import expand, objects
from ludus.tools.services.calendar.dav import properties
from ludus.tools.services.calendar.dav.filters import matches, read_filter, read_period
from ludus.tools.services.calendar.dav.properties import Resource, read_wanted, read_zone
from ludus.tools.services.calendar.dav.requests import utc
from ludus.tools.services.calendar.dav.xml import (
    CALDAV,
    DAV,
    MEDIA_TYPE,
    Refusal,
    element,
    local_name,
    multistatus,
    response,
)
from ludus.tools.services.calendar.model import Event
from ludus.tools.services.calendar.shelves import Shelf


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    status: int = 207
    media_type: str = MEDIA_TYPE


def answer(resource: Resource, report: Element, now: datetime) -> Answer:
    """What a report on a calendar, or on an object in it, says.

    Args:
        now: for time stamps.

    Raises:
        Refusal: it is not supported, makes no sense, or has too long an answer.
    """
    shelf, read = resource.shelf, _REPORTS.get(report.tag)
    if shelf is None or read is None or (resource.name and report.tag not in properties.OBJECT_REPORTS):
        what = "the home of calendars" if shelf is None else "an object" if resource.name else "a calendar"
        raise Refusal(
            403,
            f"the report {local_name(report.tag)[:40]} on {what} is not supported",
            f"{DAV}supported-report",
        )
    return read(resource, shelf, report, now)


def _query(resource: Resource, shelf: Shelf, report: Element, now: datetime) -> Answer:
    asked, wanted = read_filter(report), read_wanted(report)
    own = report.findtext(f"{CALDAV}timezone")
    zone = ZoneInfo(shelf.calendar.zone if own is None else read_zone(own))
    names = [resource.name] if resource.name else shelf.objects
    members = (
        Resource(resource.root, shelf, name) for name in names if matches(asked, shelf.objects[name], zone)
    )
    return Answer(multistatus(properties.found(member, wanted, in_report=True) for member in members))


def _multiget(resource: Resource, shelf: Shelf, report: Element, now: datetime) -> Answer:
    wanted = read_wanted(report)
    addresses = dict.fromkeys((found.text or "").strip() for found in report.iterfind(f"{DAV}href"))

    def responses() -> Iterator[str]:
        for address in addresses:
            member = _member(resource, shelf, address)
            if member is None:
                yield response(address, status="404 Not Found")
            else:
                yield properties.found(member, wanted, in_report=True)

    return Answer(multistatus(responses()))


def _member(resource: Resource, shelf: Shelf, address: str) -> Resource | None:
    """The object of a calendar that has an address."""
    try:
        path = unquote(urlsplit(address).path)
    except ValueError:
        return None
    calendar = unquote(replace(resource, name="").href)
    name = path.removeprefix(calendar)
    return replace(resource, name=name) if path.startswith(calendar) and name in shelf.objects else None


def _free_busy(resource: Resource, shelf: Shelf, report: Element, now: datetime) -> Answer:
    found = report.find(f"{CALDAV}time-range")
    if found is None or not {"start", "end"} <= found.attrib.keys():
        raise Refusal(403, "a free-busy-query needs a time-range with start and end", f"{CALDAV}valid-filter")
    period = read_period(found)
    held = (objects.read(text) for text in shelf.objects.values())
    items = [each.item for each in held if each.kind == "VEVENT" and each.item is not None]
    try:
        events = expand.events(items, period.start, period.end, ZoneInfo(shelf.calendar.zone))
    except ValueError as error:
        raise Refusal(403, str(error), f"{DAV}number-of-matches-within-limits") from None
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Ludus//Calendar//EN", "BEGIN:VFREEBUSY"]
    lines += [f"DTSTAMP:{utc(now)}", f"DTSTART:{utc(period.start)}", f"DTEND:{utc(period.end)}"]
    for kind, is_tentative in (("BUSY", False), ("BUSY-TENTATIVE", True)):
        ours = (event for event in events if _is_tentative(event) is is_tentative)
        for busy in expand.busy(ours, shelf.calendar.person, period.start, period.end):
            lines.append(f"FREEBUSY;FBTYPE={kind}:{utc(busy.start)}/{utc(busy.end)}")
    text = "\r\n".join([*lines, "END:VFREEBUSY", "END:VCALENDAR", ""])
    return Answer(text.encode(), 200, "text/calendar; charset=utf-8")


def _is_tentative(event: Event) -> bool:
    return event.details.status == "TENTATIVE"


def _sync(resource: Resource, shelf: Shelf, report: Element, now: datetime) -> Answer:
    wanted = read_wanted(report)
    token = (report.findtext(f"{DAV}sync-token") or "").strip()
    written = shelf.changed_since(token) if token else dict.fromkeys(shelf.objects, True)
    if written is None:
        raise Refusal(
            403,
            "the sync token is not of this calendar, or too old: begin without one",
            f"{DAV}valid-sync-token",
        )
    limit = report.findtext(f"{DAV}limit/{DAV}nresults")
    if limit is not None and not (limit.strip().isdecimal() and len(written) <= int(limit.strip()[:9])):
        raise Refusal(
            507,
            f"{len(written)} objects are new or gone, which is more than the limit",
            f"{DAV}number-of-matches-within-limits",
        )

    def responses() -> Iterator[str]:
        for name, is_there in written.items():
            member = replace(resource, name=name)
            if is_there:
                yield properties.found(member, wanted, in_report=True)
            else:
                yield response(member.href, status="404 Not Found")

    return Answer(multistatus(responses(), element(f"{DAV}sync-token", shelf.tokens()[-1])))


_REPORTS: dict[str, Callable[[Resource, Shelf, Element, datetime], Answer]] = dict(
    zip(properties.REPORTS, (_query, _multiget, _free_busy, _sync), strict=True)
)
