"""`ludus/CodeFunctionRepl-v0`: running, fixing, submitting, and the cost of more turns."""

from typing import Any

import gymnasium
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ludus  # noqa: F401
from ludus.envs.code.function.families import Task
from ludus.envs.code.function.repl import REPL_WEIGHTS, CodeFunctionRepl
from ludus.envs.errors import ArgumentError

pytestmark = pytest.mark.usefixtures("needs_sandbox")

KINDS = ("right", "wrong", "broken", "submit", "words", "printing")
RETRY = REPL_WEIGHTS["retry"]


def begun(seed: int = 0, **arguments: Any) -> tuple[CodeFunctionRepl, Task, str]:
    """An environment, its task, and a right solution."""
    env = CodeFunctionRepl(**{"families": ["linear"], **arguments})
    env.reset(seed=seed)
    task: Task = env.snapshot()[0].task
    return env, task, task.family.source(task.choices)


def test_solving_at_once_earns_one() -> None:
    env, _, right = begun()
    messages, reward, terminated, truncated, info = env.step(right)
    assert (reward, terminated, truncated, info["success"]) == (pytest.approx(1), True, False, True)
    assert messages[0]["content"] == "Right."


def test_the_first_message_states_the_rules() -> None:
    env = CodeFunctionRepl(max_turns=7)
    messages, _ = env.reset(seed=0)
    assert "7 replies" in messages[0]["content"]
    assert "`submit`" in messages[0]["content"]


def test_failures_come_back_readably_and_can_be_mended() -> None:
    env, task, right = begun()
    (first, *_), answer = task.public.inputs[0], task.public.answers[0]
    messages, reward, terminated, _, info = env.step("def f(x):\n    print('at', x)\n    return x / 0")
    said = str(messages[0]["content"])
    assert said.startswith("Right: 0 of 3 examples.\n")
    assert f"f({first}): expected {answer}, got ZeroDivisionError: division by zero" in said
    assert f"Printed:\nat {first}\n" in said
    assert said.endswith("Replies left: 4.")
    assert (reward, terminated) == (RETRY, False)
    assert "success" not in info
    messages, reward, *_ = env.step("def f(x): return -12345")
    assert "got -12345" in str(messages[0]["content"])
    assert reward == RETRY
    _, reward, terminated, _, info = env.step(right)
    assert (reward, terminated, info["success"]) == (pytest.approx(1), True, True)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def f(x) return 1", "SyntaxError"),
        ("f = undefined", "NameError"),
        ("def f(x):\n    while True: pass", "it took too long"),
        ("def f(x):\n    while True: print('x' * 1000)", "it printed too much"),
        ("def f(x, y): return 1", "TypeError"),
        ("f = 3", "TypeError"),
    ],
)
def test_what_broke_is_said(code: str, words: str) -> None:
    env, *_ = begun()
    messages, _, terminated, _, _ = env.step(code)
    assert words in str(messages[0]["content"])
    assert not terminated


def test_submit_hands_in_the_last_program() -> None:
    env, *_ = begun()
    env.step("def f(x): return 1")
    messages, _, terminated, _, info = env.step(" Submit\n")
    assert terminated
    assert info["success"] is False
    assert info["reward_terms"]["runs"] == 1
    assert "hidden cases" in str(messages[0]["content"])


def test_submit_without_a_program_is_malformed() -> None:
    env, *_ = begun()
    _, reward, terminated, _, info = env.step("submit")
    assert info["reward_terms"]["malformed"] == info["reward_terms"]["retry"] == 1
    assert (reward < 0, terminated) == (True, False)


def test_the_last_reply_hands_in() -> None:
    env, *_ = begun(max_turns=2)
    env.step("def f(x): return 1")
    _, _, terminated, truncated, info = env.step("def f(x): return 2")
    assert (terminated, truncated, info["success"]) == (True, False, False)
    assert info["reward_terms"]["runs"] == 1
    assert info["reward_terms"]["retry"] == 0


def test_a_last_reply_without_a_program_hands_in_the_one_before() -> None:
    env, *_ = begun(max_turns=2)
    env.step("def f(x): return 1")
    _, _, terminated, _, info = env.step("I give up")
    assert terminated
    assert (info["reward_terms"]["runs"], info["reward_terms"]["malformed"]) == (1, 1)


def test_an_episode_without_a_program_ends() -> None:
    env, *_ = begun(max_turns=2)
    env.step("no")
    _, reward, terminated, _, info = env.step("no")
    assert (terminated, info["success"], reward) == (True, False, REPL_WEIGHTS["malformed"])


@settings(max_examples=25)
@given(
    st.lists(
        st.sampled_from(["right", "wrong", "broken", "submit", "words", "printing"]), min_size=5, max_size=5
    )
)
def test_more_turns_never_earn_more(plan: list[str]) -> None:
    env, _, right = begun()
    replies = {
        "right": right,
        "wrong": "def f(x): return x",
        "broken": "def f(x): return x / 0",
        "submit": "submit",
        "words": "let me think",
        "printing": "def f(x): print(x)",
    }
    total = 0.0
    for turns, kind in enumerate(plan, 1):
        _, reward, terminated, truncated, _ = env.step(replies[kind])
        total += float(reward)
        if terminated or truncated:
            assert terminated
            assert total <= 1 + (turns - 1) * RETRY + 1e-9
            assert (total == pytest.approx(1)) == (plan[0] == "right")
            return
    raise AssertionError("the episode did not end")


def test_a_branch_goes_on_from_a_snapshot() -> None:
    env, _, right = begun()
    env.step("def f(x): return 1")
    middle = env.snapshot()
    first = env.step("submit")
    env.restore(middle)
    assert env.step("submit") == first
    env.restore(middle)
    assert env.step(right)[4]["success"]


def test_it_asks_what_the_other_one_asks() -> None:
    one = gymnasium.make("ludus/CodeFunction-v0", families=["games"])
    several = gymnasium.make("ludus/CodeFunctionRepl-v0", families=["games"])
    for seed in range(10):
        (first, task), (second, same_task) = one.reset(seed=seed), several.reset(seed=seed)
        assert first[1] == second[1]
        assert task["task"] == same_task["task"]


@pytest.mark.parametrize("turns", [0, 51, 2.0, True])
def test_bad_arguments_are_refused(turns: Any) -> None:
    with pytest.raises(ArgumentError, match=f"max_turns={turns}: give an integer from 1 to 50"):
        gymnasium.make("ludus/CodeFunctionRepl-v0", max_turns=turns)
