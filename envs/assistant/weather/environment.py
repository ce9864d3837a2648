"""`ludus/Weather-v0`: questions about the weather, answered with a forecast."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar, Literal

import numpy as np

from ludus.envs.arguments import as_choice, as_choices, as_flag, as_integer, as_share, as_url
from ludus.envs.assistant.exchange import Exchange, forecasts
from ludus.envs.assistant.service_env import ServiceEnv, WorldState, checked_names, solves
from ludus.envs.assistant.toolbox import stock
from ludus.envs.assistant.weather import narrow as small
from ludus.envs.assistant.weather.phrases import in_full
from ludus.envs.assistant.weather.questions import KINDS, Asker, Question, draw_question
from ludus.envs.assistant.weather.results import forecast_text, geocode_text
from ludus.envs.assistant.weather.scripted import AGENTS, Oracle
from ludus.envs.base import Outcome, Start
from ludus.envs.chat import system, user
from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.envs.scripted import ScriptedAgent
from ludus.envs.tool_env import Answer
from ludus.tools.content import content_key
from ludus.tools.errors import ToolError, ToolFault
from ludus.tools.services.geography import REAL_CITIES, Place, invented_places
from ludus.tools.services.service import EPOCH
from ludus.tools.services.transport import connect
from ludus.tools.services.weather import WeatherClient, WeatherService
from ludus.tools.services.weather.query import Spot
from ludus.tools.tool import tool

WEIGHTS: Mapping[str, float] = {"correct": 1.0, "milestones": 0.2}
CHOSEN_YEARS = 20
"""The number of years over which the days of episodes are spread."""
DRAWS = 40
NEAR_DEGREES = 0.06
"""How far from a place, in degrees, a forecast may be and still count as that place's."""
MOST_DAYS, MOST_VARIABLES = 7, 3
"""Limits on hourly values in one answer: more would be hard to read."""

