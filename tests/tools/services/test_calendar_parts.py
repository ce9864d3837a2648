"""The parts of calendars: text and back, expansion, edits, what the service refuses, what is missing."""

import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ludus.tools.errors import ToolError
from ludus.tools.services import FaultPlan, connect
from ludus.tools.services.calendar import (
    Attendee,
    Calendar,
    CalendarClient,
    CalendarService,
    Item,
    VEvent,
    edit,
    expand,
    ics,
)
from ludus.tools.services.calendar.dav import requests, xml
from ludus.tools.services.calendar.model import STATUSES, resource_name
from ludus.tools.services.calendar.service import METHODS
from ludus.tools.services.client import Refused

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo")
START = datetime(2031, 3, 4, 9, tzinfo=BERLIN)
HOUR = timedelta(hours=1)
LOW, HIGH = datetime(2030, 1, 1, tzinfo=UTC), datetime(2034, 1, 1, tzinfo=UTC)

# Without what no service carries (`ludus.tools.text.UNCARRIED`).
characters = st.characters(blacklist_categories=("Cc", "Cs"), blacklist_characters="\ufffe\uffff")
texts = st.text(characters, max_size=120).map(lambda text: text.strip())
lines = st.lists(texts, max_size=3).map("\n".join).map(lambda text: text.strip())
addresses = st.from_regex(r"[a-z]{1,30}@[a-z]{1,40}\.example", fullmatch=True)
zones = st.sampled_from([*map(ZoneInfo, ZONES), UTC, None])
walls = st.datetimes(datetime(2030, 1, 1), datetime(2032, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0, second=0)
)


def fresh(text: str) -> Item:
    """The content of a text, read without a cache."""
    return ics.item_of(ics.component(text))


@st.composite
def items(draw: st.DrawFn) -> Item:
    zone, wall = draw(zones), draw(walls)
    days = draw(st.booleans()) and zone is None
    start = wall.date() if days else wall.replace(tzinfo=zone)
    length = (
        timedelta(days=draw(st.integers(1, 3))) if days else draw(st.integers(0, 3000)) * timedelta(minutes=1)
    )
    people = draw(
        st.lists(
            st.builds(
                Attendee,
                addresses,
                texts.filter(lambda text: '"' not in text and "^" not in text),
                st.sampled_from(STATUSES),
            ),
            max_size=3,
        )
    )
    weekly = draw(st.sampled_from(["", "FREQ=WEEKLY;COUNT=5", "FREQ=DAILY;COUNT=4;INTERVAL=3"]))
    main = VEvent(
        uid=draw(texts.filter(bool)),
        start=start,
        end=start + length,
        summary=draw(texts),
        location=draw(texts),
        description=draw(lines),
        organizer=people[0].address if people else "",
        attendees=tuple(people),
        status=draw(st.sampled_from(["CONFIRMED", "TENTATIVE", "CANCELLED"])),
        transparent=draw(st.booleans()),
        rule=weekly,
        excluded=(start + timedelta(days=7),) if weekly and draw(st.booleans()) else (),
        sequence=draw(st.integers(0, 5)),
        other=("CATEGORIES:blue",) if draw(st.booleans()) else (),
    )
    if not (weekly and draw(st.booleans())):
        return Item(main)
    moved = replace(main, rule="", excluded=(), occurrence=start + timedelta(days=14), summary=draw(texts))
    return Item(main, (replace(moved, start=moved.occurrence, end=moved.occurrence + length),))


@given(items())
def test_what_we_write_the_library_reads_the_same(item: Item) -> None:
    text = ics.write(item)
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n") if not line.startswith(("RDATE", " ")))
    assert fresh(text) == item
    assert ics.write(fresh(text)) == text


