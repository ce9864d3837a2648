"""An environment that breaks at one step: how surfaces tell of faults is seen by it."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from ludus.envs.base import ChatEnv, Outcome, Start
from ludus.envs.chat import Reply
from ludus.envs.faults import EnvironmentFault

BREAKING = "ludus.envs.conformance.surfaces.breaking:ludus-conformance/Breaking-v0"
"""Its id, with the module that registers it."""
FAULT = "the injected fault"


class Breaking(ChatEnv):
    """Another environment, with a fault at a step of every episode.

    Args:
        environment: the other one's id.
        arguments: its keyword arguments.
        at: how many steps it answers before.
    """

    def __init__(
        self,
        environment: str,
        arguments: Mapping[str, Any],
        at: int = 0,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(render_mode)
        inner = gymnasium.make(environment, **arguments).unwrapped
        assert isinstance(inner, ChatEnv), f"{environment} is no chat environment"
        self._inner, self._at = inner, at
        self.rubric, self.max_turns, self.tools = inner.rubric, inner.max_turns, inner.tools
        self.observation_space, self.action_space = inner.observation_space, inner.action_space

    def start(self, rng: np.random.Generator, options: Mapping[str, Any]) -> Start:
        return self._inner.start(rng, options)

    def respond(self, state: Any, text: str) -> Outcome:
        return self._inner.respond(state, text)

    def answer(self, state: Any, action: Reply) -> Outcome:
        if self._turn == self._at:
            raise EnvironmentFault(FAULT)
        return self._inner.answer(state, action)

    def anchor(self, state: Any) -> int:
        return self._inner.anchor(state)

    def close(self) -> None:
        self._inner.close()


gymnasium.register(
    BREAKING.partition(":")[2],
    entry_point=f"{__name__}:{Breaking.__name__}",
    disable_env_checker=True,
    order_enforce=False,
)
