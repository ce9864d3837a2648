"""The steps of a working-out are found, and right exactly if both sides are equal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.envs.math.expressions import OPERATIONS, Recipe, draw
from ludus.envs.math.steps import worked_steps
from ludus.envs.math.worked import worked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>8+7=15 5+6+1=12</think><answer>125</answer>", [("8+7=15", True), ("5+6+1=12", True)]),
        ("<think>8+7=16 5+6=11</think>", [("8+7=16", False), ("5+6=11", True)]),
        ("so 3 + 4 = 7, and 2*7=15.", [("3 + 4 = 7", True), ("2*7=15", False)]),
        ("-(125-30) 15-7=8 -(1-2)", [("15-7=8", True)]),
        ("(-3)*9=-27 (7/2)+3=13/2", [("(-3)*9=-27", True), ("(7/2)+3=13/2", True)]),
        ("1/0=1 2/(1-1)=3", [("1/0=1", False), ("2/(1-1)=3", False)]),
        ("05+1=6 (2=2", [("05+1=6", False), ("(2=2", False)]),
        ("- 3 + 4 = 7\n- 3 + 4 = 8\n", [("3 + 4 = 7", True), ("3 + 4 = 8", False)]),
        ("x=5, 7 is 7, =3, 4=", []),
        ("", []),
    ],
)  # fmt: skip
def test_steps_by_hand(text: str, expected: list[tuple[str, bool]]) -> None:
    found = list(worked_steps(text))
    assert [step.is_right for step in found] == [right for _, right in expected]
    assert [
        text[: step.end].endswith(written) for step, (written, _) in zip(found, expected, strict=True)
    ] == [True] * len(found)


@given(st.integers(0, 2**32 - 1), st.booleans(), st.integers(1, 3))
@settings(max_examples=200)
def test_the_oracles_steps_are_right_and_wrong_with_another_digit(
    seed: int, fractions: bool, depth: int
) -> None:
    raw = np.random.default_rng(seed).bit_generator.random_raw
    expression, _ = draw(raw, Recipe(OPERATIONS, 0, 99, depth, fractions))
    text = worked(expression)
    steps = list(worked_steps(text))
    assert len(steps) == text.count("=")
    assert all(step.is_right for step in steps)
    for step in steps:
        digit = text[step.end - 1]
        if digit.isdigit():
            other = str((int(digit) + 1) % 10)
            spoilt = text[: step.end - 1] + other + text[step.end :]
            assert [s.end for s in worked_steps(spoilt) if not s.is_right] == [step.end]


@given(st.text("()+-*/= 0123456789.\n", max_size=400) | st.text(max_size=60))
@settings(max_examples=300)
def test_no_text_upsets_it(text: str) -> None:
    ends = [step.end for step in worked_steps(text)]
    assert ends == sorted(set(ends))
    assert all(1 <= end <= len(text) for end in ends)


@pytest.mark.parametrize(
    "text", ["9" * 20_000 + "=1", "(" * 20_000 + "1=1", "1+" * 20_000 + "1=1", "1 + " * 20_000]
)
def test_what_is_longer_than_anybody_writes_is_wrong_at_once(text: str) -> None:
    assert not any(step.is_right for step in worked_steps(text))
