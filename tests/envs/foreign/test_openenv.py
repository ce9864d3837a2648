"""`ludus/OpenEnv-v0` with servers that speak OpenEnv's protocol, well and badly. OpenEnv's own server, with
Ludus's environments and others' behind it, is in `in_openenv.py`."""

import copy
import gc
import json
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import gymnasium
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

import ludus  # noqa: F401
from ludus.cli.errors import explain
from ludus.envs.chat import Chat
from ludus.envs.conformance import check
from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.envs.foreign.openenv.connection import Server
from ludus.envs.foreign.openenv.forms import Called, Fields, Relayed, Text, form_of, shown

ID = "ludus/OpenEnv-v0"
KEPT = ("gymnasium", "documentation", "info", "rewards", "seeds", "instances", "snapshots", "anchors")
"""Checks of the contract that do not ask for agents which know the environment."""
METADATA = {"metadata": {"type": "object"}}


def action(required: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    return {"properties": {**fields, **METADATA}, "required": [*required], "description": "Move."}


TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
ONE_TEXT = action(("message",), message=TEXT)
A_CALL = action(("tool_name",), type=TEXT, tool_name=TEXT, arguments={"type": "object"})
TWO_FIELDS = action(("x",), x=NUMBER, y=NUMBER)


def error(code: str, message: str, **more: Any) -> dict[str, Any]:
    return {"type": "error", "data": {"code": code, "message": message, **more}}


def seen(observation: Any, reward: float | None = None, done: bool = False) -> dict[str, Any]:
    return {"type": "observation", "data": {"observation": observation, "reward": reward, "done": done}}


class Counting:
    """A session of an environment that counts its steps, and ends after three, or at the word `stop`."""

    def __init__(self) -> None:
        self.steps = 0

    def answer(self, request: Mapping[str, Any]) -> Any:
        if request["type"] == "reset":
            self.steps, self.seed = 0, request["data"].get("seed")
            return seen({"text": f"seed {self.seed}"})
        self.steps += 1
        data = request["data"]
        said = f"{data}, step {self.steps} of seed {self.seed}"
        done = self.steps == 3 or data.get("message") == "stop"
        return seen({"text": said}, 1.0 if self.steps == 3 else None if not done else 0.5, done)


@dataclass
class Serving:
    url: str
    asked: list[dict[str, Any]] = field(default_factory=list)
    """All requests of all sessions."""
    open: list[ServerConnection] = field(default_factory=list)


@contextmanager
def serving(
    session: Callable[[], Any] = Counting,
    schema: Mapping[str, Any] = ONE_TEXT,
    status: int = 200,
    token: str | None = None,
) -> Iterator[Serving]:
    """A server of OpenEnv's protocol: its sessions answer requests, with None for closing the connection."""
    told = json.dumps({"action": schema, "observation": {}, "state": {}})
    running = Serving("")

    def http(socket: ServerConnection, request: Request) -> Response | None:
        if token is not None and request.headers.get("Authorization") != token:
            return socket.respond(HTTPStatus.UNAUTHORIZED, "")
        if request.path == "/ws":
            return None
        return socket.respond(HTTPStatus(status if request.path == "/schema" else 404), told)

    def handle(socket: ServerConnection) -> None:
        running.open.append(socket)
        answering = session()
        try:
            for raw in socket:
                running.asked.append(json.loads(raw))
                if (answer := answering.answer(running.asked[-1])) is None:
                    break
                socket.send(answer if isinstance(answer, str) else json.dumps(answer))
        except ConnectionClosed:
            pass
        finally:
            running.open.remove(socket)

    with serve(handle, "127.0.0.1", 0, process_request=http) as server:
        running.url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield running
        server.shutdown()
        thread.join()


def made(running: Serving, **arguments: Any) -> gymnasium.Env[Any, Any]:
    return gymnasium.make(ID, url=running.url, timeout_s=60, **arguments)


def play(env: gymnasium.Env[Any, Any]) -> None:
    env.reset(seed=1)
    env.step("a")


def call(name: str, **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "a", "type": "function", "function": function}],
    }


