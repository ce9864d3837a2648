"""Expressions: how they are drawn and written, that they can be read back, and that worked solutions are
true."""

import contextlib
import random
import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.envs.math.expressions import (
    OPERATIONS,
    Expression,
    Recipe,
    draw,
    evaluate,
    formula,
    in_words,
    numbers_in,
    parse,
    with_numbers,
)
from ludus.envs.math.worked import worked

expressions = st.recursive(
    st.integers(0, 10**6),
    lambda inner: st.tuples(st.sampled_from(OPERATIONS), inner, inner),
    max_leaves=8,
)
recipes = st.builds(
    lambda operations, low, span, depth, fractions: Recipe(
        tuple(operations), low, low + span, depth, fractions
    ),
    st.lists(st.sampled_from(OPERATIONS), min_size=1, max_size=4, unique=True),
    st.integers(0, 200),
    st.integers(2, 500),
    st.integers(1, 4),
    st.booleans(),
)


def depth(expression: Expression) -> int:
    return 0 if isinstance(expression, int) else 1 + max(depth(expression[1]), depth(expression[2]))


def operations_in(expression: Expression) -> set[str]:
    if isinstance(expression, int):
        return set()
    return {expression[0]} | operations_in(expression[1]) | operations_in(expression[2])


def dividends(expression: Expression) -> list[Expression]:
    if isinstance(expression, int):
        return []
    own = [expression[1]] if expression[0] == "divide" else []
    return own + dividends(expression[1]) + dividends(expression[2])


def is_exact(expression: Expression) -> bool:
    """Whether every inner value is an integer."""
    if isinstance(expression, int):
        return True
    return isinstance(evaluate(expression), int) and is_exact(expression[1]) and is_exact(expression[2])


@given(expressions, st.integers(0, 2))
def test_questions_are_read_back(expression: Expression, form: int) -> None:
    assert parse(formula(expression)) == expression
    assert parse(formula(expression, "")) == expression
    assert parse(formula(expression) + " = ?") == expression
    assert (
        parse(in_words(expression, form) if not isinstance(expression, int) else formula(expression))
        == expression
    )


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("What is 3 plus 4?", 7),
        ("Subtract 3 from 10.", 7),
        ("What is the difference of 10 and 3?", 7),
        ("Divide the sum of 20 and 1 by 3.", 7),
        ("(2 * 10) - 13 = ?", 7),
        ("What is 14 divided by 2?", 7),
        ("Subtract the product of 3 and 4 from 20.", 8),
        ("What is 7 divided by 2?", Fraction(7, 2)),
    ],
)
def test_questions_mean_what_they_say(question: str, value: int) -> None:
    assert evaluate(parse(question)) == value


@pytest.mark.parametrize(
    "text", ["", "?", "hello", "What is", "What is 3 plus?", "Add 3.", "3 +", "(3 + 4", "3 4"]
)
def test_other_questions_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a formula"):
        parse(text)


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    with contextlib.suppress(ValueError):
        parse(text)


@given(recipes, st.integers(0, 2**32))
def test_what_is_drawn_keeps_to_the_recipe(recipe: Recipe, seed: int) -> None:
    generator = random.Random(seed)
    expression, value = draw(lambda: generator.getrandbits(64), recipe)
    assert value == evaluate(expression)
    assert isinstance(value, int) == (Fraction(value).denominator == 1)
    assert depth(expression) == recipe.depth
    assert operations_in(expression) <= set(recipe.operations)
    assert recipe.fractions or is_exact(expression)
    small_dividends = [number for number in dividends(expression) if isinstance(number, int)]
    for number in numbers_in(expression):
        # A divisor of 1 stands in for one that would leave a remainder; dividends are products.
        assert recipe.low <= number <= recipe.high or number == 1 or small_dividends or recipe.fractions


@given(st.integers(2, 99), st.integers(0, 2**32))
def test_repeating_a_quotient_is_never_the_answer_in_lowest_terms(high: int, seed: int) -> None:
    generator = random.Random(seed)
    recipe = Recipe(("divide",), 0, high, 1, fractions=True)
    (_, dividend, divisor), value = draw(lambda: generator.getrandbits(64), recipe)
    assert Fraction(value) == Fraction(dividend, divisor)
    assert Fraction(dividend, divisor).denominator != divisor


@given(expressions)
def test_numbers_can_be_replaced(expression: Expression) -> None:
    numbers = numbers_in(expression)
    assert with_numbers(expression, iter(numbers)) == expression
    assert numbers_in(with_numbers(expression, iter(n + 1 for n in numbers))) == [n + 1 for n in numbers]


@pytest.mark.parametrize(
    ("question", "steps"),
    [
        ("58 + 67", "8+7=15 5+6+1=12"),
        ("5 + 123", "5+3=8 0+2=2 0+1=1"),
        ("52 - 38", "12-8=4 5-3-1=1"),
        ("38 - 52", "-(52-38) 12-8=4 5-3-1=1"),
        ("100 - 1", "10-1=9 10-0-1=9 1-0-1=0"),
        ("7 * 8", "7*8=56"),
        ("23 * 47", "23*7=161 23*40=920 161+920=1081"),
        ("7 * 123", "123*7=861"),
        ("84 / 7", "7*12=84"),
        ("14 / 4", "14/2=7 4/2=2"),
        ("(3 + 4) * 5", "3+4=7 7*5=35"),
        ("(15 + 17) - 3", "5+7=12 1+1+1=3 15+17=32 12-3=9 3-0-1=2 32-3=29"),
    ],
)
def test_worked(question: str, steps: str) -> None:
    assert worked(parse(question)) == steps


@given(expressions)
def test_every_step_is_true(expression: Expression) -> None:
    try:
        evaluate(expression)
    except ZeroDivisionError:
        return
    for step in worked(expression).split():
        claim = re.fullmatch(r"(.+)=(.+)", step)
        if claim is None:
            continue
        # Digits in steps are plain Python arithmetic over exact numbers.
        left, right = (re.sub(r"\d+", r"Fraction(\g<0>)", side) for side in claim.groups())
        assert eval(left, {"Fraction": Fraction}) == eval(right, {"Fraction": Fraction}), step


def test_sums_of_two_digits_are_worked_in_few_tokens() -> None:
    longest = max(
        (
            worked((operation, a, b))
            for operation in ("add", "subtract")
            for a in range(100)
            for b in range(100)
        ),
        key=len,
    )
    assert len(longest) <= 32
