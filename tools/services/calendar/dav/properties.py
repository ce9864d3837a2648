"""The properties of resources: found for PROPFIND and REPORT, changed by PROPPATCH and MKCALENDAR."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote
from xml.etree import ElementTree
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

from ludus.tools.services.calendar import ics, objects
from ludus.tools.services.calendar.dav.data import WHOLE, Shape, read_shape, shaped
from ludus.tools.services.calendar.dav.filters import COLLATIONS
from ludus.tools.services.calendar.dav.requests import zone_in
from ludus.tools.services.calendar.dav.xml import (
    CALDAV,
    CALENDAR_SERVER,
    DAV,
    PropStat,
    Refusal,
    element,
    href,
    local_name,
    printable,
    response,
)
from ludus.tools.services.calendar.rules import FIRST_YEAR, LAST_YEAR
from ludus.tools.services.calendar.shelves import Shelf, etag
from ludus.tools.services.calendar.zones import is_iana

BASIC = tuple(
    f"{DAV}{name}"
    for name in ("resourcetype", "displayname", "getetag", "getcontenttype", "getcontentlength")
)
"""The properties of RFC 4918. Later RFCs want theirs only when they are asked for by name."""
REPORTS = (
    f"{CALDAV}calendar-query",
    f"{CALDAV}calendar-multiget",
    f"{CALDAV}free-busy-query",
    f"{DAV}sync-collection",
)
"""The reports that a calendar answers."""
OBJECT_REPORTS = REPORTS[:2]
"""The reports that an object answers."""
MAX_BODY = 1_000_000
"""Bytes of a request, and so of an object."""
MAX_PROPERTIES = 100
"""The maximum number of properties of their own that clients keep with a calendar."""
DATA = f"{CALDAV}calendar-data"


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that has an address: the home of all calendars, a calendar, or an object in one."""

    root: str
    """The address of the home, which is everybody's principal, too."""
    shelf: Shelf | None = None
    name: str = ""
    """Of the object."""

    @property
    def href(self) -> str:
        if self.shelf is None:
            return self.root
        return _address(self.root, self.shelf.calendar.person, self.name)

    @property
    def text(self) -> str:
        """Of an object."""
        assert self.shelf is not None
        return self.shelf.objects[self.name]

    def members(self) -> Iterator["Resource"]:
        """The objects of a calendar."""
        if self.shelf is not None and not self.name:
            for name in self.shelf.objects:
                yield Resource(self.root, self.shelf, name)


@functools.lru_cache(maxsize=8192)
def _address(root: str, person: str, name: str) -> str:
    return f"{root}{quote(person)}/{quote(name, safe='')}"


# What a resource has


Read = Callable[[Resource], str]
"""Gives the XML inside a property."""


def _shelf(resource: Resource) -> Shelf:
    assert resource.shelf is not None
    return resource.shelf


def _elements(*tags: str) -> str:
    return "".join(map(element, tags))


def _privileges(resource: Resource) -> str:
    names = ["read", "write", "write-properties", "write-content"]
    if not resource.name:
        names += ["bind", "unbind"]
    tags = [f"{DAV}{name}" for name in names] + [f"{CALDAV}read-free-busy"]
    return "".join(element(f"{DAV}privilege", element(tag)) for tag in tags)


def _reports(resource: Resource) -> str:
    tags = OBJECT_REPORTS if resource.name else REPORTS
    return "".join(element(f"{DAV}supported-report", element(f"{DAV}report", element(tag))) for tag in tags)


def _kinds(resource: Resource) -> str:
    return "".join(element(f"{CALDAV}comp", "", {"name": kind}) for kind in _shelf(resource).kinds)


def _media_type(resource: Resource) -> str:
    return f"text/calendar; charset=utf-8; component={objects.read(resource.text).kind.lower()}"


def _sync_token(resource: Resource) -> str:
    return _shelf(resource).tokens()[-1]


