"""Suites: environments that are measured together, and which of them can run on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator

from ludus.agents.bench.player import PlayerChoice
from ludus.agents.choose import SCRIPTED
from ludus.agents.formats.base import ChatFormat
from ludus.agents.policy import tool_schemas
from ludus.agents.rollout import EnvironmentSpec
from ludus.envs.arguments import argument_names
from ludus.envs.base import ChatEnv
from ludus.envs.chat import user
from ludus.envs.faults import EnvironmentFault
from ludus.tools.errors import UserError
from ludus.tools.wording import environment_title, nearest

TASKS = 100
"""Frozen tasks per environment."""

SUITES: dict[str, tuple[EnvironmentSpec, ...]] = {
    "math": (
        EnvironmentSpec("ludus/Arithmetic-v0"),
        EnvironmentSpec("ludus/ArithmeticChallenge-v0"),
        EnvironmentSpec("ludus/MathTool-v0"),
    ),
    "grids": (
        EnvironmentSpec("ludus/PacManChat-v0"),
        EnvironmentSpec("ludus/PacManChat-v0", {"rows": 11, "columns": 11}),
    ),
    "tools": (
        EnvironmentSpec("ludus/Search-v0"),
        EnvironmentSpec("ludus/Calendar-v0"),
        EnvironmentSpec("ludus/Weather-v0"),
        EnvironmentSpec("ludus/Assistant-v0"),
    ),
    "code": (
        EnvironmentSpec("ludus/CodeFunction-v0"),
        EnvironmentSpec("ludus/CodeFunctionRepl-v0"),
        EnvironmentSpec("ludus/CodeRepair-v0"),
        EnvironmentSpec("ludus/DataAnalysis-v0"),
    ),
}


class SuiteError(UserError):
    """There is no such suite or environment, or none of it can run here."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Chosen:
    """The environments of a suite that can run on this machine."""

    specs: tuple[EnvironmentSpec, ...]
    left_out: dict[str, str]
    """Environments that cannot run here, and why."""
    notes: tuple[str, ...] = ()
    """Which tasks these are, where that is not plain."""


def suite(text: str) -> tuple[list[EnvironmentSpec], bool]:
    """The environments that `math`, `all`, or a comma-separated list of suites and ids names, without
    duplicates, and whether all of them were named by id.

    Raises:
        SuiteError: a name is unknown.
    """
    specs: list[EnvironmentSpec] = []
    words = [word for word in (part.strip() for part in text.split(",")) if word]
    for word in words:
        if word == "all":
            specs += [spec for members in SUITES.values() for spec in members]
        elif word in SUITES:
            specs += SUITES[word]
        elif word in gymnasium.registry:
            specs.append(EnvironmentSpec(word))
        else:
            names = [*SUITES, "all", *(id for id in gymnasium.registry if id.startswith("ludus/"))]
            bare = {environment_title(name): name for name in names}
            near = nearest(environment_title(word.casefold()), bare, cutoff=0.5)
            guess = f"did you mean {bare[near]}?" if near else "`ludus envs` lists the environments"
            raise SuiteError(
                f"{word!r} is neither a suite ({', '.join(SUITES)}, all) nor an environment: {guess}"
            )
    if not specs:
        raise SuiteError(f"name a suite ({', '.join(SUITES)}, all) or environments, separated by commas")
    different = [spec for i, spec in enumerate(specs) if spec not in specs[:i]]
    return different, not {*words} & {"all", *SUITES}


