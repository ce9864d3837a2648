"""The calendar service beside Radicale: the same answers to the same requests.

Left out is where Radicale 3.9 departs from the RFCs. Its filters find no alarms, and heed only the first of
several conditions beside a time range. It counts days that begin when a range ends, and a second for an event
without a length. A first sync names objects that are long gone. Bad data and unknown collations are refused
without a precondition.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element

import httpx
import icalendar
import pytest

from ludus.tools.services import connect
from ludus.tools.services.calendar import CalendarService
from ludus.tools.services.calendar.dav.xml import DAV, local_name, parse

XMLNS = 'xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:I="http://apple.com/ns/ical/"'
PEOPLE = ("anna", "bo")


def written(kind: str, uid: str, *lines: str, changes: tuple[str, ...] = ()) -> str:
    """An object with one component, and others for single occurrences of it."""
    parts = ["\r\n".join(lines), *changes]
    components = (
        f"BEGIN:{kind}\r\nUID:{uid}\r\nDTSTAMP:20310101T000000Z\r\n{part}\r\nEND:{kind}" for part in parts
    )
    return "\r\n".join(
        ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Test//Test//EN", *components, "END:VCALENDAR", "")
    )


ALARM = "BEGIN:VALARM\r\nACTION:DISPLAY\r\nDESCRIPTION:Now\r\nTRIGGER:-PT10M\r\nEND:VALARM"
OBJECTS = {
    "plain.ics": written(
        "VEVENT",
        "plain",
        "DTSTART:20310304T090000Z",
        "DTEND:20310304T100000Z",
        "SUMMARY:Plan the Garden",
        "LOCATION:Straße 5\\, Köln",
        "CATEGORIES:home,garden",
        "STATUS:TENTATIVE",
        ALARM,
    ),
    "weekly.ics": written(
        "VEVENT",
        "weekly",
        "DTSTART:20310305T080000Z",
        "DTEND:20310305T083000Z",
        "RRULE:FREQ=WEEKLY;COUNT=5",
        "EXDATE:20310319T080000Z",
        "SUMMARY:Standup",
        "ORGANIZER:mailto:anna@example.org",
        "ATTENDEE;CN=Bo Rao;PARTSTAT=ACCEPTED:mailto:bo@example.org",
        changes=(
            "RECURRENCE-ID:20310312T080000Z\r\nDTSTART:20310313T150000Z\r\n"
            "DTEND:20310313T160000Z\r\nSUMMARY:Standup late",
        ),
    ),
    "holiday.ics": written(
        "VEVENT",
        "holiday",
        "DTSTART;VALUE=DATE:20310310",
        "DTEND;VALUE=DATE:20310312",
        "SUMMARY:Holiday",
        "TRANSP:TRANSPARENT",
    ),
    "days.ics": written(
        "VEVENT",
        "days",
        "DTSTART;VALUE=DATE:20310401",
        "RRULE:FREQ=DAILY;COUNT=3",
        "SUMMARY:Sprint",
    ),
    "moment.ics": written(
        "VEVENT", "moment", "DTSTART:20310306T120000Z", "SUMMARY:garden bell", "TRANSP:TRANSPARENT"
    ),
    "lasting.ics": written(
        "VEVENT", "lasting", "DTSTART:20310307T120000Z", "DURATION:PT90M", "SUMMARY:Workshop"
    ),
    "cancelled.ics": written(
        "VEVENT",
        "cancelled",
        "DTSTART:20310308T120000Z",
        "DTEND:20310308T130000Z",
        "STATUS:CANCELLED",
        "SUMMARY:Gone",
    ),
    "due.ics": written("VTODO", "due", "DUE:20310305T170000Z", "SUMMARY:Pay the gardener", "PRIORITY:1"),
    "span.ics": written(
        "VTODO", "span", "DTSTART:20310310T090000Z", "DUE:20310312T090000Z", "SUMMARY:Write report"
    ),
    "done.ics": written(
        "VTODO",
        "done",
        "CREATED:20310301T090000Z",
        "COMPLETED:20310302T090000Z",
        "STATUS:COMPLETED",
        "SUMMARY:Buy seeds",
    ),
    "someday.ics": written("VTODO", "someday", "SUMMARY:Learn to sail"),
}


@dataclass(frozen=True)
class Server:
    """A CalDAV server with the calendars of anna, which has all objects, and bo, which has none."""

    http: httpx.Client
    home: str
    """Path of the collection of all calendars."""

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> httpx.Response:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.request(
            method, path, content=body.replace("HOME", self.home).encode(), headers=names
        )

    def relative(self, address: str) -> str:
        return unquote(urlsplit(address.strip()).path).removeprefix(self.home)


def populated(http: httpx.Client, home: str) -> Server:
    server = Server(http, home)
    for person in PEOPLE:
        http.request("DELETE", f"{person}/")
        assert server.ask("MKCALENDAR", f"{person}/").status_code == 201
    for name, text in OBJECTS.items():
        put = server.ask("PUT", f"anna/{name}", text, content_type="text/calendar")
        assert put.status_code == 201, put.text
    return server


@contextlib.contextmanager
def both(radicale: str) -> Iterator[tuple[Server, Server]]:
    with (
        connect(CalendarService()) as ours,
        connect(radicale, auth=("ludus", ""), trust_env=False) as theirs,
    ):
        yield populated(ours, "/"), populated(theirs, "/ludus/")


@pytest.fixture
def servers(radicale: str) -> Iterator[tuple[Server, Server]]:
    """Ours and Radicale, with the same calendars."""
    with both(radicale) as pair:
        yield pair


@pytest.fixture(scope="module")
def unchanged(radicale: str) -> Iterator[tuple[Server, Server]]:
    """The same for tests that only read."""
    with both(radicale) as pair:
        yield pair


# What is compared


def instant(value: Any) -> str:
    """A time in UTC; a day as a day."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC):%Y%m%dT%H%M%SZ}"
    assert isinstance(value, date)
    return f"{value:%Y%m%d}"


