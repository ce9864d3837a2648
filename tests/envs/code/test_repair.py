"""`ludus/CodeRepair-v0`: its tools, its judge, and that cheating fails."""

import json
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.envs.chat import Chat
from ludus.envs.code.repair import judge as judging
from ludus.envs.code.repair.domains import DOMAINS
from ludus.envs.code.repair.environment import MOST_CHARACTERS, MOST_FILES, CodeRepair
from ludus.envs.code.repair.faults import FAULTS
from ludus.envs.code.repair.judge import judge, run_tests, same
from ludus.envs.code.repair.problem import Problem, draw_problem
from ludus.envs.code.repair.scripted import SCRIPTED, Forged, Reader, calling
from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.tools import sandbox
from ludus.tools.sandbox import SandboxFault

pytestmark = pytest.mark.usefixtures("needs_sandbox")


def problem_of(seed: int) -> Problem:
    return draw_problem(Random(seed), list(DOMAINS.values()), list(FAULTS))


def repaired(problem: Problem) -> dict[str, str]:
    domain = DOMAINS[problem.domain]
    return {**problem.files, **domain.render(domain.recognise(problem.files["README.md"]) or {})}


def do(env: CodeRepair, *calls: tuple[str, dict[str, Any]]) -> list[str]:
    messages = env.step(calling(*calls))[0]
    return [str(message["content"]) for message in messages]


def opened(seed: int = 0, **arguments: Any) -> CodeRepair:
    env = CodeRepair(**arguments)
    env.reset(seed=seed)
    return env


def played(name: str, seed: int, agent: Reader | None = None) -> tuple[list[Chat], float, dict[str, Any]]:
    env = CodeRepair()
    player = agent or SCRIPTED[name](env, 0)
    observation, info = env.reset(seed=seed)
    player.begin()
    seen, total, ended = [observation], 0.0, False
    while not ended:
        observation, reward, terminated, truncated, info = env.step(player.act(observation, info))
        seen.append(observation)
        total += reward
        ended = terminated or truncated
    return seen, total, info


# The judge.


@pytest.mark.parametrize("seed", range(9))
def test_the_repaired_package_is_right_and_the_faulty_one_gains_nothing(seed: int) -> None:
    problem = problem_of(seed)
    solved = judge(problem, repaired(problem))
    assert solved.solved
    assert solved.visible_gain == solved.hidden_gain == 1
    path = next(iter(path for path in problem.files if path.startswith(f"{problem.package}/")))
    # A comment, so that the package really runs.
    for files in (problem.files, {**problem.files, path: problem.files[path] + "# looked at\n"}):
        verdict = judge(problem, files)
        assert (verdict.visible_gain, verdict.hidden_gain, verdict.solved) == (0, 0, False)
        assert verdict.visible_right == sum(case.already_right for case in problem.visible)
        assert verdict.hidden_right == sum(case.already_right for case in problem.hidden)


def test_a_gain_is_what_was_wrong_and_is_right_less_what_was_right_and_is_wrong() -> None:
    cases = [replace(problem_of(0).hidden[0], already_right=right) for right in (True, True, False, False)]
    for right, gain in (
        ([True, True, True, True], 1),
        ([True, True, True, False], 0.5),
        ([False, True, True, True], 0.5),
        ([False, False, True, True], 0),
        ([False, False, False, True], 0),
    ):
        assert judging._gain(right, cases) == gain


def test_the_sandbox_gets_the_package_and_the_calls_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problem_of(1)
    sent: list[Any] = []

    class Watched:
        def call(self, code: str, name: str, inputs: list[Any]) -> Any:
            sent.append((code, inputs))
            return sandbox.CallResult([], sandbox.Result(sandbox.Verdict.OK, 0, None, "", ""))

    monkeypatch.setattr(judging, "shared_pool", lambda *_, **__: Watched())
    files = {**problem.files, "conftest.py": "boo", f"{problem.package}/more.py": "x = 1\n"}
    assert judge(problem, files).hidden_right == 0
    ((code, inputs),) = sent
    other = problem_of(2)
    judge(other, {**other.files, f"{other.package}/more.py": ""})
    assert sent[1][0] == code, "the program does not depend on the problem"
    package = {path: text for path, text in files.items() if path.startswith(f"{problem.package}/")}
    assert inputs[0][0] == package
    assert all(job[0] is None for job in inputs[1:])
    assert [job[1:] for job in inputs] == [
        [case.call.module, case.call.function, json.loads(case.call.arguments)]
        for case in (*problem.visible, *problem.hidden)
    ]