def said(messages: Chat) -> str:
    (message,) = messages
    return str(message["content"])


def test_a_text_is_the_action_and_the_seed_the_servers() -> None:
    with serving() as running:
        env = made(running)
        messages, info = env.reset(seed=7)
        assert messages == [{"role": "user", "content": "seed 7"}]
        messages, reward, terminated, truncated, step = env.step("é\ud83e")
        assert running.asked[-1] == {"type": "step", "data": {"message": "é\ud83e"}}
        assert "step 1 of seed 7" in said(messages)
        assert (reward, terminated, truncated, step["task"]) == (0.0, False, False, info["task"])
        env.step("b")
        _, reward, terminated, truncated, info = env.step("c")
        assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)
        assert info["reward_terms"] == {"reward": 1.0, "malformed": 0.0, "tool_errors": 0.0}
        env.reset(seed=7)
        assert env.step("stop")[4]["success"] is False
        assert env.unwrapped.verdict.failure == "a reward of 0.5"
        env.close()


def test_what_is_no_text_never_reaches_the_server() -> None:
    with serving() as running:
        env = made(running, max_turns=2)
        env.reset(seed=1)
        _, reward, terminated, truncated, _ = env.step(" ")
        assert (reward, terminated, truncated) == (-0.1, False, False)
        messages, reward, _, truncated, _ = env.step(call("look"))
        assert (reward, truncated) == (-0.1, True)
        assert messages[0]["role"] == "tool"
        assert [request["type"] for request in running.asked] == ["reset"]
        env.close()


class Refusing(Counting):
    def answer(self, request: Mapping[str, Any]) -> Any:
        if request["data"].get("y") == 13:
            return error("VALIDATION_ERROR", "Invalid message", errors=[{"loc": ["y"], "msg": "unlucky"}])
        return super().answer(request)


def test_an_action_of_several_fields_is_a_tool() -> None:
    with serving(Refusing, TWO_FIELDS) as running:
        env = made(running)
        (tool,) = env.unwrapped.tools
        assert (tool.name, tool.description) == ("act", "Move.")
        assert tool.parameters["properties"] == {"x": NUMBER, "y": NUMBER}
        env.reset(seed=1)
        messages = env.step(call("act", x=1, y=2))[0]
        assert running.asked[-1]["data"] == {"x": 1, "y": 2}
        assert messages[0]["role"] == "tool"
        assert "step 1" in said(messages)
        asked = len(running.asked)
        messages, reward, *_ = env.step(call("act", x="one"))
        assert (said(messages).startswith("Error: act: x: "), reward) == (True, -0.1)
        messages, reward, *_ = env.step("I go to x = 1")
        assert (said(messages), reward) == ("Act by calling a tool: act.", -0.1)
        assert len(running.asked) == asked
        messages, reward, *_ = env.step(call("act", x=1, y=13))
        assert (said(messages), reward) == ("Error: the action was refused: y: unlucky", -0.1)
        assert "step 2" in said(env.step(call("act", x=3))[0])
        assert len(running.asked) == asked + 2  # nothing was played again
        env.close()


class Tooling:
    def answer(self, request: Mapping[str, Any]) -> Any:
        if request["type"] == "mcp":
            parameters = {"type": "object", "properties": {"state": TEXT}, "required": ["state"]}
            tools = [{"name": "echo", "description": "Says it.", "inputSchema": parameters}]
            return {"type": "mcp", "data": {"jsonrpc": "2.0", "id": 1, "result": {"tools": tools}}}
        if request["type"] == "reset":
            return seen({"metadata": {"status": "ready"}})
        text = request["data"]["arguments"]["state"]
        failed = {"error_type": "execution_error", "message": "too loud"} if text.isupper() else None
        result = {"content": [{"type": "text", "text": text}], "is_error": False}
        return seen({"tool_name": "echo", "result": result, "error": failed}, 0.25)


