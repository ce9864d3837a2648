"""Recurrence rules: followed as in dateutil, bounded, refused if they make no sense, moved."""

import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import httpx
import pytest
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.tools.errors import ToolError
from ludus.tools.services import connect
from ludus.tools.services.calendar import (
    Calendar,
    CalendarClient,
    CalendarService,
    Item,
    VEvent,
    expand,
    ics,
    rules,
)
from ludus.tools.services.calendar.lines import BadCalendar

BERLIN = ZoneInfo("Europe/Berlin")
ANNA = "anna@example.org"
NOW = datetime(2031, 3, 3, 8, tzinfo=UTC)
LOW, HIGH = datetime(2031, 1, 1, tzinfo=UTC), datetime(2033, 1, 1, tzinfo=UTC)
FIRST = datetime(2031, 3, 4, 9, 30)


def some(values, name: str, most: int = 3):
    """A part of a rule, or nothing."""
    listed = st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)
    return st.just("") | listed.map(lambda chosen: f";{name}={','.join(map(str, chosen))}")


weekdays = rules.WEEKDAYS
ends = st.sampled_from(
    [";COUNT=7", ";UNTIL=20360304T093000", ";COUNT=30;INTERVAL=2", ";INTERVAL=3;UNTIL=20340101"]
)
month_days = some([1, 2, 5, 15, 28, 29, 30, 31, -1, -2, -30], "BYMONTHDAY")
months = some([1, 2, 3, 6, 10, 12], "BYMONTH")
weeks = some([1, 2, 20, 52, 53, -1], "BYWEEKNO")
plain_days = some(weekdays, "BYDAY")
which_days = some([*weekdays, "1MO", "2TU", "-1FR", "5WE", "-2SU"], "BYDAY")
hours = some([0, 9, 23], "BYHOUR")
generated = st.one_of(
    st.tuples(st.just("FREQ=DAILY"), ends, months, month_days, plain_days, hours),
    st.tuples(st.just("FREQ=WEEKLY"), ends, months, plain_days, hours, some(["SU", "MO", "WE"], "WKST", 1)),
    st.tuples(st.just("FREQ=MONTHLY"), ends, months, month_days, which_days, some([1, 2, -1], "BYSETPOS")),
    st.tuples(st.just("FREQ=YEARLY"), ends, months, month_days, which_days),
    st.tuples(st.just("FREQ=YEARLY"), ends, some([1, 60, 200, 366, -1, -366], "BYYEARDAY"), plain_days),
    st.tuples(st.just("FREQ=YEARLY"), ends, weeks, some(weekdays, "BYDAY", 1)),
).map("".join)


@settings(max_examples=150)
@given(
    generated,
    st.datetimes(datetime(2028, 1, 1), datetime(2032, 1, 1)).map(lambda at: at.replace(microsecond=0)),
)
def test_rules_are_followed_as_dateutil_follows_them(text: str, first: datetime) -> None:
    first = first.replace(microsecond=0)
    try:
        rule = rules.read_rule(text)
    except BadCalendar:
        return
    if len({which != 0 for which, _ in rule.weekdays}) == 2:
        return  # A day matches if any of them names it; for dateutil, if both kinds do.
    if rule.week_numbers and not rule.weekdays:
        return  # RFC 5545 takes the weekday from the start; dateutil takes every day.
    until = datetime(2037, 1, 1)
    theirs = [at for at in islice(rrulestr(text, dtstart=first), 5000) if at < until]
    ours = [*rules.starts(rule, first, first, until)]
    middle = first + timedelta(days=500)
    assert [*rules.starts(rule, first, middle, until)] == [at for at in ours if at >= middle]
    if rule.until is not None and not isinstance(rule.until, datetime):
        # dateutil ends at the beginning of such a day.
        ours, theirs = ([at for at in given if at.date() < rule.until] for given in (ours, theirs))
    assert ours == theirs