@st.composite
def near_plain(draw: st.DrawFn) -> Item:
    """A single event, of which one thing or two are odd."""
    anything = st.text(characters, max_size=90)
    people = st.sampled_from(["", "a", "mailto:a", "MAILTO:b@c", "urn:x:y", 'a"b;c,d\\', "^n"])
    named = [ZoneInfo("UTC"), ZoneInfo("Etc/UTC"), ZoneInfo.no_cache("Europe/Berlin"), *map(ZoneInfo, ZONES)]
    moments = st.builds(
        lambda wall, zone, fold: wall.replace(tzinfo=zone, fold=fold),
        st.datetimes(datetime(2031, 10, 26, 1), datetime(2031, 10, 26, 4))
        | st.datetimes(datetime(1500, 1, 1), datetime(2500, 1, 1)).map(
            lambda time: time.replace(microsecond=0)
        ),
        st.sampled_from([None, UTC, *named]),
        st.sampled_from([0, 0, 1]),
    )
    odd: dict[str, st.SearchStrategy[Any]] = {
        "uid": anything,
        "start": moments,
        "end": moments,
        "summary": anything,
        "description": anything,
        "organizer": people,
        "attendees": st.tuples(st.builds(Attendee, people, anything, st.sampled_from(STATUSES))),
        "status": st.sampled_from([*ics.STATES, "", "tentative"]),
        "transparent": st.just(True),
        "following": st.just(True),
        "sequence": st.sampled_from([7, -1, 10**9]),
        "stamp": moments,
        "other": st.just(("CATEGORIES:blue",)),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(odd)), min_size=1, max_size=2, unique=True))
    plain = VEvent(uid="a", start=START, end=START + HOUR)
    return Item(replace(plain, **{name: draw(odd[name]) for name in chosen}))


def at(zone: ZoneInfo, year: int = 2031) -> Item:
    start = START.replace(year=year, tzinfo=zone)
    return Item(VEvent(uid="a", start=start, end=start + HOUR))


@given(items() | near_plain())
@example(at(ZoneInfo("UTC")))
@example(at(ZoneInfo.no_cache("Europe/Berlin")))
@example(at(BERLIN, 1500))
@settings(max_examples=200)
def test_what_is_not_read_again_would_read_the_same(item: Item) -> None:
    try:
        text = ics.write(item)
    except (ics.BadCalendar, OverflowError):
        return
    remembered = ics.written_from(text)
    if remembered is not None:
        # Times are equal in different zones, which their text tells apart.
        assert repr(remembered) == repr(fresh(text))
        assert getattr(remembered.main.start, "tzinfo", None) is getattr(
            fresh(text).main.start, "tzinfo", None
        )


def test_single_events_are_not_read_again() -> None:
    item = Item(VEvent(uid="a", start=START, end=START + HOUR, summary="Tea, and cake"))
    assert ics.read(ics.write(item)) is item


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_text_breaks_the_reader(body: bytes) -> None:
    with pytest.raises(ics.BadCalendar):
        ics.read(body.decode("utf-8", errors="replace"))
    with pytest.raises(xml.BadXml):
        xml.parse(b"<" + body)


good = ics.write(Item(VEvent(uid="x", start=START, end=START + HOUR, rule="FREQ=DAILY;COUNT=3")))


@given(st.integers(0, len(good) - 1), st.integers(1, 30), st.text("A:;=,\r\n0Z", max_size=4))
def test_no_damaged_text_breaks_the_reader(place: int, length: int, put: str) -> None:
    try:
        item = ics.read(good[:place] + put + good[place + length :])
    except ics.BadCalendar:
        return
    expand.events([item], LOW, HIGH, UTC)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("RRULE:FREQ=SECONDLY", "FREQ must be one of DAILY"),
        ("RRULE:FREQ=DAILY\r\nRRULE:FREQ=WEEKLY", "two RRULEs"),
        ("DTEND:20200101T000000Z", "before DTSTART"),
        ("DTEND;VALUE=DATE:20310305", "different kinds"),
        ("RDATE;VALUE=PERIOD:20310305T080000Z/PT1H", "periods"),
        ("DTSTART:yesterday", "DTSTART"),
    ],
)
def test_objects_that_make_no_sense_are_refused_with_the_reason(line: str, words: str) -> None:
    head = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:x\r\nDTSTART:20310304T080000Z\r\n"
    body = f"{head}{line}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    with pytest.raises(ics.BadCalendar, match=words):
        ics.read(body)
    service = CalendarService({Calendar("a@x", "A", "UTC"): ()})
    with connect(service) as http:
        answer = http.put("a@x/x.ics", content=body)
    assert answer.status_code == 403
    assert "valid-calendar-data" in answer.text
    assert words in requests.read_refusal(answer)


