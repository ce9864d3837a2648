"""`ludus/OpenEnv-v0`: the environment that a server of OpenEnv serves, ours or another's."""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ludus.envs.arguments import as_integer, as_number, as_seed, as_url
from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import Chat, Reply, user
from ludus.envs.errors import ArgumentError
from ludus.envs.foreign.openenv.connection import Connection, Refused, Server, ServerFault
from ludus.envs.foreign.openenv.forms import Called, Fields, Relayed, Text, form_of, shown
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent, Silent
from ludus.envs.tool_env import Answer, ToolEnv
from ludus.tools.content import content_key
from ludus.tools.tool import Tool

MAX_TURNS = 100
"""Replies, where a server tells no limit of its own."""
ACT = "act"
"""The tool by which an action of several fields is taken."""
LIST_TOOLS = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


@dataclass(frozen=True, slots=True)
class Played:
    """The state of an episode: what was asked of the server, which can be asked again, and what it answered
    last."""

    reset: Mapping[str, Any]
    steps: tuple[Mapping[str, Any], ...]
    answer: Mapping[str, Any]


class OpenEnv(ToolEnv):
    """Play the environment that a server of OpenEnv 0.10 serves.

    ## Task
    Whatever the server's environment asks. An episode begins by the server's `reset` with the episode's seed,
    and is the same for the same seed as far as the server keeps seeds; OpenEnv leaves out the seed without a
    word where an environment's `reset` takes none. `reset()` without a seed sends one that is drawn.

    A server by `ludus serve openenv` is another place for the same environment: messages, tools, rewards,
    terms, flags and keys are what `gymnasium.make` of its id gives.

    ## Observation
    `Chat`. Of Ludus's server, its messages. Of another, one user message with the observation: its text, if
    it is nothing else, or JSON; after calls, a `tool` message for each.

    ## Actions
    `Reply`. Ludus's server is sent all of it. What another takes is seen from its schema:

    | its action | a reply |
    |---|---|
    | one text (or others that need not be given) | a text |
    | `tool_name` and `arguments` | calls of the server's own tools, which `tools` lists |
    | anything else | calls of the one tool `act`, whose arguments are the action's fields |

    ## Rewards
    Ludus's server tells its terms and their weights. Of another:

    | term | value | weight |
    |---|---|---|
    | `reward` | what the server gives for the steps of a reply; 0 where it gives none before the end | 1 |
    | `malformed` | 1 for a reply without what the action needs, or whose action the server refuses | −0.1 |
    | `tool_errors` | calls that are wrong in themselves | −0.1 |

    ## End of episode
    As Ludus's server says. Another's `done` terminates, and `info["success"]` is whether the reward of that
    step is at least 1. `max_turns` replies truncate.

    ## Faults
    A server that cannot be reached, is gone, has no session left, is too late, speaks another protocol, says
    that it broke, or ends an episode without a reward raises `EnvironmentFault`: none of this is ever a
    reward of 0. The next `reset` opens a new session. So does a `step`, after a fault and wherever the
    session does not stand where the episode does (`restore`, a copy, a fork): what was played is played
    again, and must be answered as it was before.

    ## Arguments
    - `url`: the server's address, such as `"http://127.0.0.1:8000"`.
    - `headers` (None): sent along, such as `{"Authorization": "Bearer …"}`.
    - `timeout_s` (60): seconds that the server has for an answer.
    - `max_turns` (None): replies; None is the limit of the environment behind Ludus's server, and 100 for
      another.
    - `render_mode` (None): of the conversation, `ansi` (text) or `rgb_array` (a picture).

    ## Version history
    - v0: first version.
    """

    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = {"null": Silent}
    rubric = Rubric(
        {"reward": 1.0, "malformed": -0.1, "tool_errors": -0.1}, form=("malformed", "tool_errors")
    )

    def __init__(
        self,
        url: str = "",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
        max_turns: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        limit = None if max_turns is None else as_integer("max_turns", max_turns, 1, 10_000)
        self.server = Server(
            as_url("url", url).rstrip("/"),
            _as_headers(headers),
            as_number("timeout_s", timeout_s, 0.01, 86400),
        )
        self._connection: Connection | None = None
        self._at: Played | None = None
        """Where the connection's session stands; None where that is not known."""
        self._seed_given: int | None = None
        schema = self.server.schema()
        self.form = form_of(schema)
        match self.form:
            case Relayed():
                own = self._adopt(self._ask("reset", {"seed": 0})["observation"])
                limit = own if limit is None else min(limit, own)
            case Called():
                self.use_tools(map(_their_tool, self._their_tools()))
            case Fields(description, parameters):
                self.use_tools([Tool.from_schema(ACT, description, parameters, OpenEnv._act)])
        self.max_turns = MAX_TURNS if limit is None else limit

    @property
    def _relays(self) -> bool:
        return isinstance(self.form, Relayed)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Chat, dict[str, Any]]:
        # The server is to get the very seed.
        self._seed_given = None if seed is None else as_seed(seed)
        return super().reset(seed=seed, options=options)

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        seed = int(rng.integers(2**31)) if self._seed_given is None else self._seed_given
        asked = {"seed": seed, "options": deepcopy(dict(options))} if options else {"seed": seed}
        if self._connection is not None and not self._connection.usable:
            self._leave()
        answer = self._ask("reset", asked)
        self._at = Played(asked, (), answer)
        if answer.get("done"):
            raise self._broken("ends an episode with its reset")
        seen = answer["observation"]
        if self._relays:
            return Start(self._messages_of(seen), f"task {seen['task']}, seed {seed}", self._at)
        said = shown(seen)
        return Start([user(said)], f"seed {seed}: {said[:60]!r} [{content_key(said):x}]", self._at)

    def answer(self, state: Played, action: Reply) -> Outcome:
        if self._relays:
            return self._relayed(state, action)
        return super().answer(state, action) if self.tools else ChatEnv.answer(self, state, action)

    def respond(self, state: Played, text: str) -> Outcome:
        if not isinstance(self.form, Text):
            names = ", ".join(tool.name for tool in self.tools)
            return Outcome(state, [user(f"Act by calling a tool: {names}.")], {"malformed": 1.0})
        if not text.strip():
            return Outcome(state, [user("There is no text in the reply: write one.")], {"malformed": 1.0})
        done = self._stepped(state, {self.form.field: text})
        return Outcome(
            done.state, [user(done.content)], done.terms, done.terminated, done.success, done.failure
        )

    def anchor(self, state: Played) -> int:
        if self._relays:  # told by the server
            return int(state.answer["observation"]["anchor"] or 0)
        return content_key((state.reset, state.steps))

    def close(self) -> None:
        self._leave()

    def _info_keys(self) -> dict[str, Any]:
        if not self._relays:
            return super()._info_keys()
        seen = self._state.answer["observation"]
        return {name: int(seen[name]) for name in ("task", "anchor") if seen[name] is not None}

    def _adopt(self, seen: Mapping[str, Any]) -> int:
        """Take over what Ludus's server tells of its environment, and return its limit."""
        try:
            self.rubric = Rubric(seen["weights"], tuple(seen["form"]))
            # An instance's own, as its rubric is.
            self.option_names = frozenset(seen["options"])  # type: ignore[misc]
            self.use_tools(_relayed_tool(tool["function"]) for tool in seen["tools"])
            return int(seen["max_turns"])
        except KeyError as missing:
            raise self._broken(f"is of another version of Ludus: its reset does not tell {missing}") from None

    def _relayed(self, state: Played, action: Reply) -> Outcome:
        after = self._step(state, {"reply": action if _is_json(action) else None})
        seen = after.answer["observation"]
        return Outcome(
            after, self._messages_of(seen), seen["reward_terms"], seen["terminated"], bool(seen["success"])
        )

    def _messages_of(self, seen: Mapping[str, Any]) -> Chat:
        messages: Chat = seen["messages"]
        return [message.copy() for message in messages]

    def _act(self, state: Played, /, **fields: Any) -> Answer:
        return self._stepped(state, fields)

    def _call_theirs(self, state: Played, name: str, arguments: Mapping[str, Any]) -> Answer:
        return self._stepped(state, {"type": "call_tool", "tool_name": name, "arguments": arguments})

    def _stepped(self, state: Played, action: Mapping[str, Any]) -> Answer:
        """What an action leads to, of another's server."""
        try:
            after = self._step(state, action)
        except Refused as refused:
            return Answer(state, f"Error: the action was refused: {refused}", {"malformed": 1.0})
        reward, done = after.answer.get("reward"), bool(after.answer.get("done"))
        if reward is None and done:
            raise self._broken("ended an episode and gave no reward: nothing can be said about it")
        reward = float(reward or 0.0)
        success = done and reward >= 1.0
        failure = f"a reward of {reward:g}" if done and not success else ""
        return Answer(after, shown(after.answer["observation"]), {"reward": reward}, done, success, failure)

    def _step(self, state: Played, action: Mapping[str, Any]) -> Played:
        """
        Raises:
            Refused: the server does not take the action; the episode stands where it stood.
        """
        self._go_to(state)
        action = json.loads(json.dumps(action))  # the caller may change what it gave
        try:
            answer = self._ask("step", action)
        except Refused:
            self._at = state
            raise
        self._at = Played(state.reset, (*state.steps, action), answer)
        return self._at

    def _go_to(self, state: Played) -> None:
        """Bring the session to where an episode stands."""
        if self._at is state and self._connection is not None and self._connection.usable:
            return
        self._leave()
        answer: Mapping[str, Any] | None = self._ask("reset", state.reset)
        try:
            for action in state.steps:
                answer = self._ask("step", action)
        except Refused:
            answer = None
        if answer != state.answer:
            raise self._broken(
                "answered otherwise when an episode was played again: such an environment's episodes cannot "
                "be branched, nor taken up after their connection was lost"
            )
        self._at = state

    def _ask(self, request: str, data: Mapping[str, Any]) -> dict[str, Any]:
        self._at = None  # until the outcome is known
        try:
            if self._connection is None:
                self._connection = self.server.connect()
            return self._connection.ask(request, data)
        except ServerFault:
            self._leave()
            raise

    def _their_tools(self) -> list[Mapping[str, Any]]:
        listed = self._ask("mcp", LIST_TOOLS)
        result = listed.get("result")
        if not isinstance(result, Mapping) or not isinstance(tools := result.get("tools"), list):
            raise self._broken(f"does not list its tools: {json.dumps(listed)[:300]}")
        return tools

    def _broken(self, what: str) -> ServerFault:
        self._leave()
        return self.server.fault(what)

    def _leave(self) -> None:
        connection, self._connection, self._at = self._connection, None, None
        if connection is not None:
            connection.close()


def _relayed_tool(function: Mapping[str, Any]) -> Tool:
    """A tool of Ludus's server, which carries out its calls itself."""
    return Tool.from_schema(function["name"], function["description"], function["parameters"], OpenEnv.answer)


def _their_tool(listed: Mapping[str, Any]) -> Tool:
    """A tool that another's server lists. (It may have arguments called `env` and `state`.)"""
    name = str(listed["name"])

    def call(env: OpenEnv, state: Played, /, **arguments: Any) -> Answer:
        return env._call_theirs(state, name, arguments)

    parameters = listed.get("inputSchema") or listed.get("input_schema") or {}
    return Tool.from_schema(name, str(listed.get("description") or ""), parameters, call)


def _as_headers(given: Any) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(text, str) for text in (*given, *given.values())):
        raise ArgumentError("headers: give texts by name, as in headers={'Authorization': 'Bearer …'}")
    return dict(given)


def _is_json(reply: Any) -> bool:
    """Whether JSON carries it; if not, it is no reply, which the server's environment is told by null."""
    try:
        json.dumps(reply)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
