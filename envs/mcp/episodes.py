"""`Episodes`: an environment played one tool call at a time, one episode after the other."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import gymnasium

from ludus.envs.base import ChatEnv
from ludus.envs.chat import Chat, assistant
from ludus.envs.faults import EnvironmentFault

Ending = Literal["terminated", "truncated", "fault", "given up"]


class NoEpisode(Exception):
    """The episode is over; the message says how it ended, and what to do."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one call or one text led to."""

    messages: Chat
    reward: float
    terms: dict[str, float]
    terminated: bool
    truncated: bool
    success: bool | None
    """None while the episode goes on."""


class Watcher:
    """What is told of a player's episodes; every method may be overridden."""

    def begun(self, env: gymnasium.Env[Any, Any], seed: int, task: Chat, info: dict[str, Any]) -> None:
        """An episode has begun."""

    def stepped(
        self, reply: Any, messages: Chat, reward: float, info: dict[str, Any], seconds: float
    ) -> None:
        """The agent did something, which took the environment these seconds; `info` is empty if it broke."""

    def ended(self, how: Ending, success: bool, fault: str) -> None:
        """The episode is over. `given up`: the agent went on to another one, or left."""


@dataclass
class Episodes:
    """The episodes of one player: the first has `seed`, each one after it the next seed."""

    make: Callable[[], gymnasium.Env[Any, Any]]
    seed: int
    watcher: Watcher = field(default_factory=Watcher)
    env: ChatEnv = field(init=False)
    task: Chat = field(init=False)
    """The messages that the episode began with."""

    def __post_init__(self) -> None:
        self._made = self.make()
        env = self._made.unwrapped
        assert isinstance(env, ChatEnv), f"{env} is no chat environment"
        self.env = env
        self._begin()

    def call(self, name: str, arguments: Any) -> Step:
        """Step with a single tool call.

        Raises:
            NoEpisode: it is over.
            EnvironmentFault: something on the environment's side broke; so is the episode.
        """
        function = {"name": name, "arguments": arguments}
        call = {"id": f"call_{self._steps}", "type": "function", "function": function}
        return self._step({"role": "assistant", "content": "", "tool_calls": [call]})

    def say(self, text: str) -> Step:
        """Step with a text. Raises what `call` raises."""
        return self._step(assistant(text))

    def next(self) -> Chat:
        """Begin the next episode, whether this one is over or not; its first messages."""
        if not self._over:
            self.watcher.ended("given up", False, "")
        self.seed += 1
        self._begin()
        return self.task

    def record(self) -> dict[str, Any]:
        """Where the episode stands, as plain data."""
        return {
            "environment": self.env.spec.id if self.env.spec else type(self.env).__name__,
            "seed": self.seed,
            "task": self._key,
            "messages": self.task,
            "steps": self._steps,
            "return": self._return,
            "over": bool(self._over),
            "success": self._success,
        }

    def summary(self) -> str:
        """How the episode ended; empty while it goes on."""
        return self._over

    def close(self) -> None:
        if self._steps and not self._over:
            self.watcher.ended("given up", False, "")
        self._made.close()

    def _begin(self) -> None:
        self.task, info = self._made.reset(seed=self.seed)
        self._key = str(info["task"])
        self._steps, self._return = 0, 0.0
        self._success: bool | None = None
        self._over = ""
        self.watcher.begun(self._made, self.seed, self.task, info)

    def _step(self, reply: Any) -> Step:
        if self._over:
            raise NoEpisode(self._over)
        began = time.perf_counter()
        try:
            messages, reward, terminated, truncated, info = self._made.step(reply)
        except EnvironmentFault as fault:
            self._over = f"The episode broke, by no fault of yours: {fault}."
            self.watcher.stepped(reply, [], 0.0, {}, time.perf_counter() - began)
            self.watcher.ended("fault", False, str(fault))
            raise
        self.watcher.stepped(reply, messages, float(reward), info, time.perf_counter() - began)
        self._steps += 1
        self._return += float(reward)
        if terminated or truncated:
            self._success = info["success"]
            cause = "" if terminated else f" (cut off after {self._steps} steps)"
            verdict = "success" if self._success else "no success"
            self._over = f"The episode is over{cause}: {verdict}, return {self._return:g}."
            self.watcher.ended("terminated" if terminated else "truncated", bool(self._success), "")
        return Step(messages, float(reward), info["reward_terms"], terminated, truncated, self._success)
