"""Weather-station readings: two units, local clocks, sensor corrections, repeated transmissions."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from random import Random

from ludus.envs.code.analysis.answers import Form
from ludus.envs.code.analysis.dirt import Dirt
from ludus.envs.code.analysis.world import Kind, Tables, World, best, delimited, sqlite

SENSORS = tuple(f"S{number:02d}" for number in range(1, 13))
SITES = ("airfield", "harbour", "ridge", "valley")
OFFSETS = {"+02:00": 120, "-05:00": -300, "+05:30": 330, "-03:30": -210, "+09:00": 540, "+00:00": 0}
FIRST = datetime(2024, 6, 1)
DAYS = 14
TIMES = DAYS * 24 * 6
"""Times of readings, one every ten minutes."""
MISSING = ("", "NaN", "-999")
HALVES = {"before noon": False, "from noon on": True}

DICTIONARY = """\
readings.csv, separated by commas: sensor, time, value, unit
weather.sqlite: stations (sensor, site, utc_offset), corrections (sensor, correction)
- Upper and lower case and whitespace around sensors, sites and units mean nothing.
- time is the station's own clock: UTC is time minus utc_offset. Days and hours are meant in UTC.
- value is missing where it is empty, NaN or -999. A missing value counts in no temperature.
- A sensor may have sent more than one row for the same time: the first of them counts, even if its value is
  missing.
- value has a decimal point or a decimal comma; unit is C or F, with or without a degree sign.
The temperature is the value in degrees Celsius, C = (F - 32) / 1.8, plus the sensor's correction (0 where it
has none), rounded to one decimal."""


@dataclass(frozen=True)
class Reading:
    sensor: str
    time: datetime
    """In UTC."""
    tenths: int | None
    """In degrees Celsius, corrected."""


@dataclass(frozen=True)
class Weather:
    readings: tuple[Reading, ...]
    site: dict[str, str]
    """The site of each sensor."""

    def known(self, site: str) -> list[tuple[datetime, int]]:
        """The times and temperatures at a site."""
        return [
            (reading.time, reading.tenths)
            for reading in self.readings
            if reading.tenths is not None and self.site[reading.sensor] == site
        ]


def draw(rng: Random, rows: int) -> Tables:
    dirt = Dirt(rng)
    order = rng.sample(SENSORS, len(SENSORS))
    site = {sensor: SITES[index % len(SITES)] for index, sensor in enumerate(order)}
    offset = dict(zip(SITES, rng.sample([*OFFSETS], len(SITES)), strict=True))
    corrected = sorted(rng.sample(SENSORS, 7))
    correction = {sensor: rng.choice((-15, -8, -3, 4, 7, 12)) for sensor in corrected}
    base = dict(zip(SITES, rng.sample((50, 90, 130, 170), len(SITES)), strict=True))
    gaps = {sensor: rng.uniform(0.02, 0.3) for sensor in SENSORS}
    slots = rng.sample(range(TIMES * len(SENSORS)), rows)
    readings, lines, repeats = [], [], []
    for slot in slots:
        sensor, time = SENSORS[slot % len(SENSORS)], FIRST + timedelta(minutes=10 * (slot // len(SENSORS)))
        # A multiple of half a degree Celsius also has one decimal in Fahrenheit.
        raw = base[site[sensor]] + 5 * rng.randint(-25, 25)
        lost = dirt.chance(gaps[sensor])
        readings.append(Reading(sensor, time, None if lost else raw + correction.get(sensor, 0)))
        local = time + timedelta(minutes=OFFSETS[offset[site[sensor]]])
        stamp = local.strftime("%Y-%m-%d %H:%M")
        value, unit = _written(dirt, raw)
        lines.append([dirt.label(sensor), stamp, rng.choice(MISSING) if lost else value, unit])
        if dirt.chance(0.1):
            value, unit = _written(dirt, raw + 5 * rng.randint(20, 60))
            repeats.append([dirt.label(sensor), stamp, value, unit])
    stations = [(sensor, dirt.label(site[sensor]), offset[site[sensor]]) for sensor in SENSORS]
    files = {
        "readings.csv": delimited(("sensor", "time", "value", "unit"), lines + repeats, ","),
        "weather.sqlite": sqlite(
            {
                "stations (sensor TEXT, site TEXT, utc_offset TEXT)": stations,
                "corrections (sensor TEXT, correction REAL)": [
                    (dirt.label(sensor), tenths / 10) for sensor, tenths in correction.items()
                ],
            }
        ),
    }
    return Tables(files, Weather(tuple(readings), site))


def _written(dirt: Dirt, tenths: int) -> tuple[str, str]:
    if dirt.chance(0.4):
        return dirt.decimal(320 + tenths // 5 * 9, 1), dirt.label(dirt.rng.choice(("F", "°F")))
    return dirt.decimal(tenths, 1), dirt.label(dirt.rng.choice(("C", "°C")))


def mean(weather: Weather, site: str) -> Fraction:
    known = weather.known(site)
    return Fraction(sum(tenths for _, tenths in known), 10 * len(known))


def above(weather: Weather, site: str, degrees: str) -> int:
    return sum(Fraction(tenths, 10) > Fraction(degrees) for _, tenths in weather.known(site))


def coldest_day(weather: Weather, site: str) -> date:
    return min((tenths, time) for time, tenths in weather.known(site))[1].date()


def gaps(weather: Weather) -> tuple[str, ...]:
    lost = Counter(dict.fromkeys(SENSORS, 0))
    lost.update(reading.sensor for reading in weather.readings if reading.tenths is None)
    return tuple(best(lost)[:3])


def warmest(weather: Weather, half: str) -> str:
    tenths = defaultdict(list)
    for reading in weather.readings:
        if reading.tenths is not None and (reading.time.hour >= 12) == HALVES[half]:
            tenths[reading.sensor].append(reading.tenths)
    return best({sensor: Fraction(sum(known), len(known)) for sensor, known in tenths.items()})[0]


WEATHER = World(
    "weather",
    DICTIONARY,
    "weather.sqlite",
    draw,
    (
        Kind(
            "weather/mean",
            "What is the mean temperature of all readings at the site {site}, in degrees Celsius?",
            Form("decimal", Fraction(1, 100)),
            {"site": SITES},
            mean,
        ),
        Kind(
            "weather/above",
            "How many readings at the site {site} have a temperature above {degrees} degrees Celsius?",
            Form("integer"),
            {"site": SITES, "degrees": ("5.25", "9.75", "12.25", "14.75")},
            above,
        ),
        Kind(
            "weather/coldest-day",
            "On which day was the lowest temperature of the site {site} read? Of several, the earliest.",
            Form("date"),
            {"site": SITES},
            coldest_day,
        ),
        Kind(
            "weather/gaps",
            "Which three sensors have the most missing values, the one with the most first? Of several with "
            "as many, the lower name first.",
            Form("list"),
            {},
            gaps,
        ),
        Kind(
            "weather/warmest",
            "Which sensor has the highest mean temperature over its readings made {half}? Of several, the "
            "lowest name.",
            Form("text"),
            {"half": tuple(HALVES)},
            warmest,
        ),
    ),
)
