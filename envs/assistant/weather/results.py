"""Tool results: short texts in place of Open-Meteo's JSON, and how to read them back."""

import re
from collections.abc import Sequence
from typing import Any

from ludus.tools.services.weather.client import AGE

_OLD = "This forecast is {hours} hours old: ask again for the current one."


def geocode_text(name: str, found: Sequence[dict[str, Any]]) -> str:
    """The places, one per line."""
    if not found:
        return f"No place is called {name[:80]!r}. Give the name alone, without region or country."
    return "\n".join(
        f"{place['name']} ({place.get('admin1', '')}, {place.get('country', '')}): "
        f"latitude {place['latitude']}, longitude {place['longitude']}, {place.get('population', 0)} people"
        for place in found
    )


def read_places(text: str) -> list[tuple[str, str, str, float, float]]:
    """Name, region, country, latitude and longitude of the places in `geocode_text`."""
    lines = re.findall(r"^(.*) \((.*), (.*)\): latitude (\S+), longitude (\S+),", text, re.MULTILINE)
    return [(*line[:3], float(line[3]), float(line[4])) for line in lines]


def forecast_text(answer: dict[str, Any]) -> str:
    """The forecast: a line for each day, under the name and unit of the variable."""
    lines = [f"Local time of {answer['timezone']}."]
    hourly, daily = answer.get("hourly", {}), answer.get("daily", {})
    for name, series in hourly.items():
        if name != "time":
            lines.append(f"{name}{_in(answer['hourly_units'][name])}, by hour from 00:00:")
            for at in range(0, len(series), 24):
                values = " ".join(map(str, series[at : at + 24]))
                lines.append(f"{hourly['time'][at][:10]}: {values}")
    for name, series in daily.items():
        if name != "time":
            unit = answer["daily_units"][name]
            lines.append(f"{name}{'' if unit == 'iso8601' else _in(unit)}, by day:")
            lines += [f"{day}: {value}" for day, value in zip(daily["time"], series, strict=True)]
    return "\n".join([*lines, *age_lines(answer)])


def age_lines(answer: dict[str, Any]) -> list[str]:
    """The last line of an old forecast."""
    return [_OLD.format(hours=answer[AGE] // 3600)] if answer.get(AGE) else []


def _in(unit: str) -> str:
    return f" in {unit}" if unit else ""


def read_series(text: str, name: str) -> dict[str, list[float]]:
    """The values of a variable in `forecast_text`, by day."""
    found: dict[str, list[float]] = {}
    is_here = False
    for line in text.splitlines():
        if re.match(r"\d{4}-\d\d-\d\d: ", line):
            if is_here:
                found[line[:10]] = [float(value) for value in line[12:].split()]
        else:
            is_here = line.split(" ")[0].rstrip(",") == name
    return found


def is_old(text: str) -> bool:
    return "hours old: ask again" in text
