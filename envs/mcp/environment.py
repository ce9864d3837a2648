"""`McpTools`: tasks of your own over the tools of any MCP server."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np

from ludus.envs.base import Outcome, Start
from ludus.envs.chat import Content, system, user
from ludus.envs.errors import ArgumentError
from ludus.envs.faults import EnvironmentFault
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent, Silent
from ludus.envs.tool_env import Answer, ToolEnv
from ludus.tools.errors import ToolError, ToolFault
from ludus.tools.mcp import McpServer
from ludus.tools.tool import Tool

_LOG = logging.getLogger(__name__)

SYSTEM = "Use the tools to do what you are asked. When you have done it, answer without calling a tool."


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call of the agent, and what the server answered."""

    name: str
    arguments: str
    """As JSON, keys in order."""
    result: Content
    """What the agent read; after `Error: ` where the server refused."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a check judges once the agent has answered."""

    answer: str
    calls: tuple[Call, ...]
    server: McpServer
    """The server as the calls left it: a check may call its tools to see the outcome."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked, and how it is judged."""

    question: str
    check: Callable[[Attempt], bool | float]
    """The share that was achieved, from 0 to 1; True and 1 are success. A `ToolError` of a tool that the
    check calls counts as 0."""

    @property
    def key(self) -> str:
        return blake2b(self.question.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Progress:
    task: int
    calls: tuple[Call, ...] = ()


class McpTools(ToolEnv):
    """Tasks of your own over the tools of an MCP server.

    ## Task

    One of `tasks`, drawn by the seed. The tools are those that the server lists.

        env = McpTools(
            McpServer(command=["uvx", "mcp-server-time"]),
            [Task("It is noon in Lima in May. What time is it in Kyiv?", lambda it: "20:00" in it.answer)],
        )

    ## Observation

    After `reset`: the system message and the question. Afterwards: one `tool` message for each call.

    ## Action

    Tool calls, several in one reply if wanted, carried out in order. A reply without a call is the answer.

    ## Rewards

    | term | weight | what it counts |
    |---|---|---|
    | `achieved` | 1 | what the task's check says about the attempt, from 0 to 1 |
    | `calls` | −0.01 | calls that reached the server |
    | `tool_errors` | −0.05 | calls that were wrong in themselves: no such tool, malformed arguments |

    ## Episode end

    The answer terminates. `max_turns` replies truncate.

    ## State

    Every episode has a session of its own. Where the server is a command, that is a new process in a new,
    empty folder, which is its HOME and TMPDIR, too (see `McpServer`): what one episode writes there, no
    other finds. A server that keeps its files elsewhere must be told where to put them, by `{folder}` in its
    command or environment. Where the server is a URL, a session is a new connection, and the server must keep
    sessions apart. Whether they are apart is tried: the first calls of every tool are played again in a new
    session, and a warning is logged if they are answered otherwise. Instances of the environment share
    nothing, even if they are given the same `McpServer`.

    `snapshot` and `restore` work by playing the calls again in a new session, and what the server answers
    must be what it answered before, else the episode is a fault. With `stateless=True` all episodes share a
    session, and nothing is played again.

    A server that cannot be reached, ends, hangs beyond its `timeout_s`, or changes its tools is a fault
    (`EnvironmentFault`).

    ## Arguments

    - `server`: how to reach the server. The environment opens and closes sessions of its own.
    - `tasks`: the tasks.
    - `system`: the system message.
    - `max_turns`: replies.
    - `stateless`: whether what the server answers depends on a call's arguments alone.

    Raises:
        ArgumentError: there is no task.
        ToolFault: the server cannot be reached.
    """

    rubric = Rubric({"achieved": 1.0, "calls": -0.01, "tool_errors": -0.05}, form=("tool_errors",))
    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = {"null": Silent}

    def __init__(
        self,
        server: McpServer,
        tasks: Sequence[Task],
        *,
        system: str = SYSTEM,
        max_turns: int = 20,
        stateless: bool = False,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        if not tasks:
            raise ArgumentError("McpTools: tasks is empty: give at least one Task(question, check)")
        self.max_turns = max_turns
        self._tasks, self._system, self._stateless = tuple(tasks), system, stateless
        # Sessions of its own: `server` may be given to several instances, as it is to copies of this one.
        self._server = server.apart(own_folder=not stateless).open()
        self._played: tuple[Call, ...] | None = ()
        """The calls that the open session has seen; None if the session can no longer be used."""
        self.use_tools(map(_offered, self._server.tools))
        self._offered = [(tool.name, tool.parameters) for tool in self._server.tools]
        self._last: tuple[Call, ...] = ()
        """The calls that the last session has seen."""
        self._untried = {tool.name for tool in self._server.tools}
        """Tools of which it is not known whether one session sees what another has done by them."""

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        number = int(rng.integers(len(self._tasks)))
        task = self._tasks[number]
        return Start([system(self._system), user(task.question)], task.key, Progress(number))

    def answer(self, state: Progress, action: Any) -> Outcome:
        try:
            self._go_to(state.calls)
            return super().answer(state, action)
        except ToolFault as fault:
            raise EnvironmentFault(str(fault)) from fault

    def respond(self, state: Progress, text: str) -> Outcome:
        attempt = Attempt(text, state.calls, self._server)
        if not self._stateless:
            self._played = None  # a check may call tools
        try:
            achieved = float(self._tasks[state.task].check(attempt))
        except ToolError:
            achieved = 0.0
        return Outcome(state, [], {"achieved": achieved}, True, achieved >= 1.0)

    def close(self) -> None:
        self._server.close()

    def _go_to(self, calls: tuple[Call, ...]) -> None:
        """Bring the session to where these calls left it.

        Raises:
            ToolFault: that failed.
        """
        if self._played is not None and (self._stateless or self._played == calls):
            return
        self._played = None
        if not self._stateless:
            self._try_sessions()
        self._connect()
        for call in () if self._stateless else calls:
            if self._ask(call.name, call.arguments) != call:
                raise ToolFault(
                    f"MCP server {self._server.name}: {call.name} answered otherwise when it was called "
                    "again to restore an episode: such a server's episodes cannot be branched"
                )
        self._played = self._last = calls

    def _connect(self) -> None:
        """Open a new session.

        Raises:
            ToolFault: that failed, or the tools are others than at first.
        """
        self._server.open()
        if [(tool.name, tool.parameters) for tool in self._server.tools] != self._offered:
            raise ToolFault(f"MCP server {self._server.name}: a new session lists other tools than the first")

    def _try_sessions(self) -> None:
        """Play the last session's calls again in a new one, if a tool is among them that was not tried
        before, and warn if the server answers otherwise."""
        called = {call.name for call in self._last}
        if not called & self._untried:
            return
        self._untried -= called
        self._connect()
        for call in self._last:
            if self._ask(call.name, call.arguments) != call:
                self._untried.clear()
                _LOG.warning(
                    "MCP server %s: %s answered otherwise when an episode's calls were played again in a new "
                    "session. Either the server keeps what one session did for the next, and episodes are "
                    "not apart: tell it by {folder} in its command or env where to write; or its answers "
                    "follow from more than the calls (a clock, random ids)",
                    self._server.name,
                    call.name,
                )
                return

    def _ask(self, name: str, arguments: str) -> Call:
        try:
            return Call(name, arguments, self._server.call(name, json.loads(arguments)))
        except ToolError as error:
            return Call(name, arguments, f"Error: {error}")

    def _call_server(self, state: Progress, name: str, arguments: Mapping[str, Any]) -> Answer:
        self._played = None  # until the outcome is known
        called = self._ask(name, json.dumps(arguments, sort_keys=True))
        self._played = self._last = (*state.calls, called)
        return Answer(replace(state, calls=self._played), called.result, {"calls": 1.0})


def _offered(tool: Tool) -> Tool:
    """A tool of a server as a tool of the environment. (It may have arguments called `env` and `state`.)"""

    def call(env: McpTools, state: Progress, /, **arguments: Any) -> Answer:
        return env._call_server(state, tool.name, arguments)

    return replace(tool, function=call)
