"""The calendar service by the letter of the RFCs: what no other server is asked in comparison."""

import pickle
import time
from collections.abc import Iterable
from typing import Any
from xml.sax.saxutils import quoteattr

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.tools.services import VirtualClock, connect
from ludus.tools.services.calendar import Calendar, CalendarService
from ludus.tools.services.calendar.dav.xml import CALDAV, DAV, local_name, parse
from ludus.tools.services.calendar.shelves import MAX_CHANGES
from ludus.tools.services.rack import Rack
from ludus.tools.services.transport import InProcess

XMLNS = 'xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:X="urn:x"'
ANNA = Calendar("anna", "Anna", "Europe/Berlin")


def written(*lines: str, kind: str = "VEVENT", uid: str = "x", more: str = "") -> str:
    head = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Test//Test//EN\r\nBEGIN:{kind}\r\nUID:{uid}\r\n"
    return head + "".join(f"{line}\r\n" for line in lines) + f"END:{kind}\r\n{more}END:VCALENDAR\r\n"


WEEKLY = written(
    "DTSTART;TZID=Europe/Berlin:20310324T090000",
    "DTEND;TZID=Europe/Berlin:20310324T093000",
    "RRULE:FREQ=WEEKLY;COUNT=3",
    "SUMMARY;LANGUAGE=en:Standup",
    "ATTENDEE;ROLE=CHAIR:mailto:anna@example.org",
    "ATTENDEE;CN=Bo:mailto:bo@example.org",
    "BEGIN:VALARM\r\nACTION:AUDIO\r\nTRIGGER:-PT5M\r\nEND:VALARM",
    more="BEGIN:VEVENT\r\nUID:x\r\nRECURRENCE-ID;TZID=Europe/Berlin:20310331T090000\r\n"
    "DTSTART;TZID=Europe/Berlin:20310402T090000\r\nSUMMARY:Late\r\nEND:VEVENT\r\n",
)
BELL = written("DTSTART:20310304T120000", "SUMMARY:Bell", uid="bell")


@pytest.fixture
def service() -> CalendarService:
    service = CalendarService({ANNA: ()})
    with connect(service) as http:
        for name, text in (("weekly.ics", WEEKLY), ("bell.ics", BELL)):
            assert http.put(f"anna/{name}", content=text).status_code == 201
    return service


@pytest.fixture
def http(service: CalendarService) -> httpx.Client:
    return connect(service)


def responses(answer: httpx.Response) -> dict[str, dict[str, list[str]]]:
    """By address: the names of properties by their status."""
    assert answer.status_code == 207, answer.text
    found: dict[str, dict[str, list[str]]] = {}
    for response in parse(answer.content).iterfind(f"{DAV}response"):
        props = found[response.findtext(f"{DAV}href") or ""] = {}
        for propstat in response.iterfind(f"{DAV}propstat"):
            status = (propstat.findtext(f"{DAV}status") or "").split()[1]
            props[status] = [local_name(prop.tag) for prop in propstat.iterfind(f"{DAV}prop/*")]
        if status := response.findtext(f"{DAV}status"):
            props[status.split()[1]] = []
    return found


def query(asked: str, data: str = "<C:calendar-data/>", kind: str = "VEVENT") -> str:
    inner = f'<C:comp-filter name="{kind}">{asked}</C:comp-filter>'
    asked = f'<C:filter><C:comp-filter name="VCALENDAR">{inner}</C:comp-filter></C:filter>'
    return f"<C:calendar-query {XMLNS}><prop>{data}</prop>{asked}</C:calendar-query>"


def names(http: httpx.Client, asked: str, kind: str = "VEVENT") -> set[str]:
    """The objects that a filter finds."""
    found = responses(http.request("REPORT", "anna/", content=query(asked, kind=kind)))
    return {href.rpartition("/")[2].removesuffix(".ics") for href in found}


def data(http: httpx.Client, wanted: str, name: str = "weekly.ics") -> str:
    """An object in the shape that is wanted."""
    body = (
        f"<C:calendar-multiget {XMLNS}><prop><C:calendar-data>{wanted}</C:calendar-data></prop>"
        f"<href>/anna/{name}</href></C:calendar-multiget>"
    )
    answer = http.request("REPORT", "anna/", content=body)
    return next(parse(answer.content).iter(f"{CALDAV}calendar-data")).text or ""


