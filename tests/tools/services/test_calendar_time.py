"""Calendars and clock changes; series whose later occurrences all differ."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import icalendar
import pytest

from ludus.tools.errors import ToolError
from ludus.tools.services import connect
from ludus.tools.services.calendar import Calendar, CalendarClient, CalendarService, Item, VEvent, ics
from ludus.tools.services.calendar.zones import vtimezone, written_zone

BERLIN = ZoneInfo("Europe/Berlin")
ANNA = "anna@example.org"
NOW = datetime(2031, 3, 3, 8, tzinfo=UTC)
LOW, HIGH = datetime(2031, 1, 1, tzinfo=UTC), datetime(2032, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "America/Nuuk",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
)


@pytest.fixture
def service() -> CalendarService:
    return CalendarService({Calendar(ANNA, "Anna", "Europe/Berlin"): ()})


@pytest.fixture
def client(service: CalendarService) -> CalendarClient:
    return CalendarClient(connect(service), lambda: NOW)


def put(client: CalendarClient, *lines: str) -> None:
    head = ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", "BEGIN:VEVENT", "UID:x", "DTSTAMP:20310101T000000Z")
    text = "\r\n".join((*head, *lines, "END:VEVENT", "END:VCALENDAR", ""))
    client._http.put(f"{ANNA}/x.ics", content=text).raise_for_status()


def times(client: CalendarClient) -> list[str]:
    return [f"{event.start:%m-%d %H:%M}-{event.end:%H:%M}" for event in client.events(ANNA, LOW, HIGH)]


def spans(client: CalendarClient) -> list[timedelta]:
    return [
        event.end.astimezone(UTC) - event.start.astimezone(UTC) for event in client.events(ANNA, LOW, HIGH)
    ]


def test_a_duration_in_hours_is_exact_and_one_in_days_is_not(client: CalendarClient) -> None:
    put(client, "DTSTART;TZID=Europe/Berlin:20310329T220000", "DURATION:PT8H")
    assert times(client) == ["03-29 22:00-07:00"]
    put(client, "DTSTART;TZID=Europe/Berlin:20310329T220000", "DURATION:P1D")
    assert times(client) == ["03-29 22:00-22:00"]
    assert spans(client) == [23 * HOUR]


def test_every_occurrence_lasts_as_long_as_the_first(client: CalendarClient) -> None:
    start = datetime(2031, 3, 29, 22, tzinfo=BERLIN)
    end = (start.astimezone(UTC) + 8 * HOUR).astimezone(BERLIN)
    client.create(ANNA, "x", "X", start, end, rule="FREQ=DAILY;COUNT=3")
    assert spans(client) == [8 * HOUR] * 3
    assert times(client) == ["03-29 22:00-07:00", "03-30 22:00-06:00", "03-31 22:00-06:00"]
    client.move(ANNA, "x", start.replace(day=28))
    assert spans(client) == [8 * HOUR] * 3


def test_a_start_that_the_clocks_skip_takes_its_hour_all_the_same(client: CalendarClient) -> None:
    start = datetime(2031, 3, 29, 2, tzinfo=BERLIN)
    client.create(ANNA, "x", "X", start, start + HOUR, rule="FREQ=DAILY;COUNT=3")
    assert times(client) == ["03-29 02:00-03:00", "03-30 03:00-04:00", "03-31 02:00-03:00"]
    busy = client.free_busy(
        [ANNA], datetime(2031, 3, 30, tzinfo=BERLIN), datetime(2031, 3, 31, tzinfo=BERLIN)
    )
    assert [period.end - period.start for period in busy[ANNA]] == [HOUR]
    (skipped,) = client.events(
        ANNA, datetime(2031, 3, 30, tzinfo=BERLIN), datetime(2031, 3, 31, tzinfo=BERLIN)
    )
    client.cancel(ANNA, "x", occurrence=skipped.occurrence)
    assert times(client) == ["03-29 02:00-03:00", "03-31 02:00-03:00"]


def test_the_second_of_two_times_alike_keeps_its_offset(
    service: CalendarService, client: CalendarClient
) -> None:
    second = datetime(2031, 10, 26, 2, 30, tzinfo=BERLIN, fold=1)
    client.create(ANNA, "x", "X", second, second + HOUR)
    (event,) = client.events(ANNA, LOW, HIGH)
    assert event.start.astimezone(UTC) == datetime(2031, 10, 26, 1, 30, tzinfo=UTC)
    client.move(ANNA, "x", second.replace(fold=0))
    (event,) = client.events(ANNA, LOW, HIGH)
    assert event.start.astimezone(UTC) == datetime(2031, 10, 26, 0, 30, tzinfo=UTC)
    with pytest.raises(ToolError, match="which the clocks show twice"):
        client.create(ANNA, "s", "S", second, second + HOUR, rule="FREQ=DAILY;COUNT=3")


def test_what_is_in_the_process_is_what_was_written(service: CalendarService, client: CalendarClient) -> None:
    """Objects are passed on only as text."""
    item = client.create(ANNA, "x", "X", NOW.astimezone(BERLIN), NOW.astimezone(BERLIN) + HOUR)
    (text,) = service.state.by_person[ANNA].objects.values()
    assert client.get(ANNA, "x").item is ics.read(text)
    assert client.get(ANNA, "x").item is not item


@pytest.mark.parametrize("name", ZONES)
def test_zones_are_written_as_they_are(name: str) -> None:
    text, zone = vtimezone(name), ZoneInfo(name)
    ours = written_zone(text)
    theirs = icalendar.Timezone.from_ical(text).to_tz()
    moment = datetime(2020, 1, 2, tzinfo=UTC)
    while moment.year < 2037:
        local = moment.astimezone(zone)
        assert moment.astimezone(ours).utcoffset() == local.utcoffset(), moment
        assert local.replace(tzinfo=theirs).utcoffset() == local.utcoffset(), moment
        moment += timedelta(days=11, hours=5)


def test_zones_are_written_by_rule_with_onsets_before_the_change() -> None:
    lines = vtimezone("Europe/Berlin").split("\r\n")
    assert "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU" in lines
    assert "DTSTART:20200329T020000" in lines
    assert "DTSTART:20201025T030000" in lines
    assert not any(line.startswith("RDATE") for line in lines)
    assert any("BYMONTHDAY=24,25,26,27,28,29,30" in line for line in vtimezone("America/Nuuk").split("\r\n"))


OWN_ZONE = (
    "BEGIN:VTIMEZONE\r\nTZID:Mine\r\nBEGIN:STANDARD\r\nDTSTART:16010101T030000\r\nTZOFFSETFROM:+0200\r\n"
    "TZOFFSETTO:+0100\r\nRRULE:{rule};BYDAY=-1SU;BYMONTH=10\r\nEND:STANDARD\r\nBEGIN:DAYLIGHT\r\n"
    "DTSTART:16010101T020000\r\nTZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\nRRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3\r\n"
    "END:DAYLIGHT\r\nEND:VTIMEZONE\r\n"
)


def test_a_zone_of_somebody_else_s_is_followed_and_kept(
    service: CalendarService, client: CalendarClient
) -> None:
    def body(rule: str) -> str:
        event = "BEGIN:VEVENT\r\nUID:x\r\nDTSTART;TZID=Mine:20310328T090000\r\nDURATION:PT1H\r\n"
        event += "RRULE:FREQ=DAILY;COUNT=3\r\nEND:VEVENT\r\n"
        return f"BEGIN:VCALENDAR\r\n{OWN_ZONE.format(rule=rule)}{event}END:VCALENDAR\r\n"

    for rule in ("FREQ=YEARLY;INTERVAL=0", "FREQ=SECONDLY", "FREQ=DAILY"):
        assert client._http.put(f"{ANNA}/x.ics", content=body(rule)).status_code == 403
    client._http.put(f"{ANNA}/x.ics", content=body("FREQ=YEARLY")).raise_for_status()

    def hours() -> list[int]:
        return [event.start.astimezone(UTC).hour for event in client.events(ANNA, LOW, HIGH)]

    assert hours() == [8, 8, 7]
    client.cancel(ANNA, "x", occurrence=client.events(ANNA, LOW, HIGH)[1].occurrence)
    assert hours() == [8, 7]


def at(day: int, hour: int = 9) -> datetime:
    return datetime(2031, 3, day, hour, tzinfo=BERLIN)


@pytest.fixture
def shifted(client: CalendarClient) -> CalendarClient:
    """Daily at nine, six times; from the fifth on at eleven."""
    main = VEvent(uid="x", start=at(3), end=at(3, 10), summary="Nine", rule="FREQ=DAILY;COUNT=6")
    change = VEvent(
        uid="x", start=at(5, 11), end=at(5, 12), summary="Eleven", occurrence=at(5), following=True
    )
    client.put(ANNA, Item(main, (change,)))
    return client


def shown(client: CalendarClient) -> list[str]:
    return [f"{event.start:%d %H} {event.summary}" for event in client.events(ANNA, LOW, HIGH)]


NINES, ELEVENS = ["03 09 Nine", "04 09 Nine"], [f"0{day} 11 Eleven" for day in (5, 6, 7, 8)]


def test_a_change_of_all_that_follow_is_followed_and_survives_a_write(shifted: CalendarClient) -> None:
    assert shown(shifted) == NINES + ELEVENS
    shifted.move(ANNA, "x", at(7, 15), occurrence=at(7))
    assert shown(shifted) == [*NINES, *ELEVENS[:2], "07 15 Eleven", ELEVENS[3]]
    assert "RANGE=THISANDFUTURE" in ics.write(shifted.get(ANNA, "x").item)
    # Only that time is queried: what moved into it is found.
    assert [event.summary for event in shifted.events(ANNA, at(8, 11), at(8, 12))] == ["Eleven"]


def test_single_dates_of_what_follows_are_cancelled_and_moved(shifted: CalendarClient) -> None:
    shifted.cancel(ANNA, "x", occurrence=at(5))
    assert shown(shifted) == NINES + ELEVENS[1:]
    shifted.cancel(ANNA, "x", occurrence=at(8))
    assert shown(shifted) == NINES + ELEVENS[1:3]


def test_the_first_of_what_follows_is_moved_alone(shifted: CalendarClient) -> None:
    shifted.move(ANNA, "x", at(5, 17), occurrence=at(5))
    assert shown(shifted) == [*NINES, "05 17 Eleven", *ELEVENS[1:]]


def test_what_follows_is_moved_once_more(shifted: CalendarClient) -> None:
    shifted.move(ANNA, "x", at(7, 14), occurrence=at(7), following=True)
    assert shown(shifted) == [*NINES, *ELEVENS[:2], "07 14 Eleven", "08 14 Eleven"]


def test_a_whole_series_is_moved_with_what_follows(shifted: CalendarClient) -> None:
    shifted.move(ANNA, "x", at(3, 8))
    assert shown(shifted) == ["03 08 Nine", "04 08 Nine", *(f"0{day} 10 Eleven" for day in (5, 6, 7, 8))]
