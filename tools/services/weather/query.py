"""`read_query`: what a request asks for, or Open-Meteo's error for it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from ludus.tools.services.weather.variables import (
    DAILY_NAMES,
    HOURLY,
    PRECIPITATION_UNITS,
    TEMPERATURE_UNITS,
    WIND_SPEED_UNITS,
    Units,
)

MOST_PAST, MOST_AHEAD, USUAL_AHEAD = 92, 16, 7
MOST_PLACES = 1000
SERVED = frozenset(
    {
        *("latitude", "longitude", "elevation", "timezone", "timeformat"),
        *("hourly", "minutely_15", "daily", "current", "current_weather"),
        *("temperature_unit", "wind_speed_unit", "windspeed_unit", "precipitation_unit", "cell_selection"),
        *("start_date", "end_date", "past_days", "forecast_days"),
        *("start_hour", "end_hour", "past_hours", "forecast_hours"),
        *("start_minutely_15", "end_minutely_15", "past_minutely_15", "forecast_minutely_15"),
    }
)
"""`cell_selection` changes nothing: the weather is not computed on a grid."""
LOWEST, HIGHEST = -1000.0, 10_000.0
"""Metres."""


class WrongQuery(Exception):
    """An invalid request; the text is the `reason`."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a request."""

    latitude: float
    longitude: float
    elevation: float | None
    """None: that of the ground."""
    timezone: str
    """As requested: an IANA name, or `auto`."""


@dataclass(frozen=True, slots=True)
class Period:
    """Which days: between two dates, or around today."""

    start: date | None = None
    end: date | None = None
    past_days: int = 0
    forecast_days: int = USUAL_AHEAD

    def days(self, today: date, unit: str = "date") -> tuple[date, int]:
        """The first day and how many there are.

        Raises:
            WrongQuery: for dates out of range.
        """
        if self.start is None or self.end is None:
            return today - timedelta(self.past_days), self.past_days + self.forecast_days
        earliest, last = today - timedelta(MOST_PAST), today + timedelta(MOST_AHEAD - 1)
        for name, day in ((f"start_{unit}", self.start), (f"end_{unit}", self.end)):
            if not earliest <= day <= last:
                raise WrongQuery(f"Parameter '{name}' is out of allowed range from {earliest} to {last}")
        return self.start, (self.end - self.start).days + 1


@dataclass(frozen=True, slots=True)
class Series:
    """How a series of values is called, and how far its times are apart."""

    name: str
    """In answers, and as the parameter that lists the variables."""
    step: timedelta
    one: str
    """As in `start_hour`."""
    many: str
    """As in `past_hours`."""


EVERY_HOUR = Series("hourly", timedelta(hours=1), "hour", "hours")
EVERY_QUARTER = Series("minutely_15", timedelta(minutes=15), "minutely_15", "minutely_15")


@dataclass(frozen=True, slots=True)
class Times:
    """Which times of a series: between two local times, or around the current one."""

    series: Series
    start: datetime | None = None
    end: datetime | None = None
    past: int = 0
    ahead: int = 0

    def window(self, now: datetime) -> tuple[datetime, int]:
        """The first time and how many there are, on the clock that shows `now`.

        Raises:
            WrongQuery: for times out of range.
        """
        step = self.series.step
        if self.start is None or self.end is None:
            return floored(now, step) - self.past * step, self.past + self.ahead
        Period(self.start.date(), self.end.date()).days(now.date(), self.series.one)
        return self.start, (self.end - self.start) // step + 1