def test_the_servers_own_tools_are_called() -> None:
    with serving(Tooling, A_CALL) as running:
        env = made(running)
        assert [tool.name for tool in env.unwrapped.tools] == ["echo"]
        env.reset(seed=1)
        two = call("echo", state="hi")
        two["tool_calls"] *= 2
        messages, reward, *_ = env.step(two)
        assert [(message["role"], message["content"]) for message in messages] == [("tool", "hi")] * 2
        assert reward == 0.5
        wanted = {"type": "call_tool", "tool_name": "echo", "arguments": {"state": "hi"}}
        assert running.asked[-1]["data"] == wanted
        assert said(env.step(call("echo", state="HI"))[0]) == "Error: too loud"
        assert env.step("hi")[1] == -0.1
        env.close()


def test_forms_are_found_in_schemas() -> None:
    assert form_of({"action": ONE_TEXT, "observation": {}}) == Text("message")
    optional = action(("text",), text=TEXT, speed=NUMBER)
    assert form_of({"action": optional, "observation": {}}) == Text("text")
    assert form_of({"action": action(text=TEXT), "observation": {}}) == Text("text")
    assert isinstance(form_of({"action": TWO_FIELDS, "observation": {}}), Fields)
    assert isinstance(form_of({"action": action(("n",), n=NUMBER), "observation": {}}), Fields)
    assert form_of({"action": A_CALL, "observation": {}}) == Called()
    ours = {"action": action(("reply",), reply={}), "observation": {"properties": {"reward_terms": {}}}}
    assert form_of(ours) == Relayed()


def test_observations_are_texts_where_they_can_be() -> None:
    assert shown({"text": "a", "metadata": {"x": 1}}) == "a"
    assert shown({"board": [1, "é"], "turn": 2}) == '{"board": [1, "é"], "turn": 2}'
    assert shown({"tool_name": "t", "result": 7, "error": None}) == "7"


class Bad(Counting):
    """Fails at a request in one way, once."""

    def __init__(self, at: str, how: Any, left: list[int]) -> None:
        super().__init__()
        self.at, self.how, self.left = at, how, left

    def answer(self, request: Mapping[str, Any]) -> Any:
        if request["type"] == self.at and self.left:
            self.left.pop()
            return self.how() if callable(self.how) else self.how
        return super().answer(request)


FULL = error("CAPACITY_REACHED", "Server at capacity: 2/2 sessions active")
BAD = [
    ("reset", FULL, "has no session left .Server at capacity: 2/2"),
    ("reset", seen({"text": "x"}, done=True), "ends an episode with its reset"),
    ("reset", None, "is gone, or has closed the connection"),
    ("step", None, "is gone, or has closed the connection"),
    ("step", error("EXECUTION_ERROR", "the disk is full"), "broke: the disk is full .EXECUTION_ERROR"),
    ("step", error("EXECUTION_ERROR", "EnvironmentFault: no\nway"), r"broke: no\s"),
    ("step", seen({"text": "x"}, None, True), "ended an episode and gave no reward"),
    ("step", "no JSON", "does not speak the protocol of OpenEnv 0.10: it said 'no JSON'"),
    ("step", {"type": "state", "data": {}}, "does not speak the protocol of OpenEnv 0.10: it said"),
    ("step", {"type": "observation", "data": {"reward": 1.0}}, "does not speak the protocol"),
    ("step", seen({"text": "x"}, "much"), "does not speak the protocol"),
    ("step", [1], "does not speak the protocol of OpenEnv 0.10: it said"),
]


@pytest.mark.parametrize(("at", "how", "words"), BAD)
def test_what_breaks_is_a_fault_and_one_line_and_the_next_episode_begins(
    at: str, how: Any, words: str
) -> None:
    left = [1]
    with serving(lambda: Bad(at, how, left)) as running:
        env = made(running)
        with pytest.raises(EnvironmentFault, match=words) as fault:
            play(env)
        problem = explain(fault.value)
        assert problem is not None
        assert problem.line.startswith(f"OpenEnv's server at {running.url} ")
        assert "\n" not in problem.line
        assert not left
        env.reset(seed=2)
        assert "step 1 of seed 2" in said(env.step("a")[0])
        env.close()


