"""`check`: every check of the contract, one after another."""

import functools
import importlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import gymnasium

from ludus.envs.conformance import agents, anchors, determinism, fuzz, interface, rendering
from ludus.envs.conformance.episodes import Subject
from ludus.envs.conformance.report import Check, Report, Violation, is_not_about_the_environment

CHECKS: Mapping[str, Callable[[Subject], str]] = {
    "gymnasium": interface.gymnasium_interface,
    "documentation": interface.documentation,
    "spaces": interface.spaces,
    "info": interface.info,
    "rewards": interface.rewards,
    "limits": interface.limits,
    "malformed replies": interface.malformed,
    "hostile replies": fuzz.fuzz,
    "seeds": determinism.seeds,
    "instances": determinism.instances,
    "threads": determinism.threads,
    "processes": determinism.processes,
    "snapshots": determinism.snapshots,
    "anchors": anchors.anchors,
    "vectors": interface.vectors,
    "rendering": rendering.rendering,
    "scripted agents": agents.scripted_agents,
}
"""The checks by name, in order. Each returns what it measured or raises `Violation`."""


def check(
    environment: str | Callable[..., gymnasium.Env[Any, Any]],
    /,
    *,
    episodes: int = 100,
    only: Collection[str] = tuple(CHECKS),
    **arguments: Any,
) -> Report:
    """Check that an environment keeps the contract.

    Args:
        environment: an id (`"ludus/Arithmetic-v0"`, `"my_package.envs:mine/Guess-v0"`), or a class or
            function that makes an environment and that can be pickled, as other processes make it too.
        episodes: how many episodes each scripted agent plays.
        only: names of the checks to make; by default all of `CHECKS`.
        arguments: keyword arguments of the environment.

    Returns:
        A `Report`. Whatever a check raises makes that check fail, with three exceptions.

    Raises:
        EnvironmentFault: when the environment's own side breaks; nothing can be said about it then.
        UserError: when this machine lacks what the environment needs, such as a sandbox or a package.
        gymnasium.error.Error: when the environment cannot be made at all.
    """
    unknown = [name for name in only if name not in CHECKS]
    if unknown:
        raise ValueError(f"there is no check {unknown[0]!r}; the checks are {', '.join(CHECKS)}")
    if isinstance(environment, str):
        name, make = environment, functools.partial(_make, _spec(environment), **arguments)
    else:
        name, make = (
            getattr(environment, "__name__", repr(environment)),
            functools.partial(environment, **arguments),
        )
    make().close()
    subject = Subject(name, make, episodes)
    return Report(name, tuple(_run(check_name, subject) for check_name in CHECKS if check_name in only))


def _spec(id: str) -> Any:
    """The registered specification, which a process can use that has not imported the environment's
    module."""
    module, _, name = id.rpartition(":")
    if module:
        importlib.import_module(module)
    return gymnasium.spec(name)


def _make(spec: Any, **arguments: Any) -> gymnasium.Env[Any, Any]:
    return gymnasium.make(spec, disable_env_checker=True, **arguments)


def _run(name: str, subject: Subject) -> Check:
    try:
        return Check(name, True, CHECKS[name](subject))
    except Violation as violation:
        return Check(name, False, str(violation))
    except Exception as error:
        if is_not_about_the_environment(error):
            raise
        return Check(name, False, f"raised {type(error).__name__}: {error}")
