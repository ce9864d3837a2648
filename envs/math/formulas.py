"""Reads formulas from hostile text: `(25 - 3) * 4 / 2`, with the usual precedence."""

import ast
import re
from dataclasses import dataclass

from ludus.envs.math.expressions import Number, apply
from ludus.envs.math.numbers import without_markup

MAX_CHARACTERS = 200
"""The most characters of a formula: more than anybody works out at once."""

OPERATORS = str.maketrans({"−": "-", "–": "-", "·": "*", "×": "*", "⋅": "*", "∗": "*", "÷": "/"})
"""Other signs for the operations."""

_FOREIGN = re.compile(r"[^-+*/() 0-9]")
_OPERATIONS = {ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide"}


class NoFormula(ValueError):
    """A text is no formula; the message says why."""


@dataclass(frozen=True, slots=True)
class Formula:
    value: Number
    numbers: tuple[int, ...]
    """Those written in it, smallest first."""


def read_formula(text: str) -> Formula:
    """The exact value of a text of integers, `+`, `-`, `*`, `/`, brackets and spaces, and its numbers.

    Nothing is evaluated but those four operations and the sign `-`. LaTeX or Markdown around it is left out.

    Raises:
        NoFormula: it is anything else, too long, or has no value because it divides by 0.
    """
    if len(text) > MAX_CHARACTERS:
        raise NoFormula(f"it is longer than {MAX_CHARACTERS} characters")
    text = without_markup(text).translate(OPERATORS)
    if foreign := _FOREIGN.search(text):
        raise NoFormula(f"{foreign[0]!r} is neither a number, one of + - * / nor a bracket")
    try:
        tree = ast.parse(text, mode="eval").body
        value = _evaluate(tree)
    except SyntaxError:
        raise NoFormula("it is not written as a formula of + - * / and brackets is") from None
    except ZeroDivisionError:
        raise NoFormula("it divides by 0") from None
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return Formula(value, tuple(sorted(number for number in constants if isinstance(number, int))))


def _evaluate(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand)
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _OPERATIONS:
            return apply(_OPERATIONS[type(operation)], _evaluate(left), _evaluate(right))
    raise SyntaxError("not arithmetic")
