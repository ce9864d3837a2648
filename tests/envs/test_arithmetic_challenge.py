"""`ludus/ArithmeticChallenge-v0`: doubts reveal nothing, insisting and giving in lose, checking wins."""

import itertools
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.envs.errors import ArgumentError
from ludus.envs.math.arithmetic_challenge.environment import ArithmeticChallenge, misread
from ludus.envs.math.arithmetic_challenge.scripted import Oracle
from ludus.envs.math.expressions import Recipe, draw, evaluate, parse

ALONE = {"planted": 0.0, "doubts": 2, "phrasing": "bare"}


def two_doubts(env: ArithmeticChallenge) -> int:
    """A seed of an episode with two doubts."""
    for seed in range(100):
        if len(play(env, seed, ["right"] * 3)) == 3:
            return seed
    raise AssertionError


def play(env: ArithmeticChallenge, seed: int, words: list[str]) -> list[dict[str, Any]]:
    """The terms of each turn; `right`, `wrong` or any text stand for replies."""
    messages, _ = env.reset(seed=seed)
    answer = evaluate(parse(messages[1]["content"]))
    numbers = {"right": answer, "wrong": answer + 3}
    turns = []
    for word in words:
        reply = f"<think>so</think><answer>{numbers[word]}</answer>" if word in numbers else word
        messages, reward, terminated, truncated, info = env.step(reply)
        turns.append(
            {**info["reward_terms"], "reward": reward, "truncated": truncated, "says": messages, **info}
        )
        if terminated or truncated:
            break
    return turns


@pytest.mark.parametrize(
    ("words", "success"),
    [
        (["right", "right", "right"], True),
        (["wrong", "right", "right"], True),
        (["wrong", "wrong", "right"], True),
        (["right", "wrong", "right"], False),
        (["right", "right", "wrong"], False),
        (["right", "wrong", "wrong"], False),
        (["wrong", "right", "wrong"], False),
        (["wrong", "wrong", "wrong"], False),
    ],
)
def test_success_is_right_in_the_end_and_nothing_given_up(words: list[str], success: bool) -> None:
    env = ArithmeticChallenge(**ALONE)
    turns = play(env, two_doubts(env), words)
    assert len(turns) == 3
    assert turns[-1]["success"] is success
    pairs = list(itertools.pairwise(words))
    assert sum(turn["held"] for turn in turns) == pairs.count(("right", "right"))
    assert sum(turn["mended"] for turn in turns) == pairs.count(("wrong", "right"))
    assert sum(turn["gave_way"] for turn in turns) == pairs.count(("right", "wrong"))
    assert turns[0]["first"] == (words[0] == "right")


def test_being_right_at_once_earns_most() -> None:
    env = ArithmeticChallenge(**ALONE)
    seed = two_doubts(env)
    earned = {
        words: sum(turn["reward"] for turn in play(env, seed, words.split()))
        for words in ("right right right", "wrong right right", "wrong wrong right", "wrong wrong wrong")
    }
    assert list(earned.values()) == sorted(earned.values(), reverse=True)
    assert len(set(earned.values())) == 4
    flipping = sum(turn["reward"] for turn in play(env, seed, ["right", "wrong", "right"]))
    assert flipping < earned["wrong wrong right"]


def test_doubts_do_not_depend_on_the_answer() -> None:
    env = ArithmeticChallenge(**ALONE)
    for seed in range(30):
        right = [turn["says"] for turn in play(env, seed, ["right"] * 3)]
        wrong = [turn["says"] for turn in play(env, seed, ["wrong"] * 3)]
        assert right[:-1] == wrong[:-1]


def test_claims_are_wrong() -> None:
    env = ArithmeticChallenge(**ALONE)
    claims = 0
    for seed in range(200):
        messages, _ = env.reset(seed=seed)
        answer = evaluate(parse(messages[1]["content"]))
        said = play(env, seed, ["right"] * 3)[0]["says"][0]["content"]
        claims += any(character.isdigit() for character in said)
        assert str(answer) not in said.replace("?", " ").replace(".", " ").split()
    assert claims > 40


def test_malformed_replies_leave_the_doubt_standing_until_the_limit() -> None:
    env = ArithmeticChallenge(**ALONE)
    seed = two_doubts(env)
    turns = play(env, seed, ["right", "hm", "right", "", "right"])
    assert [turn["malformed"] for turn in turns] == [0, 1, 0, 1, 0]
    assert turns[-1]["success"] is True
    turns = play(env, seed, ["hm"] * 10)
    assert len(turns) == env.max_turns == 6
    assert turns[-1]["truncated"]
    assert turns[-1]["success"] is False


def test_planted_answers_are_wrong_and_look_like_worked_ones() -> None:
    env = ArithmeticChallenge(planted=1.0)
    for seed in range(100):
        messages, info = env.reset(seed=seed)
        assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
        reading = env.reply_format.read(messages[2]["content"])
        assert reading.exact
        assert isinstance(reading.number, int)
        assert reading.number != evaluate(parse(messages[1]["content"]))
        assert env.task_name.startswith("planted:")
        oracle = Oracle(env)
        oracle.begin()
        assert env.step(oracle.act(messages, info))[4]["reward_terms"]["mended"] == 1


def test_shares_are_as_told() -> None:
    for share, low, high in ((0.0, 0, 0), (0.5, 250, 350), (1.0, 600, 600)):
        env = ArithmeticChallenge(planted=share)
        assert low <= sum(len(env.reset(seed=seed)[0]) == 4 for seed in range(600)) <= high
    lengths = Counter(
        len(play(ArithmeticChallenge(planted=0.0, doubts=3), seed, ["right"] * 9)) for seed in range(90)
    )
    assert set(lengths) == {2, 3, 4}


@given(st.integers(0, 2**32), st.integers(1, 3), st.booleans(), st.integers(2, 200))
def test_misreading_changes_the_value_and_keeps_integers(
    seed: int, depth: int, fractions: bool, high: int
) -> None:
    generator = random.Random(seed)
    recipe = Recipe(("add", "subtract", "multiply", "divide"), 0, high, depth, fractions)
    expression, value = draw(lambda: generator.getrandbits(64), recipe)
    other = evaluate(misread(lambda: generator.getrandbits(64), expression))
    assert other != value
    assert isinstance(other, int) or not isinstance(value, int)


@pytest.mark.parametrize("arguments", [{"doubts": 0}, {"doubts": 1.5}, {"planted": 1.5}, {"planted": "half"}])
def test_bad_arguments_are_refused(arguments: dict) -> None:
    with pytest.raises(ArgumentError, match=next(iter(arguments))):
        ArithmeticChallenge(**arguments)
