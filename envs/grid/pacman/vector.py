"""The vector form of `ludus/PacMan-v0`: many games in one process, played by compiled code."""

from typing import Any

import gymnasium
import numpy as np

from ludus.envs.compiled_vector import CompiledVector, Made, Told
from ludus.envs.grid.pacman import rules
from ludus.envs.grid.pacman.environment import PacMan
from ludus.envs.grid.pacman.game import RUBRIC, Game, Games
from ludus.envs.grid.pacman.observation import as_planes, observation_space
from ludus.envs.grid.pacman.render import ansi_frame, rgb_frame
from ludus.envs.rubric import Rubric


class PacManVector(CompiledVector, single=PacMan):
    """Many games of `ludus/PacMan-v0` at once: `gymnasium.make_vec("ludus/PacMan-v0", num_envs=…)`.

    The games, arguments and observations are those of `PacMan`; game `i` of `reset(seed=s)` is exactly the
    single environment of `reset(seed=s + i)`, and what `gymnasium.vector.SyncVectorEnv` would return is
    what is returned here, infos included. Returned arrays are the caller's: fresh ones on every call.

    ## Arguments
    Those of `PacMan` (`render_mode`: `rgb_array` or `ansi`), and

    - `num_envs`: how many games.
    - `autoreset_mode`: Gymnasium's `AutoresetMode` or its value (default `NextStep`). `NextStep`: the step
      after an episode's end ignores the action and returns the next start. `SameStep`: the step that ends
      an episode returns the next start, and `info` has `final_obs` and `final_info`. `Disabled`: reset
      ended games by `reset(options={"reset_mask": mask})`.
    - `max_episode_steps`: Gymnasium's name for `max_steps`, by which it passes a spec's limit on.
    - `threads`: how many threads play (default: one for every 256 games, at most one per processor). It
      changes no result.

    ## Infos
    Arrays over games: `task`, `anchor`, `action_mask` (N, 4), `frightened`, `reward_terms` (a dictionary of
    arrays), `success`; with Gymnasium's masks `_task` and so on that say which games have the entry.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 8}  # noqa: RUF012
    rubric: Rubric = RUBRIC

    def _make(self, num_envs: int, limit: int | None, arguments: dict[str, Any]) -> Made:
        observation = arguments.pop("observation", "cells")
        self.game = Game(**{"max_steps": limit, **arguments})
        self._games = Games(self.game, num_envs)
        self._planes = observation == "planes"
        return Made(self._games, observation_space(self.game, observation), 4, self.game.max_steps)

    def _outputs(self) -> tuple[np.ndarray, Told]:
        shape = (self.num_envs, *self.game.view_shape)
        return np.empty(shape, np.uint8), {"action_mask": np.empty((self.num_envs, 4), np.int8)}

    def _look(self, due: np.ndarray, seen: np.ndarray, told: Told, low: int, high: int) -> None:
        self._games.look(due, seen, told["action_mask"], low, high)

    def _shown(self, seen: np.ndarray) -> np.ndarray:
        return as_planes(seen) if self._planes else seen

    def _known(self) -> Told:
        return {"frightened": self._games.states[:, rules.FRIGHT]}

    def _anchors(self) -> np.ndarray:
        return self._games.states[:, rules.ANCHOR]

    def _successes(self) -> np.ndarray:
        return self._games.terms[rules.TERMS.index("cleared")] > 0

    def action_masks(self) -> np.ndarray:
        """Which directions have no wall, bool (N, 4); `MaskablePPO` of sb3-contrib looks for this method."""
        seen, told = self._outputs()
        self._look(self._everybody, seen, told, 0, self.num_envs)
        return told["action_mask"].astype(np.bool_)

    def render(self) -> tuple[Any, ...] | None:
        """A frame of each game, as `PacMan.render` makes it."""
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render() needs a mode: make the games with render_mode 'rgb_array' or 'ansi'"
            )
            return None
        draw = rgb_frame if self.render_mode == "rgb_array" else ansi_frame
        return tuple(draw(self.game, *row) for row in zip(self._games.grids, self._games.states, strict=True))
