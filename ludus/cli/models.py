"""`--agent NAME` or `--model URL|PATH|RUN`: the player, as a policy."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium

from ludus.agents.choose import SCRIPTED, URLS, choose_policy
from ludus.agents.engines.options import SERVED_MAX_TOKENS, ServerListener
from ludus.agents.policy import Policy, ScriptedPolicy
from ludus.agents.rollout import EnvironmentSpec
from ludus.cli.environments import name_of, require_chat
from ludus.cli.errors import UsageError
from ludus.cli.runs import CONFIG, RUNS, resume_command
from ludus.cli.server import ServerFlags
from ludus.tools.wording import nearest

if TYPE_CHECKING:
    from ludus.agents.engines.config import EngineSection

DEFAULT_MAX_TOKENS = 256
"""The most tokens in one reply of a model that does not come from a run."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The model that `--model` names."""

    path: str
    """A server's URL, a folder in transformers' form, a name on the hub, or `scripted:NAME`."""
    max_tokens: int = DEFAULT_MAX_TOKENS
    """The most tokens in one reply, as in the run's training."""
    trained: tuple[EnvironmentSpec, ...] = ()
    """The environments that the run trained on; empty if the model does not come from a run."""
    engine: "EngineSection | None" = None
    """The run's `[engine]`."""


def scripted_policy(env: gymnasium.Env, name: str, seed: int) -> Policy:
    """One of the environment's scripted agents.

    Raises:
        UsageError: it has no agent of that name.
    """
    names = list(getattr(env.unwrapped, "scripted", {}))
    if name not in names:
        raise UsageError(
            f"{name_of(env)} has no scripted agent {name!r}: it has {', '.join(names) or 'none'}"
        )
    return ScriptedPolicy(name, seed)


def choose_model(text: str) -> ModelChoice:
    """A server's URL; a run's final model (its primed one if there is no final one yet); else `text` as a
    folder or a hub name.

    Raises:
        UsageError: it is a run without a model, nearly the name of a run, or a URL without its scheme.
    """
    if text.startswith((*URLS, SCRIPTED)):
        return ModelChoice(text, SERVED_MAX_TOKENS)
    if re.match(r"(localhost|\[[0-9a-fA-F:]+\]|[\w.-]+):\d+(/|#|$)", text) and not Path(text).exists():
        raise UsageError(f"--model {text} looks like a server without its scheme: write http://{text}")
    from ludus.trainers.mixture import trained_on
    from ludus.trainers.run.directory import run_config

    for run in (Path(text), RUNS / text):
        if not (run / CONFIG).is_file():
            continue
        for stage in ("final", "primed"):
            if (run / "models" / stage).is_dir():
                config = run_config(run)
                path = str(run / "models" / stage)
                return ModelChoice(path, config.rollout.max_tokens, trained_on(config), config.engine)
        raise UsageError(
            f"the run {run} has no model yet, as priming has not ended; continue with {resume_command(run)}"
        )
    runs = sorted(path.parent.name for path in RUNS.glob(f"*/{CONFIG}"))
    near = nearest(text.removeprefix("runs/"), runs)
    if near and not Path(text).exists():
        raise UsageError(f"there is no run or folder {text}: did you mean the run {near}?")
    return ModelChoice(text)


def arguments_for(name: str, given: dict[str, Any], choice: ModelChoice | None) -> dict[str, Any]:
    """The environment's arguments: those given, and for the rest those of the model's run on it, the first
    if it trained on several forms of it."""
    trained = choice.trained if choice is not None else ()
    return {**next((spec.arguments for spec in trained if spec.id == name), {}), **given}


def model_policy(
    env: gymnasium.Env,
    choice: ModelChoice,
    seed: int,
    temperature: float = 0.0,
    flags: ServerFlags | None = None,
    agent: str = "direct",
    listener: ServerListener | None = None,
) -> Policy:
    """A model, used as an agent: `direct`, `react`, `best-of-8`, …

    Raises:
        UsageError: the environment is not a chat, has no such scripted agent, or an option does not fit.
        AgentError: there is no such agent, or it cannot use that model.
        ModelLoadError: there is no usable model at that path.
        UserError: the server cannot be used.
    """
    if choice.path.startswith(SCRIPTED):
        scripted_policy(env, choice.path.removeprefix(SCRIPTED), seed)
    else:
        require_chat(env)
    flags = flags or ServerFlags()
    if not choice.path.startswith(URLS):
        flags.refuse_for(choice.path)
    return choose_policy(
        choice.path,
        temperature=temperature,
        max_tokens=flags.max_tokens or choice.max_tokens,
        seed=seed,
        concurrency=flags.concurrency,
        agent=agent,
        system=flags.system,
        engine=choice.engine,
        server=flags.options(),
        written_calls=flags.written_calls,
        listener=listener,
    )
