"""`ludus/CodeFunction-v0`: its rewards, what it refuses, what hostile programs achieve."""

import copy
import json
import math
from dataclasses import replace
from random import Random
from typing import Any

import gymnasium
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ludus  # noqa: F401
from ludus.envs.code.function import judge as judging
from ludus.envs.code.function.environment import WEIGHTS, CodeFunction
from ludus.envs.code.function.families import FAMILIES, TOPICS, Cases, Task, draw
from ludus.envs.code.function.judge import LIMITS, TIMED, judge, same, shown, try_public
from ludus.envs.code.function.reply import MOST_CHARACTERS, program_in
from ludus.envs.code.function.scripted import HOSTILE, Programmer, in_block, read
from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.tools.sandbox import Limits, SandboxFault, Verdict

pytestmark = pytest.mark.usefixtures("needs_sandbox")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)
LINEAR = Task(FAMILIES["linear"], ("3", "plus", "2"), 0)


def step(env: CodeFunction, reply: Any, seed: int = 0) -> tuple[float, dict[str, Any], str]:
    env.reset(seed=seed)
    messages, reward, terminated, truncated, info = env.step(reply)
    assert (terminated, truncated) == (True, False)
    return float(reward), info["reward_terms"], str(messages[-1]["content"])


def timed_tasks() -> list[Task]:
    return [draw(tasks, Random(1)) for tasks in FAMILIES.values() if tasks.timed]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_oracle_earns_one_in_every_family(name: str) -> None:
    env = CodeFunction(families=[name])
    oracle = Programmer(env)
    for seed in range(2):
        messages, info = env.reset(seed=seed)
        said, reward, _, _, info = env.step(oracle.act(messages, info))
        assert reward == pytest.approx(1), said
        assert info["success"] is True
        assert env.task_name.startswith(f"{name}:")


def test_the_oracle_reads_only_what_is_observed() -> None:
    class Nothing:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"the oracle read env.{name}")

    env = CodeFunction(families=["basics"])
    oracle = Programmer(Nothing())  # type: ignore[arg-type]
    for seed in range(10):
        messages, _ = env.reset(seed=seed)
        assert env.step(oracle.act(messages, {}))[4]["success"]


def test_terms_of_a_program_that_is_partly_right() -> None:
    task = draw(FAMILIES["bound"], Random(0))
    limit, which = int(task.choices[1]), task.choices[0]
    judgement = judge(task, f"def f(x): return {limit}")
    right = [answer == limit for answer in task.hidden.answers]
    assert which in ("larger", "smaller")
    assert judgement.terms == {
        "runs": 1.0,
        "public": sum(answer == limit for answer in task.public.answers) / 3,
        "hidden": sum(right) / len(right),
        "solved": 0.0,
        "fast": 0.0,
    }
    assert 0 < judgement.terms["hidden"] < 1


def test_an_error_is_that_case_s_own() -> None:
    code = "def f(x):\n    if x == 0: raise ValueError('zero')\n    return x * 3 + 2"
    judgement = judge(LINEAR, code)
    assert judgement.public.all_right
    assert not judgement.hidden.all_right
    assert sum(judgement.hidden.right) == len(judgement.hidden.right) - 1
    assert judgement.hidden.failures == ("f(0): expected 2, got ValueError: zero",)


def test_a_program_that_stops_midway_keeps_what_came_before() -> None:
    code = "import os\ndef f(x):\n    if x == 1000: os._exit(0)\n    return x * 3 + 2"
    judgement = judge(LINEAR, code)
    assert judgement.public.all_right
    assert judgement.terms["runs"] == 1
    assert 0 < judgement.hidden.share < 1
    assert "nothing came" in judgement.hidden.failures[0]


@pytest.mark.parametrize(
    ("code", "right"),
    [
        ("def f(x): return x * 3 + 2", True),
        ("def f(x): return float(x * 3 + 2)", False),
        ("def f(x): return str(x * 3 + 2)", False),
        ("def f(x): return [x * 3 + 2]", False),
        ("f = lambda x: x * 3 + 2", True),
        ("class F:\n    def __call__(self, x): return x * 3 + 2\nf = F()", True),
    ],
)
def test_types_count(code: str, right: bool) -> None:
    assert judge(LINEAR, code).solved is right


def test_a_bool_is_no_number() -> None:
    task = draw(FAMILIES["compare"], Random(0))
    code = task.family.source(task.choices)
    assert judge(task, code).solved
    assert judge(task, code.replace("return ", "return 0+(") + ")").hidden.share == 0


@given(JSON)
def test_a_value_is_the_same_as_itself_only(value: Any) -> None:
    assert same(value, copy.deepcopy(value)) or _huge(value)
    assert not same(value, [value])
    assert not same([value], [value, value])
    assert not same(value, math.nan)


def _huge(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_huge, value))
    return isinstance(value, float) and abs(value) >= 1e300


