"""The vector form of `ludus/PacMan-v0`: many games in one process, played by compiled code."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import gymnasium
import numba
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Discrete
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from ludus.envs.arguments import (
    as_choice,
    as_integer,
    as_seed,
    refuse_unknown_arguments,
    refuse_unknown_options,
    takes_arguments_of,
)
from ludus.envs.base import with_step_limit
from ludus.envs.errors import ArgumentError
from ludus.envs.grid.pacman import rules
from ludus.envs.grid.pacman.game import RUBRIC, Game, Games
from ludus.envs.grid.pacman.observation import as_planes, observation_space
from ludus.envs.grid.pacman.render import ansi_frame, rgb_frame
from ludus.envs.rubric import Rubric

_ROWS_PER_THREAD = 256
"""With fewer games than this, waking a thread takes longer than what it would do."""


class PacManVector(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
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
    _spec: EnvSpec | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        refuse_unknown_arguments(cls, kwargs)
        return super().__new__(cls)

    @takes_arguments_of(Game)
    def __init__(
        self,
        num_envs: int = 1,
        *,
        observation: str = "cells",
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        threads: int | None = None,
        max_episode_steps: int | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.num_envs = as_integer("num_envs", num_envs, 1, 10**7)
        self.game = Game(**{"max_steps": max_episode_steps, **arguments})
        if render_mode is not None:
            as_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError:
            modes = ", ".join(repr(mode.value) for mode in AutoresetMode)
            raise ArgumentError(f"autoreset_mode={autoreset_mode!r}: give one of {modes}") from None
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = observation_space(self.game, observation)
        self._planes = observation == "planes"
        self.single_action_space = Discrete(4)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        if threads is None:
            threads = max(1, min(numba.config.NUMBA_NUM_THREADS, self.num_envs // _ROWS_PER_THREAD))
        self._threads = as_integer("threads", threads, 1, 1024)
        self._pool: ThreadPoolExecutor | None = None
        self._games = Games(self.game, self.num_envs)
        self._tasks = np.zeros(self.num_envs, np.int64)
        self._begun = np.zeros(self.num_envs, np.bool_)
        self._ended = np.ones(self.num_envs, np.bool_)
        self._everybody = np.ones(self.num_envs, np.bool_)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode in every game, or in those of `options["reset_mask"]`, bool (N,).

        `seed`: a number for the first game, one more for each further one; or a list, one for each game; or
        None, and every game goes on with its own stream of episodes.

        Raises:
            ArgumentError: the list of seeds, the mask or an option is wrong.
        """
        options = dict(options or {})
        chosen = _reset_mask(options.pop("reset_mask", None), self.num_envs)
        refuse_unknown_options(options, ("reset_mask",))
        seeds = self._seeds(seed)
        for row in np.flatnonzero(chosen):
            if seeds[row] is not None or not self._begun[row]:
                self._games.streams[row] = seeding.np_random(seeds[row])[0].integers(2**63)
        self._begun |= chosen
        self._ended &= ~chosen
        seen, masks = self._outputs()
        self._restart(chosen, seen, masks)
        # Games that go on show where they are; those that have never begun show nothing.
        self._games.look(self._begun & ~chosen, seen, masks, 0, self.num_envs)
        seen[~self._begun] = 0
        masks[~self._begun] = 0
        infos = self._infos(chosen, masks)
        # Whoever samples actions with the masks needs those of the games that go on, too.
        infos["_action_mask"] = self._begun.copy()
        return self._shown(seen), infos

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Play one step of every game, and begin new episodes as the autoreset mode says.

        Raises:
            ArgumentError: `actions` are not N numbers from 0 to 3.
            gymnasium.error.ResetNeeded: a game has not begun, or has ended and autoreset is disabled.
        """
        actions = np.ascontiguousarray(actions, np.int64)
        if actions.shape != (self.num_envs,) or actions.min() < 0 or actions.max() > 3:
            raise ArgumentError(f"actions must be {self.num_envs} numbers from 0 to 3, one for each game")
        mode, games = self.autoreset_mode, self._games
        if not self._begun.all() or (mode == AutoresetMode.DISABLED and self._ended.any()):
            rows = np.flatnonzero(self._ended)
            raise gymnasium.error.ResetNeeded(
                f"games {rows[:8].tolist()} have not begun or have ended: call reset() before step(), with "
                "options={'reset_mask': …} for some of them"
            )
        resting = self._ended
        seen, masks = self._outputs()

        def play(low: int, high: int) -> None:
            games.advance(actions, resting, low, high)
            if mode == AutoresetMode.NEXT_STEP:
                games.begin(resting, low, high)
            games.look(self._everybody, seen, masks, low, high)

        self._spread(play)
        ended = games.terminated | games.truncated
        if mode == AutoresetMode.SAME_STEP and ended.any():
            finals = np.full(self.num_envs, None, object)
            for row in np.flatnonzero(ended):
                finals[row] = self._shown(seen[row]).copy()
            final_masks = np.where(ended[:, None], masks, 0).astype(np.int8)
            final_infos = self._infos(ended, final_masks, stepped=ended, ended=ended)
            terms = self._terms(~ended)
            self._restart(ended, seen, masks)
            infos = self._infos(self._everybody, masks)
            infos |= {"final_obs": finals, "_final_obs": ended.copy(), "final_info": final_infos} | terms
            infos["_final_info"] = ended.copy()
        else:
            if mode == AutoresetMode.NEXT_STEP and resting.any():
                self._name_tasks(resting)
            infos = self._infos(self._everybody, masks, stepped=~resting, ended=ended)
        self._ended = np.zeros_like(ended) if mode == AutoresetMode.SAME_STEP else ended
        return self._shown(seen), games.rewards.copy(), games.terminated.copy(), games.truncated.copy(), infos

    def action_masks(self) -> np.ndarray:
        """Which directions have no wall, bool (N, 4); `MaskablePPO` of sb3-contrib looks for this method."""
        seen, masks = self._outputs()
        self._games.look(self._everybody, seen, masks, 0, self.num_envs)
        return masks.astype(np.bool_)

    @property
    def spec(self) -> EnvSpec | None:
        """How `gymnasium.make_vec` made the instance, with the games' own limit in `max_episode_steps`."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = with_step_limit(spec, self.game.max_steps)

    def _seeds(self, seed: Any) -> list[int | None]:
        """A seed or None for each game."""
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, Sequence | np.ndarray) and not isinstance(seed, str) and np.ndim(seed) == 1:
            if len(seed) != self.num_envs:
                raise ArgumentError(
                    f"{len(seed)} seeds for {self.num_envs} games: give one for each, or a single number"
                )
            return [None if item is None else as_seed(item) for item in seed]
        first = as_seed(seed)
        return [first + i for i in range(self.num_envs)]

    def _shown(self, seen: np.ndarray) -> np.ndarray:
        """Cells as the observation that was asked for."""
        return as_planes(seen) if self._planes else seen

    def _outputs(self) -> tuple[np.ndarray, np.ndarray]:
        shape = (self.num_envs, *self.game.view_shape)
        return np.empty(shape, np.uint8), np.empty((self.num_envs, 4), np.int8)

    def _restart(self, due: np.ndarray, seen: np.ndarray, masks: np.ndarray) -> None:
        """Begin new episodes in the rows where `due`, and write what is seen there."""

        def play(low: int, high: int) -> None:
            self._games.begin(due, low, high)
            self._games.look(due, seen, masks, low, high)

        self._spread(play)
        self._name_tasks(due)

    def _spread(self, play: Callable[[int, int], None]) -> None:
        """Call `play(low, high)` for ranges that cover all rows, one on each thread, this one included."""
        if self._threads == 1:
            play(0, self.num_envs)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads - 1, "pacman")
        cuts = [self.num_envs * k // self._threads for k in range(self._threads + 1)]
        others = [self._pool.submit(play, cuts[k], cuts[k + 1]) for k in range(1, self._threads)]
        play(cuts[0], cuts[1])
        for other in others:
            other.result()

    def _name_tasks(self, rows: np.ndarray) -> None:
        self._tasks[rows] = self._games.codes(rows) >> np.uint64(1)

    def _infos(
        self,
        rows: np.ndarray,
        masks: np.ndarray,
        stepped: np.ndarray | None = None,
        ended: np.ndarray | None = None,
    ) -> dict[str, Any]:
        """Infos of the given rows; `masks` is already theirs. The rows that `stepped` have reward terms,
        those that `ended` a success."""
        infos: dict[str, Any] = {
            "task": self._tasks * rows,
            "anchor": (self._tasks ^ self._games.states[:, rules.ANCHOR]) * rows,
            "action_mask": masks,
            "frightened": self._games.states[:, rules.FRIGHT] * rows,
        }
        for name in tuple(infos):
            infos[f"_{name}"] = rows.copy()
        if stepped is not None:
            infos |= self._terms(stepped)
        if ended is not None and ended.any():
            infos["success"] = ended & (self._games.terms[rules.TERMS.index("cleared")] > 0)
            infos["_success"] = ended.copy()
        return infos

    def _terms(self, rows: np.ndarray) -> dict[str, Any]:
        if not rows.any():
            return {}
        values = self._games.terms * rows
        masks = np.tile(rows, (len(rules.TERMS), 1))
        terms = dict(zip(rules.TERMS, values, strict=True))
        terms |= dict(zip((f"_{name}" for name in rules.TERMS), masks, strict=True))
        return {"reward_terms": terms, "_reward_terms": rows.copy()}

    def render(self) -> tuple[Any, ...] | None:
        """A frame of each game, as `PacMan.render` makes it."""
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render() needs a mode: make the games with render_mode 'rgb_array' or 'ansi'"
            )
            return None
        draw = rgb_frame if self.render_mode == "rgb_array" else ansi_frame
        return tuple(draw(self.game, *row) for row in zip(self._games.grids, self._games.states, strict=True))

    def close_extras(self, **kwargs: Any) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _reset_mask(mask: Any, size: int) -> np.ndarray:
    if mask is None:
        return np.ones(size, np.bool_)
    if not isinstance(mask, np.ndarray) or mask.shape != (size,) or mask.dtype != np.bool_ or not mask.any():
        raise ArgumentError(
            f"options['reset_mask'] must be a numpy array of {size} bools, at least one of them True"
        )
    return mask.copy()
