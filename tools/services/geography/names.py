"""`invented_name`: names of places, people and companies in languages that nobody speaks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np

T = TypeVar("T")
Kind = Literal["place", "region", "country", "person", "company"]


@dataclass(frozen=True)
class Language:
    """The sounds of names in an invented language. A syllable is an onset, a nucleus and a coda."""

    name: str
    onsets: tuple[str, ...]
    nuclei: tuple[str, ...]
    codas: tuple[str, ...]
    """Most are empty, so that most syllables are open."""
    places: tuple[str, ...]
    """Endings of towns, which begin with a consonant."""
    regions: tuple[str, ...]
    countries: tuple[str, ...]
    given: tuple[str, ...]
    """Endings of given names."""
    families: tuple[str, ...]
    companies: tuple[str, ...]
    """Follows a company's name."""


def _words(text: str) -> tuple[str, ...]:
    return tuple("" if word == "-" else word for word in text.split())


LANGUAGES: tuple[Language, ...] = (
    Language(
        "Vesk",
        _words("b br d dv f g gr h j k kv l m n p r s sk st t tv v vr z"),
        _words("a e i o u y a e o"),
        _words("- - - l n r sk s lm rn"),
        _words("dhovik grask vholm stovna mirsk brusna dvorra"),
        _words("dravia vhoria sklavra grezia"),
        _words("vheskia draviska mordhava zelvania"),
        _words("drosk vikha myzka lvinja sjadro"),
        _words("vhosk dravec mirov kzan lvenko"),
        _words("Werk Grusk Dvorn"),
    ),
    Language(
        "Ilua",
        _words("h k l m n p t v w f r l m n"),
        _words("a e i o u a i ua ae io"),
        _words("- - - - - -"),
        _words("hualo milea nuvai wakelu fanoa lihope"),
        _words("nuihea walumai lokahue"),
        _words("luahea monuiwa ilunae faroamea"),
        _words("lanui huali meavi noilu lupea"),
        _words("wailo hunea kaimu poelua"),
        _words("Hui Lokau Mahina"),
    ),
    Language(
        "Tarsin",
        _words("b c d f g l m n p r s t v qu tr br gl pr"),
        _words("a e i o u a e i ia eo"),
        _words("- - - - l n r s"),
        _words("bresco luvia ntessa rgueno llanda vizzo stelva"),
        _words("ntigua rvegna llusia brenza"),
        _words("ntaria rvessia llumbra strenia"),
        _words("llisco ndaria rettavo vinesso sciula"),
        _words("rvetti lluzzo ndaro scolpi gnano"),
        _words("Fratti Sociera Bottegha"),
    ),
    Language(
        "Kheren",
        _words("kh gh z sh d t j q r n m b s y"),
        _words("a e i o u aa a e i"),
        _words("- - - n r d sh m l"),
        _words("khabad zhandar tepek dhurgan shavaz qumrat"),
        _words("ghestan dhaval khorum"),
        _words("khistan ghuria zhavand dharistan"),
        _words("zadekh yarim khanur mirsha shendi"),
        _words("ghanov dhari zadekh qarim nushar"),
        _words("Karkhan Bazaari Dastur"),
    ),
    Language(
        "Oshiwen",
        _words("ch d f g h j k m n p s sh t ts y z"),
        _words("a e i o u a i o u ei"),
        _words("- - - - n"),
        _words("tsuwa kamori zunaka shibore gawanu mizuto"),
        _words("tokudo shimaru kenzawa"),
        _words("tsukuni washido mizuhen"),
        _words("zumiwa tokori rinuka kazuwo meiro"),
        _words("wabura tsumoda nagashu zukawe"),
        _words("Shokai Gumiten Yagou"),
    ),
    Language(
        "Brennoth",
        _words("b br c cl d dr f g gl gw l ll m n p r t th tr w"),
        _words("a e i o u y ae ei a e"),
        _words("- - - n r l nn th rd"),
        _words("wendoch thallyn brodwyn gwerrin ddulas pennoth"),
        _words("ddwyre thernoch gwyllan"),
        _words("thwenna brythia gwaelor llonneth"),
        _words("wynneth dethra rianoc lloth gwenda"),
        _words("thorren gwythel ddarach llewain"),
        _words("Cwmni Gweithdy Thraill"),
    ),
)


def invented_name(rng: np.random.Generator, kind: Kind, language: Language | None = None) -> str:
    """A pronounceable name without meaning. Every name has an ending that no real language combines with such
    a beginning, so that names are neither words nor known places. There are over 100,000 names of each kind
    in each language; two draws may still agree.

    Args:
        rng: one number is drawn from it.
        kind: place (a town), region, country, person (given and family name) or company.
        language: the language; by default, any.

    Raises:
        ValueError: for an unknown kind.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind {kind!r}: it is one of {', '.join(get_args(Kind))}")
    digits = _Digits(int(rng.integers(1 << 63)))
    spoken = language or digits.choice(LANGUAGES)
    if kind == "person":
        return f"{_word(digits, spoken, spoken.given, 1)} {_word(digits, spoken, spoken.families, 1)}"
    if kind == "company":
        return f"{_word(digits, spoken, spoken.families, 2)} {digits.choice(spoken.companies)}"
    endings = {"place": spoken.places, "region": spoken.regions, "country": spoken.countries}[kind]
    return _word(digits, spoken, endings, 2)


class _Digits:
    """A large random number, used up digit by digit: one draw is enough for a whole name."""

    def __init__(self, number: int) -> None:
        self._number = number

    def choice(self, options: Sequence[T]) -> T:
        self._number, digit = divmod(self._number, len(options))
        return options[digit]


def _word(digits: _Digits, language: Language, endings: tuple[str, ...], syllables: int) -> str:
    parts: list[str] = []
    for _ in range(syllables):
        parts += digits.choice(language.onsets), digits.choice(language.nuclei)
    # Only the syllable before the ending can be closed, and only if the result can be pronounced.
    ending = digits.choice(endings)
    if ending[0] in "aeiou" or (len(ending) > 1 and ending[1] in "aeiouy"):
        parts.append(digits.choice(language.codas))
    return "".join([*parts, ending]).capitalize()
