"""`forecast`: the answer to a query, in Open-Meteo's form."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from functools import cache, lru_cache
from typing import Any, Final

import numpy as np

from ludus.tools.services.weather.arrays import Floats
from ludus.tools.services.weather.field import Field, Run, Weather
from ludus.tools.services.weather.gazetteer import Gazetteer
from ludus.tools.services.weather.query import EVERY_QUARTER, Query, Spot, floored, zone_of
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
_EPOCH, _HOUR = datetime(1970, 1, 1), timedelta(hours=1)
_DEGREES, _SECONDS = Unit("°"), Unit("s")
CURRENT_WEATHER: Final = {
    "temperature": "temperature_2m",
    "windspeed": "wind_speed_10m",
    "winddirection": "wind_direction_10m",
    "is_day": "is_day",
    "weathercode": "weather_code",
}
"""What the older form of `current` calls its variables."""


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
    elevation = spot.elevation
    if elevation is None:
        elevation = ground(field, gazetteer, spot.latitude, spot.longitude)
    land = gazetteer.land(spot.latitude, spot.longitude)
    zone = land.timezone if spot.timezone == "auto" else spot.timezone
    offset = _offset(zone, now)
    local = (now + timedelta(seconds=offset)).replace(tzinfo=None)
    units, is_unix = query.units, query.is_unix_time
    time_unit = "unixtime" if is_unix else "iso8601"
    count = 0

    @cache
    def weather(first: datetime, count: int, step: timedelta) -> Weather:
        sky = field.sky((first - _EPOCH) / _HOUR - offset / 3600.0, count, run, step / _HOUR)
        return field.at(spot.latitude, spot.longitude, elevation, sky)

    answer: dict[str, Any] = {
        "latitude": spot.latitude,
        "longitude": spot.longitude,
        "generationtime_ms": 0.0,
        "utc_offset_seconds": offset,
        "timezone": zone,
        "timezone_abbreviation": abbreviation(offset),
        "elevation": elevation,
    }

    def add(name: str, times: Any, found: Mapping[str, tuple[str, Any]], **more: Any) -> None:
        """Add an object with its units: the times, then each variable."""
        said = {"time": time_unit, **({"interval": "seconds"} if more else {})}
        answer[f"{name}_units"] = said | {variable: unit for variable, (unit, _) in found.items()}
        answer[name] = {
            "time": times,
            **more,
            **{variable: values for variable, (_, values) in found.items()},
        }

    for name, variables in _current(query).items():
        moment = floored(local, EVERY_QUARTER.step)
        there = weather(moment, 1, EVERY_QUARTER.step)
        read = {called: _values(name, there, units, 0.25) for called, name in variables.items()}
        found = {called: (unit, values[0]) for called, (unit, values) in read.items()}
        when = _unix(there.sky.hours)[0] if is_unix else moment.isoformat(timespec="minutes")
        add(name, when, found, interval=QUARTER_S)
        count += len(found)
    for series, names in query.series.items():
        begin, steps = query.window(series, local)
        there = weather(begin, steps, series.step)
        times = _unix(there.sky.hours) if is_unix else _clock(begin, steps, series.step)
        add(series.name, times, {name: _values(name, there, units, series.step / _HOUR) for name in names})
        count += steps * len(names)
    if query.daily:
        first, days = query.period.days(local.date())
        there = weather(datetime.combine(first, time()), 24 * days, _HOUR)
        dates = _unix(there.sky.hours[::24]) if is_unix else _dates(first, days)
        add("daily", dates, {name: _daily(name, there, units, offset, is_unix) for name in query.daily})
        count += days * len(query.daily)
    answer["generationtime_ms"] = round(MS_PER_VALUE * count, 4)
    return answer


def ground(field: Field, gazetteer: Gazetteer, latitude: float, longitude: float) -> float:
    """The height of the land, in whole metres: a town's own, near one."""
    town = gazetteer.land(latitude, longitude).elevation
    return round(field.ground(latitude, longitude) if town is None else town) + 0.0


def _current(query: Query) -> dict[str, dict[str, str]]:
    """The objects about now that are asked for: by what they call a variable, its name."""
    asked = {"current": dict(zip(query.current, query.current, strict=True))} if query.current else {}
    return {**asked, "current_weather": CURRENT_WEATHER} if query.has_current_weather else asked


def _values(name: str, weather: Weather, units: Units, share: float) -> tuple[str, list[float] | list[int]]:
    """The unit and the values of a variable. `share`: how much of an hour passes between two of them."""
    quantity = HOURLY[name]
    unit = units.of(quantity.kind)
    values = quantity.read(weather) * share if quantity.is_sum and share != 1.0 else quantity.read(weather)
    return unit.symbol, unit.convert(values, quantity.digits)


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
def _dates(first: date, days: int) -> tuple[str, ...]:
    return tuple((first + timedelta(number)).isoformat() for number in range(days))


@lru_cache(maxsize=512)
def _clock(begin: datetime, count: int, step: timedelta) -> tuple[str, ...]:
    """Local times in whole minutes, as text."""
    return tuple((begin + number * step).isoformat(timespec="minutes") for number in range(count))
