"""Weather: Open-Meteo's API over seeded weather, and its client."""

from ludus.tools.services.weather.client import WeatherClient
from ludus.tools.services.weather.service import WeatherService

__all__ = ["WeatherClient", "WeatherService"]
