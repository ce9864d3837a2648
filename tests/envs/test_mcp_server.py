"""`ludus serve mcp`: the real command, over both transports, with our client and with the SDK's own."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import mcp
import pytest

from ludus.envs.base import task_key
from ludus.envs.chat import reply_text, reply_tool_calls, tool_result, user
from ludus.envs.mcp.server import EnvironmentServer, environment_server
from ludus.tools.errors import ToolError, ToolFault, UserError
from ludus.tools.mcp import McpServer

HERE = Path(__file__).parent
MAIN = "import os, sys; os.chdir(sys.argv.pop(1)); from ludus.cli import main; sys.exit(main())"
COUNTING = "mcp_counting:Counting-v0"
SEED = 5


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    sys.path.insert(0, str(HERE))
    yield
    sys.path.remove(str(HERE))


def command(*words: object) -> list[str]:
    """`ludus serve mcp`, from the folder of the tests."""
    return [sys.executable, "-c", MAIN, str(HERE), "serve", "mcp", *map(str, words)]


@contextmanager
def on_a_port(*words: object) -> Iterator[str]:
    """The URL of a served environment."""
    process = subprocess.Popen(
        command(*words, "--transport", "http", "--port", 0), stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield line.split(" at ")[1].split()[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with on_a_port(COUNTING, "--seed", SEED) as served:
        yield served


@pytest.fixture(params=["stdio", "http"])
def connect(request: pytest.FixtureRequest) -> Callable[[], McpServer]:
    if request.param == "stdio":
        return lambda: McpServer(command(COUNTING, "--seed", SEED))
    url = request.getfixturevalue("url")
    return lambda: McpServer(url=url)


def record(server: McpServer) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(server.read("ludus://episode"))
    return state


def play(server: McpServer, env: gymnasium.Env[Any, Any]) -> dict[str, Any]:
    """Let the oracle play the session's episode; it may look at `env`."""
    began = record(server)
    env.reset(seed=began["seed"])
    agent = env.unwrapped.scripted["oracle"](env, began["seed"])
    agent.begin()
    observation, info = began["messages"], {"task": began["task"]}
    while not (state := record(server))["over"]:
        reply = agent.act(observation, info)
        observation = []
        for call in reply_tool_calls(reply):
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            try:
                content = server.call(name, arguments)
            except ToolError as error:
                content = f"Error: {error}"
            observation.append(tool_result(call, content))
        if not observation:
            observation = [user(server.call("episode_say", {"text": reply_text(reply)}))]
    return state


def play_directly(env: gymnasium.Env[Any, Any], seed: int) -> dict[str, Any]:
    """The same, without a server."""
    observation, info = env.reset(seed=seed)
    agent = env.unwrapped.scripted["oracle"](env, seed)
    agent.begin()
    total, steps, over = 0.0, 0, False
    while not over:
        observation, reward, terminated, truncated, info = env.step(agent.act(observation, info))
        total, steps, over = total + float(reward), steps + 1, terminated or truncated
    return {"steps": steps, "return": total, "success": info["success"], "task": str(info["task"])}


def test_an_oracle_earns_through_mcp_what_it_earns_directly(connect: Callable[[], McpServer]) -> None:
    from mcp_counting import Counting

    with connect() as server:
        assert record(server)["seed"] == SEED
        for seed in (SEED, SEED + 1, SEED + 2):
            played, direct = play(server, Counting()), play_directly(Counting(), seed)
            assert {key: played[key] for key in direct} == direct
            assert played["success"]
            server.call("episode_next")


@pytest.mark.parametrize(
    ("id", "transport"),
    [
        ("Weather", "stdio"),
        ("Calendar", "http"),
        pytest.param("Search", "http", marks=pytest.mark.slow),
        pytest.param("Assistant", "stdio", marks=pytest.mark.slow),
    ],
)
def test_the_assistants_oracles_earn_through_mcp_what_they_earn_directly(id: str, transport: str) -> None:
    name = f"ludus/{id}-v0"
    here = gymnasium.make(name, disable_env_checker=True)
    direct = play_directly(here, SEED)
    with contextlib.ExitStack() as stack:
        if transport == "http":
            server = McpServer(url=stack.enter_context(on_a_port(name, "--seed", SEED)))
        else:
            server = McpServer(command(name, "--seed", SEED))
        played = play(stack.enter_context(server), here)
    assert played["success"]
    assert (played["task"], played["return"]) == (direct["task"], pytest.approx(direct["return"]))


def test_what_a_model_can_read_names_the_task_by_an_opaque_key(connect: Callable[[], McpServer]) -> None:
    from mcp_counting import Counting

    env = Counting()
    env.reset(seed=SEED)
    with connect() as server:
        read = server.read("ludus://episode")
    assert json.loads(read)["task"] == str(task_key(env.task_name))
    assert env.task_name not in read


def test_the_task_is_a_prompt_a_resource_and_a_tool(url: str) -> None:
    task = "[system]\nCount.\n\n[user]\ncount to "
    with McpServer(url=url) as server:
        assert server.read("ludus://task").startswith(task)
        assert str(server.call("episode_task")).startswith(task)
        assert record(server)["messages"][1]["content"].startswith("count to ")
        with pytest.raises(ToolFault, match="no resource 'ludus://no'"):
            server.read("ludus://no")


def test_the_end_is_told_and_nothing_goes_on_after_it(connect: Callable[[], McpServer]) -> None:
    with connect() as server:
        said = server.call("episode_say", {"text": "done"})
        assert said == (
            "That was it.\nThe episode is over: no success, return -0.01. episode_next begins the next one."
        )
        for name, arguments in (("add", {"number": 1}), ("episode_say", {"text": "x"})):
            with pytest.raises(ToolError, match=r"over: no success, return -0\.01\. Call episode_next"):
                server.call(name, arguments)
        first = record(server)
        assert str(server.call("episode_next")).startswith("[system]")
        assert record(server)["seed"] == first["seed"] + 1
        assert server.call("add", {"number": 1}) == "now 1 ü"


