"""The weather service: Open-Meteo's API over a seeded field."""

import json
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.tools.errors import ToolError, ToolFault
from ludus.tools.services import FaultPlan, VirtualClock, connect
from ludus.tools.services.geography import REAL_CITIES, invented_places
from ludus.tools.services.weather import WeatherClient, WeatherService
from ludus.tools.services.weather.client import AGE
from ludus.tools.services.weather.field import Field, Run
from ludus.tools.services.weather.gazetteer import Gazetteer
from ludus.tools.services.weather.query import Spot
from ludus.tools.services.weather.variables import DAILY_NAMES, HOURLY
from ludus.tools.text import uncarried

BERLIN = {"latitude": 52.524, "longitude": 13.411}
FORECAST_KEYS = [
    *("latitude", "longitude", "generationtime_ms", "utc_offset_seconds", "timezone"),
    *("timezone_abbreviation", "elevation", "current_units", "current", "hourly_units", "hourly"),
    *("daily_units", "daily"),
]
DAY_H = 24.0 * 22_342
"""A day in March 2031, in hours from 1970."""


def client(seed: int = 0, now: datetime | None = None, **faults: float) -> WeatherClient:
    clock = VirtualClock(now) if now else VirtualClock()
    return WeatherClient(connect(WeatherService(seed, clock=clock), FaultPlan(**faults)))  # type: ignore[arg-type]


def ask(path: str = "/v1/forecast", **parameters: Any) -> tuple[int, Any]:
    with connect(WeatherService()) as http:
        response = http.get(path, params=parameters)
    return response.status_code, response.json()


def reason(**parameters: Any) -> str:
    status, answer = ask(**parameters)
    assert status == 400
    assert answer["error"] is True
    return str(answer["reason"])


# What an answer looks like.


def test_an_answer_has_the_fields_of_open_meteo_in_their_order() -> None:
    asked = {"current": "temperature_2m", "hourly": "temperature_2m,rain", "daily": "sunrise,weather_code"}
    answer = client().forecast(**BERLIN, **asked, timezone="Europe/Berlin")
    assert list(answer) == FORECAST_KEYS
    assert answer["timezone"] == "Europe/Berlin"
    assert answer["utc_offset_seconds"] == 3600
    assert answer["timezone_abbreviation"] == "GMT+1"
    assert answer["elevation"] == 74.0
    assert answer["hourly_units"] == {"time": "iso8601", "temperature_2m": "°C", "rain": "mm"}
    assert answer["current_units"] == {"time": "iso8601", "interval": "seconds", "temperature_2m": "°C"}
    assert answer["current"]["time"] == "2031-03-03T09:00"
    assert answer["current"]["interval"] == 900
    assert {name: len(series) for name, series in answer["hourly"].items()} == {
        "time": 168, "temperature_2m": 168, "rain": 168,
    }  # fmt: skip
    assert answer["daily"]["time"] == [f"2031-03-{day:02}" for day in range(3, 10)]


def test_several_places_are_answered_by_a_list() -> None:
    _, answers = ask(latitude="52.52,1.29", longitude="13.41,103.85", daily="temperature_2m_max")
    assert [answer["latitude"] for answer in answers] == [52.52, 1.29]
    assert "location_id" not in answers[0]
    assert answers[1]["location_id"] == 1


def test_no_days_are_no_values() -> None:
    asked = {"daily": list(DAILY_NAMES), "hourly": list(HOURLY), "forecast_days": 0}
    answer = client().forecast(**BERLIN, **asked)
    assert not any(answer["daily"].values())
    assert not any(answer["hourly"].values())


def test_every_variable_is_served_in_a_sound_range() -> None:
    everything = {"hourly": list(HOURLY), "daily": list(DAILY_NAMES), "current": list(HOURLY)}
    for place in REAL_CITIES[::12]:
        answer = client().forecast(place.latitude, place.longitude, **everything, timezone="auto")
        hourly, daily = answer["hourly"], answer["daily"]
        assert set(hourly) == {"time", *HOURLY}
        assert set(daily) == {"time", *DAILY_NAMES}
        assert set(answer["current"]) == {"time", "interval", *HOURLY}
        for name, (least, most) in {
            "temperature_2m": (-60, 55), "relative_humidity_2m": (1, 100), "precipitation": (0, 60),
            "wind_speed_10m": (0, 150), "wind_direction_10m": (0, 360), "pressure_msl": (940, 1060),
            "cloud_cover": (0, 100), "precipitation_probability": (0, 100), "uv_index": (0, 16),
            "visibility": (0, 25_000), "surface_pressure": (600, 1060),
        }.items():  # fmt: skip
            assert least <= min(hourly[name]) <= max(hourly[name]) <= most, (place.name, name)


