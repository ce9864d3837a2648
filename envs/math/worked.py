"""Worked solutions: short steps, one digit at a time, that a small model can learn to write and rely on."""

from fractions import Fraction
from math import gcd

from ludus.envs.math.expressions import SYMBOLS, Expression, Number, apply


def worked(expression: Expression) -> str:
    """The steps that lead to an expression's value.

    Sums and differences go digit by digit from low to high, carries and borrows written as `+1` and `-1`
    (58 + 67: `8+7=15 5+6+1=12`); products by the digits of the shorter factor (23 * 47:
    `23*7=161 23*40=920 161+920=1081`); quotients by the product that proves them (84 / 7: `7*12=84`). Inner
    operations come first, and each ends with its result.
    """
    if isinstance(expression, int):
        return str(expression)
    steps: list[str] = []
    _work(expression, steps, last=True)
    return " ".join(steps)


def _work(expression: Expression, steps: list[str], last: bool) -> Number:
    if isinstance(expression, int):
        return expression
    operation, left_expression, right_expression = expression
    left = _work(left_expression, steps, last=False)
    right = _work(right_expression, steps, last=False)
    value = apply(operation, left, right)
    own = _steps(operation, left, right, value)
    conclusion = f"{_operand(left)}{SYMBOLS[operation]}{_operand(right)}={value}"
    steps += own
    alone = last and isinstance(left_expression, int) and isinstance(right_expression, int)
    if not own or (not alone and own[-1] != conclusion):
        steps.append(conclusion)
    return value


def _operand(value: Number) -> str:
    return str(value) if value >= 0 and isinstance(value, int) else f"({value})"


def _steps(operation: str, left: Number, right: Number, value: Number) -> list[str]:
    if isinstance(left, Fraction) or isinstance(right, Fraction):
        return []
    match operation:
        case "add":
            return _signed_sum(left, right)
        case "subtract":
            return _signed_sum(left, -right)
        case "multiply":
            return _product(left, right)
    if isinstance(value, int):
        return [f"{_operand(right)}*{_operand(value)}={left}"]
    shared = gcd(left, right)
    return [f"{_operand(left)}/{shared}={left // shared}", f"{right}/{shared}={right // shared}"]


def _signed_sum(left: int, right: int) -> list[str]:
    if (left < 0) == (right < 0):
        return _sum(abs(left), abs(right))
    more, less = max(abs(left), abs(right)), min(abs(left), abs(right))
    # If the result is negative, the first step says which difference is worked out.
    return ([f"-({more}-{less})"] if left + right < 0 else []) + _difference(more, less)


def _digits(number: int) -> list[int]:
    """The digits, lowest first."""
    return [int(digit) for digit in reversed(str(number))]


def _sum(left: int, right: int) -> list[str]:
    steps, carry = [], 0
    for a, b in _columns(left, right):
        total = a + b + carry
        steps.append(f"{a}+{b}{'+1' if carry else ''}={total}")
        carry = total // 10
    return steps


def _difference(more: int, less: int) -> list[str]:
    steps, borrow = [], 0
    for a, b in _columns(more, less):
        short = a - b - borrow < 0
        top = a + 10 if short else a
        steps.append(f"{top}-{b}{'-1' if borrow else ''}={top - b - borrow}")
        borrow = int(short)
    return steps


def _columns(left: int, right: int) -> list[tuple[int, int]]:
    a, b = _digits(left), _digits(right)
    length = max(len(a), len(b))
    return list(zip(a + [0] * (length - len(a)), b + [0] * (length - len(b)), strict=True))


def _product(left: int, right: int) -> list[str]:
    a, b = abs(left), abs(right)
    if len(str(b)) > len(str(a)):
        a, b = b, a
    parts = [(digit * 10**place, a * digit * 10**place) for place, digit in enumerate(_digits(b)) if digit]
    if not parts:
        return []
    steps = [f"{a}*{factor}={product}" for factor, product in parts]
    total = parts[0][1]
    for _, product in parts[1:]:
        steps.append(f"{total}+{product}={total + product}")
        total += product
    return steps
