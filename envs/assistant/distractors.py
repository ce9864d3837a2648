"""Tools that look useful but are not: no goal needs them, and they have no lasting effect.

Their answers are pure functions of the arguments, so an agent that trusts them is always misled the same way.
"""

from hashlib import blake2b
from typing import Any, Literal

from ludus.envs.tool_env import Answer
from ludus.tools.tool import Tool, tool


def _number(most: int, *parts: object) -> int:
    """A number below `most`, derived from the parts."""
    text = "\x1f".join(map(str, parts)).casefold().encode("utf-8", "replace")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little") % most


def _one_of(choices: tuple[str, ...], *parts: object) -> str:
    return choices[_number(len(choices), *parts)]


@tool
def exchange_rate(self: Any, state: Any, base: str, quote: str) -> Answer:
    """The rate at which one currency is exchanged for another today.

    Args:
        base: the currency that is sold, as a three-letter code
        quote: the currency that is bought, as a three-letter code
    """
    rate = (50 + _number(400, "rate", base, quote)) / 100
    return Answer(state, f"1 {base[:8]} = {rate:.2f} {quote[:8]}")


@tool
def flight_status(self: Any, state: Any, flight: str) -> Answer:
    """Whether a flight is on time.

    Args:
        flight: the flight's number, such as XQ412
    """
    status = _one_of(("on time", "25 minutes late", "boarding", "cancelled"), "flight", flight)
    return Answer(state, f"{flight[:12]}: {status}")


@tool
def public_transport(self: Any, state: Any, origin: str, destination: str) -> Answer:
    """The next connection by bus or train between two places.

    Args:
        origin: where the journey begins
        destination: where it ends
    """
    minutes = 5 + _number(90, "transport", origin, destination)
    return Answer(state, f"The next connection leaves in {minutes % 20} minutes and takes {minutes} minutes.")


@tool
def restaurants(self: Any, state: Any, place: str, cuisine: str = "") -> Answer:
    """Restaurants in a place, best first.

    Args:
        place: the town
        cuisine: only this cuisine
    """
    name = _one_of(
        ("The Copper Pot", "Lantern House", "Three Herons", "Salt and Rye"), "food", place, cuisine
    )
    return Answer(state, f"{name} ({_number(20, 'stars', place) / 10 + 3:.1f} of 5)")


@tool
def thermostat(self: Any, state: Any, room: str) -> Answer:
    """The temperature in a room of the office, in degrees Celsius.

    Args:
        room: the room's name
    """
    return Answer(state, f"{room[:40]}: {18 + _number(7, 'room', room)} °C")


@tool
def news(self: Any, state: Any, topic: str) -> Answer:
    """Today's headline about a topic.

    Args:
        topic: what the news should be about
    """
    headline = _one_of(
        ("Opinions divided over {}", "{}: what experts say", "Nothing new about {}", "Five facts about {}"),
        "news",
        topic,
    )
    return Answer(state, headline.format(topic[:60]))


@tool
def stock_quote(self: Any, state: Any, company: str) -> Answer:
    """What a company's share costs now.

    Args:
        company: the company's name
    """
    return Answer(state, f"{company[:60]}: {_number(50_000, 'stock', company) / 100:.2f}")


@tool
def translate(self: Any, state: Any, text: str, language: str) -> Answer:
    """Translate a text into another language.

    Args:
        text: the text
        language: the language to translate into
    """
    return Answer(state, f"No dictionary for {language[:30]!r} is installed.")


@tool
def track_parcel(self: Any, state: Any, number: str) -> Answer:
    """Where a parcel is.

    Args:
        number: the parcel's tracking number
    """
    place = _one_of(
        ("in the sorting centre", "on its way", "at the pick-up point", "delivered"), "parcel", number
    )
    return Answer(state, f"Parcel {number[:30]}: {place}")


@tool
def set_timer(self: Any, state: Any, minutes: int) -> Answer:
    """Ring after some minutes.

    Args:
        minutes: how many
    """
    return Answer(state, f"The timer rings in {minutes} minutes.")


@tool
def horoscope(self: Any, state: Any, sign: str, day: Literal["today", "tomorrow"] = "today") -> Answer:
    """What the stars say about a day: which day suits an undertaking.

    Args:
        sign: the sign of the zodiac
        day: which day
    """
    advice = _one_of(
        ("A good day to begin.", "Better wait.", "Meet somebody new.", "Stay at home."), sign, day
    )
    return Answer(state, advice)


@tool
def road_traffic(self: Any, state: Any, road: str) -> Answer:
    """How dense the traffic on a road is.

    Args:
        road: the road's name or number
    """
    return Answer(state, f"{road[:40]}: {_one_of(('free', 'dense', 'slow', 'closed'), 'road', road)}")


@tool
def company_directory(self: Any, state: Any, name: str) -> Answer:
    """The telephone extension of somebody in the company.

    Args:
        name: the person's name
    """
    return Answer(state, f"{name[:60]}: extension {1000 + _number(9000, 'extension', name)}")


@tool
def average_climate(self: Any, state: Any, place: str, month: int) -> Answer:
    """The weather that a place had in a month on average over thirty years.

    Args:
        place: the town
        month: the month, 1 to 12
    """
    return Answer(state, f"{place[:60]}, month {month}: {_number(30, 'climate', place, month)} °C on average")


@tool
def room_equipment(self: Any, state: Any, room: str) -> Answer:
    """What a meeting room is equipped with.

    Args:
        room: the room's name
    """
    return Answer(state, f"{room[:40]}: {_one_of(('projector', 'whiteboard', 'telephone', 'nothing'), room)}")


@tool
def remember(self: Any, state: Any, note: str) -> Answer:
    """Write a note to yourself; notes are kept until the end of the day.

    Args:
        note: what to remember
    """
    return Answer(state, "Noted.")


DISTRACTORS: tuple[Tool, ...] = (
    exchange_rate,
    flight_status,
    public_transport,
    restaurants,
    thermostat,
    news,
    stock_quote,
    translate,
    track_parcel,
    set_timer,
    horoscope,
    road_traffic,
    company_directory,
    average_climate,
    room_equipment,
    remember,
)