def token(http: httpx.Client) -> str:
    body = f"<propfind {XMLNS}><prop><sync-token/></prop></propfind>"
    answer = http.request("PROPFIND", "anna/", content=body)
    return next(parse(answer.content).iter(f"{DAV}sync-token")).text or ""


def sync(http: httpx.Client, since: str) -> httpx.Response:
    inner = f"<sync-token>{since}</sync-token><sync-level>1</sync-level><prop/>"
    body = f"<sync-collection {XMLNS}>{inner}</sync-collection>"
    return http.request("REPORT", "anna/", content=body)


# Discovery and properties


def test_clients_are_sent_from_the_well_known_address(service: CalendarService, http: httpx.Client) -> None:
    there = http.request("PROPFIND", ".well-known/caldav")
    assert (there.status_code, there.headers["location"]) == (301, "/")
    rack = httpx.Client(
        transport=InProcess(Rack({"calendar": service}), VirtualClock()), base_url="http://x.invalid"
    )
    there = rack.request("PROPFIND", "/.well-known/caldav")
    assert (there.status_code, there.headers["location"]) == (301, "/calendar/")
    home = rack.request("PROPFIND", there.headers["location"], headers={"depth": "1"})
    assert list(responses(home)) == ["/calendar/", "/calendar/anna/"]
    assert rack.request("PROPFIND", "/.well-known/carddav").status_code == 404


def test_all_properties_are_the_basic_ones_and_those_of_clients(http: httpx.Client) -> None:
    set_ = f"<propertyupdate {XMLNS}><set><prop><X:mood><X:calm/>very</X:mood></prop></set></propertyupdate>"
    assert responses(http.request("PROPPATCH", "anna/", content=set_)) == {"/anna/": {"200": ["mood"]}}
    everything = {"/anna/": {"200": ["resourcetype", "displayname", "mood"]}}
    assert responses(http.request("PROPFIND", "anna/")) == everything
    body = f"<propfind {XMLNS}><allprop/><include><sync-token/></include></propfind>"
    everything["/anna/"]["200"].append("sync-token")
    assert responses(http.request("PROPFIND", "anna/", content=body)) == everything
    answer = http.request("PROPFIND", "anna/", content=f"<propfind {XMLNS}><propname/></propfind>")
    assert {"mood", "sync-token", "getctag"} <= set(responses(answer)["/anna/"]["200"])
    asked = http.request("PROPFIND", "anna/", content=f"<propfind {XMLNS}><prop><X:mood/></prop></propfind>")
    mood = next(parse(asked.content).iter("{urn:x}mood"))
    assert ([inner.tag for inner in mood], mood[0].tail) == (["{urn:x}calm"], "very")
    answer = http.request("PROPFIND", "anna/bell.ics")
    assert responses(answer) == {
        "/anna/bell.ics": {"200": ["resourcetype", "getetag", "getcontenttype", "getcontentlength"]}
    }


def test_an_endless_depth_is_refused(http: httpx.Client) -> None:
    answer = http.request("PROPFIND", "", headers={"depth": "infinity"})
    assert (answer.status_code, "propfind-finite-depth" in answer.text) == (403, True)


def test_properties_change_all_together_or_not_at_all(service: CalendarService, http: httpx.Client) -> None:
    before = service.state
    body = (
        f"<propertyupdate {XMLNS}><set><prop><displayname>A</displayname><sync-token>x</sync-token>"
        "<C:calendar-timezone>BEGIN:VTIMEZONE&#10;TZID:Mars&#10;</C:calendar-timezone></prop></set></propertyupdate>"
    )
    answer = http.request("PROPPATCH", "anna/", content=body)
    root = parse(answer.content)
    found = {
        local_name(propstat[0][0].tag): (
            (propstat.findtext(f"{DAV}status") or "").split()[1],
            [local_name(inner.tag) for inner in propstat.iterfind(f"{DAV}error/*")],
        )
        for propstat in root.iter(f"{DAV}propstat")
    }
    assert found == {
        "sync-token": ("403", ["cannot-modify-protected-property"]),
        "calendar-timezone": ("403", ["valid-calendar-data"]),
        "displayname": ("424", []),
    }
    assert service.state is before


