"""The invented world: its facts, and the prose that states them."""

import random
import re
from collections import Counter

import pytest

from ludus.envs.assistant.search.reading import other_name, stated
from ludus.tools.services.world import BY_SUBJECT, RELATIONS, Page, World, invent, pages
from ludus.tools.services.world.vocabulary import WORDS
from ludus.tools.services.world.world import SHARES

SIZE = 600
Written = tuple[Page, ...]


@pytest.fixture(scope="module")
def world() -> World:
    return invent(5, SIZE)


@pytest.fixture(scope="module")
def written(world: World) -> Written:
    return tuple(pages(world, 5))


def test_a_world_follows_from_its_arguments(world: World) -> None:
    random.seed(1)
    assert invent(5, SIZE) == world
    assert pages(world, 5) == pages(world, 5)
    assert invent(6, SIZE) != world
    assert World.read(world.plain()) == world


def test_it_has_many_relations_each_said_in_several_ways() -> None:
    assert len(RELATIONS) >= 25
    for relation in RELATIONS.values():
        assert len(relation.sentences) >= 3, relation
        assert all("{o}" in sentence for sentence in relation.sentences), relation
        assert relation.object != "word" or len(WORDS[relation.name]) > 10
    assert len({s for relation in RELATIONS.values() for s in relation.sentences}) == 3 * len(RELATIONS)


def test_nobody_has_the_name_of_another(world: World) -> None:
    names = Counter(name.casefold() for entity in world.entities for name in entity.names)
    assert not [name for name, count in names.items() if count > 1]
    assert len(world.entities) == SIZE
    kinds = Counter(entity.kind for entity in world.entities)
    assert kinds["person"] > kinds["company"] == round(SIZE * SHARES["company"])


def test_some_names_are_nearly_the_same() -> None:
    def near(share: float) -> int:
        titles = [entity.title for entity in invent(1, SIZE, namesakes=share).entities]
        # Without vowels and doubled letters, near namesakes are the same.
        bones = Counter(re.sub(r"(.)\1", r"\1", re.sub("[aeiou]", "", title)) for title in titles)
        return sum(count for count in bones.values() if count > 1)

    assert near(0.5) > near(0.0) + 50


def test_every_page_states_its_facts_and_no_others(world: World, written: Written) -> None:
    for page in written:
        entity = world.entities[page.entity]
        is_past = page is not written[page.entity]
        facts = {**entity.facts, **entity.past} if is_past else entity.facts
        for relation in BY_SUBJECT[entity.kind]:
            said = stated(page.text, relation.name)
            value = facts.get(relation.name)
            names = world.entities[value].names if isinstance(value, int) else (value,)
            assert said in names, (page, relation.name)
        assert other_name(page.text) == (entity.aliases[0] if entity.aliases else None), page


def test_pages_are_prose_of_a_page_s_length(written: Written) -> None:
    lengths = [len(page.text.split()) for page in written]
    assert min(lengths) >= 60
    assert max(lengths) <= 220
    # Lower-casing keeps the positions of letters.
    assert all(page.text.isascii() for page in written)
    assert all(": " not in page.text.split("\n\n")[0] for page in written if "dish" not in page.text)


def test_earlier_versions_are_older_and_say_otherwise(world: World, written: Written) -> None:
    earlier = written[SIZE:]
    assert 0.1 * SIZE < len(earlier) < 0.3 * SIZE
    for page in earlier:
        now = written[page.entity]
        assert page.date < now.date
        assert (page.title, page.entity) == (now.title, now.entity)
        past = world.entities[page.entity].past
        assert past
        assert all(
            RELATIONS[name].changes and value != world.entities[page.entity].facts[name]
            for name, value in past.items()
        )
    assert not pages(invent(5, SIZE, outdated=0.0), 5)[SIZE:]
    assert len({page.id for page in written}) == len(written)


def test_what_holds_is_possible(world: World) -> None:
    year = {
        entity.number: int(entity.facts["birth_year"])
        for entity in world.entities
        if "birth_year" in entity.facts
    }
    for entity in world.entities:
        facts = entity.facts
        assert entity.number not in facts.values(), entity
        if facts.get("mother") in year and entity.number in year:
            assert year[entity.number] - year[facts["mother"]] >= 19
        if facts.get("founder") in year and "founding_year" in facts:
            assert int(facts["founding_year"]) - year[facts["founder"]] >= 22
        for both_ways in ("spouse", "twin"):
            if both_ways in facts:
                assert world.entities[facts[both_ways]].facts[both_ways] == entity.number


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 99}, "99 pages: give a number from 100"),
        ({"size": 30_001}, "to 30000"),
        ({"size": 200, "namesakes": 1.1}, r"namesakes = 1\.1"),
        ({"size": 200, "outdated": float("nan")}, "outdated = nan"),
    ],
)
def test_wrong_numbers_are_named(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        invent(0, **arguments)


def test_sentences_read_well(world: World, written: Written) -> None:
    told = [
        sentence
        for page in written
        for paragraph in page.text.split("\n\n")
        if "\n" not in paragraph
        for sentence in re.split(r"(?<=\.) ", paragraph)
    ]
    for sentence in told:
        assert sentence[0].isupper()
        # A pronoun within a sentence is in lower case, and no article stands twice or before a vowel.
        assert not re.search(r"\b(?!^)(?:She|He|The (?:town|company|event|country))\b", sentence[1:]), (
            sentence
        )
        assert not re.search(r"\b(\w+) \1\b", sentence), sentence
        assert not re.search(r"\ba [aeio]", sentence), sentence
    events = [entity.title for entity in world.entities if entity.kind == "event"]
    assert not re.search(rf"(?<![Tt]he )(?:{'|'.join(events[:40])})", " ".join(told))


def test_possessives_are_those_of_the_pronoun(world: World, written: Written) -> None:
    kinds = Counter()
    for page in written:
        if world.entities[page.entity].kind == "person":
            used = {word.casefold() for word in re.findall(r"\b(?:she|her|he|his)\b", page.text, re.I)}
            assert used <= {"she", "her"} or used <= {"he", "his"}, page.text
            kinds.update(used)
    assert set(kinds) == {"she", "her", "he", "his"}


def test_no_town_is_called_old_what_another_is_called() -> None:
    towns = [entity for entity in invent(0, 10_000).entities if entity.kind == "place"]
    called = {town.title.partition(" (")[0] for town in towns}
    assert not [town for town in towns if {name.removeprefix("Old ") for name in town.aliases} & called]


def test_a_page_says_first_whom_it_is_about(written: Written) -> None:
    for page in written:
        assert page.title in page.text.partition(".")[0]


def test_where_a_fact_stands_on_a_page_says_nothing(world: World, written: Written) -> None:
    first = Counter()
    for page in written:
        entity = world.entities[page.entity]
        if entity.kind == "person":
            sentences = re.split(r"(?<=\.)\s", page.text)
            told = ([r.name for r in BY_SUBJECT["person"] if stated(said, r.name)] for said in sentences)
            first.update(next(filter(None, told)))
    assert len(first) >= 9
    assert first.most_common(1)[0][1] < 0.2 * first.total()