def contents(text: str) -> list[tuple[str, ...]]:
    """What a calendar holds, whoever writes it: its components, with their times in UTC."""
    found: list[tuple[str, ...]] = []
    if not text:
        return found
    for component in icalendar.Calendar.from_ical(text).subcomponents:
        if component.name == "VTIMEZONE":
            continue
        times = {
            name: instant(component[name].dt)
            for name in ("DTSTART", "DTEND", "DUE", "RECURRENCE-ID")
            if name in component
        }
        if "DURATION" in component:
            times["DTEND"] = instant(component["DTSTART"].dt + component["DURATION"].dt)
        if "RRULE" in component:
            times["RRULE"] = component["RRULE"].to_ical().decode()
        inner = ",".join(sorted(each.name for each in component.subcomponents))
        head = (component.name, str(component.get("UID")), str(component.get("SUMMARY")), inner)
        found.append((*head, *(f"{name}={time}" for name, time in sorted(times.items()))))
    # Radicale lists cancelled events as free.
    busy = re.findall(r"^FREEBUSY;FBTYPE=(BUSY[A-Z-]*):(\S+)", text.replace("\r\n ", ""), re.MULTILINE)
    return sorted(found) + sorted(busy)


def value(server: Server, prop: Element) -> Any:
    name = local_name(prop.tag)
    if name == "calendar-data":
        return contents(prop.text or "")
    if name in ("getetag", "sync-token", "getctag", "getcontentlength"):
        return bool(prop.text)
    if name == "getcontenttype":
        return (prop.text or "").partition(";")[0]
    if name == "supported-calendar-component-set":
        # Radicale keeps journals, too.
        return {inner.get("name") for inner in prop} - {"VJOURNAL"}
    if name == "supported-report-set":
        return {local_name(inner[0][0].tag) for inner in prop} & REPORTS
    hrefs = [server.relative(href.text or "") for href in prop.iter(f"{DAV}href")]
    return hrefs or (prop.text or "").strip() or sorted(local_name(inner.tag) for inner in prop)


REPORTS = {"calendar-query", "calendar-multiget", "sync-collection"}


def said(server: Server, answer: httpx.Response) -> Any:
    """What an answer says, whoever gives it."""
    if answer.status_code == 207:
        found = {}
        for each in parse(answer.content).iterfind(f"{DAV}response"):
            props: dict[str, Any] = {}
            for propstat in each.iterfind(f"{DAV}propstat"):
                status = (propstat.findtext(f"{DAV}status") or "").split()[1]
                for prop in propstat.iterfind(f"{DAV}prop/*"):
                    props[prop.tag] = (status, value(server, prop) if status == "200" else None)
            status = each.findtext(f"{DAV}status")
            # Without properties, a status that says they were found adds nothing.
            props |= {"status": status.split()[1]} if status and " 200 " not in status else {}
            found[server.relative(each.findtext(f"{DAV}href") or "")] = props
        return found
    if answer.status_code == 403 and b"<error" in answer.content:
        # The precondition, without the words beside it.
        return 403, [inner.tag for inner in parse(answer.content) if inner.tag != f"{DAV}responsedescription"]
    if answer.headers.get("content-type", "").startswith("text/calendar"):
        return answer.status_code, contents(answer.text)
    return answer.status_code


