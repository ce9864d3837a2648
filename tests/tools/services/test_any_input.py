"""Whatever an agent passes to a client gets an answer, or an error to which it can react; no fault."""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.tools.errors import ToolError
from ludus.tools.services import connect
from ludus.tools.services.all import all_services
from ludus.tools.services.calendar import Attendee, CalendarClient
from ludus.tools.services.mail import MailClient
from ludus.tools.services.search import SearchClient
from ludus.tools.services.weather import WeatherClient
from ludus.tools.text import UNCARRIED

SERVICES = all_services(0)
NOW = datetime(2031, 3, 3, 8, tzinfo=UTC)
CALENDAR, MAIL, SEARCH, WEATHER = (
    CalendarClient(connect(SERVICES["calendar"]), lambda: NOW),
    MailClient(connect(SERVICES["mail"])),
    SearchClient(connect(SERVICES["search"])),
    WeatherClient(connect(SERVICES["weather"])),
)
ANNA, BO = (calendar.person for calendar in CALENDAR.calendars()[:2])
BEGUN = {name: service.snapshot() for name, service in SERVICES.items()}

texts = st.text(max_size=20) | st.sampled_from(
    [
        "",
        "x\x0b",
        "\ud800",
        "\ufffe",
        "a\r\nEND:VEVENT",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=DAILY",
        "..",
        "a/b",
        ANNA,
        "x",
    ]
)
numbers = st.integers() | st.integers(0, 30) | st.sampled_from([10**400, -(10**5000), 2**63, 10**18])
floats = st.floats() | st.floats(-90, 90)
zones = st.sampled_from([UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Africa/Casablanca"), None])
moments = st.datetimes(timezones=zones) | st.datetimes(
    datetime(2031, 1, 1), datetime(2031, 12, 31), timezones=zones
)
optional = st.none() | moments
people = st.sampled_from([ANNA, BO]) | texts
uids = st.just("x") | texts
guests = st.lists(st.builds(Attendee, people, texts), max_size=2)

OPTIONS = st.sampled_from(
    [
        *("hourly", "daily", "timezone", "start_date", "end_date", "past_days", "forecast_days"),
        *("forecast_hours", "past_hours", "start_hour", "end_hour", "elevation"),
    ]
)
WORDS = ["temperature_2m", "0", "2031-03-03T08:00"]
CALLS: dict[str, tuple[Callable[..., Any], list[st.SearchStrategy[Any]]]] = {
    "calendar": (CALENDAR.calendar, [people]),
    "make_calendar": (CALENDAR.make_calendar, [people, texts, texts | st.just("Europe/Berlin")]),
    "get": (CALENDAR.get, [people, uids]),
    "delete": (CALENDAR.delete, [people, uids, st.none() | texts]),
    "events": (CALENDAR.events, [people, moments, moments]),
    "free_busy": (CALENDAR.free_busy, [st.lists(people, max_size=2), moments, moments]),
    "create": (
        lambda person, uid, title, start, end, invited, rule, place, about: CALENDAR.create(
            person, uid, title, start, end, attendees=invited, rule=rule, location=place, description=about
        ),
        [people, uids, texts, moments, moments, guests, texts, texts, texts],
    ),
    "invite": (CALENDAR.invite, [people, uids, guests]),
    "answer": (CALENDAR.answer, [people, uids, texts | st.just("accepted"), optional]),
    "move": (
        lambda person, uid, start, end, which, following: CALENDAR.move(
            person, uid, start, end, occurrence=which, following=following
        ),
        [people, uids, moments, optional, optional, st.booleans()],
    ),
    "cancel": (
        lambda person, uid, which, following: CALENDAR.cancel(
            person, uid, occurrence=which, following=following
        ),
        [people, uids, optional, st.booleans()],
    ),
    "mail list": (MAIL.list, [texts | st.just("inbox"), numbers, numbers]),
    "mail search": (MAIL.search, [texts, numbers]),
    "mail read": (MAIL.read, [numbers]),
    "mail raw": (MAIL.raw, [numbers]),
    "mail send": (
        MAIL.send,
        [st.lists(texts | st.just("a@b.example"), max_size=2), texts, texts, texts, texts],
    ),
    "mail reply": (MAIL.reply, [numbers, texts]),
    "mail mark": (
        lambda id, folder, seen: MAIL.mark(id, folder=folder, seen=seen),
        [numbers, texts, st.booleans()],
    ),
    "search": (SEARCH.search, [texts, numbers]),
    "open": (SEARCH.open, [texts]),
    "geocode": (WEATHER.geocode, [texts, numbers]),
    "forecast": (
        lambda latitude, longitude, options: WEATHER.forecast(latitude, longitude, **options),
        [
            floats | numbers,
            floats,
            st.dictionaries(
                OPTIONS,
                texts | numbers | floats | st.lists(texts, max_size=2) | st.sampled_from(WORDS),
                max_size=4,
            ),
        ],
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_any_input_is_answered_or_an_error_of_the_caller(name: str) -> None:
    call, arguments = CALLS[name]

    @settings(max_examples=60, database=None)
    @given(st.tuples(*arguments))
    def try_it(given: tuple[Any, ...]) -> None:
        with contextlib.suppress(ToolError):
            call(*given)
        # And what was stored can be read as a calendar.
        for person in (ANNA, BO):
            CALENDAR.events(person, NOW, NOW + timedelta(days=400))

    for service, snapshot in BEGUN.items():
        SERVICES[service].restore(snapshot)
    CALENDAR.create(
        ANNA, "x", "X", NOW, NOW + timedelta(hours=1), rule="FREQ=DAILY;COUNT=5", attendees=[Attendee(BO)]
    )
    try_it()


@pytest.mark.parametrize(
    "character", ["\x00", "\x01", "\x0b", "\x0c", "\x1f", "\x7f", "\x85", "\ufffe", "\uffff", "\ud800"]
)
def test_what_no_protocol_carries_is_the_callers_error_in_every_text(character: str) -> None:
    text, end = f"a{character}b", NOW + timedelta(hours=1)
    assert UNCARRIED.search(text)
    SERVICES["calendar"].restore(BEGUN["calendar"])
    for call in (
        lambda: CALENDAR.create(ANNA, "u", text, NOW, end),
        lambda: CALENDAR.create(ANNA, text, "t", NOW, end),
        lambda: CALENDAR.create(ANNA, "u", "t", NOW, end, location=text),
        lambda: CALENDAR.create(ANNA, "u", "t", NOW, end, description=text),
        lambda: CALENDAR.create(ANNA, "u", "t", NOW, end, attendees=[Attendee(BO, text)]),
        lambda: CALENDAR.create(ANNA, "u", "t", NOW, end, attendees=[Attendee(text)]),
        lambda: CALENDAR.create(text, "u", "t", NOW, end),
        lambda: CALENDAR.make_calendar("new@office.example", text),
        lambda: CALENDAR.get(ANNA, text),
        lambda: MAIL.send(["a@b.example"], text, "t"),
        lambda: MAIL.send(["a@b.example"], "s", text),
        lambda: MAIL.send([f"{text} <a@b.example>"], "s", "t"),
        lambda: MAIL.reply(1, text),
        lambda: MAIL.search(text),
        lambda: SEARCH.search(text),
        lambda: SEARCH.open(text),
        lambda: WEATHER.geocode(text),
        lambda: WEATHER.forecast(1, 1, timezone=text),
    ):
        with pytest.raises(ToolError):
            call()
    assert SERVICES["calendar"].state is BEGUN["calendar"].state


@pytest.mark.parametrize("character", ["\x01", "\x0b", "\x7f", "\x85", "\ufffe", "\uffff"])
def test_what_no_protocol_carries_is_refused_at_the_server(character: str) -> None:
    SERVICES["calendar"].restore(BEGUN["calendar"])
    text = (
        f"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:u\r\nDTSTART:20310304T090000Z\r\nSUMMARY:a{character}b\r\n"
    )
    put = connect(SERVICES["calendar"]).put(
        f"{ANNA}/u.ics", content=f"{text}END:VEVENT\r\nEND:VCALENDAR\r\n".encode()
    )
    assert put.status_code == 403
    sent = {"to": ["a@b.example"], "subject": "s", "text": f"a{character}b"}
    assert connect(SERVICES["mail"]).post("/messages", json=sent).status_code == 400
    for service, path in (("search", "/search?q="), ("weather", "/v1/search?name=")):
        assert connect(SERVICES[service]).get(f"{path}a{quote(character)}b").status_code == 400