def choose(
    text: str, arguments: Mapping[str, Any] | None = None, trained: Sequence[EnvironmentSpec] = ()
) -> Chosen:
    """The environments of a suite that can run here; each is made and reset once.

    Args:
        arguments: keyword arguments for the environments that take them.
        trained: what the player was trained on: an environment that is named by its id has the arguments of
            the first of these with that id.

    Raises:
        SuiteError: there is no such suite; an environment named by its id cannot run; none can; or none takes
            one of the arguments.
    """
    specs, by_id = suite(text)
    notes: list[str] = []
    named = {word.strip() for word in text.split(",")}
    for i, spec in enumerate(specs):
        known = next((known for known in trained if spec == EnvironmentSpec(known.id)), spec)
        if known.arguments != spec.arguments:
            shown = ", ".join(f"{name}={value!r}" for name, value in known.arguments.items())
            if spec.id in named:
                specs[i] = known
                notes.append(f"{spec.id} has the arguments of the model's training: {shown}")
            else:
                notes.append(
                    f"{spec.id} has the suite's own tasks; the model was trained on others ({shown}); "
                    f"to measure those, name {spec.id} itself"
                )
    specs = _with_arguments(specs, arguments or {})
    able: list[EnvironmentSpec] = []
    left_out: dict[str, str] = {}
    for spec in specs:
        reason = obstacle(spec)
        if reason is None:
            able.append(spec)
        elif by_id:
            raise SuiteError(f"{spec.id} cannot run here: {reason}")
        else:
            left_out[spec.id] = reason
    if not able:
        reasons = "; ".join(f"{id}: {reason}" for id, reason in left_out.items())
        raise SuiteError(f"no environment of {text!r} can run here: {reasons}")
    return Chosen(tuple(able), left_out, tuple(notes))


def _with_arguments(specs: Sequence[EnvironmentSpec], arguments: Mapping[str, Any]) -> list[EnvironmentSpec]:
    """The environments with the arguments that each takes; a single one with all of them, so that it refuses
    those that it does not take.

    Raises:
        SuiteError: none takes one of the arguments.
    """
    if len(specs) == 1:
        return [EnvironmentSpec(spec.id, {**spec.arguments, **arguments}) for spec in specs]
    taken = [
        {name: value for name, value in arguments.items() if (known := _takes(spec)) is None or name in known}
        for spec in specs
    ]
    for name in arguments:
        if not any(name in some for some in taken):
            raise SuiteError(f"--arg {name}: no environment of the suite takes it")
    return [
        EnvironmentSpec(spec.id, {**spec.arguments, **some}) for spec, some in zip(specs, taken, strict=True)
    ]


def _takes(spec: EnvironmentSpec) -> list[str] | None:
    """The arguments that an environment takes; None if any."""
    creator: Any = gymnasium.spec(spec.id).entry_point
    if isinstance(creator, str):
        creator = load_env_creator(creator)
    return argument_names(creator) if isinstance(creator, type) else None


def obstacle(spec: EnvironmentSpec) -> str | None:
    """Why an environment cannot run on this machine, in one line; None if it can."""
    try:
        env = spec.make()
        try:
            env.reset(seed=0)
        finally:
            env.close()
    except ModuleNotFoundError as missing:
        return f"{missing.name} is not installed"
    except (UserError, EnvironmentFault, gymnasium.error.UnregisteredEnv) as problem:
        return " ".join(str(problem).split())
    return None


def require_playable(specs: Sequence[EnvironmentSpec], player: PlayerChoice) -> None:
    """
    Raises:
        SuiteError: an environment has no scripted agent of that name, or takes numbered actions, which a
            language model does not give.
        UserError: there is no such model, or an environment has tools that it cannot be given, or would call
            in no format that is known.
    """
    chat_format: ChatFormat | None = None
    for spec in specs:
        env = spec.make()
        tools = tool_schemas(env)
        env.close()
        if player.is_scripted:
            name = player.model.removeprefix(SCRIPTED)
            agents = list(getattr(env.unwrapped, "scripted", {}))
            if name not in agents:
                raise SuiteError(
                    f"{spec.id} has no scripted agent {name!r}: it has {', '.join(agents) or 'none'}"
                )
        elif not isinstance(env.unwrapped, ChatEnv):
            raise SuiteError(
                f"{spec.id} takes numbered actions, and a language model gives replies: use a chat form, "
                "such as ludus/PacManChat-v0"
            )
        elif tools and not player.is_served and not player.written_calls:
            if chat_format is None:
                from ludus.agents.models import load_format  # which needs transformers

                chat_format = load_format(player.model)
            chat_format.first_prompt([user("?")], tools)
