"""`McpTools`: custom tasks over the tools of MCP servers, real processes."""

import copy
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.envs.mcp.environment import Attempt, McpTools, Task
from ludus.tools.mcp import McpServer

SERVERS = [sys.executable, str(Path(__file__).parents[1] / "tools" / "mcp" / "servers.py")]
SERVER = [*SERVERS, "plain"]


def is_five(attempt: Attempt) -> bool:
    return attempt.answer == "5"


def remembers(attempt: Attempt) -> bool:
    return attempt.server.call("remember", {"state": "!"}) == "milk eggs !"


def has_milk(attempt: Attempt) -> bool:
    return attempt.server.call("read_notes") == "milk"


MILK = Task("Write down: milk", has_milk)
ADD, NOTE, NEVER = (
    Task("What is 2 + 3?", is_five),
    Task("Remember milk, then eggs.", remembers),
    Task("Never mind.", lambda attempt: bool(attempt.server.call("fail"))),
)


@pytest.fixture
def make() -> Iterator[Any]:
    made = []

    def build(*tasks: Task, server: list[str] = SERVER, **arguments: Any) -> McpTools:
        env = McpTools(McpServer(server, timeout_s=30.0), tasks, **arguments)
        made.append(env)
        return env

    yield build
    for env in made:
        env.close()


def reply(name: str, **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"role": "assistant", "content": "", "tool_calls": [{"id": "a", "function": function}]}


@pytest.mark.parametrize("kind", ["plain", "good"])
def test_an_agent_uses_the_servers_tools_and_answers(make: Any, kind: str) -> None:
    env = make(ADD, server=[*SERVERS, kind])
    messages, _ = env.reset(seed=0)
    assert [message["role"] for message in messages] == ["system", "user"]
    messages, reward, *_ = env.step(reply("add", a=2, b=3))
    assert (messages[0]["content"], reward) == ("5", -0.01)
    messages, reward, terminated, _, info = env.step("5")
    assert (messages, reward, terminated, info["success"]) == ([], 1.0, True, True)
    assert {"add", "remember"} <= {tool.name for tool in env.tools}


def test_wrong_calls_are_the_agents(make: Any) -> None:
    env = make(ADD)
    env.reset(seed=0)
    messages, reward, *_ = env.step(reply("ad"))
    assert messages[0]["content"].startswith("Error: there is no tool 'ad'")
    assert reward == -0.05
    messages, reward, *_ = env.step(reply("fail"))
    assert (messages[0]["content"], reward) == (
        "Error: Error executing tool fail: no such drawer: 'x'",
        -0.01,
    )


def test_the_final_state_of_the_server_can_be_checked(make: Any) -> None:
    env = make(NOTE)
    for words, success in ((("milk", "eggs"), True), ((), False)):
        env.reset(seed=0)
        for word in words:
            env.step(reply("remember", state=word))
        assert env.step("done")[4]["success"] is success


def test_a_check_whose_tool_refuses_has_failed(make: Any) -> None:
    env = make(NEVER)
    env.reset(seed=0)
    assert env.step("done")[4]["success"] is False


def test_an_episode_can_be_branched(make: Any) -> None:
    env = make(NOTE)
    env.reset(seed=0)
    env.step(reply("remember", state="milk"))
    taken = env.snapshot()
    assert env.step(reply("remember", state="bread"))[0][0]["content"] == "milk bread"
    env.restore(taken)
    assert env.step(reply("remember", state="eggs"))[0][0]["content"] == "milk eggs"
    assert env.step("done")[4]["success"]


def test_the_state_is_keyed_by_the_calls_so_far(make: Any) -> None:
    env, other = make(NOTE), make(NOTE)
    start = env.reset(seed=0)[1]["anchor"]
    assert other.reset(seed=0)[1]["anchor"] == start
    milk, eggs = reply("remember", state="milk"), reply("remember", state="eggs")
    once = env.step(milk)[-1]["anchor"]
    assert other.step(eggs)[-1]["anchor"] != once
    assert env.step(eggs)[-1]["anchor"] not in (start, once)
    other.reset(seed=0)
    assert other.step({**milk, "content": "in other words"})[-1]["anchor"] == once


def test_what_cannot_be_played_again_is_a_fault(make: Any) -> None:
    env = make(ADD)
    env.reset(seed=0)
    env.step(reply("now"))
    taken = env.snapshot()
    env.step(reply("add", a=1))
    env.restore(taken)
    with pytest.raises(EnvironmentFault, match="now answered otherwise when it was called again"):
        env.step(reply("add", a=1))


def test_a_server_that_dies_costs_its_own_episode(make: Any) -> None:
    env = make(ADD)
    env.reset(seed=0)
    with pytest.raises(EnvironmentFault, match=r"the tool die broke: MCP server .*: die: it ended"):
        env.step(reply("die"))
    env.reset(seed=1)
    assert env.step(reply("add", a=1))[0][0]["content"] == "2"