def test_days_are_made_of_the_local_hours() -> None:
    for name in ("Kathmandu", "St. John's", "Honolulu", "Hamilton", "Berlin"):
        place = next(city for city in REAL_CITIES if city.name == name)
        answer = client().forecast(
            place.latitude, place.longitude,
            hourly=["temperature_2m", "precipitation", "wind_gusts_10m"],
            daily=["temperature_2m_max", "temperature_2m_min", "precipitation_sum", "wind_gusts_10m_max",
                   "precipitation_hours"],
            timezone="auto", past_days=3, forecast_days=16,
        )  # fmt: skip
        hourly, daily = answer["hourly"], answer["daily"]
        for number, day in enumerate(daily["time"]):
            of_day = [at for at, time in enumerate(hourly["time"]) if time.startswith(day)]
            assert len(of_day) == 24
            temperatures = [hourly["temperature_2m"][at] for at in of_day]
            rain = [hourly["precipitation"][at] for at in of_day]
            assert daily["temperature_2m_max"][number] == max(temperatures)
            assert daily["temperature_2m_min"][number] == min(temperatures)
            assert daily["wind_gusts_10m_max"][number] == max(hourly["wind_gusts_10m"][at] for at in of_day)
            assert daily["precipitation_sum"][number] == pytest.approx(sum(rain), abs=1e-6)
            assert daily["precipitation_hours"][number] == sum(amount > 0 for amount in rain)


@pytest.mark.parametrize(
    ("zone", "month", "offset"),
    [
        ("Europe/Berlin", 1, 3600), ("Europe/Berlin", 7, 7200), ("America/New_York", 7, -14400),
        ("Australia/Sydney", 1, 39600), ("Asia/Kathmandu", 1, 20700), ("GMT", 7, 0),
    ],
)  # fmt: skip
def test_offsets_follow_daylight_saving(zone: str, month: int, offset: int) -> None:
    now = datetime(2031, month, 15, 12, 0, tzinfo=UTC)
    answer = client(now=now).forecast(**BERLIN, timezone=zone, current="is_day", hourly="rain")
    assert answer["utc_offset_seconds"] == offset
    local = now.astimezone(ZoneInfo(zone))
    assert answer["current"]["time"] == local.strftime("%Y-%m-%dT%H:%M")
    assert answer["hourly"]["time"][0] == f"{local.date()}T00:00"


def test_a_moment_has_the_same_weather_in_every_time_zone() -> None:
    readings = {}
    for zone in ("GMT", "Asia/Tokyo", "America/Los_Angeles"):
        answer = client().forecast(**BERLIN, hourly="temperature_2m", timezone=zone, timeformat="unixtime")
        readings[zone] = dict(zip(answer["hourly"]["time"], answer["hourly"]["temperature_2m"], strict=True))
    shared = set.intersection(*(set(reading) for reading in readings.values()))
    assert len(shared) > 100
    for moment in shared:
        assert len({reading[moment] for reading in readings.values()}) == 1


def test_unixtime_is_in_utc_and_days_begin_at_local_midnight() -> None:
    asked = {"daily": "sunrise", "hourly": "rain", "timezone": "Asia/Kolkata", "timeformat": "unixtime"}
    answer = client().forecast(**BERLIN, **asked)
    assert answer["daily_units"] == {"time": "unixtime", "sunrise": "unixtime"}
    midnight = datetime(2031, 3, 3, tzinfo=ZoneInfo("Asia/Kolkata")).timestamp()
    assert answer["hourly"]["time"][0] == answer["daily"]["time"][0] == midnight