def test_a_property_without_a_namespace_is_not_kept(service: CalendarService, http: httpx.Client) -> None:
    before = service.state
    body = f'<propertyupdate {XMLNS}><set><prop><X:a><b xmlns=""/></X:a></prop></set></propertyupdate>'
    assert responses(http.request("PROPPATCH", "anna/", content=body)) == {"/anna/": {"403": ["a"]}}
    assert service.state is before


def test_no_more_properties_are_kept_than_a_hundred(http: httpx.Client) -> None:
    props = "".join(f"<X:p{number}/>" for number in range(101))
    answer = http.request(
        "PROPPATCH",
        "anna/",
        content=f"<propertyupdate {XMLNS}><set><prop>{props}</prop></set></propertyupdate>",
    )
    assert "quota-not-exceeded" in answer.text


def test_a_calendar_of_to_dos_takes_nothing_else(http: httpx.Client) -> None:
    kinds = '<C:supported-calendar-component-set><C:comp name="VTODO"/></C:supported-calendar-component-set>'
    body = f"<C:mkcalendar {XMLNS}><set><prop>{kinds}</prop></set></C:mkcalendar>"
    assert http.request("MKCALENDAR", "chores/", content=body).status_code == 201
    refused = http.put("chores/x.ics", content=BELL)
    assert (refused.status_code, "supported-calendar-component" in refused.text) == (403, True)
    assert http.put("chores/x.ics", content=written("SUMMARY:Sweep", kind="VTODO")).status_code == 201
    assert http.delete("chores/").status_code == 204
    assert http.request("PROPFIND", "chores/").status_code == 404


# Objects


def test_versions_are_compared_in_every_way(http: httpx.Client) -> None:
    tag = http.get("anna/bell.ics").headers["etag"]
    head = http.head("anna/bell.ics")
    assert (head.headers["etag"], head.content) == (tag, b"")
    assert int(head.headers["content-length"]) == len(BELL)
    assert http.get("anna/bell.ics", headers={"if-none-match": f'"a", {tag}'}).status_code == 304
    assert http.get("anna/bell.ics", headers={"if-none-match": '"a"'}).status_code == 200
    for headers in ({"if-none-match": tag}, {"if-match": '"a"'}, {"if-none-match": "*"}):
        assert http.put("anna/bell.ics", content=BELL, headers=headers).status_code == 412
    assert http.delete("anna/none.ics", headers={"if-match": "*"}).status_code == 404
    assert http.put("anna/bell.ics", content=BELL, headers={"if-match": f'"a", {tag}'}).status_code == 204
    refused = http.put("anna/bell.ics", content=BELL, headers={"content-type": "text/html"})
    assert (refused.status_code, "supported-calendar-data" in refused.text) == (403, True)


def test_what_is_no_to_do_is_refused(http: httpx.Client) -> None:
    for text, words in (
        (written("DUE:tomorrow", kind="VTODO"), "DUE"),
        (written("COMPLETED:never", kind="VTODO"), "COMPLETED"),
        (written("RRULE:FREQ=DAILY", kind="VTODO"), "no DTSTART"),
        (written("DTSTART:20310304T120000Z", "DUE:20310303T120000Z", kind="VTODO"), "before"),
        (written("DTSTART:20310304T120000Z", "RRULE:FREQ=SECONDLY", kind="VTODO"), "FREQ"),
        (written(more=written(kind="VTODO", uid="y")), "of one kind"),
        (written(kind="VTODO", more="BEGIN:VTODO\r\nUID:y\r\nEND:VTODO\r\n"), "different"),
    ):
        answer = http.put("anna/todo.ics", content=text)
        assert (answer.status_code, "valid-calendar-data" in answer.text) == (403, True), text
        assert words in answer.text


# Filters


