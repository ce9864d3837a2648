"""The available variables: Open-Meteo's names, how each follows from the weather, and its units."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ludus.tools.services.weather.arrays import Floats
from ludus.tools.services.weather.field import SNOW_CM_PER_MM, Weather, saturation

Reading = Callable[[Weather], Floats]


@dataclass(frozen=True, slots=True)
class Unit:
    symbol: str
    factor: float = 1.0
    offset: float = 0.0
    digits: int | None = None
    """Decimals reported, if not those of the variable."""

    def convert(self, values: Floats, digits: int) -> list[float] | list[int]:
        """The values in this unit, rounded; whole numbers are ints."""
        digits = digits if self.digits is None else self.digits
        if self.factor != 1.0 or self.offset:
            values = values * self.factor + self.offset
        # turns -0 into 0
        rounded = np.round(values, digits) + 0.0
        return rounded.astype(int).tolist() if digits == 0 else rounded.tolist()


TEMPERATURE_UNITS = {"celsius": Unit("°C"), "fahrenheit": Unit("°F", 1.8, 32.0)}
WIND_SPEED_UNITS = {
    "kmh": Unit("km/h", 3.6),
    "ms": Unit("m/s", digits=2),
    "mph": Unit("mp/h", 3.6 / 1.609344),
    "kn": Unit("kn", 3.6 / 1.852),
}
PRECIPITATION_UNITS = {"mm": Unit("mm"), "inch": Unit("inch", 1 / 25.4, digits=3)}
_SNOW_UNITS = {"mm": Unit("cm"), "inch": Unit("inch", 1 / 2.54, digits=3)}


@dataclass(frozen=True, slots=True)
class Units:
    """The units of an answer, by parameter value."""

    temperature: str = "celsius"
    wind_speed: str = "kmh"
    precipitation: str = "mm"

    def of(self, kind: str) -> Unit:
        """The unit of a kind of quantity; a kind without a choice of units is its own symbol."""
        if kind == "temperature":
            return TEMPERATURE_UNITS[self.temperature]
        if kind == "wind":
            return WIND_SPEED_UNITS[self.wind_speed]
        if kind == "precipitation":
            return PRECIPITATION_UNITS[self.precipitation]
        if kind == "snow":
            return _SNOW_UNITS[self.precipitation]
        return Unit(kind)


@dataclass(frozen=True, slots=True)
class Hourly:
    """An hourly quantity."""

    read: Reading
    kind: str
    digits: int = 1
    is_sum: bool = False
    """Whether it adds up over time: it is the hour's total, and a quarter of it is that of a quarter of an
    hour."""


def _rain(weather: Weather) -> Floats:
    return weather.precipitation * (1.0 - weather.is_snow) * (1.0 - weather.is_shower)


def _showers(weather: Weather) -> Floats:
    return weather.precipitation * (1.0 - weather.is_snow) * weather.is_shower


def _snowfall(weather: Weather) -> Floats:
    return weather.precipitation * weather.is_snow * SNOW_CM_PER_MM


def _deficit(weather: Weather) -> Floats:
    return (saturation(weather.temperature) - weather.vapour_pressure) / 10.0


HOURLY: Mapping[str, Hourly] = {
    "temperature_2m": Hourly(lambda w: w.temperature, "temperature"),
    "relative_humidity_2m": Hourly(lambda w: 100.0 * w.humidity, "%", 0),
    "dew_point_2m": Hourly(lambda w: w.dew_point, "temperature"),
    "apparent_temperature": Hourly(lambda w: w.apparent_temperature, "temperature"),
    "precipitation_probability": Hourly(lambda w: 100.0 * w.precipitation_probability, "%", 0),
    "precipitation": Hourly(lambda w: w.precipitation, "precipitation", 2, True),
    "rain": Hourly(_rain, "precipitation", 2, True),
    "showers": Hourly(_showers, "precipitation", 2, True),
    "snowfall": Hourly(_snowfall, "snow", 2, True),
    "weather_code": Hourly(lambda w: w.code, "wmo code", 0),
    "pressure_msl": Hourly(lambda w: w.sea_pressure, "hPa"),
    "surface_pressure": Hourly(lambda w: w.surface_pressure, "hPa"),
    "cloud_cover": Hourly(lambda w: 100.0 * w.cloud, "%", 0),
    "visibility": Hourly(lambda w: w.visibility, "m", 0),
    "vapour_pressure_deficit": Hourly(_deficit, "kPa", 2),
    "wind_speed_10m": Hourly(lambda w: w.wind_speed, "wind"),
    "wind_direction_10m": Hourly(lambda w: w.wind_direction, "°", 0),
    "wind_gusts_10m": Hourly(lambda w: w.gusts, "wind"),
    "shortwave_radiation": Hourly(lambda w: w.radiation, "W/m²"),
    "sunshine_duration": Hourly(lambda w: w.sunshine, "s", 2, True),
    "uv_index": Hourly(lambda w: w.uv, "", 2),
    "uv_index_clear_sky": Hourly(lambda w: w.uv_clear, "", 2),
    "is_day": Hourly(lambda w: w.is_day, "", 0),
}
"""All of these are also available as `current`."""

Aggregate = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class Daily:
    """A daily aggregate of an hourly quantity."""

    source: Reading
    """Values [days * 24]."""
    aggregate: Aggregate
    """From values [days, 24] to values [days]."""
    kind: str
    digits: int = 1


def _most(values: Floats) -> Floats:
    highest: Floats = values.max(axis=1)
    return highest


def _least(values: Floats) -> Floats:
    lowest: Floats = values.min(axis=1)
    return lowest


def _mean(values: Floats) -> Floats:
    mean: Floats = values.mean(axis=1)
    return mean


def _sum(values: Floats) -> Floats:
    total: Floats = values.sum(axis=1)
    return total


def _wet_hours(values: Floats) -> Floats:
    return (values > 0.0).sum(axis=1).astype(float)


def _derived(names: str, aggregates: Mapping[str, Aggregate], digits: int | None = None) -> dict[str, Daily]:
    found = {}
    for name in names.split():
        hourly = HOURLY[name]
        for suffix, aggregate in aggregates.items():
            decimals = hourly.digits if digits is None else digits
            found[name + suffix] = Daily(hourly.read, aggregate, hourly.kind, decimals)
    return found


DAILY: Mapping[str, Daily] = {
    "weather_code": Daily(lambda w: w.code, _most, "wmo code", 0),
    **_derived("temperature_2m apparent_temperature", {"_max": _most, "_min": _least, "_mean": _mean}),
    **_derived("precipitation rain showers snowfall", {"_sum": _sum}),
    "precipitation_hours": Daily(lambda w: w.precipitation, _wet_hours, "h"),
    **_derived("precipitation_probability", {"_max": _most, "_min": _least, "_mean": _mean}),
    **_derived("wind_speed_10m wind_gusts_10m", {"_max": _most, "_min": _least, "_mean": _mean}),
    **_derived(
        "relative_humidity_2m dew_point_2m cloud_cover", {"_max": _most, "_min": _least, "_mean": _mean}
    ),
    **_derived("pressure_msl surface_pressure visibility", {"_max": _most, "_min": _least, "_mean": _mean}),
    "shortwave_radiation_sum": Daily(lambda w: w.radiation * 0.0036, _sum, "MJ/m²", 2),
    "sunshine_duration": Daily(lambda w: w.sunshine, _sum, "s", 2),
    **_derived("uv_index uv_index_clear_sky", {"_max": _most}),
}
"""Each follows from the hours of one quantity; the names below do not."""

SUN = ("sunrise", "sunset", "daylight_duration")
DOMINANT = "wind_direction_10m_dominant"
DAILY_NAMES = (*DAILY, *SUN, DOMINANT)


def dominant_direction(weather: Weather) -> Floats:
    """By day: the direction from which most of the wind comes."""
    u, v = (part.reshape(-1, 24).sum(axis=1) for part in weather.wind)
    return np.degrees(np.arctan2(-u, -v)) % 360.0
