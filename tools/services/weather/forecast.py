"""`forecast`: the answer to a query, in Open-Meteo's form."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np

from ludus.tools.services.weather.arrays import Floats
from ludus.tools.services.weather.field import Field, Run, Weather
from ludus.tools.services.weather.gazetteer import Gazetteer
from ludus.tools.services.weather.query import Query, Spot, zone_of
from ludus.tools.services.weather.sun import daylight
from ludus.tools.services.weather.variables import (
    DAILY,
    DOMINANT,
    HOURLY,
    SUN,
    Unit,
    Units,
    dominant_direction,
)

QUARTER_S = 900
MS_PER_VALUE = 0.0005
_DAY_ZERO = date(1970, 1, 1).toordinal()
_EPOCH, _HOUR = datetime(1970, 1, 1), timedelta(hours=1)
_DEGREES, _SECONDS = Unit("°"), Unit("s")


def forecast(
    field: Field, gazetteer: Gazetteer, query: Query, now: datetime, run: Run
) -> dict[str, Any] | list[Any]:
    """The answer: an object for one place, a list for several. Times are local, with the offset from UTC in
    force at `now` for the whole answer, as in the real service; a day is 24 hours from local midnight. An
    hour's rain and sunshine are the rates at its start, times an hour. `generationtime_ms` grows with the
    size of the answer; it is not measured.

    Raises:
        WrongQuery: the days are out of range.
    """
    answers = []
    for number, spot in enumerate(query.spots):
        answer = _at_one(field, gazetteer, query, spot, now, run)
        answers.append({**answer, "location_id": number} if number else answer)
    return answers[0] if len(answers) == 1 else answers


def _at_one(
    field: Field, gazetteer: Gazetteer, query: Query, spot: Spot, now: datetime, run: Run
) -> dict[str, Any]:
    land = gazetteer.land(spot.latitude, spot.longitude)
    ground = land.elevation if land.elevation is not None else field.ground(spot.latitude, spot.longitude)
    elevation = round(ground) + 0.0 if spot.elevation is None else spot.elevation
    zone = land.timezone if spot.timezone == "auto" else spot.timezone
    offset = _offset(zone, now)
    today = (now + timedelta(seconds=offset)).date()
    answer: dict[str, Any] = {
        "latitude": spot.latitude,
        "longitude": spot.longitude,
        "generationtime_ms": 0.0,
        "utc_offset_seconds": offset,
        "timezone": zone,
        "timezone_abbreviation": abbreviation(offset),
        "elevation": elevation,
    }
    values, units, is_unix = 0, query.units, query.is_unix_time
    time_unit = "unixtime" if is_unix else "iso8601"
    if query.current:
        seconds = int(now.timestamp()) // QUARTER_S * QUARTER_S
        sky = field.sky(seconds / 3600.0, 1, run)
        weather = field.at(spot.latitude, spot.longitude, elevation, sky)
        answer["current_units"] = {"time": time_unit, "interval": "seconds"}
        answer["current"] = {
            "time": seconds if is_unix else _moments(np.array([seconds / 3600.0]), offset)[0],
            "interval": QUARTER_S,
        }
        for name in query.current:
            quantity = HOURLY[name]
            unit = units.of(quantity.kind)
            now_there = quantity.read(weather) * (QUARTER_S / 3600 if quantity.is_sum else 1.0)
            answer["current_units"][name] = unit.symbol
            answer["current"][name] = unit.convert(now_there, quantity.digits)[0]
            values += 1
    if query.hourly and query.hours:
        begin, count = query.hours.window((now + timedelta(seconds=offset)).replace(tzinfo=None))
        sky = field.sky((begin - _EPOCH) / _HOUR - offset / 3600.0, count, run)
        weather = field.at(spot.latitude, spot.longitude, elevation, sky)
        times = (
            _unix(sky.hours)
            if is_unix
            else [f"{begin + hour * _HOUR:%Y-%m-%dT%H:%M}" for hour in range(count)]
        )
        values += _add_hourly(answer, query, weather, times, time_unit)
    if query.daily or (query.hourly and not query.hours):
        first, days = query.period.days(today)
        day = first.toordinal() - _DAY_ZERO
        sky = field.sky(24.0 * day - offset / 3600.0, 24 * days, run)
        weather, hours = field.at(spot.latitude, spot.longitude, elevation, sky), sky.hours
    if query.hourly and not query.hours:
        times = _unix(hours) if is_unix else [*_clock(day, days)]
        values += _add_hourly(answer, query, weather, times, time_unit)
    if query.daily:
        dates = _unix(hours[::24]) if is_unix else [*_dates(day, days)]
        answer["daily_units"], answer["daily"] = {"time": time_unit}, {"time": dates}
        for name in query.daily:
            symbol, series = _daily(name, weather, units, offset, is_unix)
            answer["daily_units"][name] = symbol
            answer["daily"][name] = series
            values += days
    answer["generationtime_ms"] = round(MS_PER_VALUE * values, 4)
    return answer


def _add_hourly(
    answer: dict[str, Any], query: Query, weather: Weather, times: Sequence[Any], time_unit: str
) -> int:
    """Add the hourly variables to an answer; returns their number of values."""
    answer["hourly_units"], answer["hourly"] = {"time": time_unit}, {"time": times}
    for name in query.hourly:
        quantity = HOURLY[name]
        unit = query.units.of(quantity.kind)
        answer["hourly_units"][name] = unit.symbol
        answer["hourly"][name] = unit.convert(quantity.read(weather), quantity.digits)
    return len(times) * len(query.hourly)


def _daily(
    name: str, weather: Weather, units: Units, offset: int, is_unix: bool
) -> tuple[str, Sequence[Any]]:
    """The unit and the values of a daily variable."""
    if name in SUN:
        days = daylight(weather.sky.hours[12::24], weather.latitude, weather.longitude)
        if name == "daylight_duration":
            return _SECONDS.symbol, _SECONDS.convert(days.seconds, 2)
        moments = days.sunrise if name == "sunrise" else days.sunset
        return ("unixtime", _unix(moments)) if is_unix else ("iso8601", _moments(moments, offset))
    if name == DOMINANT:
        return _DEGREES.symbol, _DEGREES.convert(dominant_direction(weather), 0)
    quantity = DAILY[name]
    unit = units.of(quantity.kind)
    by_day = quantity.source(weather).reshape(-1, 24)
    return unit.symbol, unit.convert(quantity.aggregate(by_day), quantity.digits)


def _offset(zone: str, now: datetime) -> int:
    offset = now.astimezone(zone_of(zone)).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def abbreviation(offset: int) -> str:
    """The text for an offset from UTC in seconds: `GMT`, `GMT+2`, `GMT-3:30`."""
    if not offset:
        return "GMT"
    hours, minutes = divmod(abs(offset) // 60, 60)
    return f"GMT{'+' if offset > 0 else '-'}{hours}" + (f":{minutes:02}" if minutes else "")


def _unix(hours: Floats) -> list[int]:
    seconds: list[int] = np.round(hours * 3600.0).astype(int).tolist()
    return seconds


def _moments(hours: Floats, offset: int) -> list[str]:
    """Local times in whole minutes."""
    began = datetime(1970, 1, 1)
    return [
        (began + timedelta(minutes=round(hour * 60.0 + offset / 60.0))).isoformat(timespec="minutes")
        for hour in hours.tolist()
    ]


@lru_cache(maxsize=512)
def _dates(day: int, days: int) -> tuple[str, ...]:
    return tuple(date.fromordinal(_DAY_ZERO + day + number).isoformat() for number in range(days))


@lru_cache(maxsize=512)
def _clock(day: int, days: int) -> tuple[str, ...]:
    return tuple(f"{day_text}T{hour:02}:00" for day_text in _dates(day, days) for hour in range(24))
