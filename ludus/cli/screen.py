"""An episode on the terminal: messages and replies as panels, boards as text, rewards term by term."""

import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any

import gymnasium
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text

from ludus.agents.policy import tool_schemas
from ludus.cli.environments import is_chat
from ludus.envs.chat import Chat, Reply, content_text

_STYLES = {"system": "dim", "user": "blue", "assistant": "green", "tool": "yellow"}
_FRAME_SECONDS = 0.12
"""How long a board stays on screen when no key press is awaited."""
_HOME_AND_CLEAR = "\x1b[H\x1b[J"


def screen(console: Console, env: gymnasium.Env, is_person: bool) -> "ChatScreen | BoardScreen":
    """The screen that suits the environment. For a person, boards wait for a key instead of playing on."""
    if not is_chat(env):
        return BoardScreen(console, env, paced=not is_person)
    if is_person and (tools := tool_schemas(env)):
        console.print("Call a tool by typing it as in Python; anything else is your answer in words.")
        for tool in tools:
            console.print(tool_help(tool))
    return ChatScreen(console)


def tool_help(tool: Mapping[str, Any]) -> Text:
    """`name(argument: type, …)` and the tool's description, from its schema in OpenAI's form."""
    function = tool["function"]
    schema = function.get("parameters", {})
    arguments = ", ".join(
        f"{name}: {_type_name(kind)}{'' if name in schema.get('required', ()) else ' = …'}"
        for name, kind in schema.get("properties", {}).items()
    )
    about = function.get("description", "").partition("\n")[0]
    return Text.assemble((f"  {function['name']}({arguments})", "bold yellow"), f"  {about}")


def _type_name(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(json.dumps, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(map(_type_name, schema["anyOf"]))
    return str(schema.get("type", "any"))


class ChatScreen:
    """Shows a language environment's episode message by message."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def observe(self, observation: Chat) -> None:
        for message in observation:
            self._panel(message["role"], message)

    def act(self, reply: Reply) -> None:
        self._panel("assistant", reply)

    def earn(self, reward: float, info: Mapping[str, Any]) -> None:
        self._console.print(rewards(reward, info), highlight=False)

    def _panel(self, role: str, said: Reply) -> None:
        calls = said.get("tool_calls", []) if isinstance(said, dict) else []
        text = said if isinstance(said, str) else content_text(said)
        content = "\n".join([*([text] if text or not calls else []), *map(tool_call, calls)])
        style = _STYLES[role]
        self._console.print(Panel(Text(content), title=role, title_align="left", border_style=style))


def tool_call(call: Any) -> str:
    """`name(argument=…)`; a text of several lines, such as a program, follows below, line by line."""
    function = call.get("function") if isinstance(call, Mapping) else None
    arguments = function.get("arguments") if isinstance(function, Mapping) else None
    if isinstance(arguments, str):
        with contextlib.suppress(ValueError, RecursionError):  # malformed arguments are shown as they are
            arguments = json.loads(arguments)
    if not isinstance(function, Mapping) or not isinstance(arguments, Mapping):
        return json.dumps(call)
    long = {name: value for name, value in arguments.items() if isinstance(value, str) and "\n" in value}
    short = [f"{name}={'…' if name in long else json.dumps(value)}" for name, value in arguments.items()]
    return "\n".join(
        [f"{function.get('name')}({', '.join(short)})", *(value.strip("\n") for value in long.values())]
    )


class BoardScreen:
    """Shows a grid environment's board; in a terminal each one replaces the last."""

    def __init__(self, console: Console, env: gymnasium.Env, paced: bool) -> None:
        self._console = console
        self._env = env
        self._replaces = console.is_terminal and not console.is_dumb_terminal
        self._paced = paced and console.is_terminal
        self._line = ""
        self._total = 0.0

    def observe(self, observation: Any) -> None:
        if self._replaces:
            self._console.file.write(_HOME_AND_CLEAR)
        self._console.print(Text.from_ansi(str(self._env.render())), soft_wrap=True)
        self._console.print(f"{self._line}\nreturn {self._total:.2f}", highlight=False)
        if self._paced:
            time.sleep(_FRAME_SECONDS)

    def act(self, action: Any) -> None:
        self._line = ""

    def earn(self, reward: float, info: Mapping[str, Any]) -> None:
        self._total += reward
        self._line = rewards(reward, info)


def rewards(reward: float, info: Mapping[str, Any]) -> str:
    """`reward +1.00  pellet 1`: the reward and the terms that are not 0, as rich markup."""
    terms = info.get("reward_terms", {})
    named = "  ".join(f"{escape(name)} {value:g}" for name, value in terms.items() if value)
    return f"[bold]reward {reward:+.2f}[/]  [dim]{named}[/]"