def test_a_server_without_state_serves_all_episodes(make: Any) -> None:
    env = make(ADD, stateless=True)
    said = []
    for seed in range(2):
        env.reset(seed=seed)
        env.step("4")
        env.reset(seed=seed)
        said.append(env.step(reply("remember", state=str(seed)))[0][0]["content"])
    assert said == ["0", "0 1"]  # the same session


def test_the_seed_draws_the_task(make: Any) -> None:
    env = make(ADD, NOTE, NEVER)
    tasks = [env.task_name for seed in range(20) if env.reset(seed=seed)]
    assert {*tasks} == {ADD.key, NOTE.key, NEVER.key}
    assert tasks == [env.task_name for seed in range(20) if env.reset(seed=seed)]


def test_a_task_is_needed(make: Any) -> None:
    with pytest.raises(ArgumentError, match="tasks is empty"):
        make()


PLACES = ("works.txt", "~/home.txt", "{folder}/told.txt")
"""Where a server may keep files: where it works, at home, and where it is told."""


def notebook(*places: str) -> McpServer:
    return McpServer([*SERVERS, "notes"], env={"NOTES": os.pathsep.join(places)}, timeout_s=30.0)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a server which is not kept apart writes here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


def write_milk(env: McpTools) -> Any:
    return env.step(reply("write", note="milk"))[0][0]["content"]


@pytest.mark.usefixtures("elsewhere")
def test_what_one_episode_wrote_the_next_does_not_find() -> None:
    env = McpTools(notebook(*PLACES), [MILK])
    try:
        for seed in range(2):
            env.reset(seed=seed)
            assert write_milk(env) == "1 in all"
            assert env.step("done")[4]["success"]
            env.reset(seed=seed)
            assert env.step("Nothing was done.")[4]["success"] is False
    finally:
        env.close()


@pytest.mark.usefixtures("elsewhere")
def test_an_episode_that_was_left_half_way_leaves_nothing_behind() -> None:
    env = McpTools(notebook("notes.txt"), [MILK])
    try:
        env.reset(seed=0)
        write_milk(env)
        env.reset(seed=1)
        assert env.step("Nothing was done.")[4]["success"] is False
    finally:
        env.close()


@pytest.mark.usefixtures("elsewhere")
def test_files_are_written_again_when_an_episode_is_restored() -> None:
    env = McpTools(notebook(*PLACES), [MILK])
    try:
        env.reset(seed=0)
        write_milk(env)
        taken = env.snapshot()
        assert env.step(reply("write", note="eggs"))[0][0]["content"] == "2 in all"
        assert env.step("done")[4]["success"] is False
        env.restore(taken)
        assert env.step(reply("write", note="milk"))[0][0]["content"] == "nothing new"
        assert env.step("done")[4]["success"]
    finally:
        env.close()


@pytest.mark.usefixtures("elsewhere")
def test_instances_that_are_given_the_same_server_share_nothing() -> None:
    first = McpTools(notebook("notes.txt"), [MILK])
    first.reset(seed=0)
    write_milk(first)
    second = copy.deepcopy(first)
    third = McpTools(notebook("notes.txt"), [MILK])
    try:
        third.reset(seed=0)
        assert third.step("Nothing was done.")[4]["success"] is False
        assert [env.step("done")[4]["success"] for env in (second, first)] == [True, True]
    finally:
        for env in (first, second, third):
            env.close()


@pytest.mark.parametrize("place", ["{folder}/notes.txt", "outside"])
def test_a_server_that_remembers_across_sessions_is_told_once(
    place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    env = McpTools(notebook(str(tmp_path / "notes.txt") if place == "outside" else place), [MILK])
    try:
        for seed in range(3):
            env.reset(seed=seed)
            env.step(reply("write", note=f"milk {seed}"))
            env.step("done")
    finally:
        env.close()
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == (place == "outside")
    assert all("write answered otherwise" in told and "{folder}" in told for told in warnings)


@pytest.mark.usefixtures("elsewhere")
def test_a_sessions_folder_is_deleted_with_it() -> None:
    with notebook(*PLACES) as server:
        folder = str(server.call("where"))
        server.call("write", {"note": "milk"})
        assert {*os.listdir(folder)} == {"works.txt", "home.txt", "told.txt"}
    assert not os.path.exists(folder)


def test_files_that_a_command_names_are_found_from_a_sessions_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").symlink_to(SERVERS[1])
    python = os.path.relpath(sys.executable, tmp_path)
    with McpServer([python, "mine.py", "plain"], own_folder=True, timeout_s=30.0) as server:
        assert server.call("add", {"a": 1}) == "2"
