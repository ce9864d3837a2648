"""`rain`: when it rains on the afternoons of an office's week."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TypeAlias

from ludus.tools.services.geography import Place, invented_places
from ludus.tools.services.weather import WeatherService
from ludus.tools.services.weather.query import Spot

HOURS = range(13, 19)
"""The hours that are read: each tells the rain of the hour before it."""

Rain: TypeAlias = Sequence[Sequence[bool]]
"""For each day from Monday to Friday, whether rain falls in the hour before each of `HOURS`."""


# There are 80 towns and 48 weeks to draw from.
@lru_cache(maxsize=4096)
def rain(world: int, place: Place, now: datetime) -> Rain:
    """The rain of the coming week, as forecast by a world's weather service on a Sunday evening."""
    monday = now.date() + timedelta(days=1)
    spot = Spot(place.latitude, place.longitude, None, place.timezone)
    fell = _service(world).hourly(spot, "precipitation", monday, 5, now)
    return tuple(tuple(day[hour] > 0.0 for hour in HOURS) for day in fell)


@lru_cache(maxsize=8)
def _service(world: int) -> WeatherService:
    return WeatherService(world, invented_places(world))
