"""Reads working-outs: the steps in a text such as `8+7=15 5+6+1=12`, and which of them are right."""

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from ludus.envs.math.expressions import Number, apply

MAX_CHARACTERS = 200
"""The most characters of one side of a step: more than anybody works out at once."""

_OPERAND = r"[-(]*[0-9]+\)*"
_SIDE = rf"{_OPERAND}(?:(?:[-+*/]|[ ][-+*/][ ]){_OPERAND}){{0,30}}"
"""At most 31 operands, so that a text of nothing else is read in linear time."""
_STEP = re.compile(rf"(?<![-+*/().0-9])({_SIDE})[ ]?=[ ]?({_SIDE})")
_OPERATIONS = {ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide"}


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
    if len(side) > MAX_CHARACTERS:
        return None
    try:
        return _evaluate(ast.parse(side, mode="eval").body)
    except (SyntaxError, ZeroDivisionError):
        return None


def _evaluate(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand)
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _OPERATIONS:
            return apply(_OPERATIONS[type(operation)], _evaluate(left), _evaluate(right))
    raise SyntaxError("not arithmetic")
