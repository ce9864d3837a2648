"""`WeatherClient`: a client for Open-Meteo, ours or the real one."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import httpx

from ludus.tools.errors import ToolError
from ludus.tools.services.client import ask, read_json
from ludus.tools.text import carried

MAX_CHARACTERS = 20_000
"""The maximum number of characters in a parameter."""
AGE = "age_s"
"""Key in answers from a cache: their age in seconds."""


class WeatherClient:
    """Forecasts and places by name.

    Args:
        forecast_http: reaches the forecast; see `ludus.tools.services.connect`.
        geocoding_http: reaches the geocoding, if that is another server, as at Open-Meteo
            (`https://api.open-meteo.com` and `https://geocoding-api.open-meteo.com`).
    """

    def __init__(self, forecast_http: httpx.Client, geocoding_http: httpx.Client | None = None) -> None:
        self._forecast_http = forecast_http
        self._geocoding_http = geocoding_http or forecast_http

    def geocode(self, name: str, count: int = 10, **options: Any) -> list[dict[str, Any]]:
        """Places with a name, or one like it, the likeliest first.

        Args:
            name: of the place only, without region or country.
            count: the maximum number of places, 1 to 100.
            options: more of Open-Meteo's parameters, such as `countryCode`.

        Raises:
            ToolError: the service refuses, fails, or takes too long; the text is for the model.
            ToolFault: there is no such service.
        """
        answer = self._ask(self._geocoding_http, "/v1/search", {"name": name, "count": count, **options})
        return list(answer.get("results", []))

    def forecast(self, latitude: float, longitude: float, **options: Any) -> dict[str, Any]:
        """The weather at a point.

        Args:
            latitude: degrees north.
            longitude: degrees east.
            options: more of Open-Meteo's parameters: `hourly`, `daily`, `timezone`, `start_date`, …; lists
                are joined by commas.

        Returns:
            Open-Meteo's answer. One from a cache also has `age_s`, its age in seconds.

        Raises:
            ToolError: the service refuses, fails, or takes too long; the text is for the model.
            ToolFault: there is no such service.
        """
        return self._ask(
            self._forecast_http, "/v1/forecast", {"latitude": latitude, "longitude": longitude, **options}
        )

    def _ask(self, http: httpx.Client, path: str, parameters: dict[str, Any]) -> dict[str, Any]:
        # Assembled here: httpx would take a fifth of a call's time for it.
        query = urlencode({name: _joined(name, value) for name, value in parameters.items()}, safe=",")
        response = ask(http, "GET", f"{path}?{query}")
        answer: dict[str, Any] = read_json(response)
        if not isinstance(answer, dict) or answer.get("error"):
            reason = answer.get("reason") if isinstance(answer, dict) else "no object"
            raise ToolError(f"the weather service answers: {reason}")
        age = response.headers.get("age", "0")
        return {**answer, AGE: int(age)} if age.isdecimal() and int(age) else answer


def _joined(name: str, value: Any) -> str:
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    try:
        text = ",".join(map(str, value)) if is_list else str(value)
    except ValueError:
        raise ToolError(f"{name} has too many digits") from None
    if len(text) > MAX_CHARACTERS:
        raise ToolError(f"{name} has {len(text)} characters: give {MAX_CHARACTERS} at most")
    return carried(name, text)