def test_units_convert() -> None:
    names = ["temperature_2m", "wind_speed_10m", "precipitation", "snowfall"]
    asked = {"hourly": names, "past_days": 30}
    metric = client().forecast(69.649, 18.956, **asked)
    other = client().forecast(
        69.649, 18.956, **asked,
        temperature_unit="fahrenheit", wind_speed_unit="mph", precipitation_unit="inch",
    )  # fmt: skip
    symbols = ["iso8601", "°F", "mp/h", "inch", "inch"]
    assert other["hourly_units"] == dict(zip(["time", *names], symbols, strict=True))
    factors = {"wind_speed_10m": 1 / 1.609344, "precipitation": 1 / 25.4, "snowfall": 1 / 2.54}
    for value, same in zip(*(answer["hourly"]["temperature_2m"] for answer in (metric, other)), strict=True):
        assert same == pytest.approx(value * 1.8 + 32, abs=0.15)
    for name, factor in factors.items():
        assert max(metric["hourly"][name]) > 0
        for value, same in zip(metric["hourly"][name], other["hourly"][name], strict=True):
            assert same == pytest.approx(value * factor, abs=0.09 if "wind" in name else 0.006)


@pytest.mark.parametrize(("unit", "symbol"), [("kmh", "km/h"), ("ms", "m/s"), ("mph", "mp/h"), ("kn", "kn")])
def test_winds_have_four_units(unit: str, symbol: str) -> None:
    answer = client().forecast(**BERLIN, hourly="wind_speed_10m", wind_speed_unit=unit)
    assert answer["hourly_units"]["wind_speed_10m"] == symbol


# What a wrong request gets.


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"latitude": 91}, r"Latitude must be in range of -90 to 90°\. Given: 91\.0\."),
        ({"longitude": 181}, r"Longitude must be in range of -180 to 180°\. Given: 181\.0\."),
        ({"elevation": 1e30}, "Elevation must be in range"),
        ({"start_date": "2030-11-01", "end_date": "2031-03-04"}, "'start_date' is out of allowed range"),
        ({"latitude": "north"}, "'Float' required for key 'latitude'"),
        ({"latitude": "nan"}, "'Float' required for key 'latitude'"),
        ({"latitude": "1,2"}, "must have the same number of elements"),
        ({"latitude": ""}, "must have the same number of elements"),
        ({"hourly": "tempeture_2m"}, "from invalid String value tempeture_2m for key hourly"),
        ({"daily": "temperature_2m"}, "invalid String value temperature_2m for key daily"),
        ({"timezone": "Europe/Atlantis"}, "Invalid timezone"),
        ({"timezone": "../etc/passwd"}, "Invalid timezone"),
        ({"forecast_days": 17}, r"Forecast days is invalid\. Allowed range 0 to 16\. Given 17\."),
        ({"past_days": -1}, r"Past days is invalid\. Allowed range 0 to 92\. Given -1\."),
        ({"forecast_days": "many"}, "'Int' required for key 'forecast_days'"),
        ({"start_date": "2031-03-04"}, "Both 'start_date' and 'end_date' must be set"),
        ({"start_date": "2031-03-05", "end_date": "2031-03-04"}, "End-date must be larger or equals"),
        ({"start_date": "4 March", "end_date": "2031-03-04"}, "Invalid date format"),
        ({"start_date": "2031-03-04", "end_date": "2031-03-30"}, "'end_date' is out of allowed range"),
        ({"start_date": "2031-03-04", "end_date": "2031-03-04", "past_days": 1}, "mutually exclusive"),
        ({"temperature_unit": "kelvin"}, "invalid String value kelvin.*celsius, fahrenheit"),
    ],
)
def test_a_wrong_request_is_refused_in_open_meteo_s_words(wrong: dict[str, Any], said: str) -> None:

    assert re.search(said, reason(**{**BERLIN, "hourly": "temperature_2m", **wrong}))


@given(
    st.dictionaries(
        st.sampled_from(["latitude", "longitude", "hourly", "daily", "timezone", "past_days", "elevation"]),
        st.text(max_size=12) | st.floats(width=32).map(str),
    )
)
@settings(max_examples=150)
def test_whatever_is_asked_is_answered_or_refused(parameters: dict[str, str]) -> None:
    status, answer = ask(**parameters)
    assert status in (200, 400)
    assert status == 200 or (answer["error"] is True and answer["reason"])


