"""Invented names and places, and the real cities."""

import itertools
import pydoc_data.topics
import re
from collections import Counter
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.tools.services.geography import REAL_CITIES, invented_name, invented_places
from ludus.tools.services.geography.names import LANGUAGES

KINDS = ("place", "region", "country", "person", "company")


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_many_and_follow_from_the_generator(kind: str) -> None:
    drawn = [
        [invented_name(rng, kind) for _ in range(4000)]
        for rng in (np.random.default_rng(5), np.random.default_rng(5))
    ]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 3900


def test_names_can_be_spoken() -> None:
    rng = np.random.default_rng(1)
    for kind, language in itertools.product(KINDS, LANGUAGES):
        for _ in range(200):
            name = invented_name(rng, kind, language)
            for word in name.lower().split():
                assert word.isalpha()
                assert len(word) >= 3
                assert not re.search(r"[^aeiouy]{6}|[aeiou]{6}", word), name


def test_names_are_no_words_and_no_known_places() -> None:
    topics = " ".join(pydoc_data.topics.topics.values())
    known = {word.lower() for word in re.findall(r"[A-Za-z]{4,}", topics)}
    assert len(known) > 2000
    known |= {city.name.lower() for city in REAL_CITIES} | {city.country.lower() for city in REAL_CITIES}
    rng = np.random.default_rng(2)
    words = [
        word
        for kind in ("place", "region", "country", "person")
        for _ in range(3000)
        for word in invented_name(rng, kind).lower().split()
    ]
    assert known.isdisjoint(words), known.intersection(words)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="'river': it is one of place"):
        invented_name(np.random.default_rng(0), "river")  # type: ignore[arg-type]


@given(st.integers(0, 2**40), st.integers(1, 80))
def test_any_seed_gives_a_sound_world(seed: int, count: int) -> None:
    places = invented_places(seed, count)
    assert len(places) == count
    assert len({place.id for place in places}) == count
    assert len({(place.name, place.region, place.country) for place in places}) == count
    for place in places:
        assert -70 <= place.latitude <= 75
        assert -180 <= place.longitude < 180
        assert place.population >= 200
        standard = ZoneInfo(place.timezone).utcoffset(datetime(2031, 1 if place.latitude > 0 else 7, 1))
        assert standard is not None
        hours = standard.total_seconds() / 3600
        # A region has one time zone, and its towns lie up to 2.5 degrees around; zones are not all straight.
        assert abs(hours - place.longitude / 15) < 1.7 or abs(place.longitude) > 150


def test_some_names_are_ambiguous_and_region_or_country_tells_them_apart() -> None:
    places = invented_places(0)
    shared = [name for name, count in Counter(place.name for place in places).items() if count > 1]
    assert len(places) // 10 < len(shared) < len(places) // 4
    assert sum(count > 1 for count in Counter(city.name for city in REAL_CITIES).values()) >= 25


def test_places_lie_apart_and_every_country_has_one_capital() -> None:
    places = invented_places(3, 200)
    for place, other in itertools.combinations(places, 2):
        assert max(abs(place.latitude - other.latitude), abs(place.longitude - other.longitude)) > 0.1
    capitals = Counter(place.country for place in places if place.is_capital)
    assert set(capitals) == {place.country for place in places}
    assert set(capitals.values()) == {1}


@pytest.mark.parametrize("count", [0, 5001])
def test_worlds_have_a_size(count: int) -> None:
    with pytest.raises(ValueError, match=f"count = {count}: give a number from 1 to 5000"):
        invented_places(0, count)


def test_real_cities_lie_where_their_time_zones_are() -> None:
    assert len(REAL_CITIES) >= 150
    assert len({city.id for city in REAL_CITIES}) == len(REAL_CITIES)
    assert len({(city.name, city.country, city.region) for city in REAL_CITIES}) == len(REAL_CITIES)
    for city in REAL_CITIES:
        assert re.fullmatch("[A-Z]{2}", city.country_code)
        offset = ZoneInfo(city.timezone).utcoffset(datetime(2031, 1 if city.latitude > 0 else 7, 1))
        assert offset is not None
        hours = offset.total_seconds() / 3600
        # The widest gaps between clock and sun: China, Spain, Argentina.
        assert abs((hours - city.longitude / 15 + 12) % 24 - 12) < 2.3, city


def test_namesakes_of_the_real_world_lie_far_apart() -> None:
    for city, other in itertools.combinations(REAL_CITIES, 2):
        if city.name == other.name:
            assert abs(city.latitude - other.latitude) + abs(city.longitude - other.longitude) > 0.5
