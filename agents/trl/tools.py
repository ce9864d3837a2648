"""`environment_factory`: an environment's tools as the methods that GRPOTrainer calls."""

import inspect
import keyword
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any, ClassVar, Literal

from ludus.agents.trl.installed import require_trl
from ludus.agents.trl.starts import refuse_other_start, seed_of
from ludus.envs.base import ChatEnv
from ludus.envs.chat import content_text, reply_text, reply_tool_calls
from ludus.envs.conformance.surfaces.surface import make_chat
from ludus.envs.faults import EnvironmentFault
from ludus.tools.errors import UserError
from ludus.tools.tool import Tool

_TYPES: Mapping[str, Any] = {
    "string": str, "integer": int, "number": float, "boolean": bool, "object": dict, "null": None,
}  # fmt: skip
_THEIRS = ("reset", "get_reward")
"""Methods that TRL calls itself."""


def environment_factory(id: str, /, **arguments: Any) -> "type[ToolEpisode]":
    """What GRPOTrainer takes as `environment_factory`, for one environment.

    Args:
        id: the environment's id.
        arguments: its keyword arguments.

    Raises:
        UserError: TRL is not installed, or of another version; the environment is not a chat, has no tools,
            or one whose name is no method's.
    """
    require_trl()
    env = make_chat(id, arguments)
    chat = env.unwrapped
    assert isinstance(chat, ChatEnv)
    tools = chat.tools
    env.close()
    if not tools:
        raise UserError(
            f"{id} has no tools, and environment_factory carries nothing else: use "
            "ludus.agents.trl.rollout_func"
        )
    for tool in tools:
        if not _is_method(tool.name):
            raise UserError(
                f"{id} has a tool {tool.name!r}, which TRL takes for no tool: use "
                "ludus.agents.trl.rollout_func, or rename it"
            )
    methods = {tool.name: _method(tool) for tool in tools}
    return type("ToolEpisode", (ToolEpisode,), {**methods, "_id": id, "_arguments": arguments})


class ToolEpisode:
    """An environment as TRL makes and resets it, one episode after the other. Every public method but
    `reset` is a tool to TRL; the subclasses that `environment_factory` makes have those."""

    _id: ClassVar[str]
    _arguments: ClassVar[Mapping[str, Any]]
    _broke: Exception | None

    def __init__(self) -> None:
        self._env = make_chat(self._id, self._arguments)
        self._begin()

    def reset(self, prompt: Any, **_: Any) -> None:
        """Begin the episode of a row, whose prompt the model is shown as it stands.

        Raises:
            UserError: the prompt does not say which start it is, or is that of another.
        """
        self._begin()
        try:
            messages, _ = self._env.reset(seed=seed_of(prompt))
        except EnvironmentFault as fault:
            self._broke = fault
        else:
            refuse_other_start(self._id, prompt, messages)

    def _begin(self) -> None:
        self._earned, self._calls = 0.0, 0
        self._over = self._succeeded = False
        self._broke = None

    def _call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """A call as a turn of its own; its answer, and all else that the environment says to it."""
        function = {"name": name, "arguments": dict(arguments)}
        call = {"id": f"call_{self._calls}", "type": "function", "function": function}
        self._calls += 1
        return self._step({"role": "assistant", "content": "", "tool_calls": [call]})

    def _step(self, reply: Any) -> str:
        # TRL tells the model whatever is raised here, and goes on.
        if self._broke is not None or self._over:
            raise ValueError("the episode is over")
        try:
            messages, reward, terminated, truncated, info = self._env.step(reply)
        except Exception as error:
            self._broke = error
            raise
        self._earned += float(reward)
        self._over = terminated or truncated
        self._succeeded = bool(info.get("success", False))
        return "\n\n".join(map(content_text, messages))


def finished(played: ToolEpisode, completion: Any) -> tuple[float | None, bool]:
    """Says the last reply, which calls nothing and which TRL keeps to itself, where the episode still goes
    on.

    Args:
        completion: the episode's messages, as TRL gives them to reward functions.

    Returns:
        What was earned, None where the environment broke; and whether the episode succeeded.

    Raises:
        Exception: a bug in the environment, of which TRL has told the model alone.
    """
    last = completion[-1] if isinstance(completion, Sequence) and completion else {}
    speaks = isinstance(last, Mapping) and last.get("role") == "assistant" and not reply_tool_calls(last)
    if speaks and not played._over and played._broke is None:
        try:
            played._step(reply_text(last))
        except EnvironmentFault:
            return None, False
    if isinstance(played._broke, EnvironmentFault):
        return None, False
    if played._broke is not None:
        raise played._broke
    return played._earned, played._succeeded


def _is_method(name: str) -> bool:
    return name.isidentifier() and not (keyword.iskeyword(name) or name.startswith("_") or name in _THEIRS)


def _method(tool: Tool) -> Callable[..., str]:
    """A function whose signature and docstring `transformers` reads as the tool's schema."""

    def method(self: ToolEpisode, **arguments: Any) -> str:
        return self._call(tool.name, arguments)

    properties, required = tool.parameters.get("properties", {}), tool.parameters.get("required", ())
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    # A signature has what can be left out last.
    for name in sorted(properties, key=lambda name: name not in required):
        default = inspect.Parameter.empty if name in required else properties[name].get("default")
        hint = _hint(properties[name], tool.parameters)
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=default, annotation=hint))
    method.__name__ = method.__qualname__ = tool.name
    method.__signature__ = inspect.Signature(parameters, return_annotation=str)  # type: ignore[attr-defined]
    method.__annotations__ = {one.name: one.annotation for one in parameters[1:]} | {"return": str}
    described = "".join(
        f"\n    {name}: {_line(schema.get('description') or name)}" for name, schema in properties.items()
    )
    method.__doc__ = _line(tool.description) + (f"\n\nArgs:{described}" if described else "")
    return method


def _line(text: str) -> str:
    return " ".join(text.split())


def _hint(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """The type hint that says of a JSON schema what hints can say."""
    if reference := schema.get("$ref"):
        return _hint(root["$defs"][reference.rpartition("/")[2]], root)
    if "const" in schema:
        return Literal[schema["const"]]
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    if several := schema.get("anyOf") or schema.get("oneOf"):
        return reduce(or_, [_hint(one, root) for one in several])
    kind = schema.get("type")
    if isinstance(kind, list):
        return reduce(or_, [_hint({**schema, "type": one}, root) for one in kind])
    if kind == "array":
        return list[_hint(schema["items"], root)] if "items" in schema else list  # type: ignore[misc]
    return _TYPES.get(str(kind), Any)
