"""The small form of `ludus/Weather-v0`: a forecast in one line, questions in a few words."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np

from ludus.envs.assistant.weather.goals import Goal, Number, OneOf, convert
from ludus.envs.assistant.weather.phrases import WEEKDAYS
from ludus.envs.assistant.weather.questions import TRIES, Need, Question
from ludus.envs.assistant.weather.results import age_lines
from ludus.envs.tool_env import Answer
from ludus.tools.errors import ToolError
from ludus.tools.services.geography import Place
from ludus.tools.tool import tool

MOST = 9
"""Winds are shown as one digit; questions avoid days with stronger ones."""
WIND = "wind_speed_10m"

QUESTIONS: Mapping[str, str] = {
    "wind_on": "wind in {place} on {day}?",
    "windier": "windier in {place}: {day} or {other}?",
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
    """A question about some of the days from tomorrow on, with a clear answer; None if none is found."""
    first = today + timedelta(1)
    for _ in range(TRIES):
        place = towns[int(rng.integers(len(towns)))]
        winds = [strongest(day) for day in serve(place, first, days, WIND)]
        if max(winds) > MOST:
            return None
        at, other = (int(number) for number in rng.choice(days, 2, replace=False))
        asked = (at,) if kind == "wind_on" else (at, other)
        goal: Goal = Number(winds[at], "m/s", 0.0)
        names = [name_of(first + timedelta(number)) for number in (at, other)]
        if kind == "windier":
            if winds[at] == winds[other]:
                continue
            right, wrong = names if winds[at] > winds[other] else names[::-1]
            goal = OneOf(right, (wrong,))
        text = QUESTIONS[kind].format(place=place.name, day=names[0], other=names[1])
        dates = [first + timedelta(number) for number in asked]
        needs = tuple(Need(place.latitude, place.longitude, day, (WIND,)) for day in dates)
        return Question(kind, text, needs, goal, ":".join([kind, str(place.id), *map(str, dates)]))
    return None


def strongest(hours: Sequence[float]) -> int:
    """A day's strongest wind in whole m/s, from its hours in km/h."""
    return round(convert(max(hours), "km/h", "m/s"))


@tool
def forecast(self: Any, state: Any, place: str, day: str) -> Answer:
    """The strongest wind of a day in a place, in m/s.

    Args:
        place: the place's name
        day: such as Mon
    """
    town = next((known for known in self.towns if known.name.casefold() == place.strip().casefold()), None)
    if town is None:
        raise ToolError(f"no such place; there is {self.towns[0].name}, for example")
    today = self.today()
    days = {name_of(day): day for day in (today + timedelta(ahead + 1) for ahead in range(self.small_days))}
    date = days.get(day.strip().capitalize())
    if date is None:
        raise ToolError(f"no such day; there are {', '.join(days)}")
    told = self.client.forecast(
        town.latitude, town.longitude, hourly=WIND, timezone="auto", start_date=date, end_date=date
    )
    state, share = self.look_up(state, town.latitude, town.longitude, date, date, [WIND])
    lines = [f"wind {strongest(told['hourly'][WIND])}", *age_lines(told)]
    return Answer(state, "\n".join(lines), {"milestones": share})


@tool
def submit(self: Any, state: Any, value: str | int) -> Answer:
    """Hand in the answer; this ends the task.

    Args:
        value: a number or a day
    """
    return self.judge(state, str(value), "")


def read(text: str) -> tuple[str, dict[str, str]]:
    """The kind of a question and its fields.

    Raises:
        ValueError: it has none of the forms.
    """
    for kind, form in QUESTIONS.items():
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(form))
        if found := re.fullmatch(pattern, text):
            return kind, found.groupdict()
    raise ValueError(f"no question: {text!r}")


def days_of(words: Mapping[str, str]) -> list[str]:
    """The days that a question is about."""
    return [words[key] for key in ("day", "other") if key in words]


def solve(kind: str, winds: Mapping[str, int]) -> tuple[str, int | str]:
    """The findings in words (which a small model can learn to copy and draw conclusions from), and the
    answer."""
    found = " ".join(f"{day}{wind}" for day, wind in winds.items())
    return found, next(iter(winds.values())) if kind == "wind_on" else max(winds, key=winds.__getitem__)
