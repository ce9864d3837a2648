"""The CalDAV XML (RFC 4791) that client and service exchange."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree import ElementTree
from xml.sax.saxutils import escape

DAV, CALDAV = "{DAV:}", "{urn:ietf:params:xml:ns:caldav}"
_HEAD = '<?xml version="1.0" encoding="utf-8"?>\n'
_SPACES = 'xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"'


class BadXml(ValueError):
    """A body that is not XML, or is unsafe to read. The message says why."""


def parse(body: bytes) -> ElementTree.Element:
    """A body's root element. Documents with a DTD are refused: entities could grow without bound, or name
    files.

    Raises:
        BadXml: it is not XML in UTF-8 without a DTD.
    """
    try:
        text = body.decode("utf-8")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise BadXml("the XML has a DTD, which is not read")
        return ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise BadXml(f"the body is no XML: {error}") from None


# Requests

COLLECTIONS = (
    f"{_HEAD}<propfind {_SPACES}><prop><resourcetype/><displayname/><C:calendar-timezone/></prop></propfind>"
).encode()
"""Asks for the list of calendars (PROPFIND)."""


def make_calendar(name: str, timezone: str) -> bytes:
    """The body of MKCALENDAR."""
    return (
        f"{_HEAD}<C:mkcalendar {_SPACES}><set><prop><displayname>{escape(name)}</displayname>"
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
        f"{_HEAD}<C:calendar-query {_SPACES}><prop><getetag/><C:calendar-data/></prop><C:filter>"
        f'<C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT">{inner}</C:comp-filter>'
        "</C:comp-filter></C:filter></C:calendar-query>"
    ).encode()


@dataclass(frozen=True, slots=True)
class Query:
    """What a REPORT asks for: a time range, a UID, or both; None for any."""

    start: datetime | None = None
    end: datetime | None = None
    uid: str | None = None


def read_query(body: bytes) -> Query:
    """
    Raises:
        BadXml: it is not a calendar-query, or has filters that are not supported.
    """
    root = parse(body)
    if root.tag != f"{CALDAV}calendar-query":
        raise BadXml(f"the report {_plain(root.tag)} is not supported; calendar-query is")
    path = f"{CALDAV}filter/{CALDAV}comp-filter[@name='VCALENDAR']/{CALDAV}comp-filter[@name='VEVENT']"
    event = root.find(path)
    if event is None:
        raise BadXml("a calendar-query must filter VEVENTs in a VCALENDAR")
    start = end = uid = None
    for inner in event:
        if inner.tag == f"{CALDAV}time-range":
            start, end = _time(inner.get("start")), _time(inner.get("end"))
        elif inner.tag == f"{CALDAV}prop-filter" and inner.get("name") == "UID":
            uid = inner.findtext(f"{CALDAV}text-match")
        else:
            raise BadXml(f"the filter {_plain(inner.tag)} is not supported; time-range and UID are")
    return Query(start, end, uid)


def read_make_calendar(body: bytes) -> tuple[str, str]:
    """The display name and time zone of an MKCALENDAR; empty if not given.

    Raises:
        BadXml: see `parse`.
    """
    if not body:
        return "", ""
    root = parse(body)
    name = root.findtext(f"{DAV}set/{DAV}prop/{DAV}displayname") or ""
    timezone = root.findtext(f"{DAV}set/{DAV}prop/{CALDAV}calendar-timezone") or ""
    return name, zone_in(timezone)


# Answers


@dataclass(frozen=True, slots=True)
class Found:
    """An object in the answer to a REPORT."""

    href: str
    etag: str
    text: str


def objects(found: Iterable[Found]) -> bytes:
    """The answer to a REPORT."""
    responses = [
        f"<response><href>{escape(resource.href)}</href><propstat><prop>"
        f"<getetag>{escape(resource.etag)}</getetag><C:calendar-data>{escape(resource.text)}</C:calendar-data></prop>"
        "<status>HTTP/1.1 200 OK</status></propstat></response>"
        for resource in found
    ]
    return f"{_HEAD}<multistatus {_SPACES}>{''.join(responses)}</multistatus>".encode()


def read_objects(body: bytes) -> list[Found]:
    """
    Raises:
        BadXml: see `parse`.
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


def collections(members: Iterable[tuple[Collection, str]]) -> bytes:
    """The answer to a PROPFIND: members, with the text of their zones."""
    responses = [
        f"<response><href>{escape(member.href)}</href><propstat><prop><resourcetype><collection/>"
        f"{'<C:calendar/>' if member.is_calendar else ''}</resourcetype>"
        f"<displayname>{escape(member.name)}</displayname>"
        f"<C:calendar-timezone>{escape(timezone)}</C:calendar-timezone></prop>"
        "<status>HTTP/1.1 200 OK</status></propstat></response>"
        for member, timezone in members
    ]
    return f"{_HEAD}<multistatus {_SPACES}>{''.join(responses)}</multistatus>".encode()


def read_collections(body: bytes) -> list[Collection]:
    """
    Raises:
        BadXml: see `parse`.
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


def zone_in(timezone: str) -> str:
    """The name of the zone that a calendar text defines; empty if it defines none."""
    found = re.search(r"^TZID[^:\n]*:(.+?)\s*$", timezone, re.MULTILINE)
    return found[1] if found else ""


def utc(moment: datetime) -> str:
    """A time as CalDAV writes it."""
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise BadXml(f"{text!r} is no time of the form 20310303T080000Z") from None


def _plain(tag: str) -> str:
    return tag.rpartition("}")[2]
