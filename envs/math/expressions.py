"""Arithmetic expressions: drawn, evaluated, written as formulas or in words, and read back from either."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

OPERATIONS = ("add", "subtract", "multiply", "divide")
SYMBOLS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}

Expression = int | tuple[str, "Expression", "Expression"]
"""A non-negative integer, or (operation, left, right)."""
Number = int | Fraction
"""An exact value; a `Fraction` only if it is not an integer."""
Raw = Callable[[], int]
"""Draws 64 random bits."""

_INFIX = {
    "add": "{} plus {}",
    "subtract": "{} minus {}",
    "multiply": "{} times {}",
    "divide": "{} divided by {}",
}
_NOUNS = {
    "add": "the sum of {} and {}",
    "subtract": "the difference of {} and {}",
    "multiply": "the product of {} and {}",
    "divide": "the quotient of {} and {}",
}
_IMPERATIVES = {
    "add": "Add {} and {}.",
    "subtract": "Subtract {1} from {0}.",
    "multiply": "Multiply {} by {}.",
    "divide": "Divide {} by {}.",
}
_BY_SYMBOL = {symbol: operation for operation, symbol in SYMBOLS.items()}
_BY_INFIX = {"plus": "add", "minus": "subtract", "times": "multiply", "divided": "divide"}
_BY_NOUN = {"sum": "add", "difference": "subtract", "product": "multiply", "quotient": "divide"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What expressions are drawn from."""

    operations: tuple[str, ...]
    low: int
    """The smallest operand; factors, divisors and quotients are also at least 2."""
    high: int
    """The largest operand. A dividend is a product of operands."""
    depth: int
    """Operations on the longest path from the whole expression to a number."""
    fractions: bool
    """Whether quotients may be fractions."""


def draw(raw: Raw, recipe: Recipe) -> tuple[Expression, Number]:
    """An expression and its value.

    Draws use `raw() % n`: the bias is below n / 2**64, at a sixth of the cost of `Generator.integers`.
    """
    return _draw(raw, recipe, recipe.depth)


def _draw(raw: Raw, recipe: Recipe, depth: int) -> tuple[Expression, Number]:
    operations = recipe.operations
    operation = operations[raw() % len(operations)]
    if operation == "divide":
        if depth == 1:
            left, right = _quotient(raw, recipe)
            return (operation, left, right), apply(operation, left, right)
        numerator, value = _draw(raw, recipe, depth - 1)
        divisor = _divisor(raw, recipe, value)
        return (operation, numerator, divisor), apply(operation, value, divisor)
    low = max(2, recipe.low) if operation == "multiply" else recipe.low
    span = recipe.high - low + 1
    if depth == 1:
        left, right = low + raw() % span, low + raw() % span
        return (operation, left, right), apply(operation, left, right)
    deep, deep_value = _draw(raw, recipe, depth - 1)
    other_depth = raw() % depth
    other: Expression
    other_value: Number
    if other_depth:
        other, other_value = _draw(raw, recipe, other_depth)
    else:
        other = other_value = low + raw() % span
    if raw() & 1:
        return (operation, deep, other), apply(operation, deep_value, other_value)
    return (operation, other, deep), apply(operation, other_value, deep_value)


def _quotient(raw: Raw, recipe: Recipe) -> tuple[int, int]:
    """Dividend and divisor; divisor and quotient are operands, like the factors of a product.

    With fractions, both have another common factor, so that repeating the question never answers it in lowest
    terms.
    """
    low = max(2, recipe.low)
    span = recipe.high - low + 1
    if not recipe.fractions:
        divisor = low + raw() % span
        return divisor * (low + raw() % span), divisor
    factor = 2 + raw() % 8
    return factor * (low + raw() % span), factor * (low + raw() % span)


def _divisor(raw: Raw, recipe: Recipe, value: Number) -> int:
    """A divisor for the value of an inner expression; 1 if no other gives an integer."""
    least = max(2, recipe.low)
    most = min(recipe.high, least + 98)
    if recipe.fractions:
        return least + raw() % (recipe.high - least + 1)
    choices = [divisor for divisor in range(least, most + 1) if value % divisor == 0]
    return choices[raw() % len(choices)] if choices else 1


def evaluate(expression: Expression) -> Number:
    """The exact value.

    Raises:
        ZeroDivisionError: a divisor is 0.
    """
    if isinstance(expression, int):
        return expression
    operation, left, right = expression
    return apply(operation, evaluate(left), evaluate(right))


