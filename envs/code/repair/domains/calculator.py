"""A calculator: tokens, a parser, an evaluator, a session with variables."""

from random import Random

from ludus.envs.code.repair.domain import Domain, Draft, Parameters, numbers

README = """# $package

A calculator for integers.

`$package.session.$run(lines)` evaluates lines one after another and returns the list of their values. A
line is an expression, or `name = expression`, which also stores the value. An empty line, or one that
begins with `$comment` after blanks, has the value `None`. A line that cannot be evaluated has the value
`"error"` and stores nothing: unknown names, wrong syntax, division by zero, a power below zero or above
$power, a value of the line beyond a million, above or below zero.

From weakest to strongest:

- `+` and `-`, from left to right
- `*`, `/` and `%`, from left to right. `/` rounds down, and `%` has the sign of the divisor, as in Python.
- `-` before an operand
- `$sign`, the power, from $side: `2 $sign 3 $sign 2` is $example

Besides there are parentheses, numbers, names (letters only), and the functions `min(…)`, `max(…)` with
one operand or more and `clip(x, low, high)`, which is `x`, but at least `low` and at most `high` (where
`low` is above `high`: `high`). Names of variables and functions are the same in capitals and small
letters. `last` is the value of the last line that had a number, and $initial before there is one.
"""

TOKENS = '''"""Texts to tokens."""

SIGNS = "+-*/%(),=$sign"


class Trouble(Exception):
    """What cannot be evaluated."""


def tokens(text):
    """Numbers as integers, names in small letters, signs as they are."""
    found = []
    place = 0
    while place < len(text):
        character = text[place]
        end = place + 1
        if character.isdigit():
            while end < len(text) and text[end].isdigit():
                end += 1
            found.append(int(text[place:end]))
        elif character.isalpha():
            while end < len(text) and text[end].isalpha():
                end += 1
            found.append(text[place:end].lower())
        elif character in SIGNS:
            found.append(character)
        elif character != " ":
            raise Trouble(character)
        place = end
    return found
'''

FUNCTIONS = '''"""What the operators and functions do."""

from $package.tokens import Trouble


def power(base, exponent):
    if exponent < 0 or exponent > $power:
        raise Trouble("power")
    return base**exponent


def divide(left, right):
    if right == 0:
        raise Trouble("division by zero")
    return left // right


def modulo(left, right):
    if right == 0:
        raise Trouble("division by zero")
    return left % right


def apply(name, values):
    if name == "min" and values:
        return min(values)
    if name == "max" and values:
        return max(values)
    if name == "clip" and len(values) == 3:
        return min(max(values[0], values[1]), values[2])
    raise Trouble(name)
'''

PARSER = '''"""Tokens to values."""

from $package.functions import apply, divide, modulo, power
from $package.tokens import Trouble


class Parser:
    def __init__(self, tokens, variables):
        self.tokens = tokens
        self.variables = variables
        self.place = 0

    def peek(self):
        if self.place < len(self.tokens):
            return self.tokens[self.place]
        return ""

    def take(self):
        token = self.peek()
        self.place += 1
        return token

    def expect(self, sign):
        if self.take() != sign:
            raise Trouble(sign)

    def sum(self):
        value = self.product()
        while self.peek() in ("+", "-"):
            if self.take() == "+":
                value = value + self.product()
            else:
                value = value - self.product()
        return value

    def product(self):
        value = self.negative()
        while self.peek() in ("*", "/", "%"):
            sign = self.take()
            if sign == "*":
                value = value * self.negative()
            elif sign == "/":
                value = divide(value, self.negative())
            else:
                value = modulo(value, self.negative())
        return value

    def negative(self):
        if self.peek() == "-":
            self.take()
            return -self.negative()
        return self.powers()

    def powers(self):
$powers

    def operand(self):
        token = self.take()
        if isinstance(token, int):
            return token
        if token == "(":
            value = self.sum()
            self.expect(")")
            return value
        if not token.isalpha():
            raise Trouble(token)
        if self.peek() == "(":
            return apply(token, self.operands())
        if token not in self.variables:
            raise Trouble(token)
        return self.variables[token]

    def operands(self):
        self.expect("(")
        values = [self.sum()]
        while self.peek() == ",":
            self.take()
            values.append(self.sum())
        self.expect(")")
        return values
'''

