"""`ludus/Countdown-v0`: every puzzle has a solution, and exactly the solutions are right."""

import re
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.envs.chat import content_text
from ludus.envs.conformance import check
from ludus.envs.errors import ArgumentError
from ludus.envs.math.expressions import evaluate, formula, numbers_in
from ludus.envs.puzzles.countdown.environment import Countdown, CountdownState
from ludus.envs.puzzles.countdown.puzzle import Puzzle, draw_puzzle, solve

PUZZLE = Puzzle((3, 44, 19), 75, ("multiply", ("subtract", 44, 19), 3))


def answered(env: Countdown, answer: str, left: int = 1, puzzle: Puzzle = PUZZLE) -> Any:
    """The outcome of an answer in the exact format."""
    return env.respond(CountdownState(puzzle, left), f"<think>so</think><answer>{answer}</answer>")


@settings(max_examples=40)
@given(seed=st.integers(0, 2**63), count=st.integers(2, 5), largest=st.sampled_from((9, 99, 999)))
def test_every_puzzle_is_drawn_from_a_solution_and_can_be_solved(seed: int, count: int, largest: int) -> None:
    puzzle = draw_puzzle(np.random.PCG64(seed).random_raw, count, largest, 99)
    assert puzzle == draw_puzzle(np.random.PCG64(seed).random_raw, count, largest, 99)
    assert len(puzzle.numbers) == count
    assert all(1 <= number <= largest for number in puzzle.numbers)
    assert 10 <= puzzle.target <= 99
    found = solve(puzzle.numbers, puzzle.target)
    for solution in (puzzle.solution, found):
        assert solution is not None
        assert evaluate(solution) == puzzle.target
        assert Counter(numbers_in(solution)) == Counter(puzzle.numbers)
        assert answered(Countdown(), formula(solution), puzzle=puzzle).success


@pytest.mark.parametrize("numbers", [2, 6])
def test_the_oracle_solves_the_smallest_and_the_largest(numbers: int) -> None:
    env = Countdown(numbers=numbers, largest=25)
    oracle = Countdown.scripted["oracle"](env)
    for seed in range(8):
        messages, info = env.reset(seed=seed)
        oracle.begin()
        *_, info = env.step(oracle.act(messages, info))
        assert info["success"]


def test_a_target_that_cannot_be_reached_has_no_solution() -> None:
    assert solve((1, 1, 1, 1), 99) is None


@settings(max_examples=150)
@given(data=st.data())
def test_an_answer_is_right_exactly_if_it_uses_the_numbers_once_and_makes_the_target(data: Any) -> None:
    """Against Python's own evaluation, with fractions in place of the numbers."""
    numbers = data.draw(st.lists(st.integers(1, 12), min_size=2, max_size=4))
    used = data.draw(st.one_of(st.permutations(numbers), st.lists(st.sampled_from(numbers), min_size=1)))
    parts = [str(number) for number in used[:5]]
    while len(parts) > 1:
        right, left = parts.pop(), parts.pop()
        sign = data.draw(st.sampled_from("+-*/"))
        shape = data.draw(st.sampled_from(("({}{}{})", "{} {} {}", "({} {} {})", "-({}{}{})")))
        parts.insert(data.draw(st.integers(0, len(parts))), shape.format(left, sign, right))
    text = parts[0]
    try:
        value = eval(re.sub(r"(\d+)", r"Fraction(\1)", text), {"Fraction": Fraction})
    except ZeroDivisionError:
        value = None
    target = int(value) if value is not None and data.draw(st.booleans()) else 24
    right = value == target and Counter(map(int, re.findall(r"\d+", text))) == Counter(numbers)
    outcome = answered(Countdown(), text, puzzle=Puzzle(tuple(numbers), target, 0))
    assert outcome.success == right
    assert outcome.terms["correct"] == right
    assert outcome.terms["malformed"] == (value is None)


@pytest.mark.parametrize(
    "answer",
    ["(44-19)*3", "3 × (44 − 19)", r"\boxed{3*(44-19)}", "$(44 - 19) · 3$", "**-3*(19-44)**"],
)
def test_ways_to_write_an_answer(answer: str) -> None:
    assert answered(Countdown(), answer).success


