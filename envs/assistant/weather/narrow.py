"""The small form of `ludus/Weather-v0`: a forecast in one line, questions in a few words."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np

from ludus.envs.assistant.weather.goals import Goal, Number, OneOf, convert
from ludus.envs.assistant.weather.questions import TRIES, Need, Question
from ludus.envs.assistant.weather.wording import WEEKDAYS
from ludus.envs.tool_env import Answer
from ludus.tools.errors import ToolError
from ludus.tools.services.geography import Place
from ludus.tools.tool import tool

MOST = 9
"""Winds are shown in one digit; days with stronger ones are not asked about."""
WIND = "wind_speed_10m"

QUESTIONS: Mapping[str, str] = {
    "wind_on": "wind in {place} on {day}?",
    "windiest_day": "windiest day in {place}?",
    "days_above": "days above {threshold} in {place}?",
    "first_above": "first day above {threshold} in {place}?",
}
KINDS = QUESTIONS


def system_text(today: date) -> str:
    return "Call `forecast`, then `submit`."


def name_of(day: date) -> str:
    return WEEKDAYS[day.weekday()][:3]


def draw(
    kind: str,
    rng: np.random.Generator,
    today: date,
    towns: Sequence[Place],
    days: int,
    serve: Callable[[Place, date, int, str], list[list[float]]],
) -> Question | None:
    """A question about some days from tomorrow on whose answer is clear; None where none is found."""
    first = today + timedelta(1)
    for _ in range(TRIES):
        place = towns[int(rng.integers(len(towns)))]
        winds = [strongest(day) for day in serve(place, first, days, WIND)]
        if max(winds) > MOST:
            return None
        at = int(rng.integers(days))
        threshold = int(rng.integers(min(winds), max(winds) + 1))
        goal = _goal(kind, winds, first, at, threshold)
        if goal is None:
            continue
        day = name_of(first + timedelta(at))
        text = QUESTIONS[kind].format(place=place.name, day=day, threshold=threshold)
        needs = tuple(
            Need(place.latitude, place.longitude, first + timedelta(number), (WIND,))
            for number in range(days)
        )
        more = {"wind_on": day, "windiest_day": "", "days_above": threshold, "first_above": threshold}[kind]
        return Question(kind, text, needs, goal, f"{kind}:{place.id}:{first.isoformat()}:{days}:{more}")
    return None


def strongest(hours: Sequence[float]) -> int:
    """A day's strongest wind in whole m/s, from its hours in km/h."""
    return round(convert(max(hours), "km/h", "m/s"))


def _goal(kind: str, winds: Sequence[int], first: date, at: int, threshold: int) -> Goal | None:
    names = [name_of(first + timedelta(number)) for number in range(len(winds))]
    above = [number for number, wind in enumerate(winds) if wind > threshold]
    if kind == "wind_on":
        return Number(winds[at], "m/s", 0.0)
    if kind == "days_above":
        return Number(len(above), "days", 0.0) if above else None
    right = winds.index(max(winds)) if kind == "windiest_day" else (above or [-1])[0]
    if right < 0 or (kind == "windiest_day" and winds.count(winds[right]) > 1):
        return None
    return OneOf(names[right], tuple(name for number, name in enumerate(names) if number != right))


@tool
def forecast(self: Any, state: Any, place: str) -> Answer:
    """The strongest wind of each of the next days in a place, in m/s.

    Args:
        place: the place's name
    """
    town = next((one for one in self.towns if one.name.casefold() == place.strip().casefold()), None)
    if town is None:
        raise ToolError(f"no such place; there is {self.towns[0].name}, for one")
    dates = [need.day for need in state.question.needs]
    told = self.client.forecast(
        town.latitude,
        town.longitude,
        hourly=WIND,
        timezone="auto",
        start_date=dates[0],
        end_date=dates[-1],
    )
    hours = told["hourly"][WIND]
    state, share = self.look_up(state, town.latitude, town.longitude, dates[0], dates[-1], [WIND])
    winds = [strongest(hours[24 * number : 24 * number + 24]) for number in range(len(dates))]
    # A day and its digits stand side by side, and every day after a space, so that the small model's tokens
    # are the same wherever they stand, and what follows a day is what is to be copied.
    days = " ".join(f"{name_of(day)}{wind}" for day, wind in zip(dates, winds, strict=True))
    return Answer(state, f"winds {days}", {"milestones": share})


@tool
def submit(self: Any, state: Any, value: str | int) -> Answer:
    """Hand in the answer; this ends the task.

    Args:
        value: a number, or the name of a day
    """
    return self.judge(state, str(value), "")


def read(text: str) -> tuple[str, dict[str, str]]:
    """The kind of a question and its words.

    Raises:
        ValueError: it has none of the forms.
    """
    for kind, form in QUESTIONS.items():
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(form))
        if found := re.fullmatch(pattern, text):
            return kind, found.groupdict()
    raise ValueError(f"no question: {text!r}")


def solve(kind: str, words: Mapping[str, str], line: str) -> tuple[str, int | str]:
    """The days of the forecast's line that matter, as they stand there, and the answer."""
    winds = {day: int(wind) for day, wind in re.findall(r" ([A-Z][a-z]{2})(\d+)", line)}
    if kind == "wind_on":
        days = [words["day"]]
    elif kind == "windiest_day":
        days = [max(winds, key=winds.__getitem__)]
    else:
        days = [day for day, wind in winds.items() if wind > int(words["threshold"])]
        days = days if kind == "days_above" else days[:1]
    value: int | str = {"wind_on": winds[days[0]], "days_above": len(days)}.get(kind, days[0])
    return " ".join(["see", *(f"{day}{winds[day]}" for day in days)]), value