@settings(max_examples=60)
@given(
    walls,
    st.sampled_from(ZONES),
    st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "WEEKLY;INTERVAL=2", "WEEKLY;BYDAY=MO,FR", "YEARLY"]),
    st.integers(1, 12),
    st.integers(1, 200),
)
def test_series_without_exceptions_expand_as_the_library_does_it(
    wall: datetime, zone: str, rule: str, count: int, minutes: int
) -> None:
    start = wall.replace(tzinfo=ZoneInfo(zone))
    main = VEvent(
        uid="x", start=start, end=start + timedelta(minutes=minutes), rule=f"FREQ={rule};COUNT={count}"
    )
    short = expand.events([Item(main)], start, HIGH, UTC)
    # An exception far away takes the way over the library.
    long = expand.events([Item(replace(main, excluded=(start.replace(year=1999, day=1),)))], start, HIGH, UTC)
    assert [(event.start, event.end, event.occurrence) for event in short] == [
        (event.start, event.end, event.occurrence) for event in long
    ]


def test_what_was_expanded_in_one_zone_is_not_taken_for_another() -> None:
    """The same instant in two zones is equal and has the same hash, but repeats otherwise."""
    for excluded in ((), (datetime(2031, 3, 11, 9, tzinfo=BERLIN),)):
        hours = set()
        for zone in ("Europe/Berlin", "Africa/Lagos"):
            start = START.astimezone(ZoneInfo(zone))
            item = Item(
                VEvent(uid="x", start=start, end=start + HOUR, rule="FREQ=WEEKLY;COUNT=6", excluded=excluded)
            )
            last = expand.events([item], LOW, HIGH, UTC)[-1]
            hours.add(last.start.astimezone(UTC).hour)
        assert hours == {7, 8}


def test_an_event_that_reaches_across_blocks_is_found_once() -> None:
    first = expand.FIRST + 170 * expand.BLOCK
    start = (first - timedelta(days=3)).astimezone(BERLIN)
    item = Item(VEvent(uid="x", start=start, end=start + timedelta(days=6), rule="FREQ=YEARLY"))
    assert len(expand.events([item], first - timedelta(days=30), first + timedelta(days=30), UTC)) == 1


@given(items(), st.integers(-20, 20), st.integers(0, 23))
def test_moving_and_moving_back_changes_nothing_that_takes_place(item: Item, days: int, hour: int) -> None:
    zone = BERLIN
    before = expand.events([item], LOW, HIGH, zone)
    if not before or before[0].all_day:
        return
    main = item.main
    start, end = (edit.aware(moment, zone) for moment in (main.start, main.end))
    to = (start + timedelta(days=days)).replace(hour=hour)
    moved = edit.moved(item, to, to + (end - start))
    first, last = (edit.aware(moment, zone) for moment in (moved.main.start, moved.main.end))
    back = edit.moved(moved, start, start + (end - start))
    after = expand.events([back], LOW, HIGH, zone)
    assert [(event.start, event.end) for event in after] == [(event.start, event.end) for event in before]
    assert last - first == end - start


def test_names_of_resources_are_plain_and_apart() -> None:
    uids = ("a", "a@b.c", "../../etc", "a/b", "a b", "a%b", "ü", "", ".", "..", "a\ud800", "x" * 500)
    names = [resource_name(uid) for uid in uids]
    assert len(set(names)) == len(uids)
    assert all(name.isascii() and "/" not in name and not name.startswith(".") for name in names)


# The service


@pytest.fixture
def service() -> CalendarService:
    def items() -> Iterator[Item]:
        for day in range(4, 9):
            start = START.replace(day=day)
            yield Item(VEvent(uid=f"day{day}", start=start, end=start + HOUR, summary=f"Day {day}"))

    people = [Calendar("a@x.example", "A", "Europe/Berlin"), Calendar("b@x.example", "B", "Asia/Tokyo")]
    return CalendarService({person: tuple(items()) for person in people})


def test_it_begins_with_what_it_is_given(service: CalendarService) -> None:
    client = CalendarClient(connect(service), lambda: service.clock.now)
    assert [calendar.zone for calendar in client.calendars()] == ["Europe/Berlin", "Asia/Tokyo"]
    assert [event.summary for event in client.events("b@x.example", LOW, HIGH)] == [
        f"Day {day}" for day in range(4, 9)
    ]