# What is asked


def propfind(*names: str) -> str:
    return f"<propfind {XMLNS}><prop>{''.join(f'<{name}/>' for name in names)}</prop></propfind>"


def query(asked: str, data: str = "<C:calendar-data/>") -> str:
    prop = f"<prop><getetag/>{data}</prop>"
    return f"<C:calendar-query {XMLNS}>{prop}<C:filter>{asked}</C:filter></C:calendar-query>"


def component(inner: str = "", name: str = "VEVENT") -> str:
    inside = f'<C:comp-filter name="{name}">{inner}</C:comp-filter>'
    return f'<C:comp-filter name="VCALENDAR">{inside}</C:comp-filter>'


def between(start: str = "", end: str = "", tag: str = "time-range") -> str:
    given = "".join(f' {name}="{time}Z"' for name, time in (("start", start), ("end", end)) if time)
    return f"<C:{tag}{given}/>"


def expanded(start: str, end: str) -> str:
    return f"<C:calendar-data>{between(start, end, 'expand')}</C:calendar-data>"


def having(name: str, inner: str = "") -> str:
    return f'<C:prop-filter name="{name}">{inner}</C:prop-filter>'


def matching(text: str, attributes: str = "") -> str:
    return f"<C:text-match {attributes}>{text}</C:text-match>"


def parameter(name: str, inner: str = "") -> str:
    return f'<C:param-filter name="{name}">{inner}</C:param-filter>'


def multiget(*names: str, data: str = "<C:calendar-data/>") -> str:
    hrefs = "".join(f"<href>HOME{name}</href>" for name in names)
    return f"<C:calendar-multiget {XMLNS}><prop><getetag/>{data}</prop>{hrefs}</C:calendar-multiget>"


def sync(token: str = "") -> str:
    return (
        f"<sync-collection {XMLNS}><sync-token>{token}</sync-token><sync-level>1</sync-level>"
        "<prop><getetag/></prop></sync-collection>"
    )


