"""`WeatherService`: Open-Meteo's forecast and geocoding in one service."""

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from ludus.tools.services.geography import REAL_CITIES, Place, invented_places
from ludus.tools.services.service import Service, VirtualClock
from ludus.tools.services.weather.field import Field, Run
from ludus.tools.services.weather.forecast import QUARTER_S, forecast, ground
from ludus.tools.services.weather.gazetteer import Gazetteer
from ludus.tools.services.weather.query import (
    EVERY_HOUR,
    Period,
    Query,
    Spot,
    WrongQuery,
    read_coordinates,
    read_query,
    refuse_others,
)
from ludus.tools.services.weather.variables import Units
from ludus.tools.text import uncarried

STALE_S = 86_400
"""The age of an outdated forecast: yesterday's."""
MOST_RESULTS, USUAL_RESULTS = 100, 10


class WeatherService(Service):
    """`/v1/forecast`, `/v1/elevation`, `/v1/search` and `/v1/get` over a seeded world.

    The weather is a pure function of the seed, the place, the time and the day of the forecast. Calls change
    nothing. A stale answer is yesterday's forecast, marked as in HTTP by its `Age`.

    Args:
        seed: of the weather and, unless places are given, of the world.
        places: by default, those of the invented world and the real cities.
        clock: tells the time.
    """

    name = "weather"

    def __init__(
        self, seed: int = 0, places: tuple[Place, ...] | None = None, clock: VirtualClock | None = None
    ) -> None:
        super().__init__(clock)
        self.seed = seed
        self.places = (*invented_places(seed), *REAL_CITIES) if places is None else places
        self._world = _world(seed, self.places)
        self._app = Router(
            [
                Route("/v1/forecast", self._forecast),
                Route("/v1/elevation", self._pure(self._world.elevation)),
                Route("/v1/search", self._pure(self._world.search)),
                Route("/v1/get", self._pure(self._world.get)),
            ]
        )

    @property
    def app(self) -> ASGIApp:
        return self._app

    @property
    def state(self) -> None:
        """Empty: no call changes the weather."""

    @state.setter
    def state(self, state: None) -> None: ...

    def forecast(self, query: Query, now: datetime) -> dict[str, Any] | list[Any]:
        """The answer of `/v1/forecast` at some moment, without HTTP and JSON.

        Raises:
            WrongQuery: the days are out of range.
        """
        return self._world.answer(query, int(now.timestamp()) // QUARTER_S)

    def hourly(self, spot: Spot, variable: str, first: date, days: int, now: datetime) -> list[list[float]]:
        """What `/v1/forecast` says at some moment of one variable, in the default units, by day and hour.

        Raises:
            WrongQuery: the days are out of range.
        """
        query = Query(
            spots=(spot,),
            series={EVERY_HOUR: (variable,)},
            daily=(),
            current=(),
            has_current_weather=False,
            units=Units(),
            is_unix_time=False,
            period=Period(first, first + timedelta(days - 1)),
            times={},
        )
        answer = self.forecast(query, now)
        assert isinstance(answer, dict)
        values = answer["hourly"][variable]
        return [values[24 * number : 24 * number + 24] for number in range(days)]

    async def _forecast(self, request: Request) -> Response:
        quarter = int(self.clock.now.timestamp()) // QUARTER_S
        status, body = self._world.forecast(request.scope["query_string"], quarter, self.is_stale)
        headers = {"age": str(STALE_S)} if self.is_stale and status == 200 else None
        return Response(body, status, headers, "application/json; charset=utf-8")

    def _pure(self, answer: Callable[[bytes], tuple[int, bytes]]) -> Callable[[Request], Awaitable[Response]]:
        """Serves what follows from the query alone."""

        async def serve(request: Request) -> Response:
            status, body = answer(request.scope["query_string"])
            return Response(body, status, media_type="application/json; charset=utf-8")

        return serve


class _World:
    """What all services with the same seed and places share: it never changes."""

    def __init__(self, seed: int, places: tuple[Place, ...]) -> None:
        self.field = Field(seed)
        self.gazetteer = Gazetteer(places)
        self._by_id = {str(place.id): place for place in places}
        # An answer is a pure function of the query and the quarter of an hour.
        self.forecast = lru_cache(maxsize=512)(self._forecast)
        self.elevation = lru_cache(maxsize=512)(_refusing(self._elevation))
        self.search = lru_cache(maxsize=2048)(_refusing(self._search))
        self.get = lru_cache(maxsize=512)(_refusing(self._get))

    def answer(self, query: Query, quarter: int, is_stale: bool = False) -> dict[str, Any] | list[Any]:
        now = datetime.fromtimestamp(quarter * QUARTER_S, UTC)
        run = Run(quarter * QUARTER_S // STALE_S - is_stale)
        return forecast(self.field, self.gazetteer, query, now, run)

    def _forecast(self, query: bytes, quarter: int, is_stale: bool) -> tuple[int, bytes]:
        try:
            return 200, _json(self.answer(read_query(_parameters(query)), quarter, is_stale))
        except WrongQuery as wrong:
            return 400, _json({"error": True, "reason": str(wrong)})

    def _elevation(self, given: Mapping[str, str]) -> dict[str, Any]:
        refuse_others(given, ("latitude", "longitude"))
        places = read_coordinates(given)
        return {"elevation": [ground(self.field, self.gazetteer, *place) for place in places]}

    def _search(self, given: Mapping[str, str]) -> dict[str, Any]:
        refuse_others(given, ("name", "count", "countryCode", "language"))
        if wrong := uncarried(given.get("name", "")):
            raise WrongQuery(f"Parameter name has a wrong character: {wrong}")
        if "name" not in given:
            raise WrongQuery("Value required for key 'name'.")
        _refuse_language(given)
        count = given.get("count", str(USUAL_RESULTS))
        if not count.isdecimal() or not 1 <= int(count[:6]) <= MOST_RESULTS:
            raise WrongQuery(f"Parameter count must be between 1 and {MOST_RESULTS}.")
        found = self.gazetteer.search(given["name"][:200], given.get("countryCode", ""))[: int(count)]
        answer: dict[str, Any] = {"generationtime_ms": round(0.05 + 0.01 * len(found), 2)}
        return {"results": [self.gazetteer.result(place) for place in found], **answer} if found else answer

    def _get(self, given: Mapping[str, str]) -> dict[str, Any]:
        refuse_others(given, ("id", "language"))
        _refuse_language(given)
        place = self._by_id.get(given.get("id", ""))
        if place is None:
            raise WrongQuery(f"Location ID not found: {given.get('id', '')[:40]}")
        return self.gazetteer.result(place)


def _refuse_language(given: Mapping[str, str]) -> None:
    """
    Raises:
        WrongQuery: names in another language than English are asked for.
    """
    if (language := given.get("language") or "en") != "en":
        raise WrongQuery(
            f"Parameter 'language' {language[:20]!r} is not supported here: names are in English"
        )


def _refusing(answer: Callable[[Mapping[str, str]], dict[str, Any]]) -> Callable[[bytes], tuple[int, bytes]]:
    """From a query to a status and a body; what is wrong with the query is Open-Meteo's error."""

    def answered(query: bytes) -> tuple[int, bytes]:
        try:
            return 200, _json(answer(_parameters(query)))
        except WrongQuery as wrong:
            return 400, _json({"error": True, "reason": str(wrong)})

    return answered


@lru_cache(maxsize=8)
def _world(seed: int, places: tuple[Place, ...]) -> _World:
    return _World(seed, places)


def _parameters(query: bytes) -> dict[str, str]:
    """The parameters of a query; a repeated one becomes a list, as with commas."""
    given: dict[str, str] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        given[name] = f"{given[name]},{value}" if name in given else value
    return given


def _json(answer: Any) -> bytes:
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