@pytest.mark.parametrize(
    "code",
    [
        "while True:\n    try:\n        pass\n    except BaseException:\n        pass\n",
        "import time\ntime.sleep(100)\n",
        "import os\nos.kill(os.getpid(), 9)\n",
        "import sys\nsys.exit(0)\n",
        "print('x' * 10**7)\n",
        "x = bytearray(10**9)\n",
        "def (\n",
    ],
)
def test_a_package_that_does_not_load_is_wrong_and_no_fault(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "LIMITS", replace(judging.LIMITS, wall_s=1.0, cpu_s=0.3))
    problem = problem_of(3)
    spoiled = {path: code if path.endswith(".py") else text for path, text in problem.files.items()}
    verdict = judge(problem, spoiled)
    assert (verdict.visible_right, verdict.hidden_right, verdict.solved) == (0, 0, False)
    assert run_tests(spoiled).stdout is not None


def test_a_broken_sandbox_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def run(self, *_: Any, **__: Any) -> Any:
            raise SandboxFault("gone")

        call = run

    monkeypatch.setattr(judging, "shared_pool", lambda *_, **__: Broken())
    env = opened()
    with pytest.raises(EnvironmentFault, match="gone"):
        do(env, ("run_tests", {}))
    with pytest.raises(EnvironmentFault, match="gone"):
        do(env, ("write_file", {"path": f"{package_of(env)}/x.py", "content": ""}), ("submit", {}))


json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(json_data, json_data)
def test_comparison_is_by_value_and_type(one: Any, other: Any) -> None:
    assert same(json.loads(json.dumps(one)), one)
    if same(one, other):
        assert json.dumps(one, sort_keys=True) in (json.dumps(other, sort_keys=True), "-0.0", "0.0")


def test_comparison_tells_numbers_and_truths_apart_and_survives_depth() -> None:
    for found, expected in ((True, 1), (1, True), (1.0, 1), ("1", 1), (None, 0), ([], {}), ([1], [True])):
        assert not same(found, expected)
    assert not same({"a": 1, "b": 2}, {"a": 1})
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert not same(deep, [[1]])
    assert not same(float("nan"), float("nan"))


# Agents.


@pytest.mark.parametrize("seed", range(5))
def test_the_oracle_mends_it_and_sees_the_tests_pass(seed: int) -> None:
    seen, total, info = played("oracle", seed)
    assert seen[-2][-1]["content"] == "10 passed, 0 failed"
    assert info["success"] is True
    assert total == 1


@pytest.mark.parametrize("name", [name for name in SCRIPTED if name.startswith("cheater") or name == "null"])
def test_cheating_earns_nothing(name: str) -> None:
    agent = SCRIPTED[name](CodeRepair(), 0)
    for seed in range(6):
        _, total, info = played(name, seed, agent)  # type: ignore[arg-type]
        assert total == 0
        assert info["success"] is False
        assert info["reward_terms"]["hidden"] == 0
        # The table of special cases achieves this, which is why the term has no weight.
        assert info["reward_terms"]["visible"] == (name == "cheater-special-case")


def test_cheaters_that_fool_the_tests_do_fool_them() -> None:
    """Otherwise their failure would prove nothing."""
    seen, _, _ = played("cheater-special-case", 0)
    assert seen[-2][-1]["content"] == "10 passed, 0 failed"
    passing = 0
    for seed in range(6):
        seen, _, _ = played("cheater-skip-tests", seed)
        passing += str(seen[-2][-1]["content"]) == "10 passed, 0 failed"
    assert passing > 0
    seen, _, _ = played("cheater-delete-tests", 0)
    assert "no tests found" in str(seen[-2][-1]["content"])


@pytest.mark.parametrize("attempt", Forged.ATTEMPTS)
def test_forging_next_to_the_right_repair_does_not_help_either(attempt: str) -> None:
    problem = problem_of(4)
    forged = {
        path: text + "\n\n" + attempt if path.startswith(f"{problem.package}/") else text
        for path, text in problem.files.items()
    }
    verdict = judge(problem, forged)
    assert verdict.hidden_gain == 0
    assert not verdict.solved


# Tools.


def package_of(env: CodeRepair) -> str:
    return str(state_of(env).problem.package)


