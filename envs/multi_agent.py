"""PettingZoo's base classes, or an error that says how to get them; and what our environments have in common
that use them."""

from abc import abstractmethod
from typing import Any, TypeVar

import gymnasium
import numpy as np
from gymnasium.spaces import Dict, Discrete

from ludus.envs.arguments import as_choice

try:
    from pettingzoo import AECEnv as AECEnv
    from pettingzoo import ParallelEnv as ParallelEnv
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "this form of games needs pettingzoo, which is not installed: pip install 'ludus[games]'",
        name="pettingzoo",
    ) from error

ObservationT = TypeVar("ObservationT")
Infos = dict[str, dict[str, Any]]
ParallelStep = tuple[dict[str, ObservationT], dict[str, float], dict[str, bool], dict[str, bool], Infos]
"""What `step` returns by agent: observation, reward, terminated, truncated, info."""


class Shown:
    """Spaces by agent, rendering, and what is refused when no game is open."""

    metadata: dict[str, Any]
    render_mode: str | None
    agents: list[str]
    observation_spaces: dict[str, Dict]
    action_spaces: dict[str, Discrete]

    def observation_space(self, agent: str) -> Dict:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Discrete:
        return self.action_spaces[agent]

    @abstractmethod
    def _picture(self) -> np.ndarray:
        """uint8 (height, width, 3)."""

    @abstractmethod
    def _text(self) -> str:
        """The same in signs."""

    def render(self) -> Any:
        """`rgb_array`: uint8 (height, width, 3). `ansi`: text. `human`: None, it is printed."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs a mode: make the environment with a render_mode")
            return None
        if self.render_mode == "rgb_array":
            return self._picture()
        if self.render_mode == "ansi":
            return self._text()
        print(self._text())
        return None

    def close(self) -> None:
        """There is nothing to close."""

    def _set_render_mode(self, render_mode: str | None) -> None:
        if render_mode is not None:
            as_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode

    def _refuse_before_reset(self) -> None:
        if not self.agents:
            raise gymnasium.error.ResetNeeded(
                "no game is open (it ended or never began): call reset() before step()"
            )