NOT_DEFINED = "<C:is-not-defined/>"
NEGATED = 'negate-condition="yes"'
MARCH = ("20310301T000000", "20310401T000000")
TIMES = [
    MARCH,
    ("20310304T100000", "20310305T000000"),
    ("20310304T095959", "20310305T000000"),
    ("20310313T000000", "20310314T000000"),
    ("20310312T000000", "20310313T000000"),
    ("20310319T000000", "20310320T000000"),
    ("20310402T000000", "20310403T000000"),
    ("20310320T000000", ""),
    ("", "20310305T080000"),
    ("20310306T120000", "20310306T120100"),
    ("20310306T115900", "20310306T120000"),
    ("20310307T131500", "20310307T140000"),
    ("20310311T120000", "20310311T130000"),
    ("20310305T165900", "20310305T170000"),
    ("20310302T090000", "20310302T100000"),
]
PROPERTIES = {
    "contains": having("SUMMARY", matching("garden")),
    "octet": having("SUMMARY", matching("garden", 'collation="i;octet"')),
    "ascii": having("SUMMARY", matching("GARDEN", 'collation="i;ascii-casemap"')),
    "unicode": having("LOCATION", matching("KÖLN", 'collation="i;unicode-casemap"')),
    "negated": having("SUMMARY", matching("garden", NEGATED)),
    "negated, of some": having("STATUS", matching("CANCELLED", NEGATED)),
    "defined": having("LOCATION"),
    "not defined": having("LOCATION", NOT_DEFINED),
    "a list": having("CATEGORIES", matching("garden")),
    "a comma": having("LOCATION", matching("5, k")),
    "UID": having("UID", matching("plain", 'collation="i;octet"')),
    "two": having("SUMMARY", matching("a")) + having("LOCATION"),
    "two, one not": having("SUMMARY", matching("a")) + having("LOCATION", NOT_DEFINED),
    "parameter": having("ATTENDEE", parameter("PARTSTAT", matching("accepted"))),
    "another parameter": having("ATTENDEE", parameter("PARTSTAT", matching("declined"))),
    "parameter not defined": having("ATTENDEE", parameter("ROLE", NOT_DEFINED)),
    "a time": having("DTSTART", between("20310306T000000", "20310308T000000")),
    "time and text": between("20310313T000000", "20310314T000000") + having("SUMMARY", matching("standup")),
}
TODOS = {
    "all": "",
    "open": having("COMPLETED", NOT_DEFINED),
    "important": having("PRIORITY", matching("1")),
    "not cancelled": having("STATUS", matching("CANCELLED", NEGATED)),
}
READS: dict[str, tuple[str, str, str]] = {
    "home": (
        "PROPFIND 0",
        "",
        propfind(
            *("resourcetype", "current-user-principal", "C:calendar-home-set", "principal-URL", "getetag"),
        ),
    ),
    "calendars": (
        "PROPFIND 1",
        "",
        propfind("resourcetype", "owner", "C:supported-calendar-component-set", "C:calendar-home-set"),
    ),
    "a calendar": (
        "PROPFIND 0",
        "anna/",
        propfind(
            *("resourcetype", "C:supported-calendar-component-set", "supported-report-set", "sync-token"),
            *("current-user-principal", "owner", "nothing"),
        ),
    ),
    "members": (
        "PROPFIND 1",
        "anna/",
        propfind("resourcetype", "current-user-principal", "sync-token"),
    ),
    "no members": ("PROPFIND 1", "bo/", propfind("resourcetype")),
    "an object": ("PROPFIND 0", "anna/plain.ics", propfind("resourcetype", "getetag", "getcontenttype", "x")),
    "no object": ("PROPFIND 0", "anna/none.ics", propfind("getetag")),
    "no calendar": ("PROPFIND 0", "nobody/", propfind("getetag")),
    "everything": ("REPORT", "anna/", query('<C:comp-filter name="VCALENDAR"/>')),
    "events": ("REPORT", "anna/", query(component())),
    "journals": ("REPORT", "anna/", query(component(name="VJOURNAL"))),
    "no events": ("REPORT", "anna/", query(component(NOT_DEFINED))),
    "in an object": ("REPORT", "anna/plain.ics", query(component())),
    "in an empty calendar": ("REPORT", "bo/", query(component())),
    **{f"events {time}": ("REPORT", "anna/", query(component(between(*time)))) for time in TIMES},
    **{f"to-dos {time}": ("REPORT", "anna/", query(component(between(*time), "VTODO"))) for time in TIMES},
    **{
        f"property: {name}": ("REPORT", "anna/", query(component(asked)))
        for name, asked in PROPERTIES.items()
    },
    **{
        f"to-dos: {name}": ("REPORT", "anna/", query(component(asked, "VTODO")))
        for name, asked in TODOS.items()
    },
    **{
        f"expanded {time}": ("REPORT", "anna/", query(component(between(*time)), expanded(*time)))
        for time in (
            ("20310301T000000", "20310331T000000"),
            ("20310312T000000", "20310314T000000"),
            ("20310331T120000", "20310402T120000"),
        )
    },
    "multiget": ("REPORT", "anna/", multiget("anna/plain.ics", "anna/due.ics", "anna/none.ics", "bo/x.ics")),
    "multiget, expanded": ("REPORT", "anna/", multiget("anna/weekly.ics", data=expanded(*MARCH))),
    "multiget at home": ("REPORT", "", multiget("anna/plain.ics")),
    "free-busy": ("REPORT", "anna/", f"<C:free-busy-query {XMLNS}>{between(*MARCH)}</C:free-busy-query>"),
    "free-busy, cut": (
        "REPORT",
        "anna/",
        f"<C:free-busy-query {XMLNS}>{between('20310304T093000', '20310307T123000')}</C:free-busy-query>",
    ),
    "sync": ("REPORT", "anna/", sync()),
    "sync since nonsense": ("REPORT", "anna/", sync("http://radicale.org/ns/sync/nonsense")),
    "sync at home": ("REPORT", "", sync()),
    "GET": ("GET", "anna/plain.ics", ""),
    "GET nothing": ("GET", "anna/none.ics", ""),
    "GET all": ("GET", "anna/", ""),
    "HEAD": ("HEAD", "anna/plain.ics", ""),
    "HEAD of a calendar": ("HEAD", "anna/", ""),
}


@pytest.mark.parametrize("name", READS)
def test_reading_gives_the_same_answers(unchanged: tuple[Server, Server], name: str) -> None:
    method, path, body = READS[name]
    method, _, depth = method.partition(" ")
    ours, theirs = (said(server, server.ask(method, path, body, depth=depth or "1")) for server in unchanged)
    assert ours == theirs


