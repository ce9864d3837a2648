"""`Field`: the weather of a world, at any place and time, from a seed.

The atmosphere is a sum of waves that run around the globe: long ones, which are the highs and lows, and short
ones, which are the showers between them. All measurements follow from these and from latitude, elevation,
season and solar hour, so that they fit together: wind blows along the isobars, clouds keep the nights warm,
rain needs moist air. All functions are smooth in place and time.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ludus.tools.services.weather import sun
from ludus.tools.services.weather.arrays import Floats, lazy

LAPSE_PER_METRE = 0.0065
"""Degrees by which air cools per metre of height."""
EARTH_RADIUS, EARTH_TURN = 6.371e6, 7.292e-5
AIR_DENSITY = 1.2
SNOW_BELOW = 1.0
"""Degrees Celsius."""
SNOW_CM_PER_MM = 0.7
"""Snow per millimetre of water."""
ERROR_PER_WEEK = 0.35
"""The standard deviation of a forecast wave's phase error after a week, in radians."""
WEEK_H = 168.0
RAINS_FROM = 0.75
"""The moisture above which it rains."""


@dataclass(frozen=True)
class Waves:
    """A set of waves. Arrays have one item per wave."""

    zonal: Floats
    """Periods around the globe: whole numbers, so that there is no seam."""
    meridional: Floats
    """Radians per radian of latitude."""
    speed: Floats
    """Radians per hour; positive: they travel east."""
    phase: Floats
    amplitude: Floats
    """Their squares add up to 2: the sum of the waves has variance 1."""

    def place(self, latitude: float, longitude: float) -> Floats:
        """A place's contribution to the waves' angles."""
        here: Floats = self.zonal * np.radians(longitude) + self.meridional * np.radians(latitude)
        return here


def _draw(rng: np.random.Generator, count: int, zonal: tuple[int, int], days: tuple[float, float]) -> Waves:
    amplitude = rng.uniform(0.5, 1.0, count)
    return Waves(
        zonal=rng.integers(*zonal, count).astype(float),
        meridional=rng.uniform(-1.0, 1.0, count) * zonal[1],
        speed=2 * np.pi / (24.0 * rng.uniform(*days, count)),
        phase=rng.uniform(0.0, 2 * np.pi, count),
        amplitude=amplitude * np.sqrt(2.0 / np.sum(amplitude**2)),
    )


@dataclass(frozen=True)
class Run:
    """A run of the forecast: what lies before it is known exactly, what lies after it has an error that grows
    with time."""

    day: int
    """The day at whose start (UTC) it was made, in days from 1970-01-01."""

    def error(self, hours: Floats) -> Floats:
        """The standard deviation of the error in the waves' phases, radians."""
        lead: Floats = np.maximum(hours - 24.0 * self.day, 0.0)
        return lead * (ERROR_PER_WEEK / WEEK_H)


