"""Environments in verifiers itself: run by `test_verifiers.py` where it is installed."""

import asyncio
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gymnasium
import pytest
import verifiers.v1 as vf
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ludus.agents.verifiers.surface import completion
from ludus.agents.verifiers.taskset import LudusTaskset, LudusTasksetConfig
from ludus.envs.conformance.surfaces import compare
from ludus.envs.conformance.surfaces.all import surface
from ludus.envs.conformance.surfaces.breaking import BREAKING, FAULT
from ludus.envs.conformance.surfaces.port import Port
from ludus.registration import environment_ids
from ludus.tools.errors import UserError

PAGE = Path(__file__).parents[2] / "docs" / "surfaces" / "verifiers.md"
ECHOING = "echoing:Echoing-v0"
CHATS = [
    id
    for id in environment_ids()
    if id.replace("-v", "Chat-v") not in environment_ids()
    and not str(gymnasium.spec(id).entry_point).startswith(
        ("ludus.envs.code.", "ludus.envs.math.mathtool.", "ludus.envs.foreign.")
    )
]
"""All but those that run programs, or are another library's."""
EVERYTHING_SAID = ("what is no reply", "a content or a call", "halves of characters")

Say = Callable[[list[dict[str, Any]]], Any]


@pytest.fixture
def model() -> Iterator[Callable[[Say], str]]:
    """The address of a model that says what a function of the conversation says."""
    ports = []

    def serve(say: Say) -> str:
        async def complete(request: Request) -> JSONResponse:
            body = await request.json()
            return JSONResponse(completion(body["model"], say(body["messages"])))

        ports.append(Port(Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])))
        return ports[-1].url

    yield serve
    for port in ports:
        port.close()


def oracle(id: str, seeds: range, **arguments: Any) -> Say:
    """Says what the environment's oracle says, in the episode that begins so."""
    env = gymnasium.make(id, **arguments)
    said: dict[str, list[Any]] = {}
    for seed in seeds:
        messages, info = env.reset(seed=seed)
        agent, replies, ended = env.unwrapped.scripted["oracle"](env.unwrapped, seed), [], False
        begun = json.dumps(messages)
        agent.begin()
        while not ended:
            replies.append(agent.act(messages, info))
            messages, _, terminated, truncated, info = env.step(replies[-1])
            ended = terminated or truncated
        said[begun] = replies

    def say(messages: list[dict[str, Any]]) -> Any:
        turn = sum(message["role"] == "assistant" for message in messages)
        start = next(start for start in said if messages[: len(json.loads(start))] == json.loads(start))
        return said[start][turn]

    return say


def played(url: str, agent: Mapping[str, Any] = MappingProxyType({}), **taskset: Any) -> vf.Trace:
    """The trace of the first task, as verifiers' environment makes it."""
    settings = {"taskset": {"id": "ludus-vf", **taskset}, "agent": dict(agent)}
    env = vf.load_environment(vf.resolve_env_config(settings))

    async def run() -> vf.Trace:
        async with env.serving():
            (task,) = env.taskset.take(1)
            context = vf.ModelContext("mine", vf.EvalClientConfig(base_url=f"{url}/v1"))
            (trace,) = (await env.run_episode(task, context)).traces
            return trace

    return asyncio.run(run())


def test_nothing_differs_through_verifiers() -> None:
    through = surface("verifiers")
    try:
        found = compare(through, ECHOING, seeds=(11,))
    finally:
        through.close()
    assert found.same, found
    assert all(reason.startswith(EVERYTHING_SAID) for reason in found.left_out)


@pytest.mark.parametrize("id", CHATS)
def test_every_environment_is_the_same_through_verifiers(id: str) -> None:
    through = surface("verifiers")
    try:
        found = compare(through, id, seeds=(11,), members=1, kinds=("oracle", "malformed", "calls"))
    finally:
        through.close()
    assert found.same, found


def test_a_trace_says_what_was_earned(model: Any) -> None:
    url = model(lambda messages: "no such word")
    trace = played(url, {"max_turns": 2}, environment=ECHOING, first_seed=5)
    assert trace.stop_condition == "max_turns"  # verifiers' own limit, of which the environment hears nothing
    assert trace.ok
    assert [turn["terms"]["said"] for turn in trace.info["episode"]["turns"]] == [1.0, 1.0]
    assert trace.reward == pytest.approx(2 / 3 - 24e-7)
    assert set(trace.rewards) == {"said", "length", "tool_errors"}
    assert trace.metrics == {
        "success": 0.0,
        "terms/said": 2.0,
        "terms/length": 24.0,
        "terms/tool_errors": 0.0,
    }