def test_a_late_answer_is_a_fault_and_never_taken_for_the_next_one() -> None:
    waiting = threading.Event()

    def wait() -> Any:
        waiting.wait(60)
        return seen({"text": "late"}, 0.0)

    left = [1]
    with serving(lambda: Bad("step", wait, left)) as running:
        env = made(running)
        env.reset(seed=1)
        env.unwrapped._connection._server = Server(running.url, {}, 0.05)
        with pytest.raises(EnvironmentFault, match=r"did not answer step within 0\.05 s: give it longer by"):
            env.step("a")
        waiting.set()
        assert "step 1 of seed 1" in said(env.step("a")[0])  # played again, in a new session
        env.close()


def test_what_is_no_server_of_openenv_is_one_line() -> None:
    words = r"does not speak the protocol of OpenEnv 0\.10: GET /schema was answered with 404"
    with serving(status=404) as running, pytest.raises(EnvironmentFault, match=words):
        made(running)


def test_a_token_is_sent_along() -> None:
    with serving(token="Bearer secret") as running:
        with pytest.raises(
            EnvironmentFault, match=r"refuses this client \(401\): give its token by headers="
        ):
            made(running)
        env = made(running, headers={"Authorization": "Bearer secret"})
        env.reset(seed=1)
        assert env.step("a")[0]
        env.close()


def test_a_server_that_is_not_there_is_one_line() -> None:
    with serving() as running:
        env = made(running)
    with pytest.raises(EnvironmentFault, match="gives no session at /ws"):
        env.reset(seed=1)
    with pytest.raises(EnvironmentFault, match=r"cannot be reached .*: is it running there") as refused:
        made(running)
    assert explain(refused.value) is not None


def test_an_episode_is_played_again_where_the_session_stands_elsewhere() -> None:
    with serving() as running:
        env = made(running)
        env.reset(seed=1)
        env.step("a")
        here = env.unwrapped.snapshot()
        after = env.step("b")
        env.unwrapped.restore(here)
        assert env.step("b") == after
        env.unwrapped.restore(here)
        for twin in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
            assert twin.step("b") == after
            twin.close()
        running.open[0].socket.close()  # the connection is lost between two steps
        while env.unwrapped._connection.usable:
            time.sleep(0.01)
        assert env.step("b") == after
        env.close()


class Unsteady(Counting):
    drawn = iter(range(100))

    def answer(self, request: Mapping[str, Any]) -> Any:
        return seen({"text": str(next(self.drawn))}, 0.0)


def test_what_is_answered_otherwise_cannot_be_branched() -> None:
    with serving(Unsteady) as running:
        env = made(running)
        env.reset(seed=1)
        here = env.unwrapped.snapshot()
        env.step("a")
        env.unwrapped.restore(here)
        with pytest.raises(EnvironmentFault, match="answered otherwise when an episode was played again"):
            env.step("a")
        env.close()


def test_sessions_end_with_their_environments() -> None:
    with serving() as running:
        envs = [made(running) for _ in range(3)]
        for env in envs:
            env.reset(seed=1)
        assert len(running.open) == 3
        envs[0].close()
        del env, envs[1:]  # one closed, two forgotten
        gc.collect()
        for _ in range(1000):
            if not running.open:
                break
            time.sleep(0.01)
        assert not running.open


def test_wrong_arguments_are_one_line() -> None:
    with pytest.raises(ArgumentError, match="url='': give a URL"):
        gymnasium.make(ID)
    with pytest.raises(ArgumentError, match="timeout_s"):
        gymnasium.make(ID, url="http://127.0.0.1:1", timeout_s=0)
    with pytest.raises(ArgumentError, match="headers: give texts by name"):
        gymnasium.make(ID, url="http://127.0.0.1:1", headers={"Authorization": 7})
    with serving() as running, pytest.raises(ArgumentError, match="options: 'split' is unknown"):
        made(running).reset(seed=1, options={"split": "test"})


def test_it_keeps_the_contract_as_far_as_the_server_does() -> None:
    with serving() as running:
        report = check(ID, episodes=2, only=KEPT, url=running.url)
    assert report.passed, report