class Field:
    """The weather of a world.

    Args:
        seed: determines highs, lows and showers; the climate is always the same.
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 4_201])
        self.highs_and_lows = _draw(rng, 10, (2, 9), (2.5, 9.0))
        self.showers = _draw(rng, 6, (40, 160), (0.25, 0.8))
        self.seed = seed
        self._ground = rng.uniform(0.0, 2 * np.pi, 4)
        self.sky = lru_cache(maxsize=128)(self._sky)

    def inland(self, latitude: float, longitude: float) -> float:
        """How continental a place is: 0 on an island, 1 in the middle of a continent."""
        a, b, c, _ = self._ground
        east, north = np.radians(longitude), np.radians(latitude)
        waves = np.sin(3 * east + a) * np.cos(2 * north) + np.sin(5 * east - 4 * north + b)
        return float(0.5 + 0.25 * (waves + 0.4 * np.sin(11 * east + 9 * north + c)) / 1.2)

    def ground(self, latitude: float, longitude: float) -> float:
        """The height of the land where no town is, in metres."""
        east, north = np.radians(longitude), np.radians(latitude)
        hills = 0.5 + 0.5 * np.sin(17 * east + self._ground[3]) * np.sin(23 * north - self._ground[0])
        return float(900.0 * hills**3 * self.inland(latitude, longitude))

    def at(self, latitude: float, longitude: float, elevation: float, sky: "Sky") -> "Weather":
        """The weather at a place, `elevation` metres high."""
        return Weather(self, latitude, longitude, elevation, sky)

    def _sky(self, first: float, count: int, run: Run, step: float = 1.0) -> "Sky":
        """Consecutive times, as forecast by a run.

        Args:
            first: the first, in hours from 1970-01-01T00 UTC, fractions allowed. count: how many. step: how
                many hours apart.
        """
        hours: Floats = np.arange(count, dtype=np.float64) * step + first
        rng = np.random.default_rng([self.seed, run.day & 0xFFFFFFFF, 77])
        turns = []
        for waves in (self.highs_and_lows, self.showers):
            # The direction and size of each wave's error in this run.
            wrong = np.multiply.outer(run.error(hours), rng.normal(size=waves.phase.size))
            turns.append(Turning(waves.phase - np.multiply.outer(hours, waves.speed) + wrong))
        return Sky(hours, run.error(hours), *turns)


class Turning:
    """How waves turn over some hours, anywhere. That is most of the work, and the same for all places: a
    place only adds sums of products (cos(a + b) = cos a cos b - sin a sin b).
    """

    def __init__(self, angles: Floats) -> None:
        self._cosines, self._sines = np.cos(angles), np.sin(angles)

    def cosines(self, here: Floats, weights: Floats) -> Floats:
        """Σ weight * cos(angle), [hours]; `here` is the place's contribution to the angles."""
        sums: Floats = self._cosines @ (weights * np.cos(here)) - self._sines @ (weights * np.sin(here))
        return sums

    def sines(self, here: Floats, weights: Floats) -> Floats:
        """Σ weight * sin(angle), [hours]."""
        sums: Floats = self._sines @ (weights * np.cos(here)) + self._cosines @ (weights * np.sin(here))
        return sums


@dataclass(frozen=True)
class Sky:
    """What determines the weather of some hours, the same everywhere. Arrays have one item per hour."""

    hours: Floats
    error: Floats
    """The forecast's phase errors in radians."""
    highs_and_lows: Turning
    showers: Turning

    @lazy
    def tilt(self) -> Floats:
        return sun.declination(sun.year_angle(self.hours))

    @lazy
    def sundial(self) -> Floats:
        """The solar hour at longitude 0."""
        return sun.solar_hour(self.hours, 0.0)

    @lazy
    def season(self) -> Floats:
        """1 in the northern midsummer, -1 in the northern midwinter; the air lags the sun by four weeks."""
        return np.cos(sun.year_angle(self.hours - 24.0 * 200.0))