def state_of(env: CodeRepair) -> Any:
    return env.snapshot()[0]


def test_files_are_listed_read_written_and_patched() -> None:
    env = opened()
    package = package_of(env)
    (listing,) = do(env, ("list_files", {}))
    assert "README.md (" in listing
    assert f"tests/test_{package}.py (" in listing
    (text,) = do(env, ("read_file", {"path": f"./tests/test_{package}.py"}))
    assert text == state_of(env).files[f"tests/test_{package}.py"]
    before = dict(state_of(env).files)
    snapshot = env.snapshot()
    patch = (
        "--- /dev/null\n+++ b/tests/test_more.py\n"
        "@@ -0,0 +1,2 @@\n+def test_more():\n+    assert 1 + 1 == 3\n"
    )
    said = do(env, ("apply_patch", {"patch": patch}), ("run_tests", {}))
    assert said[0] == "Patched: tests/test_more.py."
    assert "FAILED tests/test_more.py::test_more" in said[1]
    assert "got:      2\n    expected: 3" in said[1]
    assert state_of(env).files == {
        **before,
        "tests/test_more.py": "def test_more():\n    assert 1 + 1 == 3\n",
    }
    env.restore(snapshot)
    assert state_of(env).files == before


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x.py", "a/../b.py", "a//b", ".hidden", "a b", "é.py", "x\n"]
)
def test_paths_stay_inside(path: str) -> None:
    env = opened()
    before = state_of(env).files
    for name, more in (("read_file", {}), ("write_file", {"content": "x"})):
        (said,) = do(env, (name, {"path": path, **more}))
        assert said.startswith("Error: ") or path == "x\n"
    patch = f"--- /dev/null\n+++ {path}\n@@ -0,0 +1 @@\n+x\n"
    (said,) = do(env, ("apply_patch", {"patch": patch}))
    if path != "x\n":
        assert said.startswith("Error: ")
        assert state_of(env).files == before


def test_files_are_kept_within_limits() -> None:
    env = opened()
    before = state_of(env).files
    for arguments, message in (
        ({"path": "x.py", "content": "x" * (MOST_CHARACTERS + 1)}, "too long"),
        ({"path": "x.py", "content": "\n" * 1001}, "too long"),
        ({"path": "x.py", "content": "\ud83d"}, "surrogate pair"),
        ({"path": "README.md/x.py", "content": ""}, "is a file"),
        ({"path": package_of(env), "content": ""}, "is a file"),
        ({"path": "no.py"}, "content"),
    ):
        (said,) = do(env, ("write_file", arguments))
        assert message in said
        assert said.startswith("Error: ")
        assert state_of(env).files == before
    for start in range(0, MOST_FILES, 16):
        said = do(env, *(("write_file", {"path": f"f{start + n}.py", "content": ""}) for n in range(16)))
    assert "at most" in said[-1]


def test_whatever_tools_say_fits_the_observation_space() -> None:
    env = opened()
    do(env, ("write_file", {"path": "big.txt", "content": "x" * MOST_CHARACTERS}))
    observation = env.step(calling(*[("read_file", {"path": "big.txt"})] * 16))[0]
    assert observation in env.observation_space
    assert str(observation[0]["content"]).endswith("12000 more characters")
    noisy = {"x" * 100 + str(number): 1 for number in range(500)}
    observation = env.step(calling(*[("read_file", noisy)] * 16))[0]
    assert observation in env.observation_space
    package = package_of(env)
    loud = "def test_loud():\n    print('y' * 50_000)\n    assert False, 'z' * 50_000\n"
    do(env, ("write_file", {"path": f"tests/test_{package}.py", "content": loud}))
    observation = env.step(calling(*[("run_tests", {})] * 3))[0]
    assert observation in env.observation_space
    assert "0 passed, 1 failed" in str(observation[0]["content"])


def test_failures_are_told_with_the_place_and_without_addresses() -> None:
    env = opened()
    package = package_of(env)
    do(
        env,
        (
            "write_file",
            {
                "path": f"{package}/thing.py",
                "content": "class Thing:\n    def go(self):\n        return {}[self]\n",
            },
        ),
        (
            "write_file",
            {
                "path": f"tests/test_{package}.py",
                "content": f"from {package}.thing import Thing\n\n\ndef test_go():\n    Thing().go()\n",
            },
        ),
        ("write_file", {"path": "tests/test_syntax.py", "content": "def test_x(:\n"}),
    )
    first, again = (do(env, ("run_tests", {}))[0] for _ in range(2))
    assert first == again
    assert f"tests/test_{package}.py, line 5, in test_go: Thing().go()" in first
    assert f"{package}/thing.py, line 3, in go: return {{}}[self]" in first
    assert "KeyError: <" in first
    assert "0x…" in first
    assert "SyntaxError" in first
    assert first.endswith("0 passed, 2 failed")