def test_alarms_and_people_are_found(http: httpx.Client) -> None:
    alarm = '<C:comp-filter name="VALARM">{}</C:comp-filter>'
    assert names(http, alarm.format("")) == {"weekly"}
    assert names(http, alarm.format("<C:is-not-defined/>")) == {"weekly", "bell"}
    action = '<C:prop-filter name="ACTION"><C:text-match>{}</C:text-match></C:prop-filter>'
    assert names(http, alarm.format(action.format("audio"))) == {"weekly"}
    assert names(http, alarm.format(action.format("display"))) == set()
    # One attendee must be both.
    both = '<C:text-match>bo@</C:text-match><C:param-filter name="{}"/>'
    both = f'<C:prop-filter name="ATTENDEE">{both}</C:prop-filter>'
    assert names(http, both.format("CN")) == {"weekly"}
    assert names(http, both.format("ROLE")) == set()


def test_times_without_a_zone_are_those_of_the_calendar_or_of_the_query(http: httpx.Client) -> None:
    noon = '<C:time-range start="20310304T110000Z" end="20310304T110001Z"/>'
    assert names(http, noon) == {"bell"}
    tokyo = query(noon).replace(
        "</C:calendar-query>",
        "<C:timezone>BEGIN:VTIMEZONE\nTZID:Asia/Tokyo\n</C:timezone></C:calendar-query>",
    )
    assert responses(http.request("REPORT", "anna/", content=tokyo)) == {}
    mars = tokyo.replace("Asia/Tokyo", "Mars")
    assert "valid-calendar-data" in http.request("REPORT", "anna/", content=mars).text


@pytest.mark.parametrize(
    ("lines", "start", "end", "found"),
    [
        (["DTSTART:20310304T120000Z", "DURATION:PT1H"], "20310304T130000Z", "20310304T140000Z", True),
        (["DTSTART:20310304T120000Z", "DURATION:PT1H"], "20310304T130001Z", "20310304T140000Z", False),
        (["DTSTART:20310304T120000Z", "DUE:20310304T130000Z"], "20310304T130000Z", "20310304T140000Z", False),
        (["DTSTART:20310304T120000Z"], "20310304T120000Z", "20310304T120001Z", True),
        (["DTSTART:20310304T120000Z"], "20310304T110000Z", "20310304T120000Z", False),
        (["DUE:20310304T120000Z"], "20310304T110000Z", "20310304T120000Z", True),
        (["DUE:20310304T120000Z"], "20310304T120000Z", "20310304T130000Z", False),
        (["COMPLETED:20310304T120000Z"], "20310304T120000Z", "20310304T130000Z", True),
        (["COMPLETED:20310304T120000Z"], "20310304T120001Z", "20310304T130000Z", False),
        (["CREATED:20310304T120000Z"], "20310305T120000Z", "20310306T130000Z", True),
        (["CREATED:20310304T120000Z"], "20310304T110000Z", "20310304T120000Z", False),
        (["DTSTART:20310304T120000Z", "RRULE:FREQ=DAILY"], "20310401T120000Z", "20310401T120001Z", True),
        (["DTSTART:20310304T120000Z", "RRULE:FREQ=DAILY"], "20310401T130000Z", "20310401T140000Z", False),
    ],
)
def test_to_dos_take_place_as_the_table_says(
    http: httpx.Client, lines: list[str], start: str, end: str, found: bool
) -> None:
    """RFC 4791, 9.9."""
    assert http.put("anna/todo.ics", content=written(*lines, kind="VTODO", uid="todo")).status_code == 201
    assert names(http, f'<C:time-range start="{start}" end="{end}"/>', "VTODO") == (
        {"todo"} if found else set()
    )


# What of an object is returned


def test_a_series_is_expanded_in_utc_across_a_change_of_the_clocks(http: httpx.Client) -> None:
    text = data(http, '<C:expand start="20310301T000000Z" end="20310501T000000Z"/>')
    lines = text.splitlines()
    assert [line for line in lines if line.startswith(("DTSTART", "DTEND", "RECURRENCE-ID", "SUMMARY"))] == [
        "DTSTART:20310324T080000Z",
        "DTEND:20310324T083000Z",
        "RECURRENCE-ID:20310324T080000Z",
        "SUMMARY;LANGUAGE=en:Standup",
        "DTSTART:20310402T070000Z",
        "RECURRENCE-ID:20310331T070000Z",
        "SUMMARY:Late",
        "DTSTART:20310407T070000Z",
        "DTEND:20310407T073000Z",
        "RECURRENCE-ID:20310407T070000Z",
        "SUMMARY;LANGUAGE=en:Standup",
    ]
    assert "RRULE" not in text
    assert text.count("BEGIN:VALARM") == 2
    assert lines.count("ATTENDEE;ROLE=CHAIR:mailto:anna@example.org") == 2


