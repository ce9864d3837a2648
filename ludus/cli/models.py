"""`--agent NAME` or `--model PATH|RUN`: who plays, as a policy."""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium

from ludus.agents.policy import Policy, ScriptedPolicy
from ludus.cli.environments import name_of, require_chat
from ludus.cli.errors import UsageError
from ludus.cli.runs import CONFIG, RUNS, resume_command

DEFAULT_MAX_TOKENS = 256
"""Most tokens in one reply of a model that comes from no run."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """What `--model` names."""

    path: str
    """A folder in transformers' form, or a name on the hub."""
    max_tokens: int = DEFAULT_MAX_TOKENS
    """Most tokens in one reply: what the run trained with."""
    environment: str = ""
    """What the run trained on; empty where the model comes from no run."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """The environment's keyword arguments in that run."""


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
    """A run's final model (its primed one while it has no other); else `text` as a folder or a hub name.

    Raises:
        UsageError: it is a run without a model, or nearly the name of a run.
    """
    from ludus.trainers.config import load_config

    for run in (Path(text), RUNS / text):
        if not (run / CONFIG).is_file():
            continue
        for stage in ("final", "primed"):
            if (run / "models" / stage).is_dir():
                config = load_config(run / CONFIG)
                environment, limit = config.environment, config.rollout.max_tokens
                path = str(run / "models" / stage)
                return ModelChoice(path, limit, environment.id, environment.arguments)
        raise UsageError(
            f"the run {run} has no model yet, because priming has not ended; go on with {resume_command(run)}"
        )
    runs = sorted(path.parent.name for path in RUNS.glob(f"*/{CONFIG}"))
    near = difflib.get_close_matches(text.removeprefix("runs/"), runs, n=1)
    if near and not Path(text).exists():
        raise UsageError(f"there is no run or folder {text}: did you mean the run {near[0]}?")
    return ModelChoice(text)


def arguments_for(name: str, given: dict[str, Any], choice: ModelChoice | None) -> dict[str, Any]:
    """The environment's arguments: those given, and for the rest those of the model's run on it."""
    return {**choice.arguments, **given} if choice is not None and choice.environment == name else given


def model_policy(
    env: gymnasium.Env,
    choice: ModelChoice,
    seed: int,
    temperature: float = 0.0,
    max_tokens: int | None = None,
) -> Policy:
    """A trained model behind the in-process engine.

    Raises:
        UsageError: the environment is not played in words.
        ModelLoadError: there is no usable model at that path.
    """
    require_chat(env)

    from ludus.agents.engines.base import Sampling
    from ludus.agents.engines.embedded import EmbeddedEngine
    from ludus.agents.models import load_model
    from ludus.agents.policy import EnginePolicy

    loaded = load_model(choice.path)
    sampling = Sampling(max_tokens=max_tokens or choice.max_tokens, temperature=temperature)
    return EnginePolicy(EmbeddedEngine(loaded.model), loaded.format, sampling, seed)