def test_the_client_tells_the_model_what_was_wrong() -> None:
    with pytest.raises(ToolError, match="Latitude must be in range"):
        client().forecast(100, 0, hourly="rain")
    with pytest.raises(ToolError, match="busy"):
        client(refused=1).geocode("Berlin")


def test_a_server_that_is_no_weather_service_is_a_fault() -> None:
    def page(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, html="<h1>Welcome</h1>")

    http = httpx.Client(base_url="http://x", transport=httpx.MockTransport(page))
    with pytest.raises(ToolFault, match="no JSON"):
        WeatherClient(http).geocode("Berlin")


# The weather.


def test_answers_are_a_pure_function_of_seed_place_and_time() -> None:
    asked = {**BERLIN, "hourly": "temperature_2m,precipitation", "forecast_days": 3}
    answers = [client(seed).forecast(**asked) for seed in (0, 0, 1)]
    assert answers[0] == answers[1]
    assert answers[0] != answers[2]
    service = WeatherService()
    with connect(service) as http:
        asked_of = WeatherClient(http)
        before = service.snapshot()
        first = asked_of.forecast(**asked)
        service.clock.advance(5 * 86_400)
        assert asked_of.forecast(**asked) != first
        service.restore(before)
        assert asked_of.forecast(**asked) == first
    assert client().forecast(**asked, past_days=0)["generationtime_ms"] == first["generationtime_ms"]


@pytest.mark.parametrize("variable", sorted(HOURLY)[::5])
@pytest.mark.parametrize("city", ["Berlin", "Kathmandu", "Sydney"])
def test_hours_without_the_protocol_are_those_served(variable: str, city: str) -> None:
    place = next(place for place in REAL_CITIES if place.name == city)
    service, now = WeatherService(7), datetime(2031, 7, 3, 22, 20, tzinfo=UTC)
    service.clock.now = now
    served = WeatherClient(connect(service)).forecast(
        place.latitude,
        place.longitude,
        hourly=variable,
        timezone="auto",
        start_date="2031-07-04",
        end_date="2031-07-06",
    )
    spot = Spot(place.latitude, place.longitude, None, "auto")
    days = service.hourly(spot, variable, date(2031, 7, 4), 3, now)
    assert [value for day in days for value in day] == served["hourly"][variable]
    assert [len(day) for day in days] == [24, 24, 24]


def test_what_is_past_stays_as_it_was_and_forecasts_get_worse_with_time() -> None:
    now = datetime(2031, 3, 20, 12, tzinfo=UTC)
    days = {"start_date": "2031-03-20", "end_date": "2031-03-27"}
    true = client(now=now + timedelta(days=20))
    errors = np.zeros(8)
    for place in REAL_CITIES[::6]:
        at = {"latitude": place.latitude, "longitude": place.longitude}
        told = client(now=now).forecast(**at, **days, hourly="temperature_2m")
        came = true.forecast(**at, **days, hourly="temperature_2m")
        difference = np.abs(np.subtract(told["hourly"]["temperature_2m"], came["hourly"]["temperature_2m"]))
        errors += difference.reshape(8, 24).mean(axis=1)
    errors /= len(REAL_CITIES[::6])
    assert errors[0] < 0.2
    assert 0.4 < errors[7] < 4.0
    assert errors[1] < errors[4] < errors[7]


def test_a_stale_answer_is_yesterday_s_forecast_and_says_so() -> None:
    now = datetime(2031, 3, 20, 12, tzinfo=UTC)
    asked: dict[str, Any] = {**BERLIN, "hourly": "temperature_2m"}
    days = {"start_date": "2031-03-20", "end_date": "2031-03-26"}
    fresh, stale = (
        client(now=now).forecast(**asked, **days),
        client(now=now, stale=1).forecast(**asked, **days),
    )
    yesterday = client(now=now - timedelta(days=1)).forecast(**asked, **days)
    assert AGE not in fresh
    assert stale[AGE] == 86_400
    assert stale["hourly"] == yesterday["hourly"] != fresh["hourly"]
    worst = max(np.abs(np.subtract(stale["hourly"]["temperature_2m"], fresh["hourly"]["temperature_2m"])))
    assert 0.1 < worst < 6.0


