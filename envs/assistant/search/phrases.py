"""The wording of questions: relations as nested noun phrases."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ludus.tools.services.world import RELATIONS
from ludus.tools.services.world.prose import with_article, without_article


@dataclass(frozen=True, slots=True)
class Hop:
    """A step of a question, from the subject of a relation to its object or back."""

    relation: str
    is_back: bool = False

    @property
    def leads_to(self) -> str:
        """The kind of entity that it arrives at."""
        relation = RELATIONS[self.relation]
        return relation.subject if self.is_back else relation.object


def _phrases(text: str) -> dict[str, tuple[str, ...]]:
    lines = (line.strip().split(": ", 1) for line in text.strip().replace("|\n", "|").splitlines())
    return {name: tuple(phrase.strip() for phrase in phrases.split("|")) for name, phrases in lines}


FORWARD: Mapping[str, tuple[str, ...]] = _phrases("""
    birthplace: the birthplace of | the town of birth of | the town that saw the birth of
    birth_year: the birth year of | the year of birth of | the year that saw the birth of
    occupation: the profession of | the occupation of | the line of work of
    mentor: the teacher of | the person who trained | the mentor of
    spouse: the spouse of | the person who is married to | the husband or wife of
    residence: the present place of residence of | the town of residence of | the town that is now home to
    employer: the employer of | the company that employs | the firm that pays the salary of
    mother: the mother of | the person who gave birth to |
        the woman whose child is
    breakthrough: the event that first brought fame to | the event that marked the breakthrough of |
        the event that made the name of
    instrument: the instrument played by | the musical instrument of |
        the instrument practised by
    school: the university town of | the place of study of | the town that saw the student years of
    founder: the founder of | the person who founded | the person who set up
    chief: the chief executive of | the person who leads | the head of
    headquarters: the town with the headquarters of | the town with the head office of |
        the town that houses the headquarters of
    founding_year: the founding year of | the year of the foundation of |
        the year that saw the beginnings of
    product: the main product of | the best-known product of | the product made by
    owner: the owner of | the company that owns | the parent company of
    competitor: the fiercest competitor of | the main competitor of | the chief rival of
    supplier: the supplier of | the company that delivers raw materials to | the main supplier of
    branch: the town with the first branch of | the town with the oldest branch of |
        the town that hosts the earliest branch of
    emblem: the artist behind the emblem of | the person who drew the emblem of |
        the designer of the emblem of
    country: the country that is home to | the country that contains | the nation that includes
    mayor: the mayor of | the person who holds the office of mayor in | the present mayor of
    twin: the town twinned with | the town in partnership with | the partner town of
    main_employer: the largest employer in | the company that employs the most people in |
        the biggest employer in
    architect: the architect of the town hall of | the person who designed the town hall of |
        the designer of the town hall in
    river: the river that flows through | the river that passes through |
        the river that runs through
    charter_year: the year of the charter of | the year that brought a charter to |
        the year that saw the granting of a charter to
    namesake: the person who gave their name to the main square of |
        the person honoured by the main square of | the person commemorated by the main square of
    dish: the local dish of | the dish served in every inn of | the culinary pride of
    venue: the town that was the venue of | the town that hosted | the host town of
    year: the year of | the year that saw | the year that was marked by
    winner: the winner of | the person who won | the winner of the first prize at
    organiser: the organiser of | the company that organised | the firm behind
    opener: the opening speaker of | the person who opened | the person who gave the opening speech at
    chair: the chair of the jury of | the person who chaired the jury of | the head of the jury at
    forerunner: the forerunner of | the previous edition of | the predecessor of
    prize: the prize given at | the prize of | the prize handed over at
    capital: the capital of | the capital city of | the town that serves as the capital of
    head: the head of state of | the present head of state of |
        the person who serves as head of state of
    currency: the currency of | the money used in | the legal tender of
    anthem: the composer of the anthem of | the person who composed the national anthem of |
        the author of the national anthem of
""")
"""The text before the subject; the whole phrase denotes the relation's object."""

