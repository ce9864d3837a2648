"""`Gazetteer`: finds places by name or by coordinates."""

import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ludus.tools.services.geography import Place

FUZZY_FROM = 3
"""The minimum number of letters for a query to match the start of a name, or a misspelt one."""
LIKE = 0.34
"""The minimum similarity of two names: shared pairs of letters over all pairs."""
TOWN_KM, ZONE_KM, KM_PER_DEGREE = 5.0, 600.0, 111.2
"""How far around a town its elevation and its time zone apply."""


@dataclass(frozen=True, slots=True)
class Land:
    """What is known about a point."""

    elevation: float | None
    """In metres; None where no town is near."""
    timezone: str


class Gazetteer:
    """The places of a world.

    Args:
        places: in any order.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = tuple(places)
        by_name: dict[str, list[Place]] = {}
        for place in sorted(places, key=lambda place: (-place.population, place.id)):
            by_name.setdefault(folded(place.name), []).append(place)
        self._by_name = by_name
        self._names = sorted(by_name)
        self._pairs = {name: _pairs(name) for name in self._names}
        self._latitudes = np.array([place.latitude for place in places])
        self._longitudes = np.array([place.longitude for place in places])
        countries = dict.fromkeys(place.country for place in places)
        self._country_ids = {country: 1_000 + number for number, country in enumerate(countries)}
        regions = dict.fromkeys((place.country, place.region) for place in places)
        self._region_ids = {region: 10_000 + number for number, region in enumerate(regions)}
        self.search = lru_cache(maxsize=1024)(self._search)
        self.land = lru_cache(maxsize=4096)(self._land)

    def _search(self, name: str, country_code: str = "") -> tuple[Place, ...]:
        """Places with a name, or one like it: first exact matches, then names that begin so, then similar
        spellings; large places first. A name of two letters finds exact matches only; a shorter one finds
        nothing.
        """
        wanted = folded(name)
        if len(wanted) < FUZZY_FROM - 1:
            return ()
        names = [wanted] if wanted in self._by_name else []
        if len(wanted) >= FUZZY_FROM:
            names += self._beginning(wanted)
            if not names:
                names = self._alike(wanted)
        exact = self._by_name.get(wanted, [])
        others = [place for name in names if name != wanted for place in self._by_name[name]]
        if any(name.startswith(wanted) for name in names):
            others.sort(key=lambda place: (-place.population, place.id))
        found = [*exact, *others]
        if country_code:
            found = [place for place in found if place.country_code == country_code.upper()]
        return tuple(found)

    def _beginning(self, wanted: str) -> list[str]:
        found = []
        for name in self._names[bisect_left(self._names, wanted) :]:
            if not name.startswith(wanted):
                break
            if name != wanted:
                found.append(name)
        return found

    def _alike(self, wanted: str) -> list[str]:
        pairs = _pairs(wanted)
        alike = [(len(pairs & other) / len(pairs | other), name) for name, other in self._pairs.items()]
        return [name for score, name in sorted(alike, key=lambda pair: (-pair[0], pair[1])) if score >= LIKE]

    def _land(self, latitude: float, longitude: float) -> Land:
        east = (self._longitudes - longitude + 180.0) % 360.0 - 180.0
        distances = KM_PER_DEGREE * np.hypot(self._latitudes - latitude, east * np.cos(np.radians(latitude)))
        near = int(np.argmin(distances))
        elevation = None
        if distances[near] < TOWN_KM:
            elevation = self.places[near].elevation
        if distances[near] < ZONE_KM:
            return Land(elevation, self.places[near].timezone)
        # At sea: the zone by longitude. The sign in its name is reversed.
        hours = round(longitude / 15.0)
        return Land(elevation, f"Etc/GMT{-hours:+d}" if hours else "GMT")

    def result(self, place: Place) -> dict[str, Any]:
        """A place in the form of Open-Meteo's geocoding."""
        large = "PPLA" if place.population >= 300_000 else "PPL"
        return {
            "id": place.id,
            "name": place.name,
            "latitude": place.latitude,
            "longitude": place.longitude,
            "elevation": place.elevation,
            "feature_code": "PPLC" if place.is_capital else large,
            "country_code": place.country_code,
            "admin1_id": self._region_ids[place.country, place.region],
            "timezone": place.timezone,
            "population": place.population,
            "country_id": self._country_ids[place.country],
            "country": place.country,
            "admin1": place.region,
        }


def folded(name: str) -> str:
    """A name without case, accents and extra white space."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    return " ".join("".join(letter for letter in letters if not unicodedata.combining(letter)).split())


def _pairs(name: str) -> frozenset[str]:
    padded = f" {name} "
    return frozenset(padded[at : at + 2] for at in range(len(padded) - 1))