@given(st.floats(-85, 85), st.floats(-180, 179.9), st.integers(0, 50))
@settings(max_examples=40)
def test_weather_is_continuous_in_space_and_time(latitude: float, longitude: float, seed: int) -> None:
    field, run = Field(seed), Run(0)
    sky = field.sky(DAY_H + 24 * seed, 48, run)
    here = field.at(latitude, longitude, 100.0, sky)
    near = field.at(latitude + 0.01, (longitude + 0.01 + 180.0) % 360.0 - 180.0, 100.0, sky)
    # A kilometre away; across the date line, too.
    assert np.abs(here.temperature - near.temperature).max() < 0.3
    assert np.abs(here.sea_pressure - near.sea_pressure).max() < 0.3
    assert np.abs(here.cloud - near.cloud).max() < 0.1
    # From one hour to the next.
    assert np.abs(np.diff(here.temperature)).max() < 5.0
    assert np.abs(np.diff(here.sea_pressure)).max() < 4.0


def test_one_day_asked_alone_is_that_day_of_many() -> None:
    asked: dict[str, Any] = {**BERLIN, "hourly": ["temperature_2m", "precipitation", "wind_gusts_10m"]}
    week = client().forecast(**asked)["hourly"]
    day = client().forecast(**asked, start_date="2031-03-06", end_date="2031-03-06")["hourly"]
    assert {name: series[72:96] for name, series in week.items()} == day


def test_what_is_measured_together_fits_together() -> None:
    field, sky = Field(3), Field(3).sky(DAY_H, 24 * 360, Run(0))
    for place in REAL_CITIES[::15]:
        weather = field.at(place.latitude, place.longitude, place.elevation, sky)
        rain, code, cloud = weather.precipitation, weather.code, weather.cloud
        assert (weather.dew_point <= weather.temperature + 1e-9).all()
        assert ((code >= 51) == (rain > 0)).all()
        assert (cloud[rain > 0] > 0.7).all()
        assert (weather.temperature[np.isin(code, [71, 73, 75, 85, 86])] < 1.0).all()
        assert (weather.temperature[np.isin(code, [51, 53, 61, 63, 65, 80, 81, 82, 95, 96])] >= 1.0).all()
        assert (cloud[code == 0] < 0.125).all()
        assert (weather.gusts > weather.wind_speed).all()
        # Rain comes with humidity and a nearby low.
        if (rain > 0).sum() > 50:
            assert weather.humidity[rain > 0].mean() > weather.humidity[rain == 0].mean() + 0.1
            assert weather.sea_pressure[rain > 0].mean() < weather.sea_pressure[rain == 0].mean()


def test_climates_are_those_of_the_earth() -> None:
    field = Field(0)
    year = field.sky(24.0 * 22_280, 24 * 365, Run(30_000))  # From 1 January 2031.
    january, july = slice(0, 744), slice(24 * 181, 24 * 212)

    def temperature(latitude: float, elevation: float = 0.0) -> Any:
        return field.at(latitude, 20.0, elevation, year).temperature

    assert temperature(60)[july].mean() > temperature(60)[january].mean() + 10
    assert temperature(-40)[january].mean() > temperature(-40)[july].mean() + 6
    assert abs(temperature(0)[january].mean() - temperature(0)[july].mean()) < 4
    assert temperature(0).mean() > temperature(45).mean() + 10 > temperature(75).mean() + 20
    lapse = temperature(40, 0.0) - temperature(40, 2000.0)
    assert lapse == pytest.approx(13.0)
    by_hour = temperature(30)[: 24 * 365].reshape(-1, 24).mean(axis=0)
    # 20 degrees east: UTC is 80 minutes behind the sun.
    assert 12 <= int(by_hour.argmax()) <= 15
    assert 0 <= int(by_hour.argmin()) <= 5