_EVERYWHERE: dict[str, Read] = {
    f"{DAV}current-user-principal": lambda resource: href(resource.root),
    f"{DAV}principal-collection-set": lambda resource: href(resource.root),
    f"{DAV}owner": lambda resource: href(resource.root),
    f"{DAV}current-user-privilege-set": _privileges,
}
_HOME: dict[str, Read] = {
    f"{DAV}resourcetype": lambda _: _elements(f"{DAV}collection", f"{DAV}principal"),
    f"{DAV}displayname": lambda _: "Calendars",
    f"{DAV}supported-report-set": lambda _: "",
    f"{DAV}principal-URL": lambda resource: href(resource.root),
    f"{CALDAV}calendar-home-set": lambda resource: href(resource.root),
    **_EVERYWHERE,
}
_CALENDAR: dict[str, Read] = {
    f"{DAV}resourcetype": lambda _: _elements(f"{DAV}collection", f"{CALDAV}calendar"),
    f"{DAV}displayname": lambda resource: escape(printable(_shelf(resource).calendar.name)),
    f"{DAV}supported-report-set": _reports,
    f"{DAV}sync-token": _sync_token,
    f"{CALENDAR_SERVER}getctag": _sync_token,
    f"{CALDAV}calendar-timezone": lambda resource: escape(ics.timezone(_shelf(resource).calendar.zone)),
    f"{CALDAV}supported-calendar-component-set": _kinds,
    f"{CALDAV}supported-calendar-data": lambda _: element(
        DATA, "", {"content-type": "text/calendar", "version": "2.0"}
    ),
    f"{CALDAV}supported-collation-set": lambda _: "".join(
        element(f"{CALDAV}supported-collation", name) for name in COLLATIONS
    ),
    f"{CALDAV}max-resource-size": lambda _: str(MAX_BODY),
    f"{CALDAV}min-date-time": lambda _: f"{FIRST_YEAR}0101T000000Z",
    f"{CALDAV}max-date-time": lambda _: f"{LAST_YEAR}1231T235959Z",
    **_EVERYWHERE,
}
_OBJECT: dict[str, Read] = {
    f"{DAV}resourcetype": lambda _: "",
    f"{DAV}supported-report-set": _reports,
    f"{DAV}getetag": lambda resource: escape(etag(resource.text)),
    f"{DAV}getcontenttype": _media_type,
    f"{DAV}getcontentlength": lambda resource: str(len(resource.text.encode())),
    **_EVERYWHERE,
}


def _live(resource: Resource) -> Mapping[str, Read]:
    """The properties that the service keeps, by tag."""
    return _HOME if resource.shelf is None else _OBJECT if resource.name else _CALENDAR


def _dead(resource: Resource) -> Mapping[str, str]:
    """The properties that clients keep, as elements by tag."""
    return {} if resource.shelf is None or resource.name else resource.shelf.properties


# Finding


@dataclass(frozen=True, slots=True)
class Wanted:
    """The properties that a request asks for."""

    tags: tuple[str, ...] = ()
    all: bool = False
    """Whether all are wanted that RFC 4918 defines, and those that clients keep."""
    names: bool = False
    """Whether only the names of all of them are wanted."""
    data: Shape = WHOLE
    """How `calendar-data` is wanted, in a report."""


def read_wanted(request: ElementTree.Element | None) -> Wanted:
    """What a PROPFIND or a REPORT asks for; everything, if it does not say.

    Raises:
        Refusal: its calendar-data is not supported.
    """
    if request is None:
        return Wanted(all=True)
    prop = request.find(f"{DAV}prop")
    if prop is not None:
        shape = prop.find(DATA)
        tags = tuple(dict.fromkeys(inner.tag for inner in prop))
        return Wanted(tags, data=WHOLE if shape is None else read_shape(shape))
    if request.find(f"{DAV}propname") is not None:
        return Wanted(names=True)
    included = request.find(f"{DAV}include")
    return Wanted(tuple(inner.tag for inner in included) if included is not None else (), all=True)


def found(resource: Resource, wanted: Wanted, in_report: bool = False) -> str:
    """The response for a resource: the wanted properties that it has, and those that it does not have.

    Args:
        in_report: whether an object's text can be asked for.

    Raises:
        Refusal: an object that is wanted expanded takes place too often.
    """
    live, dead = _live(resource), _dead(resource)
    if wanted.names:
        return response(resource.href, [PropStat("200 OK", tuple(map(element, (*live, *dead))))])
    tags = wanted.tags
    if wanted.all:
        tags = tuple(dict.fromkeys((*(tag for tag in live if tag in BASIC), *dead, *tags)))
    has, lacks = [], []
    for tag in tags:
        if tag in live:
            has.append(element(tag, live[tag](resource)))
        elif tag in dead:
            has.append(dead[tag])
        elif tag == DATA and in_report and resource.name:
            text = shaped(resource.text, wanted.data, ZoneInfo(_shelf(resource).calendar.zone))
            has.append(element(tag, escape(text)))
        else:
            lacks.append(element(tag))
    return response(resource.href, [PropStat("200 OK", tuple(has)), PropStat("404 Not Found", tuple(lacks))])


