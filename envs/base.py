"""`ChatEnv`: a language environment written as two pure functions, `start` and `respond`."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np

from ludus.envs.chat import Chat, Reply, reply_text
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent


@dataclass(frozen=True, slots=True)
class Start:
    """What a seed determines: the first messages, a stable content key of the task, the first state."""

    messages: Chat
    task: str
    state: Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reply led to. `terms` are unweighted; a term that is absent is 0."""

    state: Any
    messages: Chat
    terms: dict[str, float]
    terminated: bool = False
    success: bool = False


class ChatEnv(gymnasium.Env[Chat, Reply]):
    """Base class of the language environments.

    A subclass gives `rubric`, `max_turns`, `scripted` and two pure functions: `start(rng, options)` and
    `respond(state, text)`. States are immutable, so a snapshot costs nothing and everything about an episode
    follows from (arguments, seed, options, replies).
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"]}  # noqa: RUF012 (gymnasium declares it so)
    tools: tuple[Any, ...] = ()
    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]]
    rubric: Rubric
    max_turns: int

    @abstractmethod
    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start: ...

    @abstractmethod
    def respond(self, state: Any, text: str) -> Outcome: ...

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._turn = 0
        self._open = False
        self._state: Any = None
        self._task = ""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Chat, dict[str, Any]]:
        super().reset(seed=seed)
        begun = self.start(self.np_random, options or {})
        self._state, self._task, self._turn, self._open = begun.state, begun.task, 0, True
        return begun.messages, {"task": begun.task}

    def step(self, action: Reply) -> tuple[Chat, float, bool, bool, dict[str, Any]]:
        if not self._open:
            raise gymnasium.error.ResetNeeded("the episode has ended or never began: call reset() before step()")
        outcome = self.respond(self._state, reply_text(action))
        self._state = outcome.state
        self._turn += 1
        truncated = not outcome.terminated and self._turn >= self.max_turns
        ended = outcome.terminated or truncated
        info: dict[str, Any] = {"task": self._task, "reward_terms": outcome.terms}
        if ended:
            self._open = False
            info["success"] = outcome.success
        return outcome.messages, self.rubric(outcome.terms), outcome.terminated, truncated, info

    def snapshot(self) -> Any:
        """The whole episode as an opaque value; cheap, because states are immutable."""
        return (self._state, self._task, self._turn, self._open)

    def restore(self, snapshot: Any) -> None:
        """Go back to where `snapshot` was taken, in this instance or in another one with the same arguments."""
        self._state, self._task, self._turn, self._open = snapshot
