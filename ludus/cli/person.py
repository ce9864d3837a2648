"""A person at the keyboard as a player."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium

from ludus.cli.environments import is_chat, name_of
from ludus.cli.errors import UsageError
from ludus.cli.keyboard import key_presses, read_key


class Quit(Exception):
    """The person has had enough."""


@contextmanager
def person(env: gymnasium.Env) -> Iterator[Callable[[Any, dict[str, Any]], Any]]:
    """What asks the person for each action: a line of text in a chat, a key on a grid.

    Raises:
        UsageError: the environment is neither a chat nor does it name its actions.
    """
    if is_chat(env):
        yield _type_reply
        return
    names = getattr(env.unwrapped, "action_names", None)
    if names is None:
        raise UsageError(
            f"{name_of(env)} names no actions for keys to stand for (`action_names`), "
            "so a person cannot play it; give --agent NAME"
        )
    with key_presses():
        yield lambda observation, info: _press_key(tuple(names))


def _type_reply(observation: Any, info: dict[str, Any]) -> str:
    """Raises Quit at the end of the input (Ctrl-D)."""
    try:
        return input("your reply> ")
    except EOFError:
        print()
        raise Quit from None


def _press_key(names: tuple[str, ...]) -> int:
    """Reads on until a key stands for an action; raises Quit on q or at the end of the input."""
    while (key := read_key()) not in names:
        if key == "quit":
            raise Quit
    return names.index(key)