def test_winds_turn_around_lows_the_right_way() -> None:
    """Buys Ballot: with the wind in the back, the low is on the left in the north, elsewhere on the right."""
    field, agree = Field(7), {1: 0, -1: 0}
    sky = field.sky(DAY_H, 200, Run(30_000))
    for hemisphere in (1, -1):
        for longitude in range(-180, 180, 30):
            at = [
                field.at(50.0 * hemisphere + north, longitude + east, 0.0, sky)
                for north, east in ((0, 0), (1, 0), (0, 1))
            ]
            u, v = at[0].wind
            north = at[1].sea_pressure - at[0].sea_pressure
            east = (at[2].sea_pressure - at[0].sea_pressure) / np.cos(np.radians(50))
            strong = np.hypot(u, v) > 3.0
            left = -v * east + u * north  # The slope of pressure to the left of the wind.
            agree[hemisphere] += np.sign(left[strong] * -hemisphere).sum() / strong.sum() / 12
    assert min(agree.values()) > 0.8


@pytest.mark.parametrize(
    ("city", "day", "sunrise", "sunset"),
    [
        # Almanac: https://gml.noaa.gov/grad/solcalc (rounded to minutes).
        ("Berlin", "2031-06-21", "04:43", "21:33"),
        ("Singapore", "2031-03-20", "07:09", "19:15"),
        ("Sydney", "2031-12-22", "05:41", "20:05"),
    ],
)
def test_the_sun_rises_and_sets_as_in_the_almanac(city: str, day: str, sunrise: str, sunset: str) -> None:
    place = next(place for place in REAL_CITIES if place.name == city)
    now = datetime.fromisoformat(f"{day}T12:00+00:00")
    asked = {"daily": ["sunrise", "sunset", "daylight_duration"], "timezone": "auto", "forecast_days": 1}
    daily = client(now=now).forecast(place.latitude, place.longitude, **asked)["daily"]
    assert daily["time"] == [day]
    for name, expected in (("sunrise", sunrise), ("sunset", sunset)):
        difference = datetime.fromisoformat(daily[name][0]) - datetime.fromisoformat(f"{day}T{expected}")
        assert abs(difference) <= timedelta(minutes=4), daily


@pytest.mark.parametrize(("month", "seconds"), [(6, 86_400.0), (12, 0.0)])
def test_beyond_the_polar_circle_the_sun_stays_up_or_down(month: int, seconds: float) -> None:
    asked = client(now=datetime(2031, month, 21, 12, tzinfo=UTC))
    answer = asked.forecast(78.223, 15.647, daily="daylight_duration", hourly="is_day", forecast_days=1)
    assert answer["daily"]["daylight_duration"] == [seconds]
    assert set(answer["hourly"]["is_day"]) == {int(seconds > 0)}


# Places by name.


def test_geocoding_has_the_fields_of_open_meteo() -> None:
    _, answer = ask("/v1/search", name="Berlin", count=1)
    assert list(answer) == ["results", "generationtime_ms"]
    assert list(answer["results"][0]) == [
        "id", "name", "latitude", "longitude", "elevation", "feature_code", "country_code", "admin1_id",
        "timezone", "population", "country_id", "country", "admin1",
    ]  # fmt: skip


def test_nothing_found_is_no_results() -> None:
    status, answer = ask("/v1/search", name="Qqqqq")
    assert (status, list(answer)) == (200, ["generationtime_ms"])
    assert client().geocode("Qqqqq") == []


def test_namesakes_are_all_found_the_largest_first() -> None:
    found = client().geocode("springfield")
    assert [place["admin1"] for place in found] == ["Missouri", "Massachusetts", "Illinois"]
    assert [place["country"] for place in client().geocode("London")] == ["United Kingdom", "Canada"]
    assert [place["country"] for place in client().geocode("London", countryCode="ca")] == ["Canada"]


@pytest.mark.parametrize(
    ("name", "first"),
    [("Sao Paulo", "São Paulo"), ("REYKJAVIK", "Reykjavik"), ("Johannes", "Johannesburg"),
     ("Johanesburg", "Johannesburg"), ("  new   york ", "New York"), ("Berlni", "Berlin")],
)  # fmt: skip
def test_three_letters_and_more_are_matched_fuzzily(name: str, first: str) -> None:
    assert client().geocode(name)[0]["name"] == first