def test_a_fault_is_no_reward(model: Any) -> None:
    broken = {"environment": "ludus/Arithmetic-v0", "arguments": {}}
    trace = played(model(lambda messages: "4"), environment=BREAKING, arguments=broken)
    assert not trace.ok
    assert not trace.rewards
    assert (trace.last_error.type, trace.last_error.message) == ("TaskError", f"EnvironmentFault: {FAULT}")


def test_another_harness_is_refused(model: Any) -> None:
    trace = played(model(lambda messages: "4"), {"harness": {"id": "null"}})
    assert "the harness 'null' knows nothing of ludus/Arithmetic-v0: leave out" in trace.last_error.message


def test_a_system_prompt_of_theirs_stands_first(model: Any, tmp_path: Path) -> None:
    (tmp_path / "system.txt").write_text("Be brief.")
    heard: list[Any] = []

    def say(messages: list[dict[str, Any]]) -> str:
        heard.extend(messages)
        return "4"

    played(model(say), system_prompt=tmp_path / "system.txt")
    begun, _ = gymnasium.make("ludus/Arithmetic-v0").reset(seed=0)
    assert heard == [{"role": "system", "content": "Be brief."}, *begun]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["--taskset.environment", "ludus/Arithmetik-v0"], "Did you mean: `Arithmetic`"),
        (["--taskset.environment", "ludus/TicTacToe-v0"], "takes numbered actions"),
        (["--taskset.arguments", '{"digit": 2}'], "unexpected keyword argument 'digit'; did you mean digits"),
    ],
)
def test_what_cannot_be_made_is_told_by_their_command(
    settings: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command(["vf-validate", "ludus-vf", *settings, "-n", "1"], monkeypatch)
    assert told in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_tasks_are_seeds_and_find_their_way_over_the_wire() -> None:
    taskset = LudusTaskset(LudusTasksetConfig(id="ludus-vf", environment=ECHOING, first_seed=100))
    tasks = list(taskset.skip(2).take(2))
    assert [task.data.seed for task in tasks] == [102, 103]
    assert not taskset.bounded
    for task in tasks:
        again = type(task.data).model_validate_json(task.data.model_dump_json())
        assert again == task.data


def command(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the shell would run, in this process: to import verifiers takes long."""
    (program,) = metadata.entry_points(group="console_scripts", name=words[0])
    monkeypatch.setattr(sys, "argv", words)
    program.load()()


def shown(page: str, language: str) -> str:
    """An example of the page: the indented commands, or the program."""
    pattern = r"```python\n(.*?)```" if language else r"((?:    [^\n]*\n)+)"
    (example,) = re.findall(rf"<!-- example -->\n\n{pattern}", page, re.DOTALL)
    assert len(example.strip().splitlines()) <= 15
    return example


def test_the_pages_commands_run_as_they_stand(
    model: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    url = model(oracle("ludus/Weather-v0", range(2)))
    commands = shown(PAGE.read_text(encoding="utf-8"), "").strip().splitlines()
    validated, evaluated = [shlex.split(line.replace("http://127.0.0.1:8000", url)) for line in commands]
    command([*validated, "--run.name", "gold", "--no-rich"], monkeypatch)
    summary = json.loads((tmp_path / "outputs/gold/summary.json").read_text())
    assert summary["outcomes"]["valid"] == 2
    command([*evaluated, "--run.name", "played", "--no-rich"], monkeypatch)
    lines = (tmp_path / "outputs/played/traces.jsonl").read_text().splitlines()
    assert '"success":1.0' in lines[0].replace(" ", "")


def test_the_pages_program_runs_as_it_stands(model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    url = model(oracle("ludus/Arithmetic-v0", range(8), operations=["add"]))
    program = shown(PAGE.read_text(encoding="utf-8"), "python").replace("http://127.0.0.1:8000", url)
    exec(compile(program, str(PAGE), "exec"), {})
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in told if " [{" in line] == [["1.0", "1.0"]] * 8


def test_another_version_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from ludus.agents.verifiers.installed import require_verifiers

    monkeypatch.setattr(metadata, "version", lambda name: {"verifiers": "0.5.0"}[name])
    with pytest.raises(UserError, match=r"verifiers 0\.5\.0 is installed, and .* as of 0\.4: pip install"):
        require_verifiers()
