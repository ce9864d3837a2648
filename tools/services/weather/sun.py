"""The position of the sun, after J. Spencer, Fourier series representation of the position of the sun
(1971)."""

from dataclasses import dataclass

import numpy as np

from ludus.tools.services.weather.arrays import Floats

HOURS_PER_YEAR = 8765.82
_NEW_YEAR = 262_968.0
"""Hours from 1970 to 2000-01-01T00 UTC, when the angle of the year is 0 (within a day, owing to leap
years)."""
HORIZON_DEGREES = -0.833
"""The elevation of the sun's centre when its rim rises: refraction and the sun's radius."""


def year_angle(hours: Floats) -> Floats:
    """The elapsed part of the year, in radians; `hours` count from 1970-01-01T00 UTC."""
    return (hours - _NEW_YEAR) * (2 * np.pi / HOURS_PER_YEAR)


def declination(angle: Floats) -> Floats:
    """The latitude at which the sun is overhead, in radians."""
    c, s = np.cos(angle), np.sin(angle)
    # Those of twice and three times the angle follow from these.
    c2, s2 = 2 * c * c - 1, 2 * s * c
    c3, s3 = c2 * c - s2 * s, s2 * c + c2 * s
    return (
        0.006918 - 0.399912 * c + 0.070257 * s - 0.006758 * c2 + 0.000907 * s2 - 0.002697 * c3 + 0.00148 * s3
    )


def equation_of_time(angle: Floats) -> Floats:
    """Hours by which a sundial is ahead of a clock (the equation of time)."""
    c, s = np.cos(angle), np.sin(angle)
    c2, s2 = 2 * c * c - 1, 2 * s * c
    radians = 0.000075 + 0.001868 * c - 0.032077 * s - 0.014615 * c2 - 0.040849 * s2
    return radians * (24 / (2 * np.pi))


def solar_hour(hours: Floats, longitude: float) -> Floats:
    """The hour on a sundial, 12 when the sun is highest; not reduced to a day."""
    return hours + longitude / 15.0 + equation_of_time(year_angle(hours))


def sine_of_elevation(tilt: Floats, hour: Floats, latitude: float) -> Floats:
    """The sine of the sun's elevation above the horizon, from declination and solar hour."""
    north, turn = np.radians(latitude), (hour - 12.0) * (np.pi / 12)
    return np.sin(north) * np.sin(tilt) + np.cos(north) * np.cos(tilt) * np.cos(turn)


@dataclass(frozen=True)
class Daylight:
    """Per day, in hours from 1970-01-01T00 UTC."""

    sunrise: Floats
    sunset: Floats

    @property
    def seconds(self) -> Floats:
        return (self.sunset - self.sunrise) * 3600.0


def daylight(noons: Floats, latitude: float, longitude: float) -> Daylight:
    """Sunrise and sunset on the days around some moments.

    Args:
        noons: the middle of each (local) day, in hours from 1970-01-01T00 UTC.

    Returns:
        If the sun does not set, sunrise and sunset are 24 hours apart; if it does not rise, they coincide.
    """
    angle = year_angle(noons)
    tilt, north = declination(angle), np.radians(latitude)
    # Solar noon, which may be hours away from noon on the clock.
    highest = noons + (12.0 - solar_hour(noons, longitude) + 12.0) % 24.0 - 12.0
    below = np.sin(np.radians(HORIZON_DEGREES)) - np.sin(north) * np.sin(tilt)
    cosine = below / np.maximum(np.cos(north) * np.cos(tilt), 1e-9)
    half = np.arccos(np.clip(cosine, -1.0, 1.0)) * (12 / np.pi)
    return Daylight(highest - half, highest + half)