def test_a_snapshot_is_small_takes_everything_back_and_can_be_pickled(service: CalendarService) -> None:
    client = CalendarClient(connect(service), lambda: service.clock.now)
    begun = service.snapshot()
    client.create("a@x.example", "new", "New", START, START + HOUR, attendees=[Attendee("b@x.example")])
    client.cancel("a@x.example", "day5")
    changed = service.snapshot()
    assert changed != begun
    # Unwritten calendars are shared, not copied.
    assert (
        changed.state.by_person["a@x.example"].objects["day4.ics"]
        is begun.state.by_person["a@x.example"].objects["day4.ics"]
    )
    service.restore(begun)
    assert service.snapshot() == begun
    assert len(client.events("b@x.example", LOW, HIGH)) == 5
    service.restore(pickle.loads(pickle.dumps(changed)))
    assert len(client.events("b@x.example", LOW, HIGH)) == 6
    with pytest.raises(Refused):
        client.get("a@x.example", "day5")


def test_stale_answers_are_those_before_the_last_write(service: CalendarService) -> None:
    client = CalendarClient(connect(service), lambda: service.clock.now)
    stale = CalendarClient(connect(service, FaultPlan(stale=1)), lambda: service.clock.now)
    client.cancel("a@x.example", "day5")
    client.cancel("a@x.example", "day6")
    assert len(client.events("a@x.example", LOW, HIGH)) == 3
    assert len(stale.events("a@x.example", LOW, HIGH)) == 4
    # A write based on an old version is refused.
    client.move("a@x.example", "day7", START.replace(day=20))
    with pytest.raises(ToolError, match="read it again"):
        stale.move("a@x.example", "day7", START.replace(day=21))


