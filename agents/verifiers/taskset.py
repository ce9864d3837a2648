"""`LudusTaskset`: the starts of an environment as verifiers' tasks."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import gymnasium
import verifiers.v1 as vf
from pydantic import Field, model_validator
from verifiers.v1.dialects import parse_message

from ludus.agents.policy import ScriptedPolicy
from ludus.agents.rollout import EnvironmentSpec, EpisodeStart, rollout_async
from ludus.agents.verifiers.harness import EPISODE, LudusHarnessConfig
from ludus.envs.base import ChatEnv
from ludus.envs.conformance.surfaces.surface import make_chat
from ludus.envs.faults import EnvironmentFault
from ludus.tools.errors import UserError


class LudusTasksetConfig(vf.TasksetConfig):
    environment: str = "ludus/Arithmetic-v0"
    """The environment's id; `module:ID` imports the module first."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Its keyword arguments."""
    first_seed: int = Field(0, ge=0)
    """Task n is the start of this seed plus n."""

    @model_validator(mode="after")
    def _can_be_made(self) -> "LudusTasksetConfig":
        try:
            make_chat(self.environment, self.arguments).close()
        except (UserError, gymnasium.error.Error, ImportError) as error:
            raise ValueError(str(error)) from error
        return self


class LudusData(vf.TaskData):
    """One start. `id` is the key of its content, `prompt` how the environment begins."""

    environment: str
    arguments: dict[str, Any]
    seed: int
    weights: dict[str, float]
    """Of the reward's terms."""


class LudusTask(vf.Task[LudusData]):
    """Scores what the harness has recorded, so that stored traces can be scored again."""

    async def setup(self, trace: vf.Trace) -> None:
        """
        Raises:
            UserError: another harness is to play it.
        """
        harness = trace.agent.config.harness
        if harness is not None and not isinstance(harness, LudusHarnessConfig):
            raise UserError(
                f"the harness {harness.id!r} knows nothing of {self.data.environment}: leave out "
                "--env.agent.harness.id, and the taskset's own plays it"
            )

    async def validate(self, runtime: vf.Runtime) -> bool | None:
        """Whether the environment's oracle solves it; None, if there is no oracle.

        Raises:
            EnvironmentFault: the environment broke.
        """
        spec = EnvironmentSpec(self.data.environment, self.data.arguments)
        env = spec.make()
        has_oracle = "oracle" in getattr(env.unwrapped, "scripted", {})
        env.close()
        if not has_oracle:
            return None
        (episode,) = await rollout_async(ScriptedPolicy("oracle"), spec, [EpisodeStart(self.data.seed)])
        if episode.is_fault:
            raise EnvironmentFault(episode.fault)
        return episode.success

    @vf.reward
    async def terms(self, trace: vf.Trace) -> dict[str, float]:
        """Each of the rubric's terms, weighted; they add up to the return."""
        totals, weights = _totals(trace), self.data.weights
        return {name: weight * totals[name] if totals.get(name) else 0.0 for name, weight in weights.items()}

    @vf.metric
    async def outcome(self, trace: vf.Trace) -> dict[str, float]:
        """`success`, and each term unweighted."""
        success = bool(trace.info.get(EPISODE, {}).get("success"))
        return {
            "success": float(success),
            **{f"terms/{name}": value for name, value in _totals(trace).items()},
        }


class LudusTaskset(vf.Taskset[LudusTask, LudusTasksetConfig]):
    """The starts of an environment, one for each seed, without end."""

    INFINITE = True

    def load(self) -> Iterator[LudusTask]:
        environment, arguments = self.config.environment, self.config.arguments
        env = make_chat(environment, arguments)
        chat = env.unwrapped
        assert isinstance(chat, ChatEnv)
        try:
            for seed in count(self.config.first_seed):
                messages, info = env.reset(seed=seed)
                data = LudusData(
                    environment=environment,
                    arguments=arguments,
                    seed=seed,
                    weights=dict(chat.rubric.weights),
                    id=str(info["task"]),
                    prompt=[parse_message(dict(message)) for message in messages],
                )
                yield LudusTask(data, self.config.task)
        finally:
            env.close()


def _totals(trace: vf.Trace) -> dict[str, float]:
    """The sum of each term over the turns."""
    totals: dict[str, float] = {}
    for turn in trace.info.get(EPISODE, {}).get("turns", ()):
        for name, value in turn["terms"].items():
            totals[name] = totals.get(name, 0.0) + value
    return totals
