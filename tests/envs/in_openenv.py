"""An environment behind OpenEnv's server: run by `test_openenv.py` where OpenEnv is installed."""

import asyncio
import json
import pickle
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from echoing import Echoing, Oracle, calling
from fastmcp import FastMCP
from openenv import GenericEnvClient
from openenv.cli._validation import validate_running_environment
from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.mcp_environment import MCPEnvironment
from openenv.core.env_server.mcp_types import CallToolAction, CallToolObservation
from openenv.core.env_server.types import Action, Observation, State
from openenv.validation import CheckStatus, GraderRegistry, Level, ProviderCapability, Verdict, run_validation
from openenv.validation import runner as validation_runner
from openenv.validation.graders.runtime import basic

from ludus.cli import main
from ludus.envs.conformance.surfaces import compare
from ludus.envs.conformance.surfaces.all import surface
from ludus.envs.conformance.surfaces.breaking import BREAKING, FAULT
from ludus.envs.conformance.surfaces.port import Port
from ludus.envs.conformance.surfaces.surface import make_chat
from ludus.envs.faults import EnvironmentFault
from ludus.envs.openenv.server import WEBSOCKETS, openenv_app
from ludus.registration import environment_ids
from ludus.tools.errors import UserError

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "surfaces" / "openenv.md"
ECHOING = "echoing:Echoing-v0"
MAIN = "import os, sys; os.chdir(sys.argv.pop(1)); from ludus.cli import main; sys.exit(main())"
CHATS = [
    id
    for id in environment_ids()
    if id.replace("-v", "Chat-v") not in environment_ids()
    and not str(gymnasium.spec(id).entry_point).startswith(("ludus.envs.code.", "ludus.envs.math.mathtool."))
]
"""All but those that run programs, for which a sandbox would have to be installed beside OpenEnv."""
GRADERS = ("runtime.seed_control", "runtime.episode_determinism", "runtime.episode_isolation")