@pytest.mark.parametrize(
    ("expected", "given_value", "right"),
    [
        (1, True, False),
        (True, 1, False),
        (0, False, False),
        (1, 1.0, False),
        (1.0, 1, True),
        (1.0, True, False),
        (1.0, 1 + 1e-12, True),
        (1.0, 1 + 1e-6, False),
        (1.0, 10**400, False),
        (1.0, math.inf, False),
        (0.0, math.nan, False),
        ([1, [2]], [1, [2]], True),
        ([1, [2]], [1, [2.0]], False),
        ("1", 1, False),
        (None, 0, False),
        ([], None, False),
        ([1], {"0": 1}, False),
    ],
)
def test_what_is_right(expected: Any, given_value: Any, right: bool) -> None:
    assert same(expected, given_value) is right


def test_values_are_shown_however_large_or_deep() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for value in (deep, 10**9999, "x" * 10**6, [[0] * 1000] * 1000, {"a": {"b": 10**9999}}):
        assert len(shown(value)) < 20_000


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_programs_win_nothing(kind: str) -> None:
    env = CodeFunction()
    programmer = Programmer(env, writer=HOSTILE[kind])
    for seed in range(6):
        messages, info = env.reset(seed=seed)
        reply = programmer.act(messages, info)
        _, reward, _, _, info = env.step(reply)
        assert info["success"] is False
        assert reward < 0.4
        if kind != "examples":
            assert info["reward_terms"]["public"] < 1
    # And later programs notice nothing.
    assert judge(LINEAR, "def f(x): return x * 3 + 2").solved


def test_knowing_the_examples_earns_the_examples_only() -> None:
    env = CodeFunction(families=["linear"])
    messages, _ = env.reset(seed=3)
    _, terms, _ = step(env, HOSTILE["examples"](read(messages)), seed=3)
    assert (terms["public"], terms["solved"], terms["fast"]) == (1, 0, 0)


def test_the_sandbox_gets_the_program_and_the_inputs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    pool = judging._pool()

    class Watched:
        def call(self, *arguments: Any, **named: Any) -> Any:
            asked.append((arguments, named))
            return pool.call(*arguments, **named)

    monkeypatch.setattr(judging, "_pool", Watched)
    task = timed_tasks()[0]
    code = task.family.source(task.choices)
    assert judge(task, code).fast
    small, large = asked
    assert small[0] == (code, task.family.function, (*task.public.inputs, *task.hidden.inputs))
    assert task.timed is not None
    assert large[0] == (code, task.family.function, task.timed.inputs)
    assert all(set(named) == {"limits"} for _, named in asked)


def test_the_long_input_is_run_only_when_the_rest_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    task = timed_tasks()[0]
    monkeypatch.setattr(judging, "_in_time", lambda *_: pytest.fail("the long input was run"))
    assert not judge(task, f"def {task.family.signature}: return -5").fast


def processor_time(task: Task, cases: Cases, limits: Limits) -> float:
    """Seconds that the reference takes for the cases, the start of its process included, as it sees it."""
    name = task.family.function
    clock = f"\nimport time\nsolve = {name}\ndef {name}(*a):\n    solve(*a)\n    return time.process_time()"
    called = judging._called(task, task.family.source(task.choices) + clock, cases, limits)
    seconds = called.values[-1].value
    assert isinstance(seconds, float)
    return seconds


@pytest.mark.parametrize("task", timed_tasks(), ids=lambda task: task.family.name)
def test_the_bound_on_time_separates_with_a_wide_margin(task: Task) -> None:
    """The good solution takes less than an eighth of the bound, the slow one more than eight times it."""
    assert task.family.timed is not None
    assert task.timed is not None
    bound = task.family.timed.cpu_s
    assert min(processor_time(task, task.timed, TIMED) for _ in range(3)) < bound / 8
    limits = replace(TIMED, cpu_s=8 * bound, wall_s=60.0)
    slow = judging._called(task, task.family.slow_source(task.choices), task.timed, limits)
    assert slow.result.verdict is Verdict.TIME_LIMIT


def test_a_slow_solution_is_solved_but_not_fast() -> None:
    env = CodeFunction(families=["again"])
    env.reset(seed=0)
    task = env.snapshot()[0]
    reward, terms, said = step(env, in_block(task.family.slow_source(task.choices)))
    assert (terms["solved"], terms["fast"]) == (1, 0)
    assert reward == pytest.approx(1 - WEIGHTS["fast"])
    assert said == "Right, but not in time for a long input."


@pytest.mark.parametrize("name", FAMILIES)
def test_small_inputs_leave_a_wide_margin(name: str) -> None:
    task = draw(FAMILIES[name], Random(7))
    both = Cases((*task.public.inputs, *task.hidden.inputs), (*task.public.answers, *task.hidden.answers))
    assert min(processor_time(task, both, LIMITS) for _ in range(3)) < LIMITS.cpu_s / 4