def test_differing_occurrences_outside_a_time_are_left_out(http: httpx.Client) -> None:
    limit = '<C:limit-recurrence-set start="{}" end="{}"/>'
    assert "Late" not in data(http, limit.format("20310320T000000Z", "20310330T000000Z"))
    for start, end in (("20310401T000000Z", "20310403T000000Z"), ("20310331T000000Z", "20310401T000000Z")):
        text = data(http, limit.format(start, end))
        assert "Late" in text
        assert "RRULE" in text


def test_only_the_wanted_properties_are_returned(http: httpx.Client) -> None:
    wanted = (
        '<C:comp name="VCALENDAR"><C:prop name="VERSION"/><C:comp name="VEVENT"><C:prop name="SUMMARY"/>'
        '<C:prop name="UID" novalue="yes"/></C:comp></C:comp>'
    )
    assert data(http, wanted, "bell.ics").split() == [
        *("BEGIN:VCALENDAR", "VERSION:2.0", "BEGIN:VEVENT", "UID:", "SUMMARY:Bell", "END:VEVENT"),
        "END:VCALENDAR",
    ]
    everything = '<C:comp name="VCALENDAR"><C:allprop/><C:allcomp/></C:comp>'
    assert data(http, everything, "bell.ics").split() == BELL.split()


# Sync


def test_a_token_survives_a_snapshot_and_is_void_on_another_path(
    service: CalendarService, http: httpx.Client
) -> None:
    http.put("anna/a.ics", content=written("DTSTART:20310304T120000Z", uid="a"))
    begun, since = pickle.loads(pickle.dumps(service.snapshot())), token(http)
    http.delete("anna/bell.ics")
    gone, abandoned = sync(http, since), token(http)
    assert responses(gone) == {"/anna/bell.ics": {"404": []}}
    service.restore(begun)
    assert token(http) == since
    assert responses(sync(http, since)) == {}
    assert sync(http, abandoned).status_code == 403
    # The same call leads to the same state.
    http.delete("anna/bell.ics")
    assert token(http) == abandoned
    assert sync(http, since).content == gone.content


def test_equal_writes_to_different_calendars_have_different_tokens() -> None:
    tokens = []
    for text in (WEEKLY, BELL):
        with connect(CalendarService({ANNA: ()})) as http:
            http.put("anna/first.ics", content=text)
            service = CalendarService({ANNA: ()})
            tokens.append(token(http))
            assert sync(connect(service), tokens[-1]).status_code == 403
    assert tokens[0] != tokens[1]


def test_what_came_and_went_is_not_told_and_old_tokens_run_out(http: httpx.Client) -> None:
    since = token(http)
    http.put("anna/a.ics", content=written("DTSTART:20310304T120000Z", uid="a"))
    http.delete("anna/a.ics")
    assert responses(sync(http, since)) == {}
    for number in range(MAX_CHANGES):
        http.put("anna/bell.ics", content=BELL.replace("Bell", f"Bell {number}"))
    late = token(http)
    refused = sync(http, since)
    assert (refused.status_code, "valid-sync-token" in refused.text) == (403, True)
    assert responses(sync(http, late)) == {}
    assert list(responses(sync(http, ""))) == ["/anna/weekly.ics", "/anna/bell.ics"]


# Bounds