HourlyName = Literal[
    "temperature_2m", "apparent_temperature", "relative_humidity_2m", "precipitation",
    "precipitation_probability", "cloud_cover", "wind_speed_10m", "wind_gusts_10m", "weather_code",
]  # fmt: skip
DailyName = Literal[
    "temperature_2m_max", "temperature_2m_min", "precipitation_sum", "precipitation_hours",
    "wind_speed_10m_max", "wind_gusts_10m_max", "sunrise", "sunset", "weather_code",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class WeatherState(WorldState):
    """The state of an episode."""

    question: Question
    found: frozenset[int] = frozenset()
    """The indices of the question's needs that have been looked up."""


class Weather(ServiceEnv):
    """Answer a question about the weather with a geocoder and a forecast.

    ## Task
    One question, drawn from the seed, about a place (or several), a day ("on Thursday, 26 August"), a unit
    and a threshold: how warm or cold it gets, how much it rains, how strong gusts are; for how many hours it
    is warmer than a threshold, or wet; four towns in order of warmth; the first hour of rain or strong gusts.
    No answer is likely enough to guess. Places that share their name are given with region and country, and
    the right one must be used. The answer follows from the service's data and is clear: no value is close to
    a threshold. `task_name` is the kind with places, days, units and thresholds.

    The weather comes from `tools/services/weather` (Open-Meteo's API over a seeded field, in an invented
    world or for real cities, on a day that the seed chooses) or from a real server.

    ## Observation
    `Chat`. After `reset`: a system message that says what day it is, and a user message with the question.
    Then a `tool` message for each call. "Today" is the day that the system message names, as a day of the
    place's own calendar; a day's hours are those of its local time.

    ## Actions
    `Reply`: calls of these tools.
    - `geocode(name)`: places with this name, the largest first.
    - `forecast(latitude, longitude, start_date, end_date, hourly, daily, temperature_unit, wind_speed_unit,
      precipitation_unit)`: the forecast, up to two weeks ahead; hourly values for at most a week.
    - `submit(value, unit)`: the answer, once. A number may have any unit of its kind, by default the
      question's; an hour is `YYYY-MM-DDTHH:MM`; places are their names, in the order asked for.

    A service that fails or is busy answers with an error and may be called again. A forecast whose last line
    says that it is old is yesterday's; calling again gets today's.

    ## Rewards
    | term | value | weight |
    |---|---|---|
    | `correct` | 1 if the answer is right and the forecasts that it depends on were looked up | 1 |
    | `milestones` | the share of these forecasts that a call was the first to show | 0.2 |
    | `calls` | calls made | −0.01 |
    | `tool_errors` | invalid calls | −0.02 |
    | `malformed` | 1 if the reply has no call | −0.05 |

    `milestones` is present only with `milestones=True`.

    ## End of episode
    The first `submit` terminates the episode. Truncated after 12 replies. `info["success"]` is whether
    `correct` is 1.

    ## Arguments
    - `kinds` (all): the kinds of questions to draw from: `high`, `low`, `at_hour`, `rain`, `gusts`,
      `hours_above`, `warmest`, `difference`, `first_rain`, `first_gust`, `wet_hours`; with `narrow`:
      `wind_on`, `windier`.
    - `places` (`"invented"`): or `"real"`.
    - `world` (0): the seed of the invented world and the weather.
    - `ambiguity` (0.3): the share of questions about places that share their name with others.
    - `horizon` (7): how many days ahead, including today, questions reach, 1 to 14.
    - `narrow` (False): a form for small models: two tools, few places, short words, one-digit numbers.
      `forecast(place, day)` then answers with the day's strongest wind in m/s; questions are about the next
      `horizon` days, 2 to 7 of them.
    - `towns` (6): the number of places with `narrow`, 1 to 50.
    - `url` (None), `geocoding_url` (None): a real server instead of the service, such as
      `https://api.open-meteo.com` and `https://geocoding-api.open-meteo.com`, or one started by
      `ludus serve tools`, which is both. It then decides the answers; episodes take place today, and no
      longer depend on the seed alone.
    - `distractors` (0): how many useless but plausible tools to mix in.
    - `renamed` (False): rename tools and arguments; a number is the seed of the names.
    - `faults` (None): shares of calls that go wrong, by kind: `slow`, `timeout`,
      `refused`, `broken`, `stale`.
    - `milestones` (False): reward progress.
    - `weights` (None): reward weights to change, by term.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    max_turns = 12
    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = AGENTS

    def __init__(
        self,
        kinds: Sequence[str] | None = None,
        places: str = "invented",
        world: int = 0,
        ambiguity: float = 0.3,
        horizon: int = 7,
        narrow: bool = False,
        towns: int = 6,
        url: str | None = None,
        geocoding_url: str | None = None,
        distractors: int = 0,
        renamed: bool | int = False,
        faults: Mapping[str, float] | None = None,
        milestones: bool = False,
        weights: Mapping[str, float] | None = None,
        render_mode: str | None = None,
    ) -> None:
        pool = checked_places(places, world)
        self._service = None if url else WeatherService(world, pool)
        services = {"weather": self._service} if self._service else {}
        super().__init__(services, WEIGHTS, weights, distractors, renamed, faults, milestones, render_mode)
        self.narrow = as_flag("narrow", narrow)
        known = small.KINDS if self.narrow else KINDS
        self.kinds = as_choices("kinds", kinds, known)
        self.ambiguity = as_share("ambiguity", ambiguity)
        self.horizon = as_integer("horizon", horizon, 1, 14)
        self._counts = Counter(place.name for place in pool)
        self._ambiguous = [place for place in pool if self._is_ambiguous(place)]
        self._unique = [place for place in pool if not self._is_ambiguous(place)]
        self.towns = tuple(self._unique[: as_integer("towns", towns, 1, 50)])
        self.small_days = min(max(self.horizon, 2), 7)
        if self.narrow:
            # The small form has its own tools; the conversation is the same.
            self.toolbox = stock((small.forecast, small.submit), distractors, checked_names(renamed))
            self.use_tools(self.toolbox.tools)
        for name, address in (("url", url), ("geocoding_url", geocoding_url)):
            if address:
                as_url(name, address)
        if url:
            server = connect(url)
            self.client = WeatherClient(server, connect(geocoding_url) if geocoding_url else None)
        elif geocoding_url:
            raise ArgumentError(f"geocoding_url={geocoding_url!r} without url: also give the forecast's url")
        else:
            self.client = WeatherClient(self.connect("weather"))
        self.is_remote = url is not None

    @property
    def difficulties(self) -> Mapping[str, Sequence[Any]]:
        if self.narrow:
            return {"towns": (2, 4, 8, 16, 32), "horizon": (3, 7)}
        return {"ambiguity": (0.0, 0.3, 0.6), "horizon": (3, 7, 14)}

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        try:
            return self._start(rng)
        except (ToolError, ToolFault) as error:
            raise EnvironmentFault(f"no task can be drawn from the weather service: {error}") from error

    def _start(self, rng: np.random.Generator) -> Start:
        for _ in range(DRAWS):
            for service in self.services.values():
                hours = int(rng.integers(CHOSEN_YEARS * 365 * 24))
                service.clock.now = EPOCH + timedelta(hours=hours)
            today = self.today()
            kind = self.kinds[int(rng.integers(len(self.kinds)))]
            question = self._draw(kind, rng, today)
            if question is None:
                continue
            state = WeatherState(question=question, worlds=self.begin(rng))
            text = small.system_text(today) if self.narrow else INSTRUCTIONS.format(today=in_full(today))
            said = [system(self.toolbox.worded(text)), user(question.text)]
            begun = Start(said, question.key, state, kind)
            # A question that the oracle cannot answer through the tools is not asked.
            if solves(self, begun, Oracle(self)):
                self.rewind(state.worlds)
                return begun
        raise EnvironmentFault(
            f"none of {DRAWS} questions could be answered through the tools: give more kinds, or fewer faults"
        )

    def today(self) -> date:
        """The day on which the episode takes place."""
        if self.services:
            return self.services["weather"].clock.now.date()
        told = self.client.forecast(0.0, 0.0, current="temperature_2m", timezone="GMT")
        return datetime.fromisoformat(told["current"]["time"]).replace(tzinfo=UTC).date()

    def _draw(self, kind: str, rng: np.random.Generator, today: date) -> Question | None:
        if self.narrow:
            return small.draw(kind, rng, today, self.towns, self.small_days, self._serve)
        asker = Asker(rng, today, self.horizon, self._picker(rng), self._is_ambiguous, self._serve)
        return draw_question(kind, asker)

    def _is_ambiguous(self, place: Place) -> bool:
        return self._counts[place.name] > 1

    def _picker(self, rng: np.random.Generator) -> Callable[[int], list[Place]]:
        def pick(count: int) -> list[Place]:
            chosen: list[Place] = []
            while len(chosen) < count:
                is_ambiguous = bool(self._ambiguous) and rng.random() < self.ambiguity
                pool = self._ambiguous if is_ambiguous else self._unique
                place = pool[int(rng.integers(len(pool)))]
                # No name may be part of another.
                if not any(place.name in other.name or other.name in place.name for other in chosen):
                    chosen.append(self._located(place) if self.is_remote else place)
            return chosen

        return pick

    def _located(self, place: Place) -> Place:
        """A place, located where the server has it.

        Raises:
            ToolFault: it has no such place.
        """
        for found in self.client.geocode(place.name, 20):
            off = abs(found["latitude"] - place.latitude) + abs(found["longitude"] - place.longitude)
            if off < 0.5:
                return replace(place, latitude=found["latitude"], longitude=found["longitude"])
        raise ToolFault(f"the server does not know {place.name} ({place.country}): is its world another one?")

    def _serve(self, place: Place, first: date, days: int, variable: str) -> list[list[float]]:
        """The true values of a variable, by day and hour."""
        if self._service is not None:
            # Without the protocol and its faults: the data behind the right answer.
            spot = Spot(place.latitude, place.longitude, None, "auto")
            return self._service.hourly(spot, variable, first, days, self._service.clock.now)
        told = self.client.forecast(
            place.latitude,
            place.longitude,
            hourly=variable,
            timezone="auto",
            start_date=first,
            end_date=first + timedelta(days - 1),
        )
        values = told["hourly"][variable]
        return [values[24 * number : 24 * number + 24] for number in range(days)]

    def respond(self, state: WeatherState, text: str) -> Outcome:
        told = self.toolbox.worded("Call a tool; the answer goes to `submit`.")
        return Outcome(state, [user(told)], {"malformed": 1.0})

    def witness(self, state: WeatherState, exchange: Exchange) -> Outcome:
        reached = 0.0
        for seen in forecasts(exchange):
            state, share = self.look_up(
                state, seen.latitude, seen.longitude, seen.first, seen.last, seen.variables
            )
            reached += share
        return Outcome(state, [], {"milestones": reached})

    @tool
    def geocode(self, state: WeatherState, name: str) -> Answer:
        """Find places by name, the largest first.

        Args:
            name: the place's name alone, without region or country
        """
        return Answer(state, geocode_text(name, self.client.geocode(name, 8)))

    @tool
    def forecast(
        self,
        state: WeatherState,
        latitude: float,
        longitude: float,
        start_date: date,
        end_date: date,
        hourly: list[HourlyName] | None = None,
        daily: list[DailyName] | None = None,
        temperature_unit: Literal["celsius", "fahrenheit"] = "celsius",
        wind_speed_unit: Literal["kmh", "ms", "mph", "kn"] = "kmh",
        precipitation_unit: Literal["mm", "inch"] = "mm",
    ) -> Answer:
        """The weather forecast at a point, in local time. Ask for hourly or daily values, or both.

        Args:
            latitude: degrees north
            longitude: degrees east
            start_date: the first day, YYYY-MM-DD
            end_date: the last day, YYYY-MM-DD
            hourly: values for every hour: at most three variables, over at most seven days
            daily: values for every day
            temperature_unit: of temperatures
            wind_speed_unit: of winds and gusts
            precipitation_unit: of precipitation
        """
        days = (end_date - start_date).days + 1
        if not hourly and not daily:
            raise ToolError("say which values you want: hourly, daily, or both")
        if hourly and (days > MOST_DAYS or len(hourly) > MOST_VARIABLES):
            raise ToolError(f"hourly: at most {MOST_VARIABLES} variables over {MOST_DAYS} days in one call")
        answer = self.client.forecast(
            latitude,
            longitude,
            **{name: chosen for name, chosen in (("hourly", hourly), ("daily", daily)) if chosen},
            timezone="auto",
            start_date=start_date,
            end_date=end_date,
            temperature_unit=temperature_unit,
            wind_speed_unit=wind_speed_unit,
            precipitation_unit=precipitation_unit,
        )
        shown = [*(hourly or ()), *(daily or ())]
        state, share = self.look_up(state, latitude, longitude, start_date, end_date, shown)
        return Answer(state, forecast_text(answer), {"milestones": share})

    @tool
    def submit(self, state: WeatherState, value: str | float, unit: str = "") -> Answer:
        """Hand in the answer; this ends the task.

        Args:
            value: a number; a date and hour as YYYY-MM-DDTHH:MM; or names of places, separated by commas, in
                the order that was asked for
            unit: the unit of a number, if it is not the one that was asked for
        """
        return self.judge(state, str(value), unit)

    def look_up(
        self,
        state: WeatherState,
        latitude: float,
        longitude: float,
        first: date,
        last: date,
        shown: Sequence[str],
    ) -> tuple[WeatherState, float]:
        """The state after a forecast was shown, and the share of the question's needs that it newly met."""
        needs = state.question.needs
        met = {
            number
            for number, need in enumerate(needs)
            if first <= need.day <= last
            and abs(need.latitude - latitude) <= NEAR_DEGREES
            and abs(need.longitude - longitude) <= NEAR_DEGREES
            and not set(need.variables).isdisjoint(shown)
        }
        share = len(met - state.found) / len(needs)
        return replace(state, found=state.found | met), share

    def judge(self, state: WeatherState, value: str, unit: str) -> Answer:
        """The end of the episode: whether an answer is right and based on what was looked up."""
        goal = state.question.goal
        is_right = goal.is_met(value, unit)
        has_looked = len(state.found) == len(state.question.needs)
        if is_right and has_looked:
            return Answer(state, "Correct.", {"correct": 1.0}, True, True)
        # The right answer is not revealed: restoring a snapshot would let an agent use it.
        why = "" if has_looked else ": you did not look up the forecasts that the answer follows from"
        wrong = [] if is_right else [f"answered {value[:300]} {unit[:50]}".rstrip()]
        failure = "; ".join([*wrong, *self._not_looked_up(state)])
        return Answer(state, f"Wrong{why}.", {}, True, False, failure)

    def anchor(self, state: WeatherState) -> int:
        return content_key((self.services_key(state), state.found))

    def expected(self, state: WeatherState) -> str:
        return str(state.question.goal)

    def unfinished(self, state: WeatherState) -> str:
        return "".join(self._not_looked_up(state))

    def _not_looked_up(self, state: WeatherState) -> list[str]:
        needs = [need for number, need in enumerate(state.question.needs) if number not in state.found]
        places = [f"{need.latitude:.2f}, {need.longitude:.2f} on {need.day}" for need in needs]
        return [f"forecasts not looked up: {'; '.join(places)}"] if places else []


INSTRUCTIONS = (
    "Today is {today}. Answer the question about the weather with these tools: `geocode` finds places, "
    "`forecast` gives the weather there, and `submit` hands in the answer, once. Several places can share a "
    "name; use the one that is meant. Dates and hours are local to the place. If a call fails, try again. A "
    "forecast that is out of date says so in its last line; then ask again for the current one."
)


def checked_places(places: str, world: int) -> tuple[Place, ...]:
    world = as_integer("world", world, 0, 2**31 - 1)
    if as_choice("places", places, ("invented", "real")) == "invented":
        return invented_places(world)
    return REAL_CITIES