def test_tests_that_hang_or_kill_are_stopped_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "LIMITS", replace(judging.LIMITS, wall_s=1.0, cpu_s=0.3))
    env = opened()
    path = f"tests/test_{package_of(env)}.py"
    for code, said in (
        ("while True:\n    pass\n", "stopped: time limit"),
        ("import os\nos._exit(0)\n", "printed nothing"),
        ("import os\nos.abort()\n", "stopped: runtime error"),
        ("import sys\nsys.exit(1)\n", "SystemExit: 1"),
    ):
        (_, told) = do(env, ("write_file", {"path": path, "content": code}), ("run_tests", {}))
        assert said in told


# Episodes.


def test_a_reply_without_calls_costs_a_little_and_says_what_to_do() -> None:
    env = opened()
    messages, reward, terminated, *_ = env.step("I think it is fixed.")
    assert "submit" in str(messages[0]["content"])
    assert reward == -0.05
    assert not terminated
    _, reward, *_ = env.step(calling(("mend", {}), ("read_file", {"file": "x"})))
    assert reward == -0.04


def test_the_limit_judges_the_package_as_it_stands() -> None:
    for mended, earned in ((True, 1.0), (False, 0.0)):
        env = opened(max_turns=2)
        problem = state_of(env).problem
        files: Mapping[str, str] = repaired(problem) if mended else problem.files
        path = next(path for path in files if files[path] != problem.files[path]) if mended else "README.md"
        do(env, ("write_file", {"path": path, "content": files[path]}))
        messages, reward, terminated, truncated, info = env.step(calling(("list_files", {})))
        assert (terminated, truncated) == (False, True)
        assert "No turns are left" in str(messages[-1]["content"])
        assert (info["success"], reward) == (mended, earned)


def test_submitting_in_the_last_turn_terminates() -> None:
    env = opened(max_turns=1)
    _, _, terminated, truncated, info = env.step(calling(("submit", {}), ("run_tests", {})))
    assert (terminated, truncated, info["success"]) == (True, False, False)


def test_arguments_choose_domains_and_faults() -> None:
    env = CodeRepair(domains=["bank"], faults=["mutable_default", "boundary"])
    found = set()
    for seed in range(12):
        env.reset(seed=seed)
        problem = state_of(env).problem
        found.add((problem.domain, problem.fault))
    assert found == {("bank", "mutable_default"), ("bank", "boundary")}


@pytest.mark.parametrize(
    "arguments",
    [
        {"domains": ["bonk"]},
        {"faults": ["off_by_two"]},
        {"domains": []},
        {"domains": 3},
        {"max_turns": 0},
        {"domains": ["bank"], "faults": ["missing_copy"]},
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=r"bonk|off_by_two|domains|max_turns|bank"):
        CodeRepair(**arguments)


def test_the_agent_is_told_how_many_replies_it_has() -> None:
    assert "you have 7 replies." in CodeRepair(max_turns=7).reset(seed=0)[0][0]["content"]


def test_lines_are_counted_with_and_without_a_last_end() -> None:
    env = CodeRepair()
    env.reset(seed=0)
    for content, count in (("", "0 lines"), ("x", "1 line"), ("x\n", "1 line"), ("x\ny", "2 lines")):
        said, *_ = env.step(
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": "1",
                        "type": "function",
                        "function": {
                            "name": "write_file",
                            "arguments": {"path": "tests/a.py", "content": content},
                        },
                    },
                    {"id": "2", "type": "function", "function": {"name": "list_files", "arguments": {}}},
                ],
            }
        )
        assert said[0]["content"] == f"tests/a.py is written: {count}."
        assert f"tests/a.py ({count})" in said[1]["content"]


def test_starts_are_many() -> None:
    env = CodeRepair()
    tasks = {env.task_name for seed in range(60) if env.reset(seed=seed)}
    assert len(tasks) == 60
    assert {task.rsplit("-", 1)[0] for task in tasks} == set(DOMAINS)
