"""`CompiledVector`: many games in one process, played by compiled code, for `gymnasium.make_vec`."""

import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, Self

import gymnasium
import numba
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Discrete
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
from ludus.envs.rubric import Rubric

_ROWS_PER_THREAD = 256
"""With fewer games than this, waking a thread takes longer than what it would do."""

Told = dict[str, np.ndarray]
"""Entries of `info` by name, arrays whose first axis is the game."""


class Batch(Protocol):
    """N games in arrays. Every method works on rows [low, high) only, so that threads can share a batch."""

    streams: np.ndarray
    """(N, …): each game's stream of episodes, from which all its episodes follow."""
    terms: np.ndarray
    """float64 (terms, N): of the last step, unweighted, in the order of the rubric."""
    rewards: np.ndarray
    """float64 (N,)."""
    terminated: np.ndarray
    """bool (N,)."""
    truncated: np.ndarray
    """bool (N,)."""

    def begin(self, due: np.ndarray, low: int, high: int) -> None:
        """Start the next episode in the rows where `due`, bool (N,)."""

    def advance(self, actions: np.ndarray, resting: np.ndarray, low: int, high: int) -> None:
        """Play one step in the rows that are not `resting`, bool (N,); fills terms, rewards, and the ends,
        with zeros where games rest."""

    def codes(self, rows: np.ndarray) -> np.ndarray:
        """Content hashes, uint64, of the starts of the episodes in `rows`, bool (N,)."""


@dataclass(frozen=True)
class Made:
    """The games of a vector form."""

    batch: Batch
    observation_space: Box
    """Of one game."""
    actions: int
    max_steps: int | None
    """After how many steps a game ends at the latest."""


