"""The vector form of `ludus/Market-v0`: many markets in one process, played by compiled code."""

from typing import Any

import gymnasium
import numpy as np

from ludus.envs.compiled_vector import CompiledVector, Made, Told
from ludus.envs.games.picture import text_picture
from ludus.envs.market import rules
from ludus.envs.market.environment import Market
from ludus.envs.market.exchange import Exchange, Exchanges
from ludus.envs.market.observation import observation_space
from ludus.envs.market.text import scene


class MarketVector(CompiledVector, single=Market):
    """Many markets of `ludus/Market-v0` at once: `gymnasium.make_vec("ludus/Market-v0", num_envs=…)`.

    The markets, arguments and observations are those of `Market`; market `i` of `reset(seed=s)` is exactly
    the single environment of `reset(seed=s + i)`, and what `gymnasium.vector.SyncVectorEnv` would return is
    what is returned here, infos included. Returned arrays are the caller's: fresh ones on every call.

    ## Arguments
    Those of `Market`, and

    - `num_envs`: how many markets.
    - `autoreset_mode`: Gymnasium's `AutoresetMode` or its value (default `NextStep`). `NextStep`: the step
      after an episode's end ignores the action and returns the next start. `SameStep`: the step that ends
      an episode returns the next start, and `info` has `final_obs` and `final_info`. `Disabled`: reset
      ended markets by `reset(options={"reset_mask": mask})`.
    - `max_episode_steps`: Gymnasium's name for `max_steps`, by which it passes a spec's limit on.
    - `threads`: how many threads play (default: one for every 256 markets, at most one per processor). It
      changes no result.

    ## Infos
    Arrays over markets: `task`, `anchor`, `reward_terms` (a dictionary of arrays), `success`; with
    Gymnasium's masks `_task` and so on that say which markets have the entry.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012

    def _make(self, num_envs: int, limit: int | None, arguments: dict[str, Any]) -> Made:
        if limit is not None:
            arguments = {"max_steps": limit, **arguments}
        self.exchange = Exchange(**arguments)
        self.rubric = self.exchange.rubric
        self._exchanges = Exchanges(self.exchange, num_envs)
        return Made(self._exchanges, observation_space(), len(rules.ACTIONS), self.exchange.max_steps)

    def _outputs(self) -> tuple[np.ndarray, Told]:
        return self._exchanges.observations(), {}

    def _look(self, due: np.ndarray, seen: np.ndarray, told: Told, low: int, high: int) -> None:
        self._exchanges.look(due, seen, low, high)

    def _anchors(self) -> np.ndarray:
        return self._exchanges.anchors

    def _successes(self) -> np.ndarray:
        return self._exchanges.successes

    def render(self) -> tuple[Any, ...] | None:
        """The book of each market, as the agent sees it, in words or as a picture of these."""
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render() needs a mode: make the markets with render_mode 'ansi' or 'rgb_array'"
            )
            return None
        words = map(scene, self._exchanges.views)
        if self.render_mode == "ansi":
            return tuple(words)
        return tuple(text_picture(each, width=640) for each in words)