@dataclass(frozen=True)
class Weather:
    """The weather at one place at some moments; each quantity is computed on first use.

    Arrays have one item per moment. Degrees Celsius, hPa, m/s, mm per hour, shares from 0 to 1.
    """

    field: Field
    latitude: float
    longitude: float
    elevation: float
    sky: Sky

    @lazy
    def _north(self) -> float:
        return float(np.radians(self.latitude))

    @lazy
    def _place(self) -> Floats:
        return self.field.highs_and_lows.place(self.latitude, self.longitude)

    @lazy
    def _high(self) -> Floats:
        """Highs (positive) and lows, variance 1."""
        return self.sky.highs_and_lows.cosines(self._place, self.field.highs_and_lows.amplitude)

    @lazy
    def _shower(self) -> Floats:
        """Rising air (positive) and sinking air between the highs and lows, variance 1."""
        showers = self.field.showers
        return self.sky.showers.cosines(showers.place(self.latitude, self.longitude), showers.amplitude)

    @lazy
    def _inland(self) -> float:
        return self.field.inland(self.latitude, self.longitude)

    @lazy
    def _hour(self) -> Floats:
        return self.sky.sundial + self.longitude / 15.0

    @lazy
    def _afternoon(self) -> Floats:
        """1 at three in the afternoon by the sun, -1 at three at night."""
        return np.cos((self._hour - 15.0) * (np.pi / 12))

    @lazy
    def sun(self) -> Floats:
        """The sine of the sun's elevation; negative at night."""
        return sun.sine_of_elevation(self.sky.tilt, self._hour, self.latitude)

    @lazy
    def is_day(self) -> Floats:
        return (self.sun > np.sin(np.radians(sun.HORIZON_DEGREES))).astype(float)

    @lazy
    def moisture(self) -> Floats:
        """How moist the air is: more in lows and rising air, in the tropics in summer and in the westerlies;
        less in the deserts between."""
        north = self._north
        climate = 0.38 * np.cos(6.9 * north) - 0.3 - 0.25 * self._inland
        monsoon = 0.9 * np.sin(2 * north) * np.exp(-((abs(self.latitude) / 28.0) ** 2)) * self.sky.season
        swing = 0.35 + 0.35 * abs(np.sin(north))
        moisture: Floats = climate + monsoon - swing * self._high + 0.42 * self._shower
        return moisture

    @lazy
    def cloud(self) -> Floats:
        """The share of the sky covered by clouds."""
        return 0.5 + 0.5 * np.tanh(1.9 * self.moisture + 0.1)

    @lazy
    def temperature(self) -> Floats:
        north = self._north
        swing = abs(np.sin(north))
        year = 30.0 - 36.0 * np.sin(north) ** 2
        season = 19.0 * np.sin(north) * (0.5 + 0.75 * self._inland) * self.sky.season
        # Warm air comes with wind from the equator, a quarter of a wave ahead of the low.
        front = (1.0 + 5.0 * swing) * self.sky.highs_and_lows.sines(
            self._place, self.field.highs_and_lows.amplitude
        )
        high_sun = np.maximum(0.15, np.cos(north - self.sky.tilt))
        day = (2.5 + 5.5 * self._inland) * (0.3 + 0.7 * high_sun) * (1.0 - 0.65 * self.cloud)
        temperature: Floats = year + season + front + day * self._afternoon - LAPSE_PER_METRE * self.elevation
        return temperature

    @lazy
    def humidity(self) -> Floats:
        """Relative humidity: falls as the air warms during the day."""
        share = 0.64 + 0.3 * np.tanh(self.moisture) - 0.1 * self._afternoon * (1.0 - self.cloud)
        return np.where(self.moisture > RAINS_FROM, np.maximum(share, 0.85), np.clip(share, 0.08, 0.99))

    @lazy
    def vapour_pressure(self) -> Floats:
        return self.humidity * saturation(self.temperature)

    @lazy
    def dew_point(self) -> Floats:
        """The temperature at which the humidity would be 1: the inverse of `saturation`."""
        logarithm = np.log(self.vapour_pressure / 6.112)
        return 243.5 * logarithm / (17.67 - logarithm)

    @lazy
    def sea_pressure(self) -> Floats:
        north = self._north
        belts = 1012.5 - 5.0 * np.cos(6.0 * north) * np.cos(north) + 1.5 * np.cos(2 * north)
        return belts + self._pressure_swing * self._high

    @lazy
    def _pressure_swing(self) -> float:
        """Highs and lows are flat in the tropics."""
        return float(1.5 + 9.0 * np.sin(self._north) ** 2)

    @lazy
    def surface_pressure(self) -> Floats:
        """By the barometric formula, at the place's temperature."""
        kelvin = self.temperature + 273.15
        return (
            self.sea_pressure
            * (1 - LAPSE_PER_METRE * self.elevation / (kelvin + 0.0065 * self.elevation)) ** 5.257
        )

    @lazy
    def wind(self) -> tuple[Floats, Floats]:
        """Eastward and northward: along the isobars, slightly towards the low, plus trades and westerlies."""
        waves, north = self.field.highs_and_lows, self._north
        slope = -100.0 * self._pressure_swing / EARTH_RADIUS
        east_slope = slope * waves.amplitude * waves.zonal / max(0.3, float(np.cos(north)))
        east = self.sky.highs_and_lows.sines(self._place, east_slope)
        up = self.sky.highs_and_lows.sines(self._place, slope * waves.amplitude * waves.meridional)
        coriolis = 2 * EARTH_TURN * np.sin(north)
        strength = 0.5 / (AIR_DENSITY * (coriolis**2 + 5e-5**2))
        along, across = strength * coriolis, 0.3 * strength * np.hypot(coriolis, 5e-5)
        prevailing = -2.5 * np.cos(3.0 * north)
        rough = 1.0 - 0.3 * self._inland
        return rough * (prevailing - along * up - across * east), rough * (along * east - across * up)

    @lazy
    def wind_speed(self) -> Floats:
        u, v = self.wind
        # Stronger by day, when the ground mixes the air.
        return np.hypot(u, v) * (0.85 + 0.3 * np.maximum(self.sun, 0.0)) + 0.3

    @lazy
    def wind_direction(self) -> Floats:
        """Where it blows from, in degrees clockwise from north."""
        u, v = self.wind
        return np.degrees(np.arctan2(-u, -v)) % 360.0

    @lazy
    def gusts(self) -> Floats:
        return self.wind_speed * (1.55 + 0.3 * np.tanh(self._shower)) + 1.0

    @lazy
    def precipitation(self) -> Floats:
        """Millimetres per hour, rounded to tenths: rain, snow and codes follow from the reported value."""
        beyond = np.maximum(self.moisture - RAINS_FROM, 0.0)
        return np.round(1.8 * beyond**1.3 * (0.4 + np.exp(self.temperature / 22.0)), 1)

    @lazy
    def is_snow(self) -> Floats:
        return (self.temperature < SNOW_BELOW).astype(float)

    @lazy
    def is_shower(self) -> Floats:
        """Whether precipitation comes from rising air rather than from a low."""
        return (self._shower > 1.3).astype(float)

    @lazy
    def precipitation_probability(self) -> Floats:
        """The probability of rain: the further ahead, the less certain."""
        return 0.5 + 0.5 * np.tanh((self.moisture - RAINS_FROM) / (0.15 + self.sky.error))

    @lazy
    def radiation(self) -> Floats:
        """Sunlight on the ground, W/m²."""
        return 1020.0 * np.maximum(self.sun, 0.0) * (1.0 - 0.75 * self.cloud**3)

    @lazy
    def sunshine(self) -> Floats:
        """Seconds per hour in which the sun casts shadows."""
        return 3600.0 * np.clip(1.25 * (1.0 - self.cloud), 0.0, 1.0) * (self.sun > 0.05)

    @lazy
    def uv_clear(self) -> Floats:
        return 12.5 * np.maximum(self.sun, 0.0) ** 1.3 * (1.0 + self.elevation * 1e-4)

    @lazy
    def uv(self) -> Floats:
        return self.uv_clear * (1.0 - 0.6 * self.cloud**3)

    @lazy
    def apparent_temperature(self) -> Floats:
        """R. Steadman, Norms of apparent temperature in Australia (1994)."""
        return self.temperature + 0.33 * self.vapour_pressure - 0.7 * self.wind_speed - 4.0

    @lazy
    def visibility(self) -> Floats:
        """Metres."""
        fog = np.clip((self.humidity - 0.9) / 0.09, 0.0, 1.0)
        return 24_000.0 * (1.0 - 0.95 * fog) / (1.0 + 0.5 * self.precipitation)

    @lazy
    def code(self) -> Floats:
        """What an observer would record, as a WMO code (table 4677), as far as Open-Meteo uses them."""
        rain, cloud = self.precipitation, self.cloud
        dry = np.select([cloud < 0.125, cloud < 0.375, cloud < 0.875], [0, 1, 2], 3)
        dry = np.where((self.humidity > 0.96) & (self.wind_speed < 2.5), 45, dry)
        light, heavy = rain < 2.5, rain >= 7.5
        falls = np.select(
            [
                (self.is_snow > 0) & (self.is_shower > 0),
                self.is_snow > 0,
                (self.is_shower > 0) & (rain >= 6.0) & (self.temperature > 12.0),
                self.is_shower > 0,
                rain < 0.25,
                rain < 0.5,
            ],
            [
                np.where(light, 85, 86),
                np.where(rain < 1.0, 71, np.where(light, 73, 75)),
                np.where(rain >= 20.0, 96, 95),
                np.where(light, 80, np.where(heavy, 82, 81)),
                51,
                53,
            ],
            np.where(light, 61, np.where(heavy, 65, 63)),
        )
        return np.where(rain > 0, falls, dry).astype(float)


def saturation(temperature: Floats) -> Floats:
    """The vapour pressure of saturated air in hPa (Bolton 1980)."""
    return 6.112 * np.exp(17.67 * temperature / (temperature + 243.5))