FROM_LEFT = """        value = self.operand()
        while self.peek() == "$sign":
            self.take()
            value = power(value, self.operand())
        return value"""

FROM_RIGHT = """        value = self.operand()
        if self.peek() == "$sign":
            self.take()
            return power(value, self.powers())
        return value"""

SESSION = '''"""Lines and their values."""

from $package.parser import Parser
from $package.tokens import Trouble, tokens


def $run(lines):
    variables = {"last": $initial}
    values = []
    for line in lines:
        try:
            value = evaluate(line, variables)
        except Trouble:
            value = "error"
        else:
            if value is not None:
                variables["last"] = value
        values.append(value)
    return values


def evaluate(line, variables):
    """The value of a line, None for one without an expression."""
    line = line.strip()
    if not line or line.startswith("$comment"):
        return None
    found = tokens(line)
    name = None
    if len(found) > 1 and found[1] == "=":
        name = found[0]
        found = found[2:]
    parser = Parser(found, variables)
    value = parser.sum()
    if parser.place != len(found):
        raise Trouble(line)
    if abs(value) > 1000000:
        raise Trouble("too large")
    if name is not None:
        variables[name] = value
    return value
'''


def calls(rng: Random, parameters: Parameters) -> Draft:
    names = ["last"]

    def expression(depth: int) -> str:
        kind = rng.random()
        if depth == 0 or kind < 0.15:
            return rng.choice((str(rng.randint(0, 12)), str(rng.randint(1, 30)), rng.choice(names)))
        if kind < 0.7:
            sign = rng.choice(("+", "-", "-", "*", "/", "%"))
            return f"{expression(depth - 1)} {sign} {expression(depth - 1)}"
        if kind < 0.78:
            return f"({expression(depth - 1)})"
        if kind < 0.84:
            return f"-{expression(depth - 1)}"
        if kind < 0.92:
            tower = rng.choice(("2", "3", f"{rng.choice(names)}"))
            return f"{tower}{parameters['sign']}{rng.randint(0, 2)}{parameters['sign']}{rng.randint(1, 3)}"
        several = [expression(depth - 1) for _ in range(3)]
        return f"{rng.choice(('min', 'Max', 'clip', 'clip'))}({', '.join(several)})"

    lines = []
    for _ in range(rng.randint(2, 6)):
        kind = rng.random()
        if kind < 0.08:
            lines.append(rng.choice(("", "  ", f" {parameters['comment']} note")))
        elif kind < 0.14:
            lines.append(
                rng.choice(("1 / 0", "7 % 0", "2 +", "(3", f"2{parameters['sign']}99", "b = 4 4", "3 ?"))
            )
        elif kind < 0.5:
            name = rng.choice(("a", "B", "rate"))
            lines.append(f"{name} = {expression(2)}")
            names.append(name.swapcase())
        else:
            lines.append(expression(rng.randint(1, 3)))
    return "session", parameters["run"], [lines]


DOMAIN = Domain(
    name="calculator",
    choices={
        "package": ("calculator", "abacus", "sums", "reckoner"),
        "run": ("run", "values", "evaluate_lines"),
        "comment": (";", "!", "&"),
        "sign": ("^", "~", "@"),
        "side": ("left to right", "right to left"),
        "power": numbers(5, 12),
        "initial": numbers(0, 3),
    },
    code={"powers": ("side", (FROM_LEFT, FROM_RIGHT)), "example": ("side", ("64", "512"))},
    readme=README,
    modules={"tokens.py": TOKENS, "functions.py": FUNCTIONS, "parser.py": PARSER, "session.py": SESSION},
    calls=calls,
)