def apply(operation: str, left: Number, right: Number) -> Number:
    """One operation on exact values; an `int` whenever the result is an integer."""
    if operation == "add":
        value: Number = left + right
    elif operation == "subtract":
        value = left - right
    elif operation == "multiply":
        value = left * right
    else:
        value = Fraction(left) / right
    return value if isinstance(value, int) or value.denominator != 1 else value.numerator


def numbers_in(expression: Expression) -> list[int]:
    """The numbers in an expression, left to right."""
    if isinstance(expression, int):
        return [expression]
    return numbers_in(expression[1]) + numbers_in(expression[2])


def with_numbers(expression: Expression, numbers: Iterator[int]) -> Expression:
    """The same expression with other numbers, filled in left to right."""
    if isinstance(expression, int):
        return next(numbers)
    operation, left, right = expression
    return operation, with_numbers(left, numbers), with_numbers(right, numbers)


def formula(expression: Expression, space: str = " ") -> str:
    """`12 + (3 * 4)`: every inner operation is in brackets."""
    if isinstance(expression, int):
        return str(expression)
    operation, left, right = expression
    left_text = str(left) if isinstance(left, int) else f"({formula(left, space)})"
    right_text = str(right) if isinstance(right, int) else f"({formula(right, space)})"
    return f"{left_text}{space}{SYMBOLS[operation]}{space}{right_text}"


def in_words(expression: Expression, form: int) -> str:
    """A question in words. `form` 0: "What is 3 plus 4?", 1: "What is the sum of 3 and 4?", 2: "Add 3 and 4."

    Form 0 is ambiguous around inner operations, so form 1 takes its place there.
    """
    if isinstance(expression, int):
        return f"What is {expression}?"
    operation, left, right = expression
    if form == 2:
        return _IMPERATIVES[operation].format(_noun(left), _noun(right))
    if form == 0 and isinstance(left, int) and isinstance(right, int):
        return f"What is {_INFIX[operation].format(left, right)}?"
    return f"What is {_noun(expression)}?"


def _noun(expression: Expression) -> str:
    if isinstance(expression, int):
        return str(expression)
    operation, left, right = expression
    return _NOUNS[operation].format(_noun(left), _noun(right))


def parse(question: str) -> Expression:
    """The expression that a question asks for, as a formula or in words.

    Raises:
        ValueError: the text is neither.
    """
    return _Parser(question).question()


class _Parser:
    """A recursive-descent parser over words, numbers and symbols."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = re.findall(r"[0-9]+|[a-z]+|[-+*/()]", text.lower())
        self.at = 0

    def question(self) -> Expression:
        match self._peek():
            case "what":
                self._expect("what", "is")
                found = self._noun()
                if self._peek() in _BY_INFIX:
                    operation = _BY_INFIX[self._next()]
                    if operation == "divide":
                        self._expect("by")
                    found = (operation, found, self._noun())
            case "add":
                found = self._imperative("and", "add")
            case "subtract":
                operation, right, left = self._imperative("from", "subtract")
                found = (operation, left, right)
            case "multiply" | "divide" as verb:
                found = self._imperative("by", verb)
            case _:
                found = self._formula()
        if self.at != len(self.tokens):
            raise self._error()
        return found

    def _imperative(self, between: str, operation: str) -> tuple[str, Expression, Expression]:
        self._next()
        left = self._noun()
        self._expect(between)
        return operation, left, self._noun()

    def _noun(self) -> Expression:
        if self._peek() != "the":
            return self._number()
        self._next()
        operation = _BY_NOUN.get(self._next())
        if operation is None:
            raise self._error()
        self._expect("of")
        left = self._noun()
        self._expect("and")
        return operation, left, self._noun()

    def _formula(self) -> Expression:
        left = self._operand()
        if self._peek() not in _BY_SYMBOL:
            return left
        return _BY_SYMBOL[self._next()], left, self._operand()

    def _operand(self) -> Expression:
        if self._peek() != "(":
            return self._number()
        self._next()
        inner = self._formula()
        self._expect(")")
        return inner

    def _number(self) -> int:
        token = self._next()
        if not token.isdecimal():
            raise self._error()
        return int(token)

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self.at += 1
        return token

    def _expect(self, *tokens: str) -> None:
        for token in tokens:
            if self._next() != token:
                raise self._error()

    def _error(self) -> ValueError:
        return ValueError(f"{self.text!r} is neither a formula nor a question in words that is known here")