@pytest.mark.parametrize("reply", ["", "I do not know.", "def g(x): return 1", "```python\n```", "f" * 30])
def test_a_reply_without_the_function_is_malformed(reply: str) -> None:
    reward, terms, said = step(CodeFunction(families=["linear"]), reply)
    assert reward == WEIGHTS["malformed"]
    assert terms["malformed"] == 1
    assert "f" in said


def test_a_program_that_does_not_parse_earns_nothing() -> None:
    for code in (
        "def f(x) return x",
        "f(",
        "def f(x): \ud83d",
        "f = '" + "(" * 5000,
        "def f(x):\n\x00return 1",
    ):
        reward, terms, said = step(CodeFunction(families=["linear"]), code)
        assert reward == 0
        assert terms["malformed"] == 0
        assert said


def test_which_part_of_a_reply_is_the_program() -> None:
    code = "def f(x):\n    return 1"
    for reply in (
        code,
        f"```python\n{code}\n```",
        f"```\n{code}\n```",
        f"```py\n{code}",
        f"```python3\n{code}\n```",
        f"```Python title=f\n{code}\n```",
        f"```python\n{code}\n```\nIt prints:\n```text\nf\n```\n",
        f"```bash\npython f.py\n```\nwith\n```python\n{code}\n```\n",
        f"First:\n```python\ndef f(x): return 0\n```\nNo, better:\n```python\n{code}\n```\nThat is it.",
    ):
        assert program_in(reply, "f").code == code
    assert program_in("x" * MOST_CHARACTERS + " f", "f").complaint
    assert program_in("f:\n```json\n1\n```", "f").complaint
    assert program_in("def f2(x): return 1", "f").complaint


def test_what_a_program_says_is_cut() -> None:
    for code in (
        "def f(x): raise ValueError('x' * 9000)",
        "import sys\nsys.exit('x' * 9000)",
        "def f(x):\n    print('x' * 3000)\n    return ['x' * 9000]",
    ):
        tried = try_public(LINEAR, code)
        assert not tried.all_right
        assert sum(map(len, (*tried.failures, tried.printed))) < 3000


def test_messages_do_not_tell_hidden_cases_or_addresses() -> None:
    tried = try_public(LINEAR, "def f(x): return object()")
    assert tried.failures
    assert "0x7" not in "".join(tried.failures)
    env = CodeFunction(families=["linear"])
    env.reset(seed=0)
    task = env.snapshot()[0]
    _, _, said = step(env, "def f(x): return 0")
    assert said.startswith("Right: 0 of 3 examples, ")
    public = [f"f({inputs[0]})" for inputs in task.public.inputs]
    assert [call for call in public if call in said] == public[:1]
    assert not [inputs for inputs in task.hidden.inputs if f"f({inputs[0]})" in said]


def test_a_broken_sandbox_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def call(self, *_: Any, **__: Any) -> Any:
            raise SandboxFault("gone")

    monkeypatch.setattr(judging, "_pool", Broken)
    env = CodeFunction(families=["linear"])
    env.reset(seed=0)
    with pytest.raises(EnvironmentFault, match="gone"):
        env.step("def f(x): return 1")


def test_families_and_topics_can_be_chosen() -> None:
    env = CodeFunction(families=["basics", "bowling"])
    seen = {env.task_name.partition(":")[0] for seed in range(150) if env.reset(seed=seed)}
    assert seen == {*TOPICS["basics"], "bowling"}
    assert CodeFunction(families="bowling").families == (FAMILIES["bowling"],)
    assert len(CodeFunction().families) == len(FAMILIES)


def test_tasks_do_not_run_out() -> None:
    env = CodeFunction()
    assert len({env.reset(seed=seed)[1]["task"] for seed in range(600)}) > 450
    env = CodeFunction(families=["basics"])
    assert len({env.reset(seed=seed)[1]["task"] for seed in range(1500)}) > 600


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"families": ["basic"]}, "did you mean basics?"),
        ({"families": []}, "is empty"),
        ({"families": 3}, "families=3: give a name"),
        ({"difficulty": 4}, "difficulty=4: give an integer from 1 to 3"),
        ({"difficulty": True}, "difficulty=True"),
        ({"familes": ["basics"]}, "did you mean families?"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_in_one_line(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises((ArgumentError, TypeError), match=words) as caught:
        gymnasium.make("ludus/CodeFunction-v0", **arguments)
    assert "\n" not in str(caught.value)


def test_the_rubric_of_a_perfect_reply_comes_to_one() -> None:
    assert math.isclose(sum(weight for weight in WEIGHTS.values() if weight > 0), 1)
    assert json.dumps(WEIGHTS)


def test_the_block_that_defines_the_function_is_the_program():
    from ludus.envs.code.function.reply import program_in

    reply = (
        "```python\ndef f(x):\n    return x\n```\nFor example:\n```python\nprint(f(3))\n```\n```text\n3\n```"
    )
    assert program_in(reply, "f").code == "def f(x):\n    return x"
    assert program_in("```python\nf = abs\n```", "f").code == "f = abs"
