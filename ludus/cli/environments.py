"""Environments by name: find one, make one, and suggest a correction if a name or an argument is wrong."""

import importlib
import inspect
import os
import sys
from collections.abc import Mapping
from typing import Any

import gymnasium

from ludus.cli.errors import UsageError
from ludus.envs.arguments import argument_names
from ludus.registration import environment_ids, foreign_ids
from ludus.tools.wording import did_you_mean, environment_title, nearest


def resolve(id: str) -> str:
    """The registered id that `id` names. `module:ID` imports `module`, which registers ID, first.

    Raises:
        UsageError: there is no such environment; the message suggests the nearest names.
    """
    module, colon, name = id.rpartition(":")
    if colon:
        _import_from_here(module)
    if name in gymnasium.registry:
        return name
    raise UsageError(f"there is no environment {name!r}{_suggestion(name)} `ludus envs` lists those of Ludus")


def make(id: str, arguments: Mapping[str, Any], render_mode: str | None = None) -> gymnasium.Env[Any, Any]:
    """`gymnasium.make`, with errors for a person at the command line.

    Raises:
        UsageError: the environment does not exist, has no such argument, or refuses a value.
    """
    name = resolve(id)
    accepted = _accepted(name)
    for key in arguments:
        if accepted is not None and key not in accepted:
            hint = did_you_mean(key, accepted, otherwise=f"it takes {', '.join(accepted) or 'none'}")
            raise UsageError(f"{name} has no argument {key!r}: {hint}")
    shown = argument_names(environment_class(name))
    if render_mode is not None and shown is not None and "render_mode" not in shown:
        raise UsageError(
            f"{name} cannot be shown: its constructor takes no render_mode; add one, and draw in render()"
        )
    rendering: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
    try:
        return gymnasium.make(name, **rendering, **arguments)
    except (TypeError, ValueError) as refusal:
        if not arguments:
            raise
        # Gymnasium appends the environment and its arguments to the message; the cause has the plain message.
        raise UsageError(f"{name} refuses its arguments: {refusal.__cause__ or refusal}") from refusal


def environment_class(name: str) -> type[gymnasium.Env[Any, Any]]:
    """The class behind a registered id."""
    entry = gymnasium.spec(name).entry_point
    assert entry is not None, f"{name} is registered without an entry point"
    creator: Any = gymnasium.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    return creator


def is_chat(env: gymnasium.Env[Any, Any]) -> bool:
    """Whether it is a chat: messages in, a reply out."""
    from ludus.envs.base import ChatEnv

    return isinstance(env.unwrapped, ChatEnv)


def require_chat(env: gymnasium.Env[Any, Any]) -> None:
    """
    Raises:
        UsageError: a language model cannot play it.
    """
    if not is_chat(env):
        raise UsageError(
            f"{name_of(env)} takes numbered actions, and a language model gives replies: use a chat form, "
            "such as ludus/PacManChat-v0"
        )


def require_services(name: str, arguments: Mapping[str, Any]) -> None:
    """
    Raises:
        UsageError: the environment has no services that can be served, or refuses its arguments.
    """
    from ludus.envs.assistant.service_env import ServiceEnv

    env = make(name, arguments)
    services = env.unwrapped.services if isinstance(env.unwrapped, ServiceEnv) else {}
    env.close()
    if not services:
        raise UsageError(
            f"--env {name}: it has no services of its own; `ludus serve mcp {name}` serves any environment"
        )
    if len({service.name for service in services.values()}) < len(services):
        raise UsageError(
            f"--env {name}: an address has room for one service of a kind, and there are "
            f"{', '.join(services)}: give the environment a single world"
        )


def name_of(env: gymnasium.Env[Any, Any]) -> str:
    """The id that it was made by."""
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def task_line(cls: type) -> str:
    """The first paragraph of a class's docstring, on one line."""
    return " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split())


def _import_from_here(module: str) -> None:
    """Import a module that may lie in the working directory, as `python -m` would find it."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if missing.name is None or not f"{module}.".startswith(f"{missing.name}."):
            raise
        raise UsageError(
            f"there is no module {missing.name!r} to import: run from the folder it lies in, or install it"
        ) from missing


def _suggestion(name: str) -> str:
    """`: did you mean X?` over all registered names, with or without namespace and version; `:` if none is
    similar."""
    known = (*environment_ids(), *foreign_ids())
    bare = {environment_title(id).rpartition("-v")[0]: id for id in known}
    wanted = environment_title(name.casefold()).rpartition("-v")[0] or environment_title(name.casefold())
    meant = nearest(wanted, bare)
    meant = bare[meant] if meant else nearest(name, gymnasium.registry, cutoff=0.75)
    return f": did you mean {meant}?" if meant else ":"


def _accepted(name: str) -> list[str] | None:
    """The keyword arguments of an environment's constructor; None when it takes any."""
    names = argument_names(environment_class(name))
    return None if names is None else [argument for argument in names if argument != "render_mode"]