def test_two_letters_match_exactly_and_one_never() -> None:
    gazetteer = Gazetteer(REAL_CITIES)
    assert gazetteer.search("Be") == ()
    assert gazetteer.search("B") == gazetteer.search("") == ()
    assert gazetteer.search("Ber")


@pytest.mark.parametrize("count", ["0", "101", "many", "-1"])
def test_counts_of_places_are_limited(count: str) -> None:
    assert "count must be between 1 and 100" in reason(path="/v1/search", name="Berlin", count=count)


def test_a_name_is_required() -> None:
    assert "'name'" in reason(path="/v1/search")


@given(st.text(max_size=40))
@settings(max_examples=100)
def test_any_name_is_searched(name: str) -> None:
    if uncarried(name.replace("\r", "\n")):
        with pytest.raises(ToolError, match="name has a character that cannot be sent"):
            client().geocode(name)
    else:
        assert isinstance(client().geocode(name), list)


def test_a_town_knows_its_height_and_its_zone() -> None:
    for place in (*invented_places(0)[:50], *REAL_CITIES):
        answer = client().forecast(place.latitude, place.longitude, timezone="auto")
        assert answer["elevation"] == place.elevation
        assert answer["timezone"] == place.timezone
    at_sea = client().forecast(-48.0, -125.0, timezone="auto")
    assert at_sea["timezone"] == "Etc/GMT+8"
    assert at_sea["utc_offset_seconds"] == -8 * 3600


def test_answers_are_json_that_any_reader_takes() -> None:
    with connect(WeatherService()) as http:
        asked = {"hourly": "temperature_2m,wind_direction_10m", "past_days": 92, "daily": list(DAILY_NAMES)}
        body = http.get("/v1/forecast", params={**BERLIN, **asked}).content
    text = body.decode()
    assert "NaN" not in text
    assert "-0.0" not in text
    assert json.loads(text)


def test_hours_are_those_around_now_or_those_that_are_named() -> None:
    days = client().forecast(52.5, 13.4, hourly="temperature_2m", timezone="Europe/Berlin")["hourly"]

    def hours(**asked: object) -> dict:
        return client().forecast(52.5, 13.4, hourly="temperature_2m", timezone="Europe/Berlin", **asked)[
            "hourly"
        ]

    for asked, first, count in (
        ({"forecast_hours": 3}, "2031-03-03T09:00", 3),
        ({"forecast_hours": 3, "past_hours": 2}, "2031-03-03T07:00", 5),
        ({"past_hours": 1}, "2031-03-03T08:00", 1 + 24 * 7),
        ({"start_hour": "2031-03-04T05:00", "end_hour": "2031-03-04T07:00"}, "2031-03-04T05:00", 3),
    ):
        found, place = hours(**asked), days["time"].index(first)
        assert (found["time"][0], len(found["time"])) == (first, count)
        shared = min(count, len(days["time"]) - place)
        assert found["temperature_2m"][:shared] == days["temperature_2m"][place : place + shared]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"start_hour": "2031-03-04T05:00"}, "'start_hour' and 'end_hour' must be set"),
        ({"start_hour": "x", "end_hour": "y"}, "YYYY-MM-DDTHH:mm"),
        ({"start_hour": "2031-03-04T05:00", "end_hour": "2031-03-03T05:00"}, "larger or equals"),
        ({"start_hour": "2029-03-04T05:00", "end_hour": "2031-03-03T05:00"}, "'start_hour' is out of"),
        (
            {"start_hour": "2031-03-04T05:00", "end_hour": "2031-03-04T05:00", "past_hours": 1},
            "mutually exclusive",
        ),
        ({"forecast_hours": 24 * 16 + 1}, "Forecast hours is invalid"),
        ({"minutely_15": "rain", "forecast_minutely_15": -1}, "Forecast minutely_15 is invalid"),
        ({"models": "icon"}, "'models' is not supported"),
        ({"hourlie": "rain"}, "'hourlie' is not supported"),
        ({"format": "flatbuffers"}, "'format' 'flatbuffers' is not supported"),
        ({"format": "csv"}, "'format' 'csv' is not supported"),
    ],
)
def test_hours_that_cannot_be_are_told_by_name(asked: dict, words: str) -> None:
    with pytest.raises(ToolError, match=words):
        client().forecast(1, 1, hourly="temperature_2m", **asked)