def floored(moment: datetime, step: timedelta) -> datetime:
    """The last full hour, or quarter of an hour, on the clock that shows `moment`."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (moment - midnight) // step * step


@dataclass(frozen=True, slots=True)
class Query:
    spots: tuple[Spot, ...]
    series: Mapping[Series, tuple[str, ...]]
    """The variables of the series that are asked for."""
    daily: tuple[str, ...]
    current: tuple[str, ...]
    has_current_weather: bool
    """Whether the older form of `current` is asked for."""
    units: Units
    is_unix_time: bool
    period: Period
    times: Mapping[Series, Times]
    """Of the series whose times are not those of the days."""

    def window(self, series: Series, now: datetime) -> tuple[datetime, int]:
        """The first time of a series and how many there are, on the clock that shows `now`.

        Raises:
            WrongQuery: for times out of range.
        """
        if series in self.times:
            return self.times[series].window(now)
        first, days = self.period.days(now.date())
        return datetime.combine(first, time()), days * (timedelta(days=1) // series.step)


def read_query(given: Mapping[str, str]) -> Query:
    """Read a request's parameters. Those that are not served are refused, not ignored: the answer would be
    another than what was asked for.

    Raises:
        WrongQuery: names the parameter and what is wrong.
    """
    refuse_others(given, SERVED)
    coordinates = read_coordinates(given)
    count = len(coordinates)
    elevations: Sequence[float | None] = _numbers(given, "elevation") or [None] * count
    zones = _words(given, "timezone") or ["GMT"]
    zones = zones * count if len(zones) == 1 else zones
    if len(elevations) != count:
        raise WrongQuery("Parameter 'elevation' and coordinates must have the same number of elements")
    for elevation in elevations:
        if elevation is not None and not LOWEST <= elevation <= HIGHEST:
            raise WrongQuery(f"Elevation must be in range of {LOWEST} to {HIGHEST} m. Given: {elevation}.")
    if len(zones) != count:
        raise WrongQuery("Parameter 'timezone' and coordinates must have the same number of elements")
    for zone in zones:
        if zone != "auto":
            zone_of(zone)
    return Query(
        spots=tuple(
            Spot(*place, elevation, zone)
            for place, elevation, zone in zip(coordinates, elevations, zones, strict=True)
        ),
        series={
            series: names
            for series in (EVERY_QUARTER, EVERY_HOUR)
            if (names := _names(given, series.name, HOURLY))
        },
        daily=_names(given, "daily", DAILY_NAMES),
        current=_names(given, "current", HOURLY),
        has_current_weather=_choice(given, "current_weather", ("false", "true")) == "true",
        units=Units(
            _choice(given, "temperature_unit", TEMPERATURE_UNITS),
            _choice(
                given, "windspeed_unit" if "windspeed_unit" in given else "wind_speed_unit", WIND_SPEED_UNITS
            ),
            _choice(given, "precipitation_unit", PRECIPITATION_UNITS),
        ),
        is_unix_time=_choice(given, "timeformat", ("iso8601", "unixtime")) == "unixtime",
        period=_period(given),
        times={
            series: times
            for series in (EVERY_QUARTER, EVERY_HOUR)
            if (times := _times(given, series)) is not None
        },
    )


def read_coordinates(given: Mapping[str, str]) -> list[tuple[float, float]]:
    """Latitudes and longitudes.

    Raises:
        WrongQuery: there are none, too many, or some that are nowhere on Earth.
    """
    latitudes, longitudes = _numbers(given, "latitude"), _numbers(given, "longitude")
    if len(latitudes) != len(longitudes) or not latitudes:
        raise WrongQuery("Parameter 'latitude' and 'longitude' must have the same number of elements")
    if len(latitudes) > MOST_PLACES:
        raise WrongQuery(f"Parameter 'latitude' and 'longitude' must not exceed {MOST_PLACES} coordinates.")
    for latitude, longitude in zip(latitudes, longitudes, strict=True):
        if not -90.0 <= latitude <= 90.0:
            raise WrongQuery(f"Latitude must be in range of -90 to 90°. Given: {latitude}.")
        if not -180.0 <= longitude <= 180.0:
            raise WrongQuery(f"Longitude must be in range of -180 to 180°. Given: {longitude}.")
    return [*zip(latitudes, longitudes, strict=True)]


@lru_cache(maxsize=1024)
def zone_of(name: str) -> tzinfo:
    """A time zone by its name.

    Raises:
        WrongQuery: there is none with this name.
    """
    if name in ("GMT", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise WrongQuery("Invalid timezone") from None


def refuse_others(given: Mapping[str, str], served: Collection[str]) -> None:
    """
    Raises:
        WrongQuery: there is a parameter that is not served, or another format than JSON is asked for.
    """
    for name in given:
        if name not in served and name not in ("apikey", "format"):
            raise WrongQuery(f"Parameter '{name[:100]}' is not supported here")
    asked = given.get("format") or "json"
    if asked != "json":
        raise WrongQuery(f"Parameter 'format' {asked[:40]!r} is not supported here: ask for json")


def _period(given: Mapping[str, str]) -> Period:
    start, end = (_date(given, name) for name in ("start_date", "end_date"))
    if (start is None) != (end is None):
        raise WrongQuery("Both 'start_date' and 'end_date' must be set in the url")
    past_days = _count(given, "past_days", "Past days", MOST_PAST, 0)
    forecast_days = _count(given, "forecast_days", "Forecast days", MOST_AHEAD, USUAL_AHEAD)
    if start is None or end is None:
        return Period(past_days=past_days, forecast_days=forecast_days)
    if end < start:
        raise WrongQuery("End-date must be larger or equals than start-date")
    for name in ("past_days", "forecast_days"):
        if name in given:
            raise WrongQuery(f"Parameter '{name}' is mutually exclusive with 'start_date' and 'end_date'")
    return Period(start, end)


def _times(given: Mapping[str, str], series: Series) -> Times | None:
    begin, finish = f"start_{series.one}", f"end_{series.one}"
    before, after = f"past_{series.many}", f"forecast_{series.many}"
    start, end = (_moment(given, name, series) for name in (begin, finish))
    if (start is None) != (end is None):
        raise WrongQuery(f"Both '{begin}' and '{finish}' must be set in the url")
    a_day = timedelta(days=1) // series.step
    past = _count(given, before, f"Past {series.many}", a_day * MOST_PAST, 0)
    ahead = _count(given, after, f"Forecast {series.many}", a_day * MOST_AHEAD, a_day * USUAL_AHEAD)
    around = [name for name in (before, after) if name in given]
    if start is None or end is None:
        return Times(series, past=past, ahead=ahead) if around else None
    if around:
        raise WrongQuery(f"Parameter '{around[0]}' is mutually exclusive with '{begin}' and '{finish}'")
    if end < start:
        raise WrongQuery(f"End-{series.one} must be larger or equals than start-{series.one}")
    return Times(series, start, end)


def _moment(given: Mapping[str, str], name: str, series: Series) -> datetime | None:
    if not given.get(name):
        return None
    try:
        return floored(datetime.strptime(given[name], "%Y-%m-%dT%H:%M"), series.step)
    except ValueError:
        raise WrongQuery("Invalid hour format. Make sure to use 'YYYY-MM-DDTHH:mm'") from None


def _words(given: Mapping[str, str], name: str) -> list[str]:
    text = given.get(name, "")
    return [word.strip() for word in text.split(",")] if text else []


def _numbers(given: Mapping[str, str], name: str) -> list[float]:
    found = []
    for word in _words(given, name):
        try:
            number = float(word)
        except ValueError:
            raise WrongQuery(f"Value of type 'Float' required for key '{name}'.") from None
        # Not a number, or infinity: later steps would fail in other ways.
        if number - number != 0.0:
            raise WrongQuery(f"Value of type 'Float' required for key '{name}'.")
        found.append(number)
    return found


def _count(given: Mapping[str, str], name: str, called: str, most: int, usual: int) -> int:
    if name not in given:
        return usual
    try:
        count = int(given[name])
    except ValueError:
        raise WrongQuery(f"Value of type 'Int' required for key '{name}'.") from None
    if not 0 <= count <= most:
        raise WrongQuery(f"{called} is invalid. Allowed range 0 to {most}. Given {count}.")
    return count


def _date(given: Mapping[str, str], name: str) -> date | None:
    if not given.get(name):
        return None
    try:
        return datetime.strptime(given[name], "%Y-%m-%d").date()
    except ValueError:
        raise WrongQuery("Invalid date format. Make sure to use 'YYYY-MM-DD'") from None


def _names(given: Mapping[str, str], name: str, known: Collection[str]) -> tuple[str, ...]:
    names = dict.fromkeys(_words(given, name))
    for word in names:
        if word not in known:
            raise WrongQuery(
                f"Cannot initialize WeatherVariable from invalid String value {word[:100]} for key {name}"
            )
    return tuple(names)


def _choice(given: Mapping[str, str], name: str, known: Collection[str]) -> str:
    word = given.get(name) or next(iter(known))
    if word not in known:
        raise WrongQuery(
            f"Value was not of type '{name}' for key {name}: invalid String value {word[:100]}. "
            f"Allowed values: {', '.join(known)}"
        )
    return word
