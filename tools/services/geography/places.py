"""`Place`; `invented_places` of an invented world, `REAL_CITIES` of this one."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ludus.tools.services.geography.names import LANGUAGES, Language, invented_name
from ludus.tools.services.geography.real import CITIES

INVENTED_IDS, REAL_IDS = 20_000_000, 10_000_000
"""The first ids of invented and real places, which never overlap."""
REGIONS = 3
"""Per country."""
SHARED_NAMES = 0.2
"""The share of invented places with the name of an earlier one."""
APART_DEGREES = 0.4
"""The minimum distance between invented places."""

# Codes that ISO 3166 leaves to its users: no country will ever have them.
_CODES = tuple(f"X{letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ") + tuple(
    f"Q{letter}" for letter in "MNOPQRSTUVWXYZ"
)

_NORTHERN_ZONES: dict[int, str] = {
    -10: "Pacific/Honolulu", -9: "America/Anchorage", -8: "America/Los_Angeles", -7: "America/Denver",
    -6: "America/Chicago", -5: "America/New_York", -4: "America/Halifax", -3: "America/Miquelon",
    -2: "America/Nuuk", -1: "Atlantic/Azores", 0: "Europe/London", 1: "Europe/Berlin", 2: "Europe/Helsinki",
    3: "Europe/Moscow", 4: "Asia/Tbilisi", 5: "Asia/Tashkent", 6: "Asia/Dhaka", 7: "Asia/Krasnoyarsk",
    8: "Asia/Irkutsk", 9: "Asia/Tokyo", 10: "Asia/Vladivostok", 11: "Asia/Magadan", 12: "Asia/Kamchatka",
}  # fmt: skip
_SOUTHERN_ZONES: dict[int, str] = {
    -10: "Pacific/Tahiti", -9: "Pacific/Gambier", -8: "Pacific/Pitcairn", -7: "America/Hermosillo",
    -6: "Pacific/Galapagos", -5: "America/Lima", -4: "America/Santiago", -3: "America/Sao_Paulo",
    -2: "Atlantic/South_Georgia", -1: "Atlantic/Cape_Verde", 0: "Africa/Abidjan", 1: "Africa/Luanda",
    2: "Africa/Johannesburg", 3: "Indian/Antananarivo", 4: "Indian/Mauritius", 5: "Indian/Kerguelen",
    6: "Indian/Chagos", 7: "Indian/Christmas", 8: "Australia/Perth", 9: "Asia/Jayapura",
    10: "Australia/Sydney", 11: "Pacific/Guadalcanal", 12: "Pacific/Auckland",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """A town."""

    id: int
    name: str
    country: str
    region: str
    """A part of the country, such as a province."""
    latitude: float
    """Degrees north."""
    longitude: float
    """Degrees east."""
    elevation: float
    """Metres above the sea."""
    population: int
    timezone: str
    """Its name in the IANA database."""
    country_code: str
    """ISO 3166; invented countries have codes that the standard leaves free."""
    is_capital: bool = False


@dataclass(frozen=True, slots=True)
class _Region:
    name: str
    latitude: float
    longitude: float
    timezone: str


@dataclass(frozen=True, slots=True)
class _Country:
    name: str
    code: str
    language: Language
    regions: tuple[_Region, ...]


@lru_cache(maxsize=16)
def invented_places(seed: int, count: int = 400) -> tuple[Place, ...]:
    """Towns of an invented world: a pure function of the arguments.

    Each lies in a region of a country with its own language; one in five shares its name with a town in
    another region or country, never with one in its own region. Time zones are real ones at that longitude.

    Args:
        seed: of the world.
        count: the number of towns; a smaller world is not the start of a larger one.

    Returns:
        The towns, ordered by id; each country's first is its capital.

    Raises:
        ValueError: for a count below 1 or above 5,000.
    """
    if not 1 <= count <= 5000:
        raise ValueError(f"invented_places: count = {count}: give a number from 1 to 5000")
    rng = np.random.default_rng([seed, count])
    countries = _countries(rng, min(len(_CODES), 4 + count // 16))
    places: list[Place] = []
    taken: set[tuple[str, str]] = set()
    cells: set[tuple[int, int]] = set()
    while len(places) < count:
        number = len(places)
        is_capital = number < len(countries)
        country = countries[number] if is_capital else countries[int(rng.integers(len(countries)))]
        region = country.regions[0 if is_capital else int(rng.integers(REGIONS))]
        is_namesake = not is_capital and rng.random() < SHARED_NAMES
        name = (
            places[int(rng.integers(number))].name
            if is_namesake
            else invented_name(rng, "place", country.language)
        )
        latitude, longitude = _near(rng, region.latitude, region.longitude, 2.5)
        cell = int(latitude // APART_DEGREES), int(longitude // APART_DEGREES)
        crowded = any((cell[0] + i, cell[1] + j) in cells for i in (-1, 0, 1) for j in (-1, 0, 1))
        if crowded or (name, region.name) in taken:
            continue
        cells.add(cell)
        taken.add((name, region.name))
        people = 10 ** float(rng.uniform(5.6, 6.9) if is_capital else rng.normal(4.6, 0.6))
        places.append(
            Place(
                id=INVENTED_IDS + number,
                name=name,
                country=country.name,
                region=region.name,
                latitude=latitude,
                longitude=longitude,
                elevation=float(round(min(3500.0, float(rng.exponential(280.0))))),
                population=max(200, int(round(people, -2))),
                timezone=region.timezone,
                country_code=country.code,
                is_capital=is_capital,
            )
        )
    return tuple(places)


def _countries(rng: np.random.Generator, count: int) -> list[_Country]:
    names: dict[str, Language] = {}
    while len(names) < count:
        language = LANGUAGES[len(names) % len(LANGUAGES)]
        names.setdefault(invented_name(rng, "country", language), language)
    found = []
    for (name, language), code in zip(names.items(), _CODES, strict=False):
        # Where people live: mostly in the north, rarely beyond 60 degrees.
        latitude = float(np.clip(rng.normal(25.0, 27.0), -48.0, 63.0))
        longitude = float(rng.uniform(-150.0, 174.0))
        regions: dict[str, _Region] = {}
        while len(regions) < REGIONS:
            region = invented_name(rng, "region", language)
            at = _near(rng, latitude, longitude, 5.0)
            regions.setdefault(region, _Region(region, *at, _zone(*at)))
        found.append(_Country(name, code, language, tuple(regions.values())))
    return found


def _near(rng: np.random.Generator, latitude: float, longitude: float, degrees: float) -> tuple[float, float]:
    """A point in a square, in whole ten-thousandths of a degree."""
    north, east = rng.uniform(-degrees, degrees, 2)
    around = (longitude + east + 180.0) % 360.0 - 180.0
    return round(float(np.clip(latitude + north, -70.0, 75.0)), 4), round(float(around), 4)


def _zone(latitude: float, longitude: float) -> str:
    zones = _NORTHERN_ZONES if latitude >= 0.0 else _SOUTHERN_ZONES
    return zones[max(-10, min(12, round(longitude / 15.0)))]


def _read_cities() -> tuple[Place, ...]:
    found = []
    for number, line in enumerate(CITIES.split("\n")[1:-1]):
        name, country, code, region, latitude, longitude, elevation, population, timezone = line.split("|")
        place = Place(
            REAL_IDS + number, name, country, region, float(latitude), float(longitude), float(elevation),
            int(population), timezone, code,
        )  # fmt: skip
        found.append(place)
    return tuple(found)


REAL_CITIES: tuple[Place, ...] = _read_cities()
"""Real cities in all climates; some share a name."""