def test_quarters_of_an_hour_are_between_the_hours_and_add_up() -> None:
    asked = "temperature_2m,precipitation"
    answer = client().forecast(52.5, 13.4, minutely_15=asked, hourly=asked, timezone="Europe/Berlin")
    hours, quarters = answer["hourly"], answer["minutely_15"]
    assert quarters["time"][::4] == hours["time"]
    assert quarters["time"][1].endswith("T00:15")
    assert quarters["temperature_2m"][::4] == hours["temperature_2m"]
    assert answer["minutely_15_units"] == answer["hourly_units"]
    assert sum(quarters["precipitation"]) == pytest.approx(sum(hours["precipitation"]), rel=0.3)


@pytest.mark.parametrize(
    ("asked", "first", "count"),
    [
        ({"forecast_minutely_15": 3}, "2031-03-03T09:00", 3),
        ({"forecast_minutely_15": 3, "past_minutely_15": 2}, "2031-03-03T08:30", 5),
        ({"forecast_days": 1}, "2031-03-03T00:00", 96),
        (
            {"start_minutely_15": "2031-03-04T05:20", "end_minutely_15": "2031-03-04T06:00"},
            "2031-03-04T05:15",
            4,
        ),
    ],
)
def test_which_quarters_of_an_hour(asked: dict, first: str, count: int) -> None:
    found = client().forecast(52.5, 13.4, minutely_15="is_day", timezone="Europe/Berlin", **asked)
    assert (found["minutely_15"]["time"][0], len(found["minutely_15"]["time"])) == (first, count)


@pytest.mark.parametrize("form", ["iso8601", "unixtime"])
def test_the_older_form_of_current_says_the_same(form: str) -> None:
    names = {
        "temperature": "temperature_2m",
        "windspeed": "wind_speed_10m",
        "winddirection": "wind_direction_10m",
        "is_day": "is_day",
        "weathercode": "weather_code",
    }
    asked = {"current": list(names.values()), "current_weather": "true", "timeformat": form}
    answer = client().forecast(52.5, 13.4, **asked)
    for old, new in {**names, "time": "time", "interval": "interval"}.items():
        assert answer["current_weather"][old] == answer["current"][new]
        assert answer["current_weather_units"][old] == answer["current_units"][new]


def test_heights_and_places_by_their_ids() -> None:
    with connect(WeatherService()) as http:
        place = http.get("/v1/search", params={"name": "Berlin", "count": 1}).json()["results"][0]
        assert http.get("/v1/get", params={"id": place["id"]}).json() == place
        spot = {"latitude": f"{place['latitude']},-48", "longitude": f"{place['longitude']},-125"}
        heights = http.get("/v1/elevation", params=spot).json()["elevation"]
        forecasts = http.get("/v1/forecast", params=spot).json()
        assert heights == [forecast["elevation"] for forecast in forecasts]
        assert heights[0] == place["elevation"]


@pytest.mark.parametrize(
    ("path", "asked", "words"),
    [
        ("/v1/get", {"id": 7}, "Location ID not found: 7"),
        ("/v1/get", {}, "Location ID not found"),
        ("/v1/get", {"id": 7, "language": "de"}, "'language' 'de' is not supported"),
        ("/v1/search", {"name": "Berlin", "language": "de"}, "'language' 'de' is not supported"),
        ("/v1/search", {"name": "Berlin", "format": "protobuf"}, "'format' 'protobuf' is not supported"),
        ("/v1/search", {"name": "Berlin", "admin1": "x"}, "'admin1' is not supported"),
        ("/v1/elevation", {"latitude": 1}, "must have the same number"),
        ("/v1/elevation", {"latitude": 91, "longitude": 0}, "range of -90 to 90"),
        ("/v1/elevation", {"latitude": 1, "longitude": 0, "dem": 90}, "'dem' is not supported"),
    ],
)
def test_what_is_wrong_is_said_in_the_form_of_open_meteo(path: str, asked: dict, words: str) -> None:
    with connect(WeatherService()) as http:
        answer = http.get(path, params=asked)
    assert answer.status_code == 400
    assert answer.json()["error"] is True
    assert words in answer.json()["reason"]
