"""`--agent NAME` or `--model PATH|RUN`: who plays, as a policy."""

import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path

import gymnasium

from ludus.agents.policy import Policy, ScriptedPolicy
from ludus.cli.environments import is_chat
from ludus.cli.errors import UsageError
from ludus.cli.runs import CONFIG, RUNS, resume_command

DEFAULT_MAX_TOKENS = 256
"""Most tokens in one reply of a model that comes from no run."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """What `--model` names."""

    path: str
    """A folder in transformers' form, or a name on the hub."""
    max_tokens: int
    """Most tokens in one reply: what the run trained with."""


def scripted_policy(env: gymnasium.Env, name: str, seed: int) -> Policy:
    """One of the environment's scripted agents.

    Raises:
        UsageError: it has no agent of that name.
    """
    names = list(getattr(env.unwrapped, "scripted", {}))
    if name not in names:
        raise UsageError(f"{_id(env)} has no scripted agent {name!r}: it has {', '.join(names) or 'none'}")
    return ScriptedPolicy(name, seed)


def choose_model(text: str) -> ModelChoice:
    """A run's final model (its primed one while it has no other); else `text` as a folder or a hub name.

    Raises:
        UsageError: it is a run without a model, or nearly the name of a run.
    """
    for run in (Path(text), RUNS / text):
        if not (run / CONFIG).is_file():
            continue
        settings = tomllib.loads((run / CONFIG).read_text(encoding="utf-8"))
        max_tokens = settings.get("rollout", {}).get("max_tokens", DEFAULT_MAX_TOKENS)
        for stage in ("final", "primed"):
            if (run / "models" / stage).is_dir():
                return ModelChoice(str(run / "models" / stage), max_tokens)
        raise UsageError(
            f"the run {run} has no model yet, because priming has not ended; "
            f"go on with {resume_command(run)}"
        )
    runs = sorted(path.parent.name for path in RUNS.glob("*/models"))
    near = difflib.get_close_matches(text.removeprefix("runs/"), runs, n=1)
    if near and not Path(text).exists():
        raise UsageError(f"there is no run or folder {text}: did you mean the run {near[0]}?")
    return ModelChoice(text, DEFAULT_MAX_TOKENS)


def model_policy(
    env: gymnasium.Env, text: str, seed: int, temperature: float = 0.0, max_tokens: int | None = None
) -> Policy:
    """A trained model behind the in-process engine.

    Raises:
        UsageError: the environment is not played in words, or there is no such run.
        ModelLoadError: there is no usable model at that path.
    """
    if not is_chat(env):
        raise UsageError(
            f"{_id(env)} takes numbered actions, and a language model gives replies: use the chat form, "
            "such as ludus/PacManChat-v0, or --agent NAME"
        )
    choice = choose_model(text)

    from ludus.agents.engines.base import Sampling
    from ludus.agents.engines.embedded import EmbeddedEngine
    from ludus.agents.models import load_model
    from ludus.agents.policy import EnginePolicy

    loaded = load_model(choice.path)
    sampling = Sampling(max_tokens=max_tokens or choice.max_tokens, temperature=temperature)
    return EnginePolicy(EmbeddedEngine(loaded.model), loaded.format, sampling, seed)


def _id(env: gymnasium.Env) -> str:
    return env.spec.id if env.spec else type(env.unwrapped).__name__