def insist(act: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Repeat something until no fault occurs."""
    for _ in range(200):
        try:
            act(*args, **kwargs)
        except ToolError as error:
            if "try again" not in str(error):
                raise
        else:
            return
    raise AssertionError("it never worked")


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_what_failed_half_way_is_completed_by_doing_it_again(service: CalendarService, share: float) -> None:
    plain = CalendarClient(connect(service), lambda: service.clock.now)
    for seed in range(12):
        begun = service.snapshot()
        plan = FaultPlan(seed=seed, broken=share / 2, refused=share / 2)
        client = CalendarClient(connect(service, plan), lambda: service.clock.now)

        a, b = "a@x.example", "b@x.example"
        series = {"rule": "FREQ=WEEKLY;COUNT=6", "attendees": [Attendee(b)]}
        insist(client.create, a, "s", "S", START, START + HOUR, **series)
        insist(client.move, a, "s", START.replace(day=12), occurrence=START.replace(day=11))
        insist(client.answer, b, "s", "accepted")
        following = {"occurrence": START.replace(day=25), "following": True}
        insist(client.move, a, "s", START.replace(day=26), **following)
        insist(client.cancel, a, "s", occurrence=START.replace(day=18))
        seen = [
            [f"{event.start:%m-%d}" for event in plain.events(who, LOW, HIGH) if event.summary == "S"]
            for who in (a, b)
        ]
        assert seen == [["03-04", "03-12", "03-26", "04-02", "04-09"]] * 2
        service.restore(begun)


XML = '<?xml version="1.0"?>'
BOMB = XML + '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'
QUERY = '<C:calendar-query xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">{}</C:calendar-query>'


SYNC = '<sync-collection xmlns="DAV:"><sync-token>{}</sync-token><sync-level>1</sync-level></sync-collection>'
FILTER = QUERY.format('<C:filter><C:comp-filter name="VCALENDAR">{}</C:comp-filter></C:filter>')
EVENT = FILTER.format('<C:comp-filter name="VEVENT">{}</C:comp-filter>')
DATA = QUERY.format('<prop><C:calendar-data {}</prop><C:filter><C:comp-filter name="VCALENDAR"/></C:filter>')
PATCH = '<propertyupdate xmlns="DAV:"><set><prop>{}</prop></set></propertyupdate>'
KINDS = '<C:supported-calendar-component-set><C:comp name="{}"/></C:supported-calendar-component-set>'
MKCOL = '<mkcol xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><set><prop>{}</prop></set></mkcol>'


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "precondition", "words"),
    [
        ("REPORT", "a@x.example/", BOMB, 400, "", "DTD"),
        ("REPORT", "a@x.example/", BOMB.encode("utf-16"), 400, "", "not XML"),
        ("MKCALENDAR", "new@x.example/", BOMB, 400, "", "DTD"),
        ("REPORT", "a@x.example/", "<html>", 400, "", "not XML"),
        ("REPORT", "a@x.example/", "", 400, "", "not XML"),
        ("PROPFIND", "a@x.example/", "<a>" * 60 + "</a>" * 60, 400, "", "nested more than 50 deep"),
        ("REPORT", "a@x.example/", "<a/>", 403, "supported-report", "the report a on a calendar"),
        ("REPORT", "", EVENT, 403, "supported-report", "the home"),
        ("REPORT", "a@x.example/day4.ics", SYNC, 403, "supported-report", "on an object"),
        ("REPORT", "a@x.example/", SYNC.format("urn:x"), 403, "valid-sync-token", "begin without one"),
        (
            "REPORT",
            "a@x.example/",
            SYNC.format("").replace("</sync-c", "<limit><nresults>2</nresults></limit></sync-c"),
            507,
            "number-of-matches-within-limits",
            "5 objects",
        ),
        ("REPORT", "a@x.example/", QUERY.format(""), 403, "valid-filter", "one filter"),
        ("REPORT", "a@x.example/", FILTER.format("<C:comp-filter/>"), 403, "valid-filter", "no name"),
        ("REPORT", "a@x.example/", EVENT.format("<C:time-range/>"), 403, "valid-filter", "neither a start"),
        (
            "REPORT",
            "a@x.example/",
            EVENT.format('<C:time-range start="20310303"/>'),
            403,
            "valid-filter",
            "not a time of the form",
        ),
        (
            "REPORT",
            "a@x.example/",
            EVENT.format('<C:time-range start="20310303T000000Z" end="20310303T000000Z"/>'),
            403,
            "valid-filter",
            "end must come after",
        ),
        (
            "REPORT",
            "a@x.example/",
            FILTER.format('<C:time-range start="20310303T000000Z"/>'),
            403,
            "valid-filter",
            "VCALENDAR has no time",
        ),
        ("REPORT", "a@x.example/", EVENT.format("<C:dreams/>"), 403, "supported-filter", "filter dreams"),
        ("REPORT", "a@x.example/", EVENT.format("<C:x/>" * 60), 403, "supported-filter", "at most 50"),
        (
            "REPORT",
            "a@x.example/",
            EVENT.format(
                '<C:comp-filter name="VALARM"><C:time-range start="20310303T000000Z"/></C:comp-filter>'
            ),
            403,
            "supported-filter",
            "VALARM",
        ),
        (
            "REPORT",
            "a@x.example/",
            EVENT.format(
                '<C:prop-filter name="SUMMARY"><C:text-match collation="i;x">a</C:text-match></C:prop-filter>'
            ),
            403,
            "supported-collation",
            "'i;x' is not supported; there are i;ascii-casemap",
        ),
        (
            "REPORT",
            "a@x.example/",
            DATA.format('content-type="application/json"/>'),
            403,
            "supported-calendar-data",
            "text/calendar",
        ),
        (
            "REPORT",
            "a@x.example/",
            DATA.format('><C:expand start="20310101T000000Z"/></C:calendar-data>'),
            403,
            "supported-calendar-data",
            "needs a start and an end",
        ),
        (
            "REPORT",
            "a@x.example/",
            DATA.format('><C:expand start="19800101T000000Z" end="20990101T000000Z"/></C:calendar-data>'),
            403,
            "number-of-matches-within-limits",
            "4000 days",
        ),
        ("REPORT", "nobody/", QUERY.format(""), 404, "", "no calendar of 'nobody'"),
        (
            "PUT",
            "a@x.example/y.ics",
            good.replace("UID:x", "UID:day4"),
            409,
            "no-uid-conflict",
            "belongs to the object 'day4.ics'",
        ),
        ("PUT", "a@x.example/day4.ics", good, 409, "no-uid-conflict", "has another UID"),
        ("PUT", "a@x.example/y.ics", b"\xff\xfe", 403, "valid-calendar-data", "iCalendar"),
        (
            "PUT",
            "a@x.example/y.ics",
            good.replace("VEVENT", "VJOURNAL"),
            403,
            "supported-calendar-component",
            "VEVENT and VTODO",
        ),
        ("PUT", "a@x.example/y.ics", b"x" * 1_000_001, 413, "max-resource-size", "longer than"),
        ("PUT", "nobody/y.ics", good, 409, "", "no calendar of 'nobody'"),
        ("PUT", "a@x.example/", good, 405, "", "PUT is not for a calendar"),
        ("GET", "a@x.example/none.ics", "", 404, "", "no object 'none.ics'"),
        ("DELETE", "", "", 405, "", "not for the home"),
        ("MKCALENDAR", "a@x.example/", "", 405, "resource-must-be-null", "already"),
        ("MKCALENDAR", "a@x.example/x/y", "", 403, "calendar-collection-location-ok", "made at"),
        ("MKCALENDAR", ".well-known/", "", 403, "calendar-collection-location-ok", "made at"),
        ("MKCOL", "new/", "", 403, "valid-resourcetype", "only calendars"),
        ("MKCOL", "new/", MKCOL.format("<resourcetype/>"), 403, "valid-resourcetype", "only calendars"),
        (
            "MKCALENDAR",
            "new/",
            MKCOL.format("<C:calendar-timezone>TZID:Mars</C:calendar-timezone>"),
            403,
            "valid-calendar-data",
            "'Mars' has no IANA name",
        ),
        (
            "MKCALENDAR",
            "new/",
            MKCOL.format(KINDS.format("VJOURNAL")),
            403,
            "supported-calendar-component",
            "VEVENT and VTODO",
        ),
        ("PROPFIND", "nobody/", "", 404, "", "no calendar"),
        (
            "PROPPATCH",
            "a@x.example/day4.ics",
            PATCH.format("<displayname/>"),
            403,
            "cannot-modify-protected-property",
            "follow from its text",
        ),
    ],
)
def test_what_the_service_refuses(
    service: CalendarService, method: str, path: str, body, status: int, precondition: str, words: str
) -> None:
    before = service.state
    with connect(service) as http:
        answer = http.request(method, path, content=body)
    assert answer.status_code == status, answer.text
    assert words in requests.read_refusal(answer)
    assert [xml.local_name(inner.tag) for inner in xml.parse(answer.content)][:-1] == [precondition] * bool(
        precondition
    )
    assert service.state is before


@given(
    st.sampled_from(METHODS),
    st.text(max_size=40),
    st.binary(max_size=60),
)
def test_no_request_breaks_the_service(method: str, path: str, body: bytes) -> None:
    service = CalendarService({Calendar("a", "A", "UTC"): ()})
    with connect(service) as http:
        for prefix in ("", "a/"):
            url = f"http://x.invalid/{prefix}{quote(path)}"
            assert http.request(method, url, content=body).status_code < 500


def test_it_says_what_it_speaks(service: CalendarService) -> None:
    with connect(service) as http:
        assert "calendar-access" in http.options("/").headers["dav"]


def test_whole_days_moved_to_a_time_become_an_event_of_that_time() -> None:
    item = Item(VEvent(uid="x", start=date(2031, 3, 4), end=date(2031, 3, 5)))
    assert edit.moved(item, START, START + HOUR).main.start == START
    midnight = START.replace(hour=0)
    assert edit.moved(item, midnight, midnight + timedelta(days=1)).main.start == date(2031, 3, 4)


@pytest.mark.parametrize(
    "title", ["a\rb", "a\r\nEND:VEVENT\r\nb", "\u2028BEGIN:VEVENT", "\\n\\,;", "C:\\New\\next"]
)
def test_a_title_is_read_as_it_was_written_wherever_it_is_read(title: str) -> None:
    service = CalendarService({Calendar("a@example.org", "A", "UTC"): ()})
    client = CalendarClient(connect(service), lambda: service.clock.now)
    start = datetime(2031, 3, 3, 10, tzinfo=UTC)
    written = client.create("a@example.org", "one", title, start, start + timedelta(hours=1))
    (text,) = service.state.by_person["a@example.org"].objects.values()
    # Another text, which no cache has.
    again = ics.read(text.replace("PRODID:", "PRODID:again "))
    assert again.main.summary == written.main.summary