BACK: Mapping[str, tuple[str, ...]] = _phrases("""
    founder: the company founded by | the company set up by | the firm started by
    chief: the company led by | the company whose chief executive is | the firm headed by
    headquarters: the company whose headquarters stand in | the company with headquarters in |
        the firm with its head office in
    emblem: the company whose emblem was drawn by | the company that owes its emblem to |
        the firm with an emblem by
    mayor: the town whose mayor is | the town where the mayor is | the town that has as its mayor
    architect: the town whose town hall was designed by | the town with a town hall by |
        the town that owes its town hall to
    namesake: the town whose main square is named after | the town that named its main square after |
        the town whose main square honours
    winner: the event won by | the event whose winner was | the event whose first prize went to
    opener: the event opened by | the event whose opening speech was given by |
        the event that began with an opening speech by
    chair: the event whose jury was chaired by | the event with a jury headed by |
        the event whose jury was led by
    organiser: the event organised by | the event whose organiser was | the event put on by
    venue: the event held in | the event that took place in | the event whose venue lay in
    capital: the country whose capital is | the country governed from | the country with the capital
    head: the country whose head of state is | the country headed by |
        the country that has as its head of state
""")
"""The text before the object; the whole phrase denotes the relation's only subject."""

_ASKED: Mapping[str, tuple[str, ...]] = {
    "person": ("Who is {}?", "Name {}.", "What is the name of {}?"),
    "place": ("Which town is {}?", "Name {}.", "What is the name of {}?"),
    "company": ("Which company is {}?", "Name {}.", "What is the name of {}?"),
    "event": ("Which event is {}?", "Name {}.", "What is the name of {}?"),
    "country": ("Which country is {}?", "Name {}.", "What is the name of {}?"),
    "year": ("What is {}?", "Give {}.", "Tell me {}."),
    "word": ("What is {}?", "Name {}.", "Tell me {}."),
}
_WHO = "the person who "
_NOUNS = "town|company|firm|event|country|nation|year|river"
_WHICH = re.compile(f"the ({_NOUNS}) that ")
_GENERAL = re.compile(f"the (?:{_NOUNS}|person|woman) ")
_OPENINGS = re.compile(
    "(Who is|Which (?:town|company|event|country) is|What is the name of|What is|Name|Give|Tell me) (?=the )"
)
_SHORT = re.compile(f"Which ({_NOUNS}) ")
_HOPS: Mapping[str, Hop] = {
    phrase + " ": Hop(name, is_back)
    for is_back, phrases in ((False, FORWARD), (True, BACK))
    for name, choices in phrases.items()
    for phrase in choices
}
_HOP = re.compile("|".join(re.escape(phrase) for phrase in sorted(_HOPS, key=len, reverse=True)))


def ask(name: str, hops: Sequence[Hop], choices: Sequence[float]) -> str:
    """The question that starts at a name and takes these hops.

    Args:
        choices: numbers from 0 to 1 that choose the wording, one more than there are hops.
    """
    asked, head = with_article(name), ""
    for hop, choice in zip(hops, choices, strict=False):
        phrases = (BACK if hop.is_back else FORWARD)[hop.relation]
        head = phrases[int(choice * len(phrases))]
        asked = f"{head} {asked}"
    if asked.startswith(_WHO):
        return f"Who {asked.removeprefix(_WHO)}?"
    if which := _WHICH.match(asked):
        return f"Which {which[1]} {asked[which.end() :]}?"
    forms = _ASKED[hops[-1].leads_to]
    form = forms[int(choices[len(hops)] * len(forms))]
    if form.startswith("Which "):
        if _GENERAL.match(asked):
            # Not "Which company is the firm with …?"
            form = "What is the name of {}?"
        elif form.split()[1] in head.split():
            # Not "Which town is the host town of …?"
            form = "What is {}?"
    return form.format(asked)


def understand(question: str) -> tuple[str, tuple[Hop, ...]]:
    """The name that a question starts at, and its hops: the inverse of `ask`."""
    asked = question.strip()[:-1]
    opening = _OPENINGS.match(asked)
    if opening:
        asked = asked[opening.end() :]
    elif which := _SHORT.match(asked):
        asked = f"the {which[1]} that {asked[which.end() :]}"
    else:
        asked = _WHO + asked.removeprefix("Who ")
    hops: list[Hop] = []
    while found := _HOP.match(asked):
        hops.append(_HOPS[found[0]])
        asked = asked[found.end() :]
    return without_article(asked), tuple(reversed(hops))
