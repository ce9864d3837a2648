r"""Exact reading of numbers as people write them: `-7/2`, `1,234.0`, `1e3`, `2 1/2`, `$42`, `\boxed{42}`."""

import re
from collections import deque
from fractions import Fraction
from math import gcd

from ludus.envs.math.expressions import Number

MAX_CHARACTERS = 1_000
"""The most characters of a number, and digits when written out: more than any answer has. `int()` takes
quadratic time, and refuses more than 4,300 digits."""

# Hyphen, non-breaking hyphen, en dash, minus, ASCII.
_MINUS = "\u2010\u2011\u2013\u2212-"
# Comma, apostrophes, no-break space, thin space, narrow no-break space; a number uses only one kind.
_SEPARATORS = ",'\u2019\u00a0\u2009\u202f"
_WHOLE = "|".join(f"[0-9]{{1,3}}(?:[{separator}][0-9]{{3}})+" for separator in _SEPARATORS) + "|[0-9]+"
_CURRENCY = r"\\?[$€£¥]"
_WRITTEN = rf"""
    (?:(?P<sign>[+{_MINUS}])?(?:{_CURRENCY})?|{_CURRENCY}(?P<inner>[+{_MINUS}]))
    (?:
        (?:(?P<units>{_WHOLE})[ ])?
        (?P<numerator>{_WHOLE})[ ]?[/\u2044\u2215][ ]?(?P<denominator>[0-9]+)
    |
        (?:(?P<whole>{_WHOLE})(?:\.(?P<decimals>[0-9]*))?|\.(?P<alone>[0-9]+))
        (?:[eE](?P<exponent>[+{_MINUS}]?[0-9]{{1,4}}))?
    )"""
_NUMBER = re.compile(rf"{_WRITTEN}\Z", re.VERBOSE)
# A number among words. What follows a digit, a letter or a point is a part of something else, as is a sign.
_IN_TEXT = re.compile(rf"(?<![0-9A-Za-z.]){_WRITTEN}(?![0-9A-Za-z])", re.VERBOSE)
_NO_SEPARATORS = dict.fromkeys(map(ord, _SEPARATORS))
_PLAIN_MINUS = dict.fromkeys(map(ord, _MINUS), "-")

_MARKUP = re.compile(
    r"\$\$(.+)\$\$|\$(.+)\$|\\\((.+)\\\)|\\\[(.+)\\\]|\\boxed\s*\{(.+)\}|\*\*(.+)\*\*", re.DOTALL
)
_FRACTION = re.compile(r"((?<=[0-9])\s*)?\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")


def parse_number(text: str) -> Number | None:
    """The exact number that a text denotes; None if it is anything else.

    Integers and decimals (`5`, `.5`, `5.`, `1e3`), thousands grouped by commas, apostrophes or thin spaces,
    fractions and mixed numbers in lowest terms (`7/2`, `3 1/2`), a sign, a currency, and LaTeX or Markdown
    around a number. Not: `nan`, `inf`, expressions, several numbers, a range, digits of other scripts, a
    fraction that can be reduced (`14/4` only repeats the question; `7/2` answers it).
    """
    if len(text) > MAX_CHARACTERS:
        return None
    if text.isascii() and text.removeprefix("-").isdecimal():
        return int(text)
    match = _NUMBER.match(_plain(without_markup(text)))
    return None if match is None else _value(match)


def last_number(text: str) -> Number | None:
    """The number that a text names last, in any form that `parse_number` reads; None if it names none.

    Digits within a word (`x2`) are none, and of a difference (`9-2`) the last number is without a sign. Takes
    linear time.
    """
    last = deque(_IN_TEXT.finditer(_plain(text)), maxlen=1)
    return _value(last[0]) if last and len(last[0][0]) <= MAX_CHARACTERS else None


def write_number(value: Number) -> str:
    """`12`, `-7/2`: what `parse_number` reads back."""
    return str(value)


def without_markup(text: str) -> str:
    r"""A text without the `$…$`, `\(…\)`, `\boxed{…}` or `**…**` that encloses it."""
    text = text.strip()
    while match := _MARKUP.fullmatch(text):
        text = match[match.lastindex or 0].strip()
    return text


def _plain(text: str) -> str:
    r"""A number without LaTeX: `2\frac{1}{2}` is `2 1/2`, and `1{,}234` is `1,234`."""
    if "\\" not in text and "{" not in text:
        return text
    text = text.replace("{,}", ",").replace(r"\,", "\u2009").replace(r"\!", "")
    return _FRACTION.sub(
        lambda found: f"{'' if found[1] is None else ' '}{found[2].strip()}/{found[3].strip()}", text
    )


def _value(match: re.Match[str]) -> Number | None:
    value = _fraction(match) if match["numerator"] else _decimal(match)
    if value is None:
        return None
    if (match["sign"] or match["inner"] or "+") in _MINUS:
        value = -value
    return value.numerator if value.denominator == 1 else value


def _decimal(match: re.Match[str]) -> Fraction | None:
    decimals = match["alone"] or match["decimals"] or ""
    digits = (match["whole"] or "").translate(_NO_SEPARATORS) + decimals
    exponent = int((match["exponent"] or "0").translate(_PLAIN_MINUS))
    if len(digits) + abs(exponent) > MAX_CHARACTERS:
        return None
    shift = exponent - len(decimals)
    return Fraction(int(digits) * 10 ** max(shift, 0), 10 ** max(-shift, 0))


def _fraction(match: re.Match[str]) -> Fraction | None:
    units, numerator = (
        int((match[name] or "0").translate(_NO_SEPARATORS)) for name in ("units", "numerator")
    )
    denominator = int(match["denominator"])
    # `1 001/2000` may be a thousand and one, with a space as the thousands separator.
    mixed = numerator < denominator and not match["numerator"].startswith("0")
    if (match["units"] and not mixed) or denominator < 2 or gcd(numerator, denominator) != 1:
        return None
    return units + Fraction(numerator, denominator)
