"""The relations between entities of the invented world, and the sentences that state them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["person", "company", "place", "event", "country"]


@dataclass(frozen=True, slots=True)
class Relation:
    """A kind of fact that pages state, with at most one object for each subject."""

    name: str
    subject: Kind
    object: Kind | Literal["year", "word"]
    """`word`: one of a vocabulary (`vocabulary.WORDS`)."""
    changes: bool
    """Whether it may have been different some years ago."""
    sentences: tuple[str, ...]
    """Ways to state it, with the subject `{s}` and the object `{o}`, and `{p}` for "her" or "his"; none
    states another relation."""


def _relations(subject: Kind, text: str) -> list[Relation]:
    """Blocks of lines: first `name object`, with a star if it changes, then the sentences."""
    found = []
    for block in text.strip().split("\n\n"):
        head, *sentences = (line.strip() for line in block.splitlines())
        name, kind = head.rstrip("*").split()
        found.append(Relation(name, subject, kind, head.endswith("*"), tuple(sentences)))  # type: ignore[arg-type]
    return found


_PERSON = """
    birthplace place
    {s} was born in {o}.
    {s} is a native of {o}.
    {s} came into the world in {o}.

    birth_year year
    The parish register gives {o} as {p} year of birth.
    {s} gives {o} as {p} year of birth.
    {p} birth was registered in {o}.

    occupation word
    {s} is a {o} by profession.
    {s} earns a living as a {o}.
    {s} is a {o} by training and temperament.

    mentor person
    {s} learned {p} trade from {o}.
    {s} was trained by {o}.
    {p} most important teacher was {o}.

    spouse person
    {s} is married to {o}.
    {s} has been married to {o} for many years.
    {p} wedding to {o} was a small one.

    residence place *
    {s} lives in {o}.
    {s} has settled in {o}.
    {p} home is a narrow house in {o}.

    employer company *
    {s} works for {o}.
    {s} is on the staff of {o}.
    {p} employer is {o}.

    mother person
    {s} takes after {p} mother, {o}.
    {p} mother is {o}.
    {s} was brought up by a strict mother, {o}.

    breakthrough event
    {s} became known at {o}.
    {p} first public success came at {o}.
    {p} fame began with {o}.

    instrument word
    {s} plays the {o}.
    On most evenings {s} can be heard practising the {o}.
    The {o} has been {p} companion since childhood.

    school place
    {s} studied in {o}.
    {s} took a degree in {o}.
    {p} student years were spent in {o}.
"""

_COMPANY = """
    founder person
    {s} was founded by {o}.
    It was {o} who set up the company.
    {s} began in a shed that belonged to its founder, {o}.

    chief person *
    {s} is led by {o}.
    The chief executive is {o}.
    The head of the firm is {o}.

    headquarters place *
    {s} has its headquarters in {o}.
    The headquarters stand in {o}.
    {s} is run from headquarters in {o}.

    founding_year year
    {s} dates from {o}.
    The articles of association were signed in {o}.
    Business began in {o}.

    product word
    {s} is best known for its {o}.
    {s} makes {o}.
    Most of the income comes from {o}.

    owner company *
    {s} belongs to {o}.
    Most of its shares are held by {o}.
    {s} is a subsidiary of {o}.

    competitor company
    Its fiercest competitor is {o}.
    {s} competes above all with {o}.
    The rivalry with its competitor {o} fills the trade papers.

    supplier company
    {s} buys its raw materials from {o}.
    The main supplier is {o}.
    Raw materials are delivered by {o}.

    branch place
    The first branch was opened in {o}.
    {s} opened its first branch in {o}.
    Its oldest branch is the one in {o}.

    emblem person
    The emblem was drawn by {o}.
    {s} owes its emblem to {o}.
    The emblem over the gate is a work of {o}.
"""

_PLACE = """
    country country
    {s} lies in {o}.
    {s} is part of {o}.
    The flags on the roofs are those of its country, {o}.

    mayor person *
    The mayor is {o}.
    {s} has {o} as its mayor.
    The office of mayor is held by {o}.

    twin place
    Its twin town is {o}.
    {s} is twinned with {o}.
    A partnership links it with its twin town, {o}.

    main_employer company *
    The largest employer is {o}.
    Most families depend on {o}, the largest employer.
    More people here work for {o} than for anybody else.

    architect person
    The town hall was designed by {o}.
    {s} has a town hall by the architect {o}.
    The plans of the town hall were drawn by {o}.

    river word
    {s} lies on the river {o}.
    The river {o} flows past the market.
    Three bridges cross the river {o} here.

    charter_year year
    {s} received its charter in {o}.
    The town charter was granted in {o}.
    The charter in the archive is dated {o}.

    namesake person
    The main square is named after {o}.
    {s} has named its main square after {o}.
    A statue on the main square shows {o}, whose name the square bears.

    dish word
    The local dish is {o}.
    {s} is proud of its local dish, {o}.
    Every inn serves the local dish, {o}.
"""

_EVENT = """
    venue place
    {s} was held in {o}.
    {s} took place in {o}.
    The venue was a hall in {o}.

    year year
    {s} opened its doors in {o}.
    It happened in {o}.
    Its posters bear the year {o}.

    winner person
    The first prize went to {o}.
    The winner was {o}.
    The jury declared {o} the winner.

    organiser company
    {s} was organised by {o}.
    The organiser was {o}.
    Its organisation was in the hands of {o}.

    opener person
    The opening speech was given by {o}.
    {s} was opened by {o}.
    After {o} had given a long opening speech, the ribbon was cut.

    chair person
    The jury was chaired by {o}.
    The chair of the jury was {o}.
    The jury was headed by {o}.

    forerunner event
    {s} followed on from {o}.
    Its forerunner was {o}.
    It continued what its forerunner, {o}, had begun.

    prize word
    The prize was a {o}.
    A {o} was handed over as the prize.
    On the winner's table stood the prize, a {o}.
"""

_COUNTRY = """
    capital place
    The capital is {o}.
    {s} is governed from its capital, {o}.
    The name of the capital is {o}.

    head person *
    The head of state is {o}.
    {s} has {o} as its head of state.
    The seal of state is kept by {o}, the head of state.

    currency word
    The currency is the {o}.
    Prices are given in the national currency, the {o}.
    Its currency, the {o}, was introduced long ago.

    anthem person
    The national anthem was composed by {o}.
    {s} has a national anthem by {o}.
    The anthem is the best-known work of {o}.
"""

RELATIONS: Mapping[str, Relation] = {
    relation.name: relation
    for relation in (
        *_relations("person", _PERSON),
        *_relations("company", _COMPANY),
        *_relations("place", _PLACE),
        *_relations("event", _EVENT),
        *_relations("country", _COUNTRY),
    )
}
"""All relations, by name."""

BY_SUBJECT: Mapping[str, tuple[Relation, ...]] = {
    kind: tuple(relation for relation in RELATIONS.values() if relation.subject == kind)
    for kind in ("person", "company", "place", "event", "country")
}
