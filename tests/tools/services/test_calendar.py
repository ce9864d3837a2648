"""The calendar client against our service in this process, the same over HTTP, and Radicale: same results."""

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
import uvicorn

from ludus.tools.errors import ToolError, ToolFault
from ludus.tools.services import connect
from ludus.tools.services.calendar import (
    Attendee,
    Busy,
    CalendarClient,
    CalendarService,
    Item,
    VEvent,
)
from ludus.tools.services.client import Refused

BERLIN, NEW_YORK, KOLKATA = map(ZoneInfo, ("Europe/Berlin", "America/New_York", "Asia/Kolkata"))
ANNA, BO, CHI = "anna@example.org", "bo@example.org", "chi@example.org"
NOW = datetime(2031, 3, 3, 8, tzinfo=UTC)
FIRST, LAST = datetime(2031, 3, 1, tzinfo=UTC), datetime(2031, 5, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[CalendarService, str]]:
    """Our service behind a real port."""
    service = CalendarService()
    server = uvicorn.Server(uvicorn.Config(service.app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield service, f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(params=["in process", "served", "radicale"])
def http(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A server without calendars, whichever."""
    if request.param == "in process":
        client = connect(CalendarService())
    elif request.param == "served":
        service, url = request.getfixturevalue("served")
        service.state = CalendarService().state
        client = connect(url, trust_env=False)
    else:
        url = request.getfixturevalue("radicale")
        client = connect(url, auth=("ludus", ""), trust_env=False)
        for calendar in CalendarClient(client).calendars():
            client.delete(f"{calendar.person}/").raise_for_status()
    yield client
    client.close()


@pytest.fixture
def client(http: httpx.Client) -> CalendarClient:
    client = CalendarClient(http, lambda: NOW)
    client.make_calendar(ANNA, "Anna Ødegård", "Europe/Berlin")
    client.make_calendar(BO, "Bo <Li> & Co", "America/New_York")
    client.make_calendar(CHI, "Chi", "Asia/Kolkata")
    return client


def at(day: int, hour: int = 9, minute: int = 0, zone: ZoneInfo = BERLIN, month: int = 3) -> datetime:
    return datetime(2031, month, day, hour, minute, tzinfo=zone)


def starts(client: CalendarClient, person: str = ANNA) -> list[str]:
    """When things start, on the person's own clock."""
    zone = ZoneInfo(client.calendar(person).zone)
    return [f"{event.start.astimezone(zone):%m-%d %H:%M}" for event in client.events(person, FIRST, LAST)]


def weekly(client: CalendarClient, count: int = 6, **more) -> Item:
    return client.create(ANNA, "sync", "Sync", at(4), at(4, 10), rule=f"FREQ=WEEKLY;COUNT={count}", **more)


def test_people_have_calendars_with_names_and_zones(client: CalendarClient) -> None:
    found = client.calendars()
    assert [calendar.person for calendar in found] == [ANNA, BO, CHI]
    assert [calendar.name for calendar in found] == ["Anna Ødegård", "Bo <Li> & Co", "Chi"]
    assert [calendar.zone for calendar in found] == ["Europe/Berlin", "America/New_York", "Asia/Kolkata"]
    assert client.calendar(BO) == found[1]
    with pytest.raises(ToolError):
        client.make_calendar(ANNA, "again")


def test_what_is_written_is_read_again(client: CalendarClient) -> None:
    text = "Ideas; costs, plans\\ and\nmore: “ü” 日本 \U0001f600 " * 6
    main = VEvent(
        uid="a/b ü@x",
        start=at(5),
        end=at(5, 10, 15),
        summary=text.strip(),
        location="Room <1>",
        description="a\n\nb",
        stamp=NOW,
        transparent=True,
        status="TENTATIVE",
        organizer=ANNA,
        attendees=(Attendee(ANNA, 'A "quoted" name, x', "accepted"), Attendee(BO)),
        rule="FREQ=WEEKLY;COUNT=3",
        excluded=(at(12),),
        added=(at(14), at(15, 11)),
        other=("CATEGORIES:blue,green", "X-COLOUR;X-DEPTH=3:dark"),
    )
    client.put(ANNA, Item(main))
    read = client.get(ANNA, main.uid).item
    # A server may add what it likes to unknown objects.
    assert set(main.other) <= set(read.main.other)
    assert read.main.attendees[0].name.replace('"', "'") == "A 'quoted' name, x"
    plain = {"other": (), "attendees": ()}
    assert {name: getattr(read.main, name) for name in VEvent.__slots__ if name not in plain} == {
        name: getattr(main, name) for name in VEvent.__slots__ if name not in plain
    }


def test_an_old_version_does_not_overwrite_a_new_one(client: CalendarClient) -> None:
    item = client.create(ANNA, "one", "One", at(4), at(4, 10))
    first = client.get(ANNA, "one")
    client.put(ANNA, item, etag=first.etag)
    changed = client.move(ANNA, "one", at(4, 11))
    for refused in (
        lambda: client.put(ANNA, item, etag=first.etag),
        lambda: client.put(ANNA, item),
        lambda: client.delete(ANNA, "one", etag=first.etag),
    ):
        with pytest.raises(Refused) as caught:
            refused()
        assert caught.value.status == 412
    second = client.get(ANNA, "one")
    assert second.item.main.start == changed.main.start == at(4, 11)
    assert second.etag != first.etag
    client.delete(ANNA, "one", etag=second.etag)
    with pytest.raises(Refused) as caught:
        client.get(ANNA, "one")
    assert caught.value.status == 404


def test_a_series_keeps_the_time_of_the_clock_when_the_clocks_change(client: CalendarClient) -> None:
    weekly(client, attendees=[Attendee(BO), Attendee(CHI)])
    assert starts(client) == [
        f"{day} 09:00" for day in ("03-04", "03-11", "03-18", "03-25", "04-01", "04-08")
    ]
    # New York changes on the 9th of March, Berlin on the 30th; Kolkata never.
    assert [start[6:] for start in starts(client, BO)] == [
        "03:00",
        "04:00",
        "04:00",
        "04:00",
        "03:00",
        "03:00",
    ]
    assert [start[6:] for start in starts(client, CHI)] == ["13:30"] * 4 + ["12:30"] * 2
    assert {event.end - event.start for event in client.events(BO, FIRST, LAST)} == {timedelta(hours=1)}


def test_one_occurrence_is_moved_and_keeps_its_name(client: CalendarClient) -> None:
    weekly(client)
    client.move(ANNA, "sync", at(13, 15), occurrence=at(11))
    moved = client.events(ANNA, at(13, 0), at(14, 0))
    assert [(event.start, event.end, event.occurrence) for event in moved] == [
        (at(13, 15), at(13, 16), at(11))
    ]
    # Again, by its unchanged name, from far away.
    client.move(ANNA, "sync", at(28, 8, month=4), occurrence=at(11))
    assert starts(client)[1:] == ["03-18 09:00", "03-25 09:00", "04-01 09:00", "04-08 09:00", "04-28 08:00"]
    assert client.events(ANNA, at(11, 0), at(14, 0)) == []
    with pytest.raises(ToolError, match=r"no occurrence 2031-03-12T09:00.*nearest.*2031-03-18T09:00"):
        client.move(ANNA, "sync", at(13), occurrence=at(12))


def test_one_occurrence_is_cancelled_even_after_it_was_moved(client: CalendarClient) -> None:
    weekly(client, count=4)
    client.cancel(ANNA, "sync", occurrence=at(18))
    client.move(ANNA, "sync", at(12, 15), occurrence=at(11))
    assert starts(client) == ["03-04 09:00", "03-12 15:00", "03-25 09:00"]
    client.cancel(ANNA, "sync", occurrence=at(11))
    assert starts(client) == ["03-04 09:00", "03-25 09:00"]
    client.cancel(ANNA, "sync")
    assert starts(client) == []


@pytest.mark.parametrize("rule", ["FREQ=WEEKLY;COUNT=6", "FREQ=WEEKLY;UNTIL=20310408T080000Z"])
def test_this_and_what_follows(client: CalendarClient, rule: str) -> None:
    client.create(ANNA, "sync", "Sync", at(4), at(4, 10), rule=rule, attendees=[Attendee(BO)])
    client.move(ANNA, "sync", at(20, 15), occurrence=at(18))
    client.cancel(ANNA, "sync", occurrence=at(11))
    client.cancel(ANNA, "sync", occurrence=at(1, month=4))
    new = client.move(ANNA, "sync", at(26, 16), occurrence=at(25), following=True)
    expected = ["03-04 09:00", "03-20 15:00", "03-26 16:00", "04-09 16:00"]
    assert starts(client) == expected
    assert len(starts(client, BO)) == 4
    assert new.uid != "sync"
    client.cancel(ANNA, new.uid, occurrence=at(9, 16, month=4), following=True)
    assert starts(client) == expected[:3]
    client.cancel(ANNA, "sync", occurrence=at(4), following=True)
    assert starts(client) == starts(client) == expected[2:3]
    assert len(starts(client, BO)) == 1


def test_a_whole_series_is_moved_with_its_exceptions(client: CalendarClient) -> None:
    client.create(
        ANNA, "sync", "Sync", at(4), at(4, 10), rule="FREQ=WEEKLY;BYDAY=TU,TH;UNTIL=20310320T080000Z"
    )
    client.cancel(ANNA, "sync", occurrence=at(6))
    client.move(ANNA, "sync", at(12, 15), occurrence=at(11))
    client.move(ANNA, "sync", at(5, 10))
    assert starts(client) == ["03-05 10:00", "03-13 16:00", "03-14 10:00", "03-19 10:00", "03-21 10:00"]


def test_further_dates_and_excluded_ones(client: CalendarClient) -> None:
    main = VEvent(
        uid="x", start=at(4), end=at(4, 10), rule="FREQ=DAILY;COUNT=4",
        excluded=(at(5), at(6)), added=(at(20, 14), at(28, 14)),
    )  # fmt: skip
    client.put(ANNA, Item(main))
    assert starts(client) == ["03-04 09:00", "03-07 09:00", "03-20 14:00", "03-28 14:00"]
    client.cancel(ANNA, "x", occurrence=at(20, 14))
    assert starts(client) == ["03-04 09:00", "03-07 09:00", "03-28 14:00"]


def test_whole_days_are_those_of_the_person(client: CalendarClient) -> None:
    for person in (ANNA, BO, CHI):
        client.create(person, "leave", "On leave", date(2031, 3, 29), date(2031, 3, 31))
        zone = ZoneInfo(client.calendar(person).zone)
        (event,) = client.events(person, FIRST, LAST)
        assert event.all_day
        assert (event.start, event.end) == (at(29, 0, zone=zone), at(31, 0, zone=zone))
        # A second later they have ended, in any zone.
        assert client.events(person, at(31, 0, zone=zone), LAST) == []
        assert client.events(person, FIRST, at(29, 0, zone=zone)) == []
        assert len(client.events(person, at(30, 23, 59, zone), at(31, 0, zone=zone))) == 1
    # 47 hours in Berlin, where the clocks change meanwhile.
    (event,) = client.events(ANNA, FIRST, LAST)
    assert event.end.astimezone(UTC) - event.start.astimezone(UTC) == timedelta(hours=47)


def test_a_series_of_whole_days(client: CalendarClient) -> None:
    client.create(BO, "desk", "Help desk", date(2031, 3, 7), date(2031, 3, 8), rule="FREQ=WEEKLY;COUNT=5")
    day = at(14, 0, zone=NEW_YORK)
    client.cancel(BO, "desk", occurrence=day)
    client.move(BO, "desk", at(24, 0, zone=NEW_YORK), occurrence=at(21, 0, zone=NEW_YORK))
    assert starts(client, BO) == ["03-07 00:00", "03-24 00:00", "03-28 00:00", "04-04 00:00"]
    assert all(event.all_day for event in client.events(BO, FIRST, LAST))


def test_times_without_a_zone_are_the_person_s(client: CalendarClient) -> None:
    client.create(
        BO, "lunch", "Lunch", datetime(2031, 3, 8, 12), datetime(2031, 3, 8, 13), rule="FREQ=DAILY;COUNT=2"
    )
    assert [event.start for event in client.events(BO, FIRST, LAST)] == [
        at(8, 12, zone=NEW_YORK),
        at(9, 12, zone=NEW_YORK),
    ]
    assert starts(client, BO) == ["03-08 12:00", "03-09 12:00"]


def test_what_takes_time_and_what_does_not(client: CalendarClient) -> None:
    client.create(ANNA, "busy", "Busy", at(4), at(4, 10))
    client.create(ANNA, "meets", "Follows on it", at(4, 10), at(4, 11))
    client.create(ANNA, "within", "Within", at(4, 9, 15), at(4, 9, 30))
    for uid, more in (("free", {"transparent": True}), ("off", {"status": "CANCELLED"})):
        client.put(ANNA, Item(VEvent(uid=uid, start=at(4, 14), end=at(4, 15), **more)))
    client.put(ANNA, Item(VEvent(uid="maybe", start=at(4, 16), end=at(4, 17), status="TENTATIVE")))
    client.create(BO, "theirs", "Theirs", at(4, 18), at(4, 19), attendees=[Attendee(ANNA), Attendee(CHI)])
    client.answer(CHI, "theirs", "declined")
    client.create(
        BO, "series", "Series", at(5), at(5, 10), rule="FREQ=DAILY;COUNT=3", attendees=[Attendee(CHI)]
    )
    client.answer(CHI, "series", "declined", at(6))
    client.create(CHI, "day", "All day", date(2031, 3, 4), date(2031, 3, 5))

    def times(person: str, low: datetime = FIRST, high: datetime = LAST) -> list[str]:
        return [f"{b.start:%d %H:%M}-{b.end:%d %H:%M}" for b in client.free_busy([person], low, high)[person]]

    assert times(ANNA) == ["04 08:00-04 10:00", "04 15:00-04 16:00", "04 17:00-04 18:00"]
    assert times(CHI) == ["03 18:30-04 18:30", "05 08:00-05 09:00", "07 08:00-07 09:00"]
    # What crosses an edge is cut there.
    assert times(ANNA, at(4, 9, 30), at(4, 10, 30)) == ["04 08:30-04 09:30"]
    assert times(ANNA, at(4, 11), at(4, 16)) == []
    both = client.free_busy([ANNA, BO], at(4, 17), at(4, 20))
    assert both == {
        person: [Busy(at(4, 18).astimezone(UTC), at(4, 19).astimezone(UTC))] for person in (ANNA, BO)
    }


def test_people_are_invited_and_answer(client: CalendarClient) -> None:
    client.create(ANNA, "plan", "Planning", at(6), at(6, 10))
    assert client.events(BO, FIRST, LAST) == []
    client.invite(ANNA, "plan", [Attendee(BO, "Bo Li"), Attendee("stranger@elsewhere.example")])
    client.answer(BO, "plan", "accepted")
    client.invite(ANNA, "plan", [Attendee(BO), Attendee(CHI)])
    client.answer(CHI, "plan", "tentative")
    for person in (ANNA, BO, CHI):
        (event,) = client.events(person, FIRST, LAST)
        assert event.details.organizer == ANNA
        assert event.details.answer_of(person) == {ANNA: "accepted", BO: "accepted", CHI: "tentative"}[person]
    known = {attendee.address: attendee.status for attendee in client.get(ANNA, "plan").item.main.attendees}
    assert known == {
        ANNA: "accepted",
        BO: "accepted",
        CHI: "tentative",
        "stranger@elsewhere.example": "needs-action",
    }
    with pytest.raises(ToolError, match="organized by anna@"):
        client.move(BO, "plan", at(7))
    with pytest.raises(ToolError, match="organized by anna@"):
        client.cancel(CHI, "plan")
    with pytest.raises(ToolError, match="no answer; there are needs-action, accepted"):
        client.answer(BO, "plan", "yes")  # type: ignore[arg-type]
    client.move(ANNA, "plan", at(7))
    assert starts(client, ANNA) == ["03-07 09:00"]
    assert starts(client, CHI) == ["03-07 13:30"]
    client.cancel(ANNA, "plan")
    assert [client.events(person, FIRST, LAST) for person in (ANNA, BO, CHI)] == [[], [], []]


def test_whoever_is_not_invited_cannot_answer(client: CalendarClient) -> None:
    client.create(ANNA, "own", "Own", at(6), at(6, 10))
    with pytest.raises(ToolError, match="not invited"):
        client.answer(ANNA, "own", "accepted")


def test_objects_that_other_programs_named_are_found_by_their_uid(
    client: CalendarClient, http: httpx.Client
) -> None:
    lines = (
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:x",
        "BEGIN:VEVENT",
        "UID:their-uid",
        "DTSTAMP:20310101T000000Z",
        "DTSTART:20310306T080000Z",
        "DURATION:PT45M",
        "SUMMARY:Theirs",
        "BEGIN:VALARM",
        "ACTION:DISPLAY",
        "DESCRIPTION:ring",
        "TRIGGER:-PT15M",
        "END:VALARM",
        "END:VEVENT",
        "END:VCALENDAR",
        "",
    )
    response = http.put(
        f"{ANNA}/some%20name.ics", content="\r\n".join(lines), headers={"content-type": "text/calendar"}
    )
    assert response.status_code == 201
    client.move(ANNA, "their-uid", at(7))
    moved = client.get(ANNA, "their-uid")
    assert (moved.name, moved.item.main.start, moved.item.main.end) == ("some name.ics", at(7), at(7, 9, 45))
    # Unknown content stays as it was.
    assert "TRIGGER:-PT15M" in moved.item.main.other[0]
    client.delete(ANNA, "their-uid")
    assert client.events(ANNA, FIRST, LAST) == []


def test_nobody_and_nothing(client: CalendarClient) -> None:
    for ask in (
        lambda: client.events("nobody@example.org", FIRST, LAST),
        lambda: client.get("nobody@example.org", "x"),
        lambda: client.calendar("nobody@example.org"),
        lambda: client.create("nobody@example.org", "x", "X", at(4), at(5)),
        lambda: client.events("", FIRST, LAST),
        lambda: client.events("../other", FIRST, LAST),
        lambda: client.get(ANNA, "nothing"),
        lambda: client.move(ANNA, "nothing", at(4)),
        lambda: client.events(ANNA, LAST, FIRST),
        lambda: client.events(ANNA, FIRST, FIRST + timedelta(days=9000)),
    ):
        with pytest.raises(ToolError):
            ask()
    with pytest.raises(ToolError, match="no time zone 'Mars/Phobos'"):
        client.make_calendar("d@example.org", "D", "Mars/Phobos")


def test_endless_series_are_listed_as_far_as_asked(client: CalendarClient) -> None:
    client.create(ANNA, "for-ever", "For ever", at(4), at(4, 10), rule="FREQ=DAILY;INTERVAL=2")
    late = datetime(2041, 3, 1, tzinfo=UTC)
    found = client.events(ANNA, late, late + timedelta(days=10))
    assert len(found) == 5
    assert all(second.start - first.start == timedelta(days=2) for first, second in pairwise(found))


def test_what_is_no_caldav_server_is_our_fault(tmp_path: Path) -> None:
    def html(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, html="<!DOCTYPE html><h1>Hello")

    client = CalendarClient(httpx.Client(base_url="http://x.invalid", transport=httpx.MockTransport(html)))
    for ask in (client.calendars, lambda: client.events(ANNA, FIRST, LAST)):
        with pytest.raises(ToolFault, match=r"x\.invalid answered with no CalDAV: .*is the URL right"):
            ask()
    with pytest.raises(ToolFault, match=r"x\.ics .*is no calendar object"):
        client.get(ANNA, "x")


def test_an_empty_answer_is_no_calendar() -> None:
    empty = httpx.MockTransport(lambda request: httpx.Response(207, content='<multistatus xmlns="DAV:"/>'))
    client = CalendarClient(httpx.Client(base_url="http://x.invalid", transport=empty))
    assert client.calendars() == []
    with pytest.raises(ToolError, match="no calendar of"):
        client.calendar(ANNA)


ODD = (
    "RRULE:FREQ=HOURLY",
    "RRULE:FREQ=DAILY;COUNT=2\r\nRRULE:FREQ=WEEKLY;COUNT=2",
    "RRULE:FREQ=DAILY;COUNT=5;UNTIL=20310306T235959Z",
    "RRULE:FREQ=MONTHLY;BYDAY=2TU;BYSETPOS=1",
    "RRULE:FREQ=WEEKLY;BYDAY=2TU",
    "SUMMARY:C:\\New\\next",
)


@pytest.mark.parametrize("line", ODD)
def test_an_odd_object_costs_itself_alone_on_a_real_server(radicale: str, line: str) -> None:
    with connect(radicale, auth=("ludus", ""), trust_env=False) as http:
        client = CalendarClient(http, lambda: NOW)
        for calendar in client.calendars():
            http.delete(f"{calendar.person}/").raise_for_status()
        client.make_calendar(ANNA, "Anna", "Europe/Berlin")
        client.create(ANNA, "good", "Good", at(5), at(5, 10))
        head = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:odd"
        head += "\r\nDTSTAMP:20310101T000000Z\r\nDTSTART:20310304T080000Z\r\nDURATION:PT1H"
        body = f"{head}\r\n{line}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        status = http.put(
            f"{ANNA}/odd.ics", content=body, headers={"content-type": "text/calendar"}
        ).status_code
        assert status in (201, 400)
        assert "Good" in [event.summary for event in client.events(ANNA, at(5, 0), at(6, 0))]
        assert client.free_busy([ANNA], at(5, 0), at(6, 0))[ANNA]
        for act in (
            lambda: client.get(ANNA, "odd"),
            lambda: client.move(ANNA, "odd", at(6)),
            lambda: client.cancel(ANNA, "odd", occurrence=at(4, 9)),
        ):
            with contextlib.suppress(ToolError):
                act()