EVERY = ",".join(map(str, range(60)))
HOSTILE = [
    "FREQ=WEEKLY;INTERVAL=0;UNTIL=20310325T093000Z;BYDAY=TU",
    f"FREQ=DAILY;BYHOUR={','.join(map(str, range(24)))};BYMINUTE={EVERY};BYSECOND={EVERY}",
    "FREQ=DAILY;INTERVAL=-1",
    "FREQ=DAILY;COUNT=-5",
    "FREQ=DAILY;COUNT=0",
    "FREQ=DAILY;COUNT=10000000",
    "FREQ=SECONDLY",
    "FREQ=SECONDLY;UNTIL=21310325T093000Z",
    "FREQ=MINUTELY;INTERVAL=2",
    "FREQ=HOURLY",
    "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=MONTHLY;BYMONTHDAY=0",
    "FREQ=MONTHLY;BYMONTHDAY=32",
    "FREQ=YEARLY;BYMONTH=13",
    "FREQ=WEEKLY;BYDAY=XX",
    "FREQ=WEEKLY;BYDAY=2TU",
    "FREQ=WEEKLY;BYMONTHDAY=3",
    "FREQ=DAILY;BYYEARDAY=3",
    "FREQ=DAILY;BYWEEKNO=3",
    "FREQ=DAILY;BYSETPOS=1",
    "FREQ=DAILY;FREQ=WEEKLY",
    "FREQ=DAILY;UNTIL=never",
    "FREQ=DAILY;UNTIL=99991231",
    "FREQ=DAILY;COLOUR=BLUE",
    "INTERVAL=2",
    "DAILY",
    "FREQ=DAILY;INTERVAL=" + "9" * 5000,
]
ODD_BUT_RIGHT = [
    "FREQ=YEARLY;BYWEEKNO=53;BYMONTH=6",
    "FREQ=YEARLY;BYYEARDAY=366;BYMONTH=1;COUNT=3",
    "FREQ=DAILY;INTERVAL=999999;BYMONTH=2;BYMONTHDAY=29",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO",
    "FREQ=DAILY;COUNT=10000;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO;INTERVAL=997",
    "FREQ=DAILY;COUNT=3;UNTIL=20310306T093000Z",
    f"FREQ=DAILY;BYHOUR={','.join(map(str, range(24)))}",
    "freq=daily;count=2;",
]


def object_with(rule: str, more: str = "") -> str:
    return (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:odd\r\nDTSTAMP:20310101T000000Z\r\n"
        f"DTSTART:20310304T093000Z\r\nDTEND:20310304T103000Z\r\nRRULE:{rule}\r\n{more}END:VEVENT\r\n"
        "END:VCALENDAR\r\n"
    )


@pytest.mark.parametrize("rule", HOSTILE, ids=lambda rule: rule[:40])
def test_a_rule_that_no_calendar_can_mean_is_refused(rule: str) -> None:
    service = CalendarService({Calendar(ANNA, "Anna", "UTC"): ()})
    with connect(service) as http:
        answer = http.put(f"{ANNA}/odd.ics", content=object_with(rule))
        assert answer.status_code == 403
        assert "valid-calendar-data" in answer.text
        client = CalendarClient(http, lambda: NOW)
        with pytest.raises(ToolError, match="cannot be written into a calendar"):
            client.create(ANNA, "odd", "Odd", NOW, NOW + timedelta(hours=1), rule=rule)
        assert client.events(ANNA, LOW, HIGH) == []


@pytest.mark.parametrize("rule", ODD_BUT_RIGHT)
def test_a_rule_that_seldom_or_often_matches_is_followed_within_bounds(rule: str) -> None:
    service = CalendarService({Calendar(ANNA, "Anna", "UTC"): ()})
    with connect(service) as http:
        assert http.put(f"{ANNA}/odd.ics", content=object_with(rule)).status_code == 201
        begun = time.process_time()
        client = CalendarClient(http, lambda: NOW)
        client.events(ANNA, LOW, HIGH)
        client.free_busy([ANNA], LOW, HIGH)
        body = (
            '<C:calendar-query xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><C:filter><C:comp-filter '
        )
        body += 'name="VCALENDAR"><C:comp-filter name="VEVENT"><C:time-range start="20320101T000000Z"/>'
        body += "</C:comp-filter></C:comp-filter></C:filter></C:calendar-query>"
        assert http.request("REPORT", f"{ANNA}/", content=body).status_code == 207
        assert time.process_time() - begun < 5


def test_more_than_anybody_can_read_is_told() -> None:
    hours = ",".join(map(str, range(24)))
    items = [
        Item(VEvent(uid=str(n), start=NOW, end=NOW, rule=f"FREQ=DAILY;BYHOUR={hours}")) for n in range(3)
    ]
    with pytest.raises(ValueError, match="ask for a shorter time"):
        expand.events(items, NOW, NOW + timedelta(days=700), UTC)