class CompiledVector(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Base class of the vector forms that compiled code plays.

    A subclass names the `single` environment, whose arguments are its own, too, makes a `Batch`, and says
    what is seen and told of its rows. Game `i` of `reset(seed=s)` is then exactly the single environment of
    `reset(seed=s + i)`, and what `gymnasium.vector.SyncVectorEnv` would return is what is returned here,
    infos included. Returned arrays are the caller's: fresh ones on every call.

    Args:
        num_envs: how many games.
        render_mode: one of those in `metadata`, or None.
        autoreset_mode: Gymnasium's, or its value.
        threads: how many play; None for one for every 256 games, at most one per processor.
        max_episode_steps: a spec's limit.
        arguments: of the single environment.

    Raises:
        ArgumentError: an argument is wrong.
    """

    rubric: Rubric
    _spec: EnvSpec | None = None

    def __init_subclass__(cls, single: type | None = None, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if single is not None:
            cls.__init__ = takes_arguments_of(single, "render_mode")(CompiledVector.__init__)  # type: ignore[method-assign]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        refuse_unknown_arguments(cls, kwargs)
        return super().__new__(cls)

    def __init__(
        self,
        num_envs: int = 1,
        *,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        threads: int | None = None,
        max_episode_steps: int | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.num_envs = num_envs = as_integer("num_envs", num_envs, 1, 10**7)
        made = self._make(num_envs, max_episode_steps, arguments)
        self._batch, self._max_steps = made.batch, made.max_steps
        if render_mode is not None:
            as_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        try:
            self.autoreset_mode = AutoresetMode(autoreset_mode)
        except ValueError:
            modes = ", ".join(repr(mode.value) for mode in AutoresetMode)
            raise ArgumentError(f"autoreset_mode={autoreset_mode!r}: give one of {modes}") from None
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = made.observation_space
        self._last_action = made.actions - 1
        self.single_action_space = Discrete(made.actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        if threads is None:
            threads = max(1, min(numba.config.NUMBA_NUM_THREADS, num_envs // _ROWS_PER_THREAD))
        self._threads = as_integer("threads", threads, 1, 1024)
        self._pool: ThreadPoolExecutor | None = None
        self._pool_process = 0
        self._tasks = np.zeros(num_envs, np.int64)
        self._begun = np.zeros(num_envs, np.bool_)
        self._ended = np.ones(num_envs, np.bool_)
        self._everybody = np.ones(num_envs, np.bool_)

    @abstractmethod
    def _make(self, num_envs: int, limit: int | None, arguments: dict[str, Any]) -> Made:
        """The games.

        Args:
            num_envs: how many.
            limit: after how many steps they are to end, if a spec says so.
            arguments: of the single environment.
        """

    @abstractmethod
    def _outputs(self) -> tuple[np.ndarray, Told]:
        """Room for what `_look` writes: observations, and entries of `info` beside them."""

    @abstractmethod
    def _look(self, due: np.ndarray, seen: np.ndarray, told: Told, low: int, high: int) -> None:
        """Write what is seen and told in the rows [low, high) that are `due`."""

    @abstractmethod
    def _anchors(self) -> np.ndarray:
        """Keys of the states, int64 (N,)."""

    @abstractmethod
    def _successes(self) -> np.ndarray:
        """Which of the games that have just ended are successes, bool (N,)."""

    def _stream(self, seed: int | None) -> Any:
        """The stream of episodes of a seed; without one, any."""
        return seeding.np_random(seed)[0].integers(2**63)

    def _shown(self, seen: np.ndarray) -> np.ndarray:
        """What was seen, in the form of an observation."""
        return seen

    def _known(self) -> Told:
        """Further entries of `info` that follow from the states."""
        return {}

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
                self._batch.streams[row] = self._stream(seeds[row])
        self._begun |= chosen
        self._ended &= ~chosen
        seen, told = self._outputs()
        self._restart(chosen, seen, told)
        # Games that go on show where they are; those that have never begun show nothing.
        self._look(self._begun & ~chosen, seen, told, 0, self.num_envs)
        for array in (seen, *told.values()):
            array[~self._begun] = 0
        infos = self._infos(chosen, told)
        # Whoever samples actions with masks needs those of the games that go on, too.
        infos |= {f"_{name}": self._begun.copy() for name in told}
        return self._shown(seen), infos

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Play one step of every game, and begin new episodes as the autoreset mode says.

        Raises:
            ArgumentError: `actions` are not N numbers that stand for actions.
            gymnasium.error.ResetNeeded: a game has not begun, or has ended and autoreset is disabled.
        """
        actions = np.ascontiguousarray(actions, np.int64)
        last = self._last_action
        if actions.shape != (self.num_envs,) or actions.min() < 0 or actions.max() > last:
            raise ArgumentError(
                f"actions must be {self.num_envs} numbers from 0 to {last}, one for each game"
            )
        mode, batch = self.autoreset_mode, self._batch
        if not self._begun.all() or (mode == AutoresetMode.DISABLED and self._ended.any()):
            rows = np.flatnonzero(self._ended)
            raise gymnasium.error.ResetNeeded(
                f"games {rows[:8].tolist()} have not begun or have ended: call reset() before step(), with "
                "options={'reset_mask': …} for some of them"
            )
        resting = self._ended
        seen, told = self._outputs()

        def play(low: int, high: int) -> None:
            batch.advance(actions, resting, low, high)
            if mode == AutoresetMode.NEXT_STEP:
                batch.begin(resting, low, high)
            self._look(self._everybody, seen, told, low, high)

        self._spread(play)
        ended = batch.terminated | batch.truncated
        if mode == AutoresetMode.SAME_STEP and ended.any():
            finals = np.full(self.num_envs, None, object)
            for row in np.flatnonzero(ended):
                finals[row] = self._shown(seen[row]).copy()
            final_told = {name: _only(ended, array) for name, array in told.items()}
            final_infos = self._infos(ended, final_told, stepped=ended, ended=ended)
            terms = self._terms(~ended)
            self._restart(ended, seen, told)
            infos = self._infos(self._everybody, told)
            infos |= {"final_obs": finals, "_final_obs": ended.copy(), "final_info": final_infos} | terms
            infos["_final_info"] = ended.copy()
        else:
            if mode == AutoresetMode.NEXT_STEP and resting.any():
                self._name_tasks(resting)
            infos = self._infos(self._everybody, told, stepped=~resting, ended=ended)
        self._ended = np.zeros_like(ended) if mode == AutoresetMode.SAME_STEP else ended
        return self._shown(seen), batch.rewards.copy(), batch.terminated.copy(), batch.truncated.copy(), infos

    @property
    def spec(self) -> EnvSpec | None:
        """How `gymnasium.make_vec` made the instance, with the games' own limit in `max_episode_steps`."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = with_step_limit(spec, self._max_steps)

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

    def _restart(self, due: np.ndarray, seen: np.ndarray, told: Told) -> None:
        """Begin new episodes in the rows where `due`, and write what is seen there."""

        def play(low: int, high: int) -> None:
            self._batch.begin(due, low, high)
            self._look(due, seen, told, low, high)

        self._spread(play)
        self._name_tasks(due)

    def _spread(self, play: Callable[[int, int], None]) -> None:
        """Call `play(low, high)` for ranges that cover all rows, one on each thread, this one included."""
        if self._threads == 1:
            play(0, self.num_envs)
            return
        # A forked process inherits the pool, but none of its threads.
        if self._pool is None or self._pool_process != os.getpid():
            self._pool = ThreadPoolExecutor(self._threads - 1, type(self).__name__)
            self._pool_process = os.getpid()
        cuts = [self.num_envs * k // self._threads for k in range(self._threads + 1)]
        others = [self._pool.submit(play, cuts[k], cuts[k + 1]) for k in range(1, self._threads)]
        play(cuts[0], cuts[1])
        for other in others:
            other.result()

    def _name_tasks(self, rows: np.ndarray) -> None:
        self._tasks[rows] = self._batch.codes(rows) >> np.uint64(1)

    def _infos(
        self,
        rows: np.ndarray,
        told: Told,
        stepped: np.ndarray | None = None,
        ended: np.ndarray | None = None,
    ) -> dict[str, Any]:
        """Infos of the given rows; `told` is already theirs. The rows that `stepped` have reward terms, those
        that `ended` a success."""
        infos: dict[str, Any] = {
            "task": self._tasks * rows,
            "anchor": (self._tasks ^ self._anchors()) * rows,
            **told,
            **{name: array * rows for name, array in self._known().items()},
        }
        for name in tuple(infos):
            infos[f"_{name}"] = rows.copy()
        if stepped is not None:
            infos |= self._terms(stepped)
        if ended is not None and ended.any():
            infos["success"] = ended & self._successes()
            infos["_success"] = ended.copy()
        return infos

    def _terms(self, rows: np.ndarray) -> dict[str, Any]:
        if not rows.any():
            return {}
        names = (*self.rubric.weights,)
        # Not by a product, which would make -0.0 of what is negative.
        terms = dict(zip(names, np.where(rows, self._batch.terms, 0.0), strict=True))
        terms |= {f"_{name}": rows.copy() for name in names}
        return {"reward_terms": terms, "_reward_terms": rows.copy()}

    def __getstate__(self) -> dict[str, Any]:
        """A copy plays with threads of its own, started when it needs them."""
        return {**self.__dict__, "_pool": None}

    def close_extras(self, **kwargs: Any) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _only(rows: np.ndarray, array: np.ndarray) -> np.ndarray:
    """The array with zeros outside the rows."""
    kept = array.copy()
    kept[~rows] = 0
    return kept


def _reset_mask(mask: Any, size: int) -> np.ndarray:
    if mask is None:
        return np.ones(size, np.bool_)
    if not isinstance(mask, np.ndarray) or mask.shape != (size,) or mask.dtype != np.bool_ or not mask.any():
        raise ArgumentError(
            f"options['reset_mask'] must be a numpy array of {size} bools, at least one of them True"
        )
    return mask.copy()
