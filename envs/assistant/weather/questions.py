"""The kinds of questions: what is asked, how, and the answer according to the service."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

import numpy as np

from ludus.envs.assistant.weather.goals import Goal, Hour, Number, Order, convert
from ludus.envs.assistant.weather.phrases import PHRASINGS, listed, say_day, say_place, say_unit
from ludus.tools.services.geography import Place

TEMPERATURE = ("temperature_2m", "temperature_2m_max", "temperature_2m_min")
PRECIPITATION = ("precipitation", "precipitation_sum", "precipitation_hours")
GUSTS = ("wind_gusts_10m", "wind_gusts_10m_max")
RANKED = 4
"""The number of towns to put in order."""
EASY_HOURS = 16
"""Below this many hours of rain, the fewer there are, the less often they are asked for."""
TRIES = 30


@dataclass(frozen=True, slots=True)
class Need:
    """What must have been looked up: a day at a place, in any of the variables."""

    latitude: float
    longitude: float
    day: date
    variables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    kind: str
    text: str
    needs: tuple[Need, ...]
    goal: Goal
    key: str
    """The content key: kind, places, days, units and thresholds."""


@dataclass(frozen=True)
class Asker:
    """The material that kinds of questions draw from."""

    rng: np.random.Generator
    today: date
    horizon: int
    """The number of days to draw from, including today."""
    pick: Callable[[int], list[Place]]
    """Places with distinct names."""
    is_ambiguous: Callable[[Place], bool]
    hours: Callable[[Place, date, int, str], list[list[float]]]
    """The forecast of a variable at a place, by day and hour, for some days from `day` on."""

    def choice(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def day(self) -> date:
        return self.today + timedelta(int(self.rng.integers(self.horizon)))

    def span(self) -> tuple[date, int]:
        """Some consecutive days: the first, and how many."""
        days = int(self.rng.integers(3, max(4, min(7, self.horizon - 1) + 1)))
        first = int(self.rng.integers(max(1, self.horizon - days + 1)))
        return self.today + timedelta(first), days

    def say(self, place: Place) -> str:
        return say_place(place, self.is_ambiguous(place), self.rng)

    def ask(self, kind: str, *, unit: str = "", **words: Any) -> str:
        """A kind of question in one of its phrasings."""
        return str(self.choice(PHRASINGS[kind])).format(unit=say_unit(unit), **words)

    def when(self, day: date) -> str:
        return say_day(self.rng, self.today, day)


def _needs(places: Sequence[Place], first: date, days: int, variables: tuple[str, ...]) -> tuple[Need, ...]:
    return tuple(
        Need(place.latitude, place.longitude, first + timedelta(number), variables)
        for place in places
        for number in range(days)
    )


def _key(kind: str, places: Sequence[Place], first: date, *more: Any) -> str:
    where = "+".join(str(place.id) for place in places)
    return ":".join([kind, where, first.isoformat(), *map(str, more)])


def _temperature_unit(asker: Asker) -> str:
    return "°F" if asker.rng.random() < 0.35 else "°C"


def _extreme(kind: str, of: Callable[[list[float]], float]) -> Callable[[Asker], Question | None]:
    def draw(asker: Asker) -> Question | None:
        (place,), day, unit = asker.pick(1), asker.day(), _temperature_unit(asker)
        value = of(asker.hours(place, day, 1, "temperature_2m")[0])
        text = asker.ask(kind, place=asker.say(place), day=asker.when(day), unit=unit)
        goal = Number(round(convert(value, "°C", unit), 1), unit, 0.2)
        return Question(
            kind, text, _needs([place], day, 1, TEMPERATURE), goal, _key(kind, [place], day, unit)
        )

    return draw


def _at_hour(asker: Asker) -> Question | None:
    (place,), day, unit = asker.pick(1), asker.day(), _temperature_unit(asker)
    hour = int(asker.rng.integers(1, 24))
    value = asker.hours(place, day, 1, "temperature_2m")[0][hour]
    text = asker.ask("at_hour", place=asker.say(place), day=asker.when(day), unit=unit, hour=f"{hour:02}")
    goal = Number(round(convert(value, "°C", unit), 1), unit, 0.2)
    key = _key("at_hour", [place], day, hour, unit)
    return Question("at_hour", text, _needs([place], day, 1, TEMPERATURE[:1]), goal, key)


def _rain(asker: Asker) -> Question | None:
    (place,), day = asker.pick(1), asker.day()
    hours = asker.hours(place, day, 1, "precipitation")[0]
    total = sum(hours)
    # A dry day is too easy to guess, and in inches drizzle rounds to nothing.
    if total < 0.5:
        return None
    unit = "inch" if asker.rng.random() < 0.35 else "mm"
    text = asker.ask("rain", place=asker.say(place), day=asker.when(day), unit=unit)
    tolerance = precipitation_tolerance(unit, sum(value > 0.0 for value in hours))
    goal = Number(round(convert(total, "mm", unit), 3), unit, tolerance)
    key = _key("rain", [place], day, unit)
    return Question("rain", text, _needs([place], day, 1, PRECIPITATION[:2]), goal, key)


def precipitation_tolerance(unit: str, wet_hours: int) -> float:
    """How far a day's total, worked out from any values that the service gives, may be from the true one.

    Millimetres are exact. In inches each value is rounded to three decimals, so a sum of hours is off by up
    to half a thousandth for each wet one, and so is the expected answer by its own rounding. Finally, the
    answer may be rounded to a hundredth of an inch or a tenth of a millimetre.
    """
    half_thousandth = convert(0.0005, "inch", unit)
    own = half_thousandth if unit == "inch" else 0.0
    return max(1, wet_hours) * half_thousandth + own + (0.005 if unit == "inch" else 0.05)


def _gusts(asker: Asker) -> Question | None:
    (place,), day = asker.pick(1), asker.day()
    unit = asker.choice(("km/h", "m/s", "mph", "kn"))
    value = max(asker.hours(place, day, 1, "wind_gusts_10m")[0])
    text = asker.ask("gusts", place=asker.say(place), day=asker.when(day), unit=unit)
    goal = Number(round(convert(value, "km/h", unit), 1), unit, 0.2)
    return Question("gusts", text, _needs([place], day, 1, GUSTS), goal, _key("gusts", [place], day, unit))


def _hours_above(asker: Asker) -> Question | None:
    (place,), unit = asker.pick(1), _temperature_unit(asker)
    days, first = 2, asker.today + timedelta(int(asker.rng.integers(max(1, asker.horizon - 1))))
    served = asker.hours(place, first, days, "temperature_2m")
    values = [convert(value, "°C", unit) for day in served for value in day]
    # No value is so near the threshold that rounding or the unit could decide.
    clear = [
        threshold
        for threshold in range(int(np.ceil(min(values))), int(max(values)) + 1)
        if min(abs(value - threshold) for value in values) >= 0.2
    ]
    if not clear:
        return None
    threshold = asker.choice(clear)
    text = asker.ask(
        "hours_above",
        place=asker.say(place),
        first=asker.when(first),
        days=days,
        unit=unit,
        threshold=threshold,
    )
    goal = Number(sum(value > threshold for value in values), "hours", 0.0)
    key = _key("hours_above", [place], first, days, threshold, unit)
    return Question("hours_above", text, _needs([place], first, days, TEMPERATURE[:1]), goal, key)


def _warmest(asker: Asker) -> Question | None:
    places, day = asker.pick(RANKED), asker.day()
    highs = {place.name: max(asker.hours(place, day, 1, "temperature_2m")[0]) for place in places}
    ranked = sorted(highs, key=highs.__getitem__, reverse=True)
    if any(highs[above] - highs[below] < 0.5 for above, below in pairwise(ranked)):
        return None
    text = asker.ask("warmest", day=asker.when(day), places=listed([asker.say(place) for place in places]))
    key = _key("warmest", places, day)
    return Question("warmest", text, _needs(places, day, 1, TEMPERATURE), Order(tuple(ranked)), key)


def _difference(asker: Asker) -> Question | None:
    places, day, unit = asker.pick(2), asker.day(), _temperature_unit(asker)
    high, other_high = (max(asker.hours(place, day, 1, "temperature_2m")[0]) for place in places)
    place, other = (asker.say(place) for place in places)
    text = asker.ask("difference", place=place, other=other, day=asker.when(day), unit=unit)
    factor = 1.8 if unit == "°F" else 1.0
    # A difference in degrees has no zero offset. In °F the expected one is off by up to 0.18, since each °C
    # is rounded to a tenth, and one from the service's own °F by up to 0.1.
    goal = Number(round((high - other_high) * factor, 2), unit, 0.3)
    key = _key("difference", places, day, unit)
    return Question("difference", text, _needs(places, day, 1, TEMPERATURE), goal, key)


def _first_rain(asker: Asker) -> Question | None:
    (place,), (first, days) = asker.pick(1), asker.span()
    hours = [value for day in asker.hours(place, first, days, "precipitation") for value in day]
    at = next((number for number, value in enumerate(hours) if value > 0.0), None)
    # That it rains from the start is too easy to guess.
    if not at:
        return None
    text = asker.ask("first_rain", place=asker.say(place), first=asker.when(first), days=days)
    needs = _needs([place], first, at // 24 + 1, PRECIPITATION[:1])
    return Question("first_rain", text, needs, _hour(first, at), _key("first_rain", [place], first, days))


def _first_gust(asker: Asker) -> Question | None:
    (place,), (first, days) = asker.pick(1), asker.span()
    unit = asker.choice(("km/h", "mph"))
    gusts = [
        convert(value, "km/h", unit)
        for day in asker.hours(place, first, days, "wind_gusts_10m")
        for value in day
    ]
    # By deciding hour, thresholds that no earlier value comes close to.
    clear = {}
    for threshold in range(int(gusts[0]) + 1, int(max(gusts)) + 1):
        at = next(number for number, gust in enumerate(gusts) if gust >= threshold - 0.4)
        if at and gusts[at] >= threshold + 0.4:
            clear[at] = threshold
    if not clear:
        return None
    at = asker.choice([*clear])
    text = asker.ask(
        "first_gust",
        place=asker.say(place),
        first=asker.when(first),
        days=days,
        threshold=clear[at],
        unit=unit,
    )
    needs = _needs([place], first, at // 24 + 1, GUSTS[:1])
    key = _key("first_gust", [place], first, days, clear[at], unit)
    return Question("first_gust", text, needs, _hour(first, at), key)


def _wet_hours(asker: Asker) -> Question | None:
    (place,), (first, days) = asker.pick(1), asker.span()
    wet = sum(value > 0.0 for day in asker.hours(place, first, days, "precipitation") for value in day)
    # Since rain is rare, small numbers are too easy to guess.
    if asker.rng.random() > wet / EASY_HOURS:
        return None
    text = asker.ask("wet_hours", place=asker.say(place), first=asker.when(first), days=days)
    needs = _needs([place], first, days, PRECIPITATION[:1])
    return Question(
        "wet_hours", text, needs, Number(wet, "hours", 0.0), _key("wet_hours", [place], first, days)
    )


def _hour(first: date, number: int) -> Hour:
    """An hour, counted from the start of a day."""
    return Hour(datetime.combine(first + timedelta(number // 24), time(number % 24)))


KINDS: Mapping[str, Callable[[Asker], Question | None]] = {
    "high": _extreme("high", max),
    "low": _extreme("low", min),
    "at_hour": _at_hour,
    "rain": _rain,
    "gusts": _gusts,
    "hours_above": _hours_above,
    "warmest": _warmest,
    "difference": _difference,
    "first_rain": _first_rain,
    "first_gust": _first_gust,
    "wet_hours": _wet_hours,
}
"""Each draws a question, or returns None if its answer would not be clear."""


def draw_question(kind: str, asker: Asker) -> Question | None:
    """A question of a kind, with a clear answer; None if `TRIES` draws give none."""
    for _ in range(TRIES):
        if question := KINDS[kind](asker):
            return question
    return None