def test_a_hostile_server_costs_its_objects_alone(caplog: pytest.LogCaptureFixture) -> None:
    good = ics.write(Item(VEvent(uid="good", start=NOW, end=NOW + timedelta(hours=1), summary="Good")))
    service = CalendarService({Calendar(ANNA, "Anna", "UTC"): ()})
    odd = {f"{n}.ics": object_with(rule).replace("UID:odd", f"UID:{n}") for n, rule in enumerate(HOSTILE)}
    odd |= {
        "two.ics": object_with("FREQ=DAILY;COUNT=2\r\nRRULE:FREQ=WEEKLY;COUNT=2"),
        "zone.ics": object_with("FREQ=DAILY").replace(
            "DTSTART:20310304T093000Z", "DTSTART;TZID=Mars:20310304T093000"
        ),
        "old.ics": object_with("FREQ=DAILY").replace("20310304", "00010101"),
        "long.ics": object_with("FREQ=DAILY").replace("DTEND:2031", "DTEND:2039"),
        "many.ics": object_with("FREQ=DAILY;BYHOUR=1,2").replace("DTEND:20310304", "DTEND:20310306"),
        "none.ics": "nothing of the kind",
    }
    texts = {"good.ics": good, **odd}
    body = "".join(
        f"<response><href>/{ANNA}/{name}</href><propstat><prop><getetag>1</getetag><C:calendar-data><![CDATA[{text}]]>"
        "</C:calendar-data></prop><status>HTTP/1.1 200 OK</status></propstat></response>"
        for name, text in texts.items()
    )
    report = f'<multistatus xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">{body}</multistatus>'

    http = httpx.Client(
        base_url="http://dav.example",
        transport=httpx.MockTransport(lambda request: httpx.Response(207, text=report)),
    )
    client = CalendarClient(http, lambda: NOW)
    for _ in range(2):
        assert [event.summary for event in client.events(ANNA, LOW, HIGH)] == ["Good"]
    assert {name.rpartition("/")[2] for name in client.skipped} == set(odd)
    assert sum("is left out" in record.message for record in caplog.records) == len(odd)
    assert service.state.by_person[ANNA].objects == {}


@pytest.mark.parametrize(
    ("rule", "first", "moved", "expected"),
    [
        ("FREQ=MONTHLY;BYMONTHDAY=15;COUNT=3", 15, 16, ["03-16", "04-16", "05-16"]),
        ("FREQ=MONTHLY;BYMONTHDAY=3,15;COUNT=3", 15, 17, ["03-17", "04-05", "04-17"]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR;COUNT=4", 3, 6, ["03-06", "03-10", "03-20", "03-24"]),
        ("FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=15;COUNT=1", 15, 16, ["03-16"]),
        ("FREQ=WEEKLY;UNTIL=20310325T083000Z", 4, 5, ["03-05", "03-12", "03-19", "03-26"]),
    ],
)
def test_a_series_is_moved_with_its_rule(rule: str, first: int, moved: int, expected: list[str]) -> None:
    service = CalendarService({Calendar(ANNA, "Anna", "Europe/Berlin"): ()})
    client = CalendarClient(connect(service), lambda: NOW)
    start = FIRST.replace(day=first, tzinfo=BERLIN)
    client.create(ANNA, "x", "X", start, start + timedelta(hours=1), rule=rule)
    client.move(ANNA, "x", start.replace(day=moved))
    assert [f"{event.start:%m-%d}" for event in client.events(ANNA, LOW, HIGH)] == expected


@pytest.mark.parametrize(
    ("rule", "first"),
    [
        ("FREQ=MONTHLY;BYMONTHDAY=31;COUNT=3", 31),
        ("FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=3", 31),
        ("FREQ=MONTHLY;BYDAY=1TU;COUNT=3", 4),
        ("FREQ=MONTHLY;BYDAY=TU;BYSETPOS=1;COUNT=3", 4),
        ("FREQ=DAILY;BYMONTH=3;COUNT=9", 4),
        ("FREQ=YEARLY;BYYEARDAY=63;COUNT=3", 4),
    ],
)
def test_a_series_whose_rule_cannot_be_moved_is_left_as_it_is(rule: str, first: int) -> None:
    service = CalendarService({Calendar(ANNA, "Anna", "Europe/Berlin"): ()})
    client = CalendarClient(connect(service), lambda: NOW)
    start = FIRST.replace(day=first, tzinfo=BERLIN)
    client.create(ANNA, "x", "X", start, start + timedelta(hours=1), rule=rule)
    before = service.state
    with pytest.raises(ToolError, match="cannot be moved as a whole"):
        client.move(ANNA, "x", start + timedelta(days=1))
    assert service.state is before
