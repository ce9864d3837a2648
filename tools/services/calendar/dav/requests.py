"""What the client asks of a CalDAV server, and how it reads the answers."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import httpx

from ludus.tools.services.calendar.dav.xml import CALDAV, DAV, HEAD, SPACES, BadXml, local_name, parse

# Requests

COLLECTIONS = (
    f"{HEAD}<propfind {SPACES}><prop><resourcetype/><displayname/><C:calendar-timezone/></prop></propfind>"
).encode()
"""Asks for the list of calendars (PROPFIND)."""


def make_calendar(name: str, timezone: str) -> bytes:
    """The body of MKCALENDAR."""
    return (
        f"{HEAD}<C:mkcalendar {SPACES}><set><prop><displayname>{escape(name)}</displayname>"
        f"<C:calendar-timezone>{escape(timezone)}</C:calendar-timezone></prop></set></C:mkcalendar>"
    ).encode()


def query_time(start: datetime, end: datetime) -> bytes:
    """Asks for the objects that take place at least partly between two times (REPORT)."""
    return _query(f'<C:time-range start="{utc(start)}" end="{utc(end)}"/>')


def query_uid(uid: str) -> bytes:
    """Asks for the object with a UID (REPORT)."""
    match = f'<C:text-match collation="i;octet">{escape(uid)}</C:text-match>'
    return _query(f'<C:prop-filter name="UID">{match}</C:prop-filter>')


def _query(inner: str) -> bytes:
    return (
        f"{HEAD}<C:calendar-query {SPACES}><prop><getetag/><C:calendar-data/></prop><C:filter>"
        f'<C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT">{inner}</C:comp-filter>'
        "</C:comp-filter></C:filter></C:calendar-query>"
    ).encode()


# Answers


@dataclass(frozen=True, slots=True)
class Found:
    """An object in the answer to a REPORT."""

    href: str
    etag: str
    text: str


def read_objects(body: bytes) -> list[Found]:
    """
    Raises:
        BadXml: see `xml.parse`.
    """
    found = []
    for response in parse(body).iterfind(f"{DAV}response"):
        prop = _granted(response)
        if prop is not None and (text := prop.findtext(f"{CALDAV}calendar-data")) is not None:
            etag = prop.findtext(f"{DAV}getetag") or ""
            # XML has only one kind of line end.
            text = text.replace("\r\n", "\n").replace("\n", "\r\n")
            found.append(Found(response.findtext(f"{DAV}href") or "", etag, text))
    return found


@dataclass(frozen=True, slots=True)
class Collection:
    """A member in the answer to a PROPFIND."""

    href: str
    is_calendar: bool
    name: str
    zone: str


def read_collections(body: bytes) -> list[Collection]:
    """
    Raises:
        BadXml: see `xml.parse`.
    """
    found = []
    for response in parse(body).iterfind(f"{DAV}response"):
        prop = _granted(response)
        if prop is not None:
            is_calendar = prop.find(f"{DAV}resourcetype/{CALDAV}calendar") is not None
            name = prop.findtext(f"{DAV}displayname") or ""
            zone = zone_in(prop.findtext(f"{CALDAV}calendar-timezone") or "")
            found.append(Collection(response.findtext(f"{DAV}href") or "", is_calendar, name, zone))
    return found


def _granted(response: ElementTree.Element) -> ElementTree.Element | None:
    for propstat in response.iterfind(f"{DAV}propstat"):
        if " 200 " in f"{propstat.findtext(f'{DAV}status')} ":
            return propstat.find(f"{DAV}prop")
    return None


def read_refusal(response: httpx.Response) -> str:
    """What a server says about a request that it refuses: the reason in words, or else the name of the
    precondition that the request violates (RFC 4918, 16); empty if it says neither."""
    try:
        error = parse(response.content)
    except BadXml:
        return ""
    if error.tag != f"{DAV}error":
        return ""
    reason = error.findtext(f"{DAV}responsedescription") or ""
    violated = [local_name(inner.tag) for inner in error]
    return reason.strip() or (f"the request violates {violated[0][:100]!r}" if violated else "")


def zone_in(timezone: str) -> str:
    """The name of the zone that a calendar text defines; empty if it defines none."""
    found = re.search(r"^TZID[^:\n]*:(.+?)\s*$", timezone, re.MULTILINE)
    return found[1] if found else ""


def utc(moment: datetime) -> str:
    """A time as CalDAV writes it."""
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"