# Changing


def changed(
    shelf: Shelf, request: ElementTree.Element | None, is_new: bool = False
) -> tuple[Shelf, dict[str, Refusal | None]]:
    """A calendar after all changes in the body of a PROPPATCH, MKCALENDAR or MKCOL, each with why it cannot
    be made, if it cannot; then none of them may be made.

    Args:
        is_new: whether the calendar is being made, when more can be said about it.
    """
    outcomes: dict[str, Refusal | None] = {}
    for instruction in () if request is None else request:
        if instruction.tag not in (f"{DAV}set", f"{DAV}remove"):
            continue
        for wanted in instruction.iterfind(f"{DAV}prop/*"):
            try:
                shelf = _with(shelf, wanted, instruction.tag == f"{DAV}set", is_new)
                outcomes.setdefault(wanted.tag, None)
            except Refusal as refusal:
                outcomes[wanted.tag] = refusal
    return shelf, outcomes


def _with(shelf: Shelf, wanted: ElementTree.Element, is_set: bool, is_new: bool) -> Shelf:
    """A calendar after the change of one property.

    Raises:
        Refusal: it cannot be changed like this.
    """
    tag, text = wanted.tag, (wanted.text or "") if is_set else ""
    calendar = shelf.calendar
    if tag == f"{DAV}displayname":
        return replace(shelf, calendar=replace(calendar, name=text or calendar.person))
    if tag == f"{CALDAV}calendar-timezone":
        zone = read_zone(text) if text.strip() else "UTC"
        return replace(shelf, calendar=replace(calendar, zone=zone))
    if is_new and tag == f"{DAV}resourcetype":
        if {inner.tag for inner in wanted} != {f"{DAV}collection", f"{CALDAV}calendar"}:
            raise Refusal(403, "only calendars are made here", f"{DAV}valid-resourcetype")
        return shelf
    if is_new and tag == f"{CALDAV}supported-calendar-component-set":
        asked = {inner.get("name", "").upper() for inner in wanted}
        kinds = tuple(kind for kind in objects.KINDS if kind in asked)
        if not kinds or asked - {"VTIMEZONE", *kinds}:
            known = " and ".join(objects.KINDS)
            raise Refusal(403, f"calendars take {known}", f"{CALDAV}supported-calendar-component")
        return replace(shelf, kinds=kinds)
    if tag in _CALENDAR:
        raise Refusal(403, f"{local_name(tag)} is protected", f"{DAV}cannot-modify-protected-property")
    properties = {**shelf.properties}
    properties.pop(tag, None)
    if is_set:
        # Written into an answer, it would fall into WebDAV's own namespace.
        if not all(each.tag.startswith("{") for each in wanted.iter()):
            raise Refusal(403, "a property needs a namespace")
        if len(properties) >= MAX_PROPERTIES:
            raise Refusal(403, f"a calendar keeps {MAX_PROPERTIES} properties", f"{DAV}quota-not-exceeded")
        wanted.tail = None
        properties[tag] = ElementTree.tostring(wanted, encoding="unicode")
    return replace(shelf, properties=properties)


def read_zone(timezone: str) -> str:
    """The name of the zone that a calendar text defines.

    Raises:
        Refusal: it defines none, or one without an IANA name.
    """
    name = zone_in(timezone)
    if not is_iana(name):
        raise Refusal(403, f"the time zone {name[:40]!r} has no IANA name", f"{CALDAV}valid-calendar-data")
    return name


def propstats(outcomes: Mapping[str, Refusal | None]) -> list[PropStat]:
    """What became of changes: all were made, or none was (RFC 4918, 9.2)."""
    if not any(outcomes.values()):
        return [PropStat("200 OK", tuple(map(element, outcomes)))]
    spared = tuple(element(tag) for tag, refusal in outcomes.items() if refusal is None)
    return [
        *(
            PropStat("403 Forbidden", (element(tag),), refusal)
            for tag, refusal in outcomes.items()
            if refusal is not None
        ),
        PropStat("424 Failed Dependency", spared),
    ]
