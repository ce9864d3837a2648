"""What is written about the invented world: pages, in one or two versions each."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import blake2b

from ludus.tools.services.world.relations import BY_SUBJECT
from ludus.tools.services.world.vocabulary import ASIDES, LISTS, ORDINALS
from ludus.tools.services.world.world import Entity, World

MENTIONED_BY_ALIAS = 0.25
ENOUGH = 11
"""The minimum number of sentences on a page."""
FIRST_DAY, LAST_DAY = date(2029, 1, 1), date(2031, 2, 28)
"""When the current versions were written; the earlier ones are two to six years older."""
SUBJECTS = {
    "person": ("She", "He"),
    "company": ("The company",),
    "place": ("The town",),
    "event": ("The event",),
    "country": ("The country",),
}
POSSESSIVES = {"She": "her", "He": "his"}
PRONOUNS = frozenset(pronoun for pronouns in SUBJECTS.values() for pronoun in pronouns)
ALSO = (
    "{t} is also known as {a}.",
    "{t}, also called {a}, is often confused with others.",
    "Another name for {t} is {a}.",
)


@dataclass(frozen=True, slots=True)
class Page:
    """One version of the page about an entity."""

    id: str
    """Reveals neither the entity nor the age of the version."""
    entity: int
    title: str
    date: str
    """`YYYY-MM-DD`; of several versions, the latest is right."""
    text: str


def pages(world: World, seed: int) -> list[Page]:
    """The current version of every entity's page, in the entities' order; then the earlier versions."""
    rng = random.Random(f"prose {seed}")
    mothers = frozenset(entity.facts["mother"] for entity in world.entities if "mother" in entity.facts)
    versions = [(entity, False) for entity in world.entities]
    versions += [(entity, True) for entity in world.entities if entity.past]
    return [
        _page(world, seed, entity, rng, is_past, entity.number in mothers) for entity, is_past in versions
    ]


def page_id(seed: int, entity: int, version: int) -> str:
    return blake2b(f"{seed}/{entity}/{version}".encode(), digest_size=5).hexdigest()


def _page(
    world: World, seed: int, entity: Entity, rng: random.Random, is_past: bool, is_mother: bool
) -> Page:
    facts: Mapping[str, int | str] = {**entity.facts, **entity.past} if is_past else entity.facts
    days = int(rng.random() * ((LAST_DAY - FIRST_DAY).days + 1))
    written = FIRST_DAY + timedelta(days=days)
    if is_past:
        written -= timedelta(days=800 + int(rng.random() * 1400))
    return Page(
        page_id(seed, entity.number, 0 if is_past else 1),
        entity.number,
        entity.title,
        written.isoformat(),
        _text(world, entity, facts, rng, is_mother),
    )


def _text(
    world: World, entity: Entity, facts: Mapping[str, int | str], rng: random.Random, is_mother: bool
) -> str:
    chance = rng.random
    kind, title = entity.kind, with_article(entity.title)
    subjects = SUBJECTS[kind]
    pronoun = subjects[0 if is_mother else entity.number % len(subjects)]
    told: list[str] = []
    # In any order: where on a page a fact stands says nothing about what it is.
    for relation in sorted(BY_SUBJECT[kind], key=lambda _: chance()):
        if relation.name not in facts:
            continue
        value = facts[relation.name]
        sentence = relation.sentences[int(chance() * len(relation.sentences))]
        if isinstance(value, int):
            other = world.entities[value]
            by_alias = other.aliases and chance() < MENTIONED_BY_ALIAS
            value = other.aliases[0] if by_alias else with_article(other.title)
        subject = title if chance() < 0.3 else pronoun
        told.append(_sentence(sentence, s=subject, o=value, p=POSSESSIVES.get(pronoun, "its")))
    # The first sentence says what the page is about.
    leads = [aside for aside in ASIDES[kind] if "{n}" in aside]
    lead = leads[int(chance() * len(leads))]
    asides = [aside for aside in ASIDES[kind] if aside != lead]
    start = int(chance() * len(asides))
    for step in range(max(3 + int(chance() * 3), ENOUGH - len(told))):
        aside = asides[(start + step * 5) % len(asides)]
        told.insert(int(chance() * (len(told) + 1)), _sentence(aside, n=title))
    if entity.aliases:
        also = _sentence(ALSO[int(chance() * len(ALSO))], t=title, a=entity.aliases[0])
        told.insert(int(chance() * 2), also)
    middle = len(told) // 2
    paragraphs = [_sentence(lead, n=title), " ".join(told[:middle]), " ".join(told[middle:])]
    # The list may stand anywhere after the first sentence: that a name comes first on a page means nothing.
    place = 1 + max(0, int(chance() * 4) - 1)
    paragraphs.insert(place, "\n".join([LISTS[kind], *_list(world, entity, rng)]))
    return "\n\n".join(paragraphs)


def with_article(title: str) -> str:
    """A title as it stands in a sentence: those of events have an article."""
    return f"the {title}" if title.partition(" ")[0] in ORDINALS else title


def without_article(name: str) -> str:
    """The title that `with_article` was given."""
    bare = name.removeprefix("the ")
    return bare if bare.partition(" ")[0] in ORDINALS else name


def _sentence(template: str, **names: str) -> str:
    """A sentence, with a capital letter at its beginning and no other in its pronoun."""
    if not template.startswith("{") and names.get("s") in PRONOUNS:
        names["s"] = names["s"][0].lower() + names["s"][1:]
    said = template.format(**names)
    return said[0].upper() + said[1:]


def _list(world: World, entity: Entity, rng: random.Random) -> Sequence[str]:
    """A few names unrelated to any fact."""
    count = len(world.entities)
    others = {int(rng.random() * count) for _ in range(3 + int(rng.random() * 4))} - {entity.number}
    return [f"- {world.entities[other].title}" for other in sorted(others)]
