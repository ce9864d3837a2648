"""`ToolEnv`: a language environment in which the agent also calls tools."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ludus.envs import spaces
from ludus.envs.base import ChatEnv, Outcome
from ludus.envs.chat import Chat, Content, Reply, reply_text, reply_tool_calls, tool_result
from ludus.envs.faults import EnvironmentFault
from ludus.tools.errors import ToolError, ToolFault
from ludus.tools.tool import Tool
from ludus.tools.wording import nearest

MAX_CALLS = 16
"""Calls of one reply that are carried out; the others are answered with an error."""


MOST_SHOWN = 16_384
"""Characters of one call's answer for which the observation space has room."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool call led to. `content` is what the model reads; terms add up over a reply's calls."""

    state: Any
    content: Content
    terms: dict[str, float] = field(default_factory=dict)
    terminated: bool = False
    success: bool = False
    failure: str = ""
    """As in `Outcome`."""


class ToolEnv(ChatEnv):
    """Base class of environments with tools.

    A tool is a method decorated with `@tool` whose first two parameters are `self` and `state`; it returns
    an `Answer` or raises `ToolError`, whose text the model reads. A reply's calls are carried out in order,
    each on the state that the one before left, and answered by `tool` messages with their ids; after one that
    ends the episode the rest are not carried out. A call that is wrong in itself (no such tool, malformed
    arguments) is that call's error and counts in the term `tool_errors` where the rubric has one.

    A reply without calls goes to `respond(state, text)`.

    An instance offers its class's tools, unless its constructor calls `use_tools`.
    """

    _by_name: Mapping[str, Tool] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        found = {
            name: value for base in reversed(cls.__mro__) for name, value in vars(base).items()
            if isinstance(value, Tool)
        }  # fmt: skip
        cls._by_name = found
        cls.tools = tuple(found.values())

    def use_tools(self, tools: Iterable[Tool]) -> None:
        """Offer these tools in place of the class's: some of them, under other names, or from elsewhere.

        For constructors: what an instance offers stays the same from then on. Each tool's function is called
        as a method's would be: with the instance, the state, and the arguments by name.

        Raises:
            ValueError: two have the same name.
        """
        offered = tuple(tools)
        by_name = {tool.name: tool for tool in offered}
        if len(by_name) < len(offered):
            names = [tool.name for tool in offered]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"two tools are called {twice!r}: a call could not tell them apart; rename one")
        self.tools, self._by_name = offered, by_name

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.observation_space = spaces.Chat(max_length=MAX_CALLS * MOST_SHOWN)

    @abstractmethod
    def respond(self, state: Any, text: str) -> Outcome: ...

    def answer(self, state: Any, action: Reply) -> Outcome:
        calls = reply_tool_calls(action)
        if not calls:
            return self.respond(state, reply_text(action))
        messages: Chat = []
        terms: dict[str, float] = {}
        ended: Answer | None = None
        for position, call in enumerate(calls):
            if ended is not None:
                done = Answer(state, "Not carried out: the episode has ended.")
            elif position >= MAX_CALLS:
                done = self._error(state, f"only {MAX_CALLS} calls are carried out in one reply")
            else:
                done = self._call(state, call)
            state = done.state
            for name, value in done.terms.items():
                terms[name] = terms.get(name, 0.0) + value
            if done.terminated:
                ended = done
            messages.append(tool_result(call, done.content))
        if ended is None:
            return Outcome(state, messages, terms)
        return Outcome(state, messages, terms, True, ended.success, ended.failure)

    def _call(self, state: Any, call: Mapping[str, Any]) -> Answer:
        function = call.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(name, str):
            return self._error(state, 'a call has the form {"function": {"name": …, "arguments": {…}}}')
        if name not in self._by_name:
            near = nearest(name, self._by_name)
            guess = f" Did you mean {near!r}?" if near else ""
            return self._error(
                state, f"there is no tool {name[:100]!r}.{guess} There are: {', '.join(self._by_name)}"
            )
        tool = self._by_name[name]
        try:
            arguments = tool.read(function.get("arguments", {}))
        except ToolError as error:
            return self._error(state, str(error))
        try:
            return tool.function(self, state, **arguments)
        except ToolError as error:
            return Answer(state, f"Error: {error}")
        except ToolFault as fault:
            raise EnvironmentFault(f"the tool {name} broke: {fault}") from fault

    def _error(self, state: Any, text: str) -> Answer:
        counted = {"tool_errors": 1.0} if "tool_errors" in self.rubric.weights else {}
        return Answer(state, f"Error: {text}", counted)