def hostile() -> dict[str, tuple[str, Any]]:
    long = "x" * 20_000
    hrefs = "<href>/anna/weekly.ics</href>" * 20_000
    many = "".join(f"<X:a{number}/>" for number in range(40_000))
    match = f'<C:text-match collation="i;unicode-casemap">{long}</C:text-match>'
    condition = f'<C:prop-filter name="SUMMARY">{match}</C:prop-filter>'
    expand = '<C:calendar-data><C:expand start="20310101T000000Z" end="20410101T000000Z"/></C:calendar-data>'
    return {
        "an object again and again": (
            "REPORT",
            f"<C:calendar-multiget {XMLNS}><prop><C:calendar-data/></prop>{hrefs}</C:calendar-multiget>",
        ),
        "many properties": ("PROPFIND", f"<propfind {XMLNS}><prop>{many}</prop></propfind>"),
        "many conditions": ("REPORT", query(condition * 24)),
        "many times": ("REPORT", query('<C:time-range start="19700102T000000Z"/>' * 4)),
        "much to expand": ("REPORT", query("", expand)),
        "a long time to be busy": (
            "REPORT",
            f'<C:free-busy-query {XMLNS}><C:time-range start="20310101T000000Z" end="20410101T000000Z"/>'
            "</C:free-busy-query>",
        ),
    }


@pytest.mark.parametrize("name", hostile())
def test_no_request_takes_long(name: str) -> None:
    """A calendar with large and endless objects."""
    hours = ",".join(map(str, range(24)))
    with connect(CalendarService({ANNA: ()})) as http:
        for number in range(20):
            text = written(
                "DTSTART:20310304T090000Z",
                f"RRULE:FREQ=DAILY;BYHOUR={hours}",
                f"SUMMARY:{'Ωa' * 10_000}",
                uid=f"u{number}",
            )
            assert http.put(f"anna/{number}.ics", content=text).status_code == 201
        method, body = hostile()[name]
        begun = time.process_time()
        answer = http.request(method, "anna/", content=body)
        assert time.process_time() - begun < 5
        assert answer.status_code in (207, 403, 507)
        assert len(answer.content) < 5_000_000


# Bodies of elements and values that mean something, in any order.
TAGS = (
    *("prop", "set", "remove", "displayname", "resourcetype", "sync-token", "limit", "nresults", "href"),
    *("allprop", "propname", "include", "getetag", "C:filter", "C:comp-filter", "C:prop-filter"),
    *("C:param-filter", "C:time-range", "C:text-match", "C:is-not-defined", "C:calendar-data", "C:expand"),
    *("C:limit-recurrence-set", "C:comp", "C:timezone", "C:supported-calendar-component-set"),
)
ROOTS = (
    *("propfind", "propertyupdate", "sync-collection", "C:calendar-query", "C:calendar-multiget"),
    *("C:free-busy-query", "C:mkcalendar"),
)
VALUES = st.sampled_from(
    (
        *("VCALENDAR", "VEVENT", "VTODO", "VALARM", "SUMMARY", "DTSTART", "i;octet", "yes", "", "http://["),
        *("20310301T000000Z", "20310401T000000Z", "00010101T000000Z", "99991231T235959Z", "é", "7"),
    )
)
NAMES = st.sampled_from(("name", "start", "end", "collation", "negate-condition", "content-type"))


def elements(tags: Iterable[str], inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda tag, attributes, inside: (
            f"<{tag} {XMLNS} {' '.join(f'{name}={quoteattr(text)}' for name, text in attributes.items())}>"
            f"{''.join(inside)}</{tag}>"
        ),
        st.sampled_from(tuple(tags)),
        st.dictionaries(NAMES, VALUES, max_size=3),
        st.lists(inner, max_size=3),
    )


BODIES = st.recursive(VALUES, lambda inner: elements(TAGS, inner), max_leaves=15)


@settings(max_examples=400)
@given(
    method=st.sampled_from(("PROPFIND", "REPORT", "PROPPATCH", "MKCALENDAR")),
    path=st.sampled_from(("", "anna/", "anna/weekly.ics", "new/")),
    body=elements(ROOTS, BODIES)
    | st.lists(BODIES, max_size=3).map(lambda inside: query("".join(inside), "".join(inside))),
)
def test_no_body_breaks_the_service(method: str, path: str, body: str) -> None:
    with connect(CalendarService({ANNA: ()})) as http:
        http.put("anna/weekly.ics", content=WEEKLY)
        http.put("anna/todo.ics", content=written("DUE:20310304T120000Z", kind="VTODO", uid="todo"))
        answer = http.request(method, path, content=body, headers={"depth": "1"})
        assert answer.status_code < 500 or answer.status_code == 507, answer.text
        assert answer.status_code == 201 or parse(answer.content) is not None