PATCH = f"<propertyupdate {XMLNS}>{{}}</propertyupdate>"
DESCRIBED = propfind("displayname", "I:calendar-color", "C:calendar-description")
NEW = OBJECTS["plain.ics"].replace("UID:plain", "UID:new")
MKCOL = f"<mkcol {XMLNS}><set><prop><resourcetype><collection/>{{}}</resourcetype></prop></set></mkcol>"
WRITES: dict[str, list[tuple[str, str, str, dict[str, str]]]] = {
    "properties": [
        (
            "PROPPATCH",
            "anna/",
            PATCH.format(
                "<set><prop><displayname>Anna &amp; co</displayname>"
                "<I:calendar-color>#112233</I:calendar-color><C:calendar-description>Hers</C:calendar-description></prop></set>"
            ),
            {},
        ),
        ("PROPFIND", "anna/", DESCRIBED, {"depth": "0"}),
        ("PROPPATCH", "anna/", PATCH.format("<remove><prop><I:calendar-color/></prop></remove>"), {}),
        ("PROPFIND", "anna/", DESCRIBED, {"depth": "0"}),
    ],
    "collections": [
        ("MKCOL", "new/", MKCOL.format("<C:calendar/>"), {}),
        ("PROPFIND", "new/", propfind("resourcetype"), {"depth": "1"}),
        ("PUT", "new/x.ics", NEW, {}),
        ("PROPFIND", "new/", propfind("resourcetype"), {"depth": "1"}),
        ("DELETE", "new/", "", {}),
        ("PROPFIND", "new/", propfind("resourcetype"), {"depth": "1"}),
        ("PROPFIND", "", propfind("resourcetype"), {"depth": "1"}),
        ("MKCALENDAR", "new/", "", {}),
        ("PROPFIND", "new/", propfind("resourcetype"), {"depth": "1"}),
    ],
    "objects": [
        ("PUT", "anna/plain.ics", OBJECTS["plain.ics"], {"if_none_match": "*"}),
        ("PUT", "anna/plain.ics", OBJECTS["plain.ics"], {"if_match": '"old"'}),
        ("PUT", "anna/new.ics", NEW, {"if_match": '"old"'}),
        ("PUT", "anna/new.ics", NEW, {"if_none_match": "*"}),
        ("PUT", "anna/new.ics", NEW.replace("Plan", "Dig"), {}),
        ("PUT", "anna/other.ics", NEW, {}),
        ("GET", "anna/new.ics", "", {}),
        ("DELETE", "anna/new.ics", "", {"if_match": '"old"'}),
        ("DELETE", "anna/new.ics", "", {}),
        ("DELETE", "anna/new.ics", "", {}),
        ("GET", "anna/new.ics", "", {}),
        ("REPORT", "anna/", query(component()), {"depth": "1"}),
    ],
}


def outcome(server: Server, answer: httpx.Response) -> Any:
    """What became of a write; how a server says that all went well is up to it."""
    if answer.request.method == "DELETE" and answer.status_code < 300:
        return "deleted"
    if answer.request.method == "PUT" and answer.status_code < 300:
        return "written"
    return said(server, answer)


@pytest.mark.parametrize("name", WRITES)
def test_writing_has_the_same_outcomes(servers: tuple[Server, Server], name: str) -> None:
    for method, path, body, headers in WRITES[name]:
        given = {"content_type": "text/calendar", **headers} if method == "PUT" else headers
        ours, theirs = (outcome(server, server.ask(method, path, body, **given)) for server in servers)
        assert ours == theirs, (method, path)


def test_changes_since_a_token_are_the_same(servers: tuple[Server, Server]) -> None:
    """Clients that keep a token are told what is new, what has changed and what is gone since then."""
    tokens: list[list[str]] = [[], []]

    def changes(since: int) -> list[Any]:
        found = []
        for server, kept in zip(servers, tokens, strict=True):
            answer = server.ask("REPORT", "anna/", sync(kept[since] if kept else ""))
            kept.append(parse(answer.content).findtext(f"{DAV}sync-token") or "")
            found.append(said(server, answer))
        return found

    def write(method: str, name: str, text: str = "") -> None:
        for server in servers:
            assert server.ask(method, f"anna/{name}", text, content_type="text/calendar").is_success

    ours, theirs = changes(-1)
    assert ours == theirs
    assert len(ours) == len(OBJECTS)
    assert changes(-1) == [{}, {}]
    write("PUT", "new.ics", NEW)
    write("DELETE", "due.ics")
    write("PUT", "moment.ics", OBJECTS["moment.ics"].replace("bell", "gate"))
    ours, theirs = changes(-1)
    assert ours == theirs
    assert {name: bool(each.get("status")) for name, each in ours.items()} == {
        "anna/new.ics": False,
        "anna/due.ics": True,
        "anna/moment.ics": False,
    }
    write("DELETE", "new.ics")
    ours, theirs = changes(-1)
    assert ours == theirs == {"anna/new.ics": {"status": "404"}}
    # Since the first token, new.ics has come and gone.
    assert [sorted(name for name in found if name != "anna/new.ics") for found in changes(0)] == [
        ["anna/due.ics", "anna/moment.ics"]
    ] * 2