@contextmanager
def served(*words: object) -> Iterator[str]:
    """The URL of the real command."""
    command = [sys.executable, "-c", MAIN, str(HERE), "serve", "openenv", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split(" at ")[1].split()[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(ECHOING, "--port", 0) as address:
        yield address


@contextmanager
def client(url: str, **options: Any) -> Iterator[Any]:
    # Patient, since the machine may be busy.
    made = GenericEnvClient(
        base_url=url, connect_timeout_s=300, message_timeout_s=300, websocket_ping_interval_s=None, **options
    ).sync()
    with made:
        yield made


@contextmanager
def in_process(env: Any, sessions: int = 64, **options: Any) -> Iterator[str]:
    port = Port(openenv_app("Echoing-v0", env, sessions=sessions), **{**WEBSOCKETS, **options})
    try:
        yield port.url
    finally:
        port.close()


@pytest.mark.parametrize("name", ["openenv", "openenv-back"])
def test_nothing_differs_through_openenv(name: str) -> None:
    through = surface(name)
    try:
        found = compare(through, ECHOING, seeds=(11,))
    finally:
        through.close()
    assert found.same, found
    assert all(reason.startswith("halves of characters") for reason in found.left_out)


@pytest.mark.parametrize("name", ["openenv", "openenv-back"])
@pytest.mark.parametrize("id", CHATS)
def test_every_environment_is_the_same_through_openenv(id: str, name: str) -> None:
    through = surface(name)
    try:
        found = compare(through, id, seeds=(11,), members=1)
    finally:
        through.close()
    assert found.same, found


def test_their_client_sees_the_whole_episode(url: str) -> None:
    env = Echoing()
    messages, info = env.reset(seed=7)
    agent = Oracle(env)
    agent.begin()
    with client(url) as theirs:
        result = theirs.reset(seed=7, episode_id="mine")
        assert result.observation["messages"] == messages
        assert result.observation["tools"] == [tool.openai for tool in env.tools]
        assert result.reward is None
        steps = 0
        while not result.done:
            reply = agent.act(messages, info)
            result = theirs.step({"reply": reply})
            messages, reward, terminated, truncated, info = env.step(reply)
            told, steps = result.observation, steps + 1
            assert (told["messages"], result.reward, result.done) == (
                messages,
                reward,
                terminated or truncated,
            )
            assert (told["reward_terms"], told["terminated"], told["truncated"]) == (
                info["reward_terms"], terminated, truncated,
            )  # fmt: skip
            assert (told["task"], told["anchor"]) == (str(info["task"]), str(info["anchor"]))
        assert told["success"] is info["success"]
        state = theirs.state()
        assert (state["episode_id"], state["seed"], state["step_count"]) == ("mine", 7, steps)
        assert state["episode"] == ("terminated" if terminated else "truncated")
        with pytest.raises(RuntimeError, match=r"NoEpisode: it (is over|was cut off .*): call reset"):
            theirs.step({"reply": "more"})


def test_what_is_asked_wrongly_is_one_line(url: str) -> None:
    with client(url) as theirs:
        with pytest.raises(RuntimeError, match=r"seed.*'seven'.*EXECUTION_ERROR"):
            theirs.reset(seed="seven")
        with pytest.raises(
            RuntimeError, match="reset: 'split' is unknown; it takes seed, episode_id and options"
        ):
            theirs.reset(split="test")
        with pytest.raises(RuntimeError, match="VALIDATION_ERROR"):
            theirs.step({"text": "x"})
        assert theirs.reset(seed=3).observation["messages"]


def test_a_fault_is_an_error_and_never_a_reward() -> None:
    make = partial(make_chat, BREAKING, {"environment": ECHOING, "arguments": {}, "at": 1})
    with in_process(make) as url, client(url) as theirs:
        theirs.reset(seed=1)
        theirs.step({"reply": "x"})
        with pytest.raises(RuntimeError, match=f"EnvironmentFault: {FAULT}"):
            theirs.step({"reply": "x"})
        assert theirs.state()["episode"] == "fault"
        with pytest.raises(RuntimeError, match="NoEpisode: it broke, by no fault of the agent's"):
            theirs.step({"reply": "x"})
        assert theirs.reset(seed=1).reward is None


def test_a_client_that_reconnects_is_told(url: str) -> None:
    with client(url) as theirs:
        theirs.reset(seed=1)
        broken = theirs.async_client._ws
        theirs._loop.call_soon_threadsafe(broken.transport.abort)
        asyncio.run_coroutine_threadsafe(broken.wait_closed(), theirs._loop).result()
        with pytest.raises(RuntimeError, match=r"NoEpisode: this session has none yet.*lost its connection"):
            theirs.step({"reply": "x"})
        assert theirs.reset(seed=1).observation["messages"]


def test_sessions_are_bounded_and_the_next_client_is_told() -> None:
    with in_process(Echoing, sessions=2) as url:
        with client(url) as one, client(url) as two:
            one.reset(seed=1)
            two.reset(seed=1)
            with client(url) as three, pytest.raises(RuntimeError, match="CAPACITY_REACHED"):
                three.reset(seed=1)
            assert one.step({"reply": "x"}).observation["messages"]
        for _ in range(1000):  # the server notices in its own time that a client has left
            try:
                with client(url) as three:
                    assert three.reset(seed=1).observation["messages"]
                return
            except RuntimeError:
                time.sleep(0.1)
        pytest.fail("no session was freed")


def test_sessions_leave_nothing_behind() -> None:
    living: set[int] = set()

    class Watched(Echoing):
        def start(self, rng: Any, options: Any) -> Any:
            living.add(id(self))
            return super().start(rng, options)

        def close(self) -> None:
            living.remove(id(self))

    def threads() -> int:
        return sum(thread.name.startswith("ThreadPoolExecutor") for thread in threading.enumerate())

    with in_process(Watched) as url:
        before = threads()
        for number in range(20):
            with client(url) as theirs:
                theirs.reset(seed=number)
                if number % 2:
                    theirs._loop.call_soon_threadsafe(theirs.async_client._ws.transport.abort)
        for _ in range(1000):
            if not living and threads() <= before:
                break
            time.sleep(0.1)
        assert not living
        assert threads() <= before


def test_long_thinking_does_not_lose_the_session() -> None:
    with in_process(Echoing, ws_ping_interval=0.02) as url:
        address = url.removeprefix("http://")
        with socket.create_connection(address.split(":")) as raw:
            raw.sendall(
                b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            raw.settimeout(30)
            seen = b""
            while b"\x89\x04" not in seen:  # a ping, which a client that is busy does not answer
                seen += raw.recv(4096)
            time.sleep(0.5)
            request = json.dumps({"type": "reset", "data": {"seed": 1}}).encode()
            raw.sendall(bytes([0x81, 0x80 | len(request)]) + b"\0\0\0\0" + request)
            while b'"observation"' not in seen:
                part = raw.recv(65536)
                assert part, "the session was closed"
                seen += part


def test_a_token_guards_sessions_too() -> None:
    with served(ECHOING, "--port", 0, "--token", "secret") as url:
        with pytest.raises(ConnectionError, match="401"), client(url) as theirs:
            theirs.reset(seed=1)
        with client(url, headers={"Authorization": "Bearer secret"}) as theirs:
            assert theirs.reset(seed=1).observation["messages"]
        with (
            pytest.raises(ConnectionError, match="403"),
            client(
                url, headers={"Authorization": "Bearer secret", "Origin": "https://else.example"}
            ) as theirs,
        ):
            theirs.reset(seed=1)


def test_their_validation_of_a_running_server_finds_nothing(url: str) -> None:
    report = validate_running_environment(url, timeout_s=60)
    assert report["passed"], report
    assert report["summary"]["passed_count"] == report["summary"]["total_count"] == 6


class Process:
    """A provider of their validation that runs the command in place of a container."""

    name = "process"
    capabilities = frozenset({ProviderCapability.IMAGE_BUILD})
    supported_network_modes = frozenset({"public"})

    def __init__(self, url: str) -> None:
        self.base_url = url

    def build(self, root: Path, execution: Any) -> str:
        return "sha256:" + "0" * 64

    def start(self, spec: Any) -> "Process":
        return self

    def inspect(self) -> dict[str, Any]:
        return {}

    def stop(self) -> None:
        pass


def package(folder: Path) -> Path:
    """What their validation reads of an environment: its manifest, and an episode to play."""
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "validation").mkdir()
    actions = [{"reply": calling("say", text="é🦊")}, {"reply": calling("look")}, {"reply": "again é"}]
    plan = {"plan_schema_version": "1", "reset": {"episode_id": "probe", "seed": 7}, "actions": actions}
    (folder / "validation" / "runtime.json").write_text(json.dumps(plan))
    validation = {
        "reward": {"range": [-1.0, 2.0], "floor_margin": 0.1},
        "resources": {"cpu": 1.0, "memory_mb": 512, "disk_mb": 512, "episode_timeout_s": 120.0},
        "capabilities": {"verifier": {"kind": "reward_channel"}},
        "types": {"tags": ["chat"]},
        "execution": {},
    }
    manifest = {"name": "echoing", "version": "0.1.0", "validation": validation}
    (folder / "openenv.yaml").write_text(json.dumps(manifest))  # JSON is YAML
    return folder


def validate(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Their validation, with the graders of entry points."""
    theirs = validation_runner.default_grader_registry

    def with_ours(policy: Any) -> GraderRegistry:
        registry = theirs(policy)
        assert registry.load_entry_points() >= len(GRADERS)
        return registry

    def patient(*command: Any, timeout: float, **options: Any) -> Any:
        return subprocess.run(*command, **options)

    monkeypatch.setattr(validation_runner, "default_grader_registry", with_ours)
    # The process that reads schemas has five seconds, which a busy machine may not have.
    patience = SimpleNamespace(run=patient, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(basic, "subprocess", patience)
    return run_validation(package(folder), max_level=Level.RUNTIME, provider=Process(url))


def test_their_validation_of_a_package_finds_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = validate(url, tmp_path, monkeypatch)
    outcomes = {result.check_id: result for result in report.results}
    bad = (CheckStatus.FAIL, CheckStatus.ERROR)
    assert not [result for result in report.results if result.status in bad]
    assert report.verdict is not Verdict.FAIL
    for check in ("runtime.startup", "runtime.reward_well_formed", "runtime.observation_schema", *GRADERS):
        assert outcomes[check].status is CheckStatus.PASS, outcomes[check]
    assert outcomes["runtime.state_contract"].status is CheckStatus.PASS


@pytest.mark.parametrize("check", GRADERS)
def test_our_graders_find_what_theirs_do_not(
    check: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    class Planted(Echoing):
        def start(self, rng: Any, options: Any) -> Any:
            same = np.random.default_rng(7)  # whatever the seed
            return super().start(same if check == "runtime.seed_control" else rng, options)

        def respond(self, state: Any, text: str) -> Any:
            outcome = super().respond(state, text)
            told.append(text)
            if check != "runtime.seed_control":
                outcome.messages[0]["content"] = f"{len(told)} replies, here or elsewhere"
            return outcome

    with in_process(Planted) as url:
        report = validate(url, tmp_path, monkeypatch)
    outcomes = {result.check_id: result for result in report.results}
    assert outcomes["runtime.startup"].status is CheckStatus.PASS
    assert outcomes[check].status is CheckStatus.FAIL, outcomes[check]
    assert report.verdict is Verdict.FAIL


class Say(Action):
    message: str


class Said(Observation):
    echoed_message: str
    message_length: int


class Echo(Environment[Say, Said, State]):
    """In the manner of OpenEnv's own echo environment; at `boom` it breaks, and at `bye` it ends."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def reset(self, seed: int | None = None, episode_id: str | None = None, **others: Any) -> Said:
        return Said(echoed_message=f"ready {seed}", message_length=0)

    def step(self, action: Say, timeout_s: float | None = None, **others: Any) -> Said:
        if action.message == "boom":
            raise ValueError("the echo is broken")
        length, done = len(action.message), action.message == "bye"
        return Said(
            echoed_message=action.message, message_length=length, reward=0.25 * length + done, done=done
        )

    @property
    def state(self) -> State:
        return State()


class EchoByTool(MCPEnvironment):
    """The same by a tool, as OpenEnv writes its environments now."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        server = FastMCP("echo")

        @server.tool
        def echo(message: str) -> str:
            """Say it again."""
            if message == "boom":
                raise ValueError("no")
            return message

        super().__init__(server)

    def reset(self, seed: int | None = None, episode_id: str | None = None, **others: Any) -> Observation:
        return Observation(metadata={"status": "ready"})

    def _step_impl(self, action: Any, timeout_s: float | None = None, **others: Any) -> Observation:
        raise AssertionError(f"{action} is no call")

    @property
    def state(self) -> State:
        return State()


@contextmanager
def theirs(environment: Any, action: Any, observation: Any, sessions: int = 8) -> Iterator[str]:
    """The URL of another's environment behind OpenEnv's own application."""
    app = create_app(environment, action, observation, env_name="echo", max_concurrent_envs=sessions)
    port = Port(app, ws="websockets-sansio")
    try:
        yield port.url
    finally:
        port.close()


def test_their_echo_is_an_environment_of_ours() -> None:
    with theirs(Echo, Say, Said) as url:
        env = gymnasium.make("ludus/OpenEnv-v0", url=url, timeout_s=300, max_turns=3)
        messages, info = env.reset(seed=7)
        assert messages == [{"role": "user", "content": '{"echoed_message": "ready 7", "message_length": 0}'}]
        messages, reward, terminated, _, step = env.step("é🦊")
        assert messages[0]["content"] == '{"echoed_message": "é🦊", "message_length": 2}'
        assert (reward, terminated, step["task"]) == (0.5, False, info["task"])
        with pytest.raises(EnvironmentFault, match=r"broke: the echo is broken \(EXECUTION_ERROR\)"):
            env.step("boom")
        _, reward, terminated, _, info = env.step("bye")  # after the same first reply, said again
        assert (reward, terminated, info["success"]) == (1.75, True, True)
        env.reset(seed=7)
        assert [env.step("x")[3] for _ in range(3)] == [False, False, True]
        env.close()


def test_their_echo_by_a_tool_is_an_environment_of_ours() -> None:
    with theirs(EchoByTool, CallToolAction, CallToolObservation) as url:
        env = gymnasium.make("ludus/OpenEnv-v0", url=url, timeout_s=300)
        (tool,) = env.unwrapped.tools
        assert (tool.name, [*tool.parameters["properties"]]) == ("echo", ["message"])
        env.reset(seed=7)
        (message,), reward, *_ = env.step(calling("echo", message="é🦊"))
        assert (message["role"], message["content"], reward) == ("tool", "é🦊", 0.0)
        (message,), reward, *_ = env.step(calling("echo", message=1))
        assert (message["content"].startswith("Error: echo: message"), reward) == (True, -0.1)
        (message,), *_ = env.step(calling("echo", message="boom"))
        assert message["content"].startswith("Error: ")
        env.close()


def test_an_environment_of_ours_has_its_session_or_says_that_there_is_none() -> None:
    with in_process(Echoing, sessions=1) as url:
        env = gymnasium.make("ludus/OpenEnv-v0", url=url, timeout_s=300)
        with pytest.raises(EnvironmentFault, match=r"has no session left .*: close some, or start it with"):
            gymnasium.make("ludus/OpenEnv-v0", url=url, timeout_s=300)
        env.reset(seed=1)
        twin = pickle.dumps(env)
        env.close()
        for _ in range(1000):  # the server notices in its own time that the session has been left
            try:
                assert pickle.loads(twin).step("é")[0]
                return
            except EnvironmentFault:
                time.sleep(0.1)
        pytest.fail("no session was freed")


def test_what_cannot_be_served_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["serve", "openenv", "ludus/TicTacToe-v0"]) == 2
    assert re.search(r"error: ludus/TicTacToe-v0 takes numbered actions.*\n$", capsys.readouterr().err)
    assert main(["serve", "openenv", ECHOING, "--sessions", "0"]) == 2
    assert capsys.readouterr().err == "error: --sessions 0: give at least 1\n"
    assert main(["serve", "mcp", ECHOING]) == 1
    assert re.match(r"error: MCP needs mcp\S*, which is not installed, or too old", capsys.readouterr().err)
    monkeypatch.setattr(metadata, "version", lambda name: {"openenv": "0.11.2"}[name])
    with pytest.raises(UserError, match=r"openenv 0\.11\.2 is installed, .* as of 0\.10: pip install"):
        openenv_app("x", gymnasium.Env)
    monkeypatch.setattr(metadata, "version", lambda name: {"openenv": "0.10.0", "openenv-core": "0.2"}[name])
    with pytest.raises(UserError, match=r"openenv-core 0\.2 is installed over openenv"):
        openenv_app("x", gymnasium.Env)


def test_the_pages_example_runs_as_it_stands(tmp_path: Path) -> None:
    """But for the port, which may be in use."""
    page = PAGE.read_text(encoding="utf-8")
    start = page.index("<!-- example -->")
    commands = re.findall(r"^    (\S.*)$", page[start : page.index("```python")], re.MULTILINE)
    program = page[page.index("```python\n", start) :].partition("\n")[2].partition("```")[0]
    assert len(commands) + len(program.strip().splitlines()) <= 15
    serve = next(command for command in commands if command.startswith("ludus serve"))
    words = shlex.split(serve.removeprefix("ludus serve openenv"))
    with served(*words, "--port", 0) as url:
        written = program.replace("http://127.0.0.1:8000", url)
        assert written != program
        done = subprocess.run([sys.executable, "-c", written], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"solved \d+ of 20\n", done.stdout)