def test_a_limit_is_told_as_one(url: str) -> None:
    with McpServer(url=url) as server:
        for _ in range(5):
            server.call("add", {})
        assert "over (cut off after 6 steps): no success" in str(server.call("add", {}))


def test_errors_are_the_models_and_faults_are_not(connect: Callable[[], McpServer]) -> None:
    with connect() as server:
        for name, arguments, words in (
            ("add", {"number": -1}, "^only upwards$"),
            ("add", {"number": "x"}, "^add: number: "),
            ("ad", {}, "^there is no tool 'ad'. Did you mean 'add'"),
            ("episode_say", {"words": "x"}, "takes the argument"),
            ("episode_next", {"words": "x"}, "takes no arguments"),
        ):
            with pytest.raises(ToolError, match=words):
                server.call(name, arguments)
        with pytest.raises(ToolFault, match="the tool add broke: the counter broke"):
            server.call("add", {"number": 101})
        with pytest.raises(ToolError, match=r"broke, by no fault of yours: .*Call episode_next"):
            server.call("add", {"number": 1})
        server.call("episode_next")
        assert server.call("add", {"number": 1}) == "now 1 ü"


def test_images_arrive(url: str) -> None:
    from mcp_counting import PNG

    from ludus.envs.chat import image_part, text_part

    with McpServer(url=url) as server:
        assert server.call("picture") == [text_part("here"), image_part(PNG)]


def test_each_session_has_an_episode_of_its_own(url: str) -> None:
    def count(number: int) -> list[str]:
        with McpServer(url=url) as server:
            said = []
            for _ in range(4):
                said.append(str(server.call("add", {"number": number})))
                time.sleep(0.01)
            return said

    with ThreadPoolExecutor(8) as threads:
        for number, said in enumerate(threads.map(count, range(8))):
            assert said == [f"now {number * times} ü" for times in (1, 2, 3, 4)]


def test_calls_at_the_same_time_are_carried_out_one_by_one(url: str) -> None:
    with McpServer(url=url) as server, ThreadPoolExecutor(5) as threads:
        said = {*threads.map(lambda _: server.call("add", {"number": 1}), range(5))}
    assert said == {f"now {value} ü" for value in (1, 2, 3, 4, 5)}


def test_the_sdks_own_client_reads_prompt_reward_and_terms(url: str) -> None:
    async def talk() -> None:
        async with mcp.Client(url) as client:
            (prompt,) = (await client.list_prompts()).prompts
            messages = (await client.get_prompt(prompt.name)).messages
            assert messages[0].content.text == "Count."
            assert {str(resource.uri) for resource in (await client.list_resources()).resources} == {
                "ludus://task",
                "ludus://episode",
            }
            result = await client.call_tool("add", {"number": 2})
            assert result.meta is not None
            assert result.meta["ludus/step"] == {
                "reward": -0.01,
                "terms": {"counted": 0.0, "steps": 1.0, "tool_errors": 0.0},
                "terminated": False,
                "truncated": False,
                "success": None,
            }
            with pytest.raises(mcp.MCPError, match="no prompt 'x'"):
                await client.get_prompt("x")

    asyncio.run(talk())


def test_an_ended_session_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    import mcp_counting

    closed = []
    monkeypatch.setattr(mcp_counting.Counting, "close", lambda self: closed.append(self))
    server = environment_server("Counting-v0", mcp_counting.Counting, 0)
    assert len(closed) == 1  # the one that listed its tools
    with served(server) as url, McpServer(url=url) as client:
        client.call("add", {"number": 1})
        assert len(closed) == 1
        client.close()
        for _ in range(100):
            if len(closed) == 2:
                break
            time.sleep(0.02)
    assert len(closed) == 2


@contextmanager
def served(server: EnvironmentServer) -> Iterator[str]:
    """An environment served by a thread of this process."""
    import threading

    import uvicorn

    from ludus.tools.services.serve import address, listen

    listening = listen("127.0.0.1", 0)
    running = uvicorn.Server(uvicorn.Config(server.http_app(), log_level="warning", ws="none"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"{address(listening)}/mcp"
    finally:
        running.should_exit = True
        thread.join()
        server.close()
        listening.close()


def test_a_tool_called_as_ours_is_refused() -> None:
    from dataclasses import replace

    from mcp_counting import Counting

    class Clash(Counting):
        """Counts, with a tool whose name the server needs."""

        def __init__(self) -> None:
            super().__init__()
            self.use_tools([replace(tool, name="episode_next") for tool in self.tools[:1]])

    with pytest.raises(UserError, match="a tool 'episode_next', which the server needs"):
        environment_server("Clash", Clash)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, "close"])
def test_at_standard_input_it_ends_when_told_or_left(ending: Any) -> None:
    process = subprocess.Popen(
        command(COUNTING), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    params = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "x", "version": "1"},
    }
    ask = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    try:
        process.stdin.write(json.dumps(ask) + "\n")
        process.stdin.flush()
        # The module, the environment and its program print: none of that may appear here.
        answer = json.loads(process.stdout.readline())
        assert answer["result"]["serverInfo"]["name"] == "ludus: Counting-v0"
        if ending == "close":
            process.stdin.close()
        else:
            process.send_signal(ending)
        assert process.wait(30) == 0
        assert process.stdout.read() == ""
        assert "a module that prints" in process.stderr.read()
    finally:
        process.kill()
        process.wait()
