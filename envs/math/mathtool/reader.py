r"""Reads closed forms from hostile text: `3*sqrt(2)/4 + pi^2 - e`, `1.5π`, `1/(1+√2)`, `\frac{\sqrt{2}}{2}`.

The grammar is small and everything is bounded, so no text takes long to read:

    sum     = product {("+" | "-") product}
    product = signed {("*" | "/") signed | power}       a power right behind a value multiplies it: 2pi
    signed  = {"-" | "+"} power
    power   = atom [("^" | "**") signed]
    atom    = number | "pi" | "e" | ("sqrt" | "exp") group | "√" atom | "frac" group group | group
    group   = "(" sum ")"

An exponent is a rational number, and a radicand is not negative.
"""

import re
from fractions import Fraction

import sympy

from ludus.envs.math.formulas import OPERATORS
from ludus.envs.math.mathtool.algebraic import NotExact
from ludus.envs.math.mathtool.values import Exact
from ludus.envs.math.numbers import parse_number, without_markup

MAX_CHARACTERS = 300
_MAX_DEPTH = 20

_TOKEN = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+|\*\*|[-+*/^()√]|sqrt|frac|exp|pi|e|E)")
_SUPERSCRIPT = re.compile("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_DIGITS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_LATEX = re.compile(r"\\(?:left|right)(?![a-z])|\\[,;!]|\\[dt]?(?=frac)|\\(?=sqrt|exp|pi)|\\(?:cdot|times)")
_SPELLINGS = OPERATORS | str.maketrans({"π": "pi", "{": "(", "}": ")"})


def parse_exact(text: str) -> Exact:
    """The value of a text.

    Raises:
        NotExact: the text does not follow the grammar, or is longer, deeper or larger than any answer.
    """
    if len(text) > MAX_CHARACTERS:
        raise NotExact(f"it is longer than {MAX_CHARACTERS} characters")
    number = parse_number(text)
    return _Reader(_tokens(_plain(text))).whole() if number is None else Exact.rational(number)


def write_exact(text: str) -> str:
    """One of our own answers as a simplified closed form, readable by people and by `parse_exact`."""
    value = sympy.expand(sympy.sympify(text, locals={"e": sympy.E}))
    return str(value).replace("**", "^")


def _plain(text: str) -> str:
    """A text without LaTeX, with ASCII operators."""
    text = _LATEX.sub(lambda found: "*" if found[0] in (r"\cdot", r"\times") else " ", without_markup(text))
    text = _SUPERSCRIPT.sub(lambda found: f"^({found[0].translate(_DIGITS)})", text)
    return text.translate(_SPELLINGS)


def _tokens(text: str) -> list[str]:
    found, position, text = [], 0, text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise NotExact(f"{text[position : position + 12].strip()!r} is not understood")
        found.append(match[1])
        position = match.end()
    return found


class _Reader:
    """A recursive-descent parser over the tokens of one text."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = [*tokens, ""]
        self.position = 0
        self.depth = 0
        self.bare_root = False

    def whole(self) -> Exact:
        value = self.sum()
        if self.tokens[self.position]:
            raise NotExact(f"{self.tokens[self.position]!r} stands where an operator should")
        return value

    def take(self, *wanted: str) -> str:
        """The next token if it is one of those wanted, else the empty string."""
        token = self.tokens[self.position]
        if not token or token not in wanted:
            return ""
        self.position += 1
        return token

    def descend(self) -> None:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise NotExact("it is nested too deeply")

    def sum(self) -> Exact:
        self.descend()
        value = self.product()
        while operator := self.take("+", "-"):
            right = self.product()
            value = value + right if operator == "+" else value - right
        self.depth -= 1
        return value

    def product(self) -> Exact:
        value = self.signed()
        divided = False
        while True:
            if operator := self.take("*", "/"):
                right = self.signed()
                value = value * right if operator == "*" else value / right
                divided = operator == "/"
            elif self.tokens[self.position] in ("(", "√", "sqrt", "frac", "exp", "pi", "e", "E"):
                if divided or self.bare_root:
                    near = "".join(self.tokens[self.position - 1 : self.position + 1])
                    raise NotExact(f"{near!r} can be read in two ways: use brackets")
                value = value * self.power()
            else:
                return value

    def signed(self) -> Exact:
        negative = False
        while sign := self.take("-", "+"):
            negative ^= sign == "-"
        value = self.power()
        return -value if negative else value

    def power(self) -> Exact:
        self.bare_root = False
        base = self.atom()
        if not self.take("^", "**"):
            return base
        self.descend()
        exponent = self.signed()
        self.depth -= 1
        return base**exponent

    def atom(self) -> Exact:
        token = self.tokens[self.position]
        self.position += bool(token)
        match token:
            case "pi":
                return Exact.powers(1, 0)
            case "e" | "E":
                return Exact.powers(0, 1)
            case "(":
                return self.bracketed()
            case "sqrt" | "exp":
                argument = self.group(token)
                return argument**_HALF if token == "sqrt" else Exact.powers(0, 1) ** argument
            case "frac":
                return self.group(token) / self.group(token)
            case "√":
                self.descend()
                bare = self.tokens[self.position] != "("
                value = self.atom() ** _HALF
                self.depth -= 1
                self.bare_root = bare
                return value
        if not token or token[0] not in "0123456789.":
            raise NotExact(f"a number is missing before {token!r}" if token else "a number is missing")
        return Exact.rational(Fraction(f"0{token}0" if "." in token else token))

    def group(self, name: str) -> Exact:
        if not self.take("("):
            raise NotExact(f"{name} needs brackets: {name}(2)")
        return self.bracketed()

    def bracketed(self) -> Exact:
        value = self.sum()
        if not self.take(")"):
            raise NotExact("a bracket is not closed")
        self.bare_root = False
        return value


_HALF = Exact.rational(Fraction(1, 2))