def test_fractions_on_the_way_are_exact() -> None:
    puzzle = Puzzle((1, 3, 4, 6), 24, 0)
    assert answered(Countdown(), "6 / (1 - 3 / 4)", puzzle=puzzle).success


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("75", "Wrong numbers: it lacks 3 19 44 and it has 75 too many."),
        ("(44 - 19) * 3 * 3 / 3", "Wrong numbers: it has 3 3 too many."),
        ("44 + 19", "Wrong numbers: it lacks 3."),
        ("4419 + 3", "Wrong numbers: it lacks 19 44 and it has 4419 too many."),
        ("44 / 19 / 3", "Wrong: the value is 44/57."),
        ("3 + 44 - 19", "Wrong: the value is 28."),
        ("(44 - 19) * 3 = 75", "No formula: '=' is neither"),
        ("(44 - 19) * 3.0", "No formula: '.' is neither"),
        ("(44 - 19) ** 3", "No formula: it is not written"),
        ("(44 - 19) // 3", "No formula: it is not written"),
        ("(44 - 19) 3", "No formula: it is not written"),
        ("(44 - 19)(3)", "No formula: it is not written"),
        ("(44 - 19) * 03", "No formula: it is not written"),
        ("44 - 19 * (3", "No formula: it is not written"),
        ("3 / (44 - 19 - 25)", "No formula: it divides by 0."),
        ("()", "No formula"),
        ("", "No formula"),
        ("٣ * 3", "No formula: '٣' is neither"),
        ("(" * 190, "No formula"),
        ("-" * 190 + "3", "Wrong numbers"),
        ("(44 - 19) * 3" + " " * 500 + ".", "No formula: it is longer than 200 characters."),
        ("$" * 50_000, "No formula: it is longer"),
        ("3</answer><answer>4", "No answer found"),
    ],
)
def test_what_is_wrong_is_said(answer: str, said: str) -> None:
    outcome = answered(Countdown(), answer)
    assert content_text(outcome.messages[0]).startswith(said)
    assert outcome.failure.startswith(said)
    assert outcome.terminated
    assert not outcome.success


def test_a_right_answer_earns_less_by_every_try_before_it() -> None:
    for before in range(3):
        env = Countdown(tries=3)
        (rules, shown), _ = env.reset(seed=5)
        assert "You have 3 tries." in content_text(rules)
        rewards = []
        for left in range(2, 2 - before, -1):
            messages, reward, terminated, *_ = env.step("<think>so</think><answer>1 + 2</answer>")
            assert content_text(messages[0]).endswith(f"Tries left: {left}.")
            assert not terminated
            rewards.append(reward)
        oracle = Countdown.scripted["oracle"](env)
        oracle.begin()
        _, reward, terminated, truncated, info = env.step(oracle.act([rules, shown], {}))
        assert (terminated, truncated, info["success"]) == (True, False, True)
        assert sum(rewards) + reward == pytest.approx(1 - 0.02 * before)


def test_the_last_try_ends_the_episode() -> None:
    env = Countdown(tries=2)
    env.reset(seed=0)
    env.step("?")
    _, reward, terminated, truncated, info = env.step("?")
    assert (terminated, truncated, info["success"]) == (True, False, False)
    assert reward == pytest.approx(-0.1)
    assert env.verdict.failure.startswith("No answer found")


def test_nothing_that_is_said_depends_on_the_solution() -> None:
    other = replace(PUZZLE, solution=("multiply", 3, ("subtract", 44, 19)))
    env = Countdown(tries=2)
    for answer in ("44 + 19", "75", "x", "(44 - 19) * 3"):
        for left in (1, 2):
            one, two = (answered(env, answer, left, puzzle) for puzzle in (PUZZLE, other))
            assert (one.messages, one.terms) == (two.messages, two.terms)


def test_a_task_is_named_by_its_content() -> None:
    env = Countdown(numbers=2, largest=9)
    names = {}
    for seed in range(300):
        (_, shown), info = env.reset(seed=seed)
        *numbers, target = map(int, re.findall("[0-9]+", content_text(shown)))
        assert env.task_name == f"{min(numbers)} {max(numbers)} = {target}"
        assert names.setdefault(env.task_name, info["task"]) == info["task"]
    assert len(names) > 50
    assert env.task_kind == "2 numbers"


def test_several_counts_are_drawn_as_often() -> None:
    env = Countdown(numbers=(3, 5))
    kinds = Counter(env.task_kind for seed in range(200) if env.reset(seed=seed))
    assert {*kinds} == {"3 numbers", "5 numbers"}
    assert min(kinds.values()) > 70


@pytest.mark.parametrize(
    "arguments",
    [
        {"tries": 4},
        pytest.param({"numbers": 2, "largest": 9}, marks=pytest.mark.slow),
        pytest.param({"numbers": 5}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_conforms_with_other_arguments(arguments: dict[str, Any]) -> None:
    report = check(
        "ludus/Countdown-v0",
        episodes=25,
        only=("rewards", "limits", "malformed replies", "anchors", "scripted agents"),
        **arguments,
    )
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"numbers": 1}, "numbers=1: give an integer from 2 to 6"),
        ({"numbers": (3, 7)}, "numbers=7"),
        ({"numbers": ()}, "is empty"),
        ({"largest": 8}, "largest=8"),
        ({"largest_target": 5}, "largest_target=5"),
        ({"tries": 0}, "tries=0"),
        ({"weights": {"right": 1}}, "weights: 'right' is unknown"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(message)):
        Countdown(**arguments)


def test_a_random_player_uses_every_number_once() -> None:
    env = Countdown()
    agent = Countdown.scripted["random"](env, 0)
    for seed in range(20):
        observation, info = env.reset(seed=seed)
        agent.begin()
        *_, info = env.step(agent.act(observation, info))
        assert info["reward_terms"]["legal"] or info["reward_terms"]["malformed"]  # a division by 0
