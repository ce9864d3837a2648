"""A person at the keyboard as a player."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium

from ludus.agents.formats.calls.pythonic import PYTHONIC
from ludus.agents.formats.calls.reply import message
from ludus.agents.policy import tool_schemas
from ludus.cli.environments import is_chat, name_of
from ludus.cli.errors import UsageError
from ludus.cli.keyboard import key_presses, read_key
from ludus.envs.chat import Reply


class Quit(Exception):
    """The person wants to stop."""


@contextmanager
def person(env: gymnasium.Env) -> Iterator[Callable[[Any, dict[str, Any]], Any]]:
    """A function that asks the person for each action: a line of text in a chat, a key on a grid. A line of
    the form `tool(argument=value)` calls one of the environment's tools.

    Raises:
        UsageError: the environment is not a chat and does not name its actions.
    """
    if is_chat(env):
        tools = tool_schemas(env)
        yield lambda observation, info: _type_reply(tools)
        return
    names = getattr(env.unwrapped, "action_names", None)
    if names is None:
        raise UsageError(
            f"{name_of(env)} names no actions for keys to stand for (`action_names`), "
            "so a person cannot play it; give --agent NAME"
        )
    with key_presses():
        yield lambda observation, info: _press_key(tuple(names))


def _type_reply(tools: Sequence[Any]) -> Reply:
    """
    Raises:
        Quit: the input has ended (Ctrl-D).
    """
    try:
        return read_reply(input("your reply> "), tools)
    except EOFError:
        print()
        raise Quit from None


def read_reply(text: str, tools: Sequence[Any]) -> Reply:
    """The reply that a person typed: calls of `tools` as in Python, `a(x=1), b()`, or else the text."""
    names = "|".join(re.escape(tool["function"]["name"]) for tool in tools)
    if not names or not re.match(rf"\s*(?:{names})\s*\(", text):
        return text
    return message(PYTHONIC.parse(f"[{text.strip()}]", tools))


def _press_key(names: tuple[str, ...]) -> int:
    """Reads until a key stands for an action; raises Quit on q or at the end of the input."""
    while (key := read_key()) not in names:
        if key == "quit":
            raise Quit
    return names.index(key)
