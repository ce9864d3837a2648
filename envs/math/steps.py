"""Reads working-outs: the steps in a text such as `8+7=15 5+6+1=12`, and which of them are right."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from ludus.envs.math.expressions import Number
from ludus.envs.math.formulas import NoFormula, read_formula

_OPERAND = r"[-(]*[0-9]+\)*"
_SIDE = rf"{_OPERAND}(?:(?:[-+*/]|[ ][-+*/][ ]){_OPERAND}){{0,30}}"
"""At most 31 operands, so that a text of nothing else is read in linear time."""
_STEP = re.compile(rf"(?<![-+*/().0-9])({_SIDE})[ ]?=[ ]?({_SIDE})")


class WorkedStep(NamedTuple):
    """An equation between two sums, differences, products or quotients of integers."""

    end: int
    """How many characters of the text there are up to its end."""
    is_right: bool


def worked_steps(text: str) -> Iterator[WorkedStep]:
    """The steps of a working-out, in order. Everything between them (words, tags, the difference that is
    announced before it is worked out) is passed over."""
    for match in _STEP.finditer(text):
        left, right = _value(match[1]), _value(match[2])
        yield WorkedStep(match.end(), left is not None and left == right)


def _value(side: str) -> Number | None:
    """The exact value; None if there is none."""
    try:
        return read_formula(side).value
    except NoFormula:
        return None
