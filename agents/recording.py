"""`Recorder`: records an episode while it is played."""

import json
from dataclasses import dataclass, field
from typing import Any, cast

import gymnasium
import numpy as np

from ludus.agents.episode import Episode, StopReason, Turn
from ludus.agents.formats.calls.reply import mended, whole_characters
from ludus.agents.policy import Action
from ludus.envs.base import Verdict
from ludus.envs.chat import Message, assistant


@dataclass
class Recorder:
    """Turns actions and their results into an `Episode`."""

    environment: str
    arguments: dict[str, Any]
    seed: int
    group: int
    sample: int
    task: str = ""
    task_name: str = ""
    form_terms: tuple[str, ...] = ()
    task_kind: str = ""
    actor: str = ""
    """Who acts; empty if the environment has one player."""
    expected: str = ""
    failure: str = ""
    observation: Any = None
    """The messages that the next action answers."""
    anchor: str = ""
    """The key of the state in which the next action is taken."""
    turns: list[Turn] = field(default_factory=list)
    weights_versions: list[int] = field(default_factory=list)
    steps: int = 0
    """All answers of the environment, including that of `reset`."""

    def begin(self, env: gymnasium.Env[Any, Any], info: dict[str, Any]) -> None:
        """Record the result of `reset` and the environment's description of itself."""
        made = env.unwrapped
        self.task = str(info.get("task", ""))
        self.anchor = str(info.get("anchor", ""))
        self.task_name = whole_characters(getattr(made, "task_name", ""))
        self.task_kind = getattr(made, "task_kind", "")
        self.form_terms = tuple(getattr(getattr(made, "rubric", None), "form", ()))

    def step(self, env: gymnasium.Env[Any, Any], reply: Any) -> Any:
        """`env.step`, and `judge` where that ends an episode without success: one visit to the environment's
        thread."""
        outcome = env.step(reply)
        _, _, terminated, truncated, info = outcome
        if (terminated or truncated) and not info.get("success", False):
            self.judge(env)
        return outcome

    def judge(self, env: gymnasium.Env[Any, Any]) -> None:
        """Record what the environment says of an episode without success: what was right, why it failed."""
        verdict = getattr(env.unwrapped, "verdict", None)
        if isinstance(verdict, Verdict):
            self.expected = whole_characters(verdict.expected)
            self.failure = whole_characters(verdict.failure)

    def add(
        self,
        action: Action,
        read: int,
        reward: float,
        info: dict[str, Any],
        generate_seconds: float,
        step_seconds: float,
    ) -> None:
        """
        Args:
            read: how many tokens preceded the action's own, by the ids that the policy gave.
        """
        self.weights_versions.append(action.weights_version)
        self.turns.append(
            Turn(
                observation=_messages(self.observation),
                reply=_message(action.reply),
                reward=reward,
                reward_terms={name: float(value) for name, value in info.get("reward_terms", {}).items()},
                prompt_ids=action.prompt_ids,
                completion_ids=action.completion_ids,
                logprobs=action.logprobs,
                kept=action.kept,
                finish=action.finish,
                fork=action.fork,
                generate_seconds=generate_seconds,
                step_seconds=step_seconds,
                prompt_tokens=read if action.prompt_tokens is None else action.prompt_tokens,
                completion_tokens=(
                    len(action.completion_ids)
                    if action.completion_tokens is None
                    else action.completion_tokens
                ),
                reasoning_tokens=action.reasoning_tokens,
                cached_tokens=action.cached_tokens,
                cost=action.cost,
                actor=self.actor,
                vendor=action.vendor,
                anchor=self.anchor,
            )
        )
        self.anchor = str(info.get("anchor", ""))

    def end(self, stop: StopReason, success: bool = False, fault: str = "") -> Episode:
        return Episode(
            environment=self.environment,
            arguments=dict(self.arguments),
            seed=self.seed,
            task=self.task,
            turns=tuple(self.turns),
            stop=stop,
            success=success,
            group=self.group,
            sample=self.sample,
            weights_version=min(self.weights_versions, default=0),
            fault=whole_characters(fault),
            final_observation=_messages(self.observation),
            task_name=self.task_name,
            form_terms=self.form_terms,
            expected=self.expected,
            failure=self.failure,
            task_kind=self.task_kind,
        )


def _messages(observation: Any) -> list[Message]:
    """The messages of a language environment, as text that any file can hold; a native environment's arrays
    are not recorded."""
    return mended(observation) if isinstance(observation, list) else []


def _message(reply: Any) -> Message:
    """A reply as a message; a native action as its JSON."""
    if isinstance(reply, str):
        return assistant(whole_characters(reply))
    if isinstance(reply, dict):
        return cast(Message, mended(reply))
    return assistant(json.dumps(np.asarray(reply).tolist()))
