"""`ludus/PacMan-v0`: Pac-Man on a grid, with arrays for observations."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Discrete

from ludus.envs.arguments import (
    as_action,
    as_choice,
    as_seed,
    refuse_unknown_arguments,
    refuse_unknown_options,
    takes_arguments_of,
)
from ludus.envs.base import Verdict, with_step_limit
from ludus.envs.grid.pacman import rules
from ludus.envs.grid.pacman.game import EXPECTED, RUBRIC, Game, Games, failure
from ludus.envs.grid.pacman.observation import as_planes, observation_space
from ludus.envs.grid.pacman.render import ansi_frame, rgb_frame, show_frame
from ludus.envs.grid.pacman.scripted import GRID_AGENTS
from ludus.envs.grid.walking import DIRECTIONS
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent

_KEYS = ((1073741906, ord("w")), (1073741903, ord("d")), (1073741905, ord("s")), (1073741904, ord("a")))
"""For each action: its arrow, as SDL and pygame number keys, and its letter."""


class PacMan(gymnasium.Env[np.ndarray, np.int64]):
    """Eat every pellet of a maze and keep away from the ghosts.

    ## Task
    Pac-Man walks through a maze and eats what lies there. Up to four ghosts hunt him, each in its own manner:

    - the *chaser* heads for Pac-Man;
    - the *ambusher* heads for the place four cells in front of him;
    - the *patroller* makes the round of the maze's corners, a new one every `rows + columns` steps, and
      turns on Pac-Man when he is within four cells;
    - the *shy* one heads for Pac-Man from afar and for its corner, the lower left, when he is within four
      cells.

    A ghost goes to the neighbouring cell that is nearest to its aim as the crow flies, and never straight
    back. Ghosts leave home one after another, four steps apart. After a power pellet those that are out
    turn round and are *frightened* for `frightened_steps` steps: they wander at random at half their speed,
    and Pac-Man can eat them. An eaten ghost is home at once, waits six steps there and comes back as
    dangerous as before. A waiting ghost is harmless and cannot be eaten.

    In a step Pac-Man moves first, then the ghosts in turn. Meeting a dangerous ghost anywhere on the way
    (also by changing places with it) is being caught, before anything in that cell is eaten.

    Mazes come from the seed: mirror-symmetric, every pellet in reach, no dead ends. Fixed ones have names.

    ## Observation
    `Box(0, 255, (rows, columns), uint8)`, a fresh array each time; with `view=r` the `(2r+1, 2r+1)` cells
    around Pac-Man, walls where the maze ends. A cell is a set of bits:

    | bits | meaning |
    |---|---|
    | `cell & 3` | 0 wall, 1 floor, 2 pellet, 3 power pellet |
    | `cell & 4` | Pac-Man |
    | `cell & 8 << g` | ghost `g`, for `g` from 0 to 3 |
    | `cell & 128` | the ghosts here are harmless: frightened, or waiting at home |

    With `observation="planes"`, for convolutional networks: `Box(0, 255, (rows, columns, 10), uint8)`, where
    the last axis is one-hot: 255 where the cell is a wall, floor, a pellet, a power pellet; then 255 where
    Pac-Man is, ghosts 0 to 3, and where ghosts are harmless. Libraries take such a space for a picture, and
    divide by 255 themselves.

    `info["action_mask"]`, int8 `(4,)`, has a 1 for each direction without a wall, in the form that
    `action_space.sample(mask)` takes; `action_masks()` gives bools. `info["frightened"]` is for how many more
    steps ghosts are frightened.
    `info["task"]` names the start by its content, `info["anchor"]` the state.

    ## Actions
    `Discrete(4)`: 0 up, 1 right, 2 down, 3 left. Against a wall Pac-Man stays where he is, and the ghosts
    move.

    ## Rewards
    The sum of `info["reward_terms"]`, each a count, times its weight:

    | term | weight | counts |
    |---|---|---|
    | `pellet` | 1 | pellets eaten |
    | `power` | 5 | power pellets eaten |
    | `ghost` | 10 | ghosts eaten |
    | `caught` | -10 | 1 when a ghost catches Pac-Man |
    | `cleared` | 20 | 1 when nothing is left to eat |

    ## End of episode
    Terminates when Pac-Man is caught or has cleared the maze; truncates after `max_steps` steps.
    `info["success"]` is then there, and says whether the maze was cleared.

    ## Arguments
    - `rows`, `columns`: the maze's size, 7 to 63 each (default 15 by 15).
    - `layout`: instead of a maze from the seed, one of `ring`, `lanes`, `garden`, `harbour`, or a drawing:
      lines of `#` wall, `.` pellet, `o` power pellet, space, one `P` (Pac-Man) and one `G` (the ghosts'
      home).
    - `ghosts`: how many, 0 to 4, in the order above, or their names: `("shy", "shy")` (default 4).
    - `ghost_speed`: cells per step, 0 to 1 (default 0.75); Pac-Man's is 1.
    - `power_pellets`: how many corners have one, 0 to 4 (default 4); a layout has its own.
    - `frightened_steps`: default 20.
    - `max_steps`: default `2 * rows * columns`.
    - `view`: radius of a partial view (default: the whole grid).
    - `observation`: `cells` (the default) or `planes`.
    - `render_mode`: `rgb_array`, `ansi` (colours for a terminal), `human` (the same, live in the terminal).

    ## Version history
    - v0: first version.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (gymnasium declares it so)
        "render_modes": ["human", "ansi", "rgb_array"],
        "render_fps": 8,
    }
    scripted: ClassVar[Mapping[str, type[ScriptedAgent]]] = GRID_AGENTS
    rubric: Rubric = RUBRIC
    action_names: ClassVar[tuple[str, ...]] = DIRECTIONS
    """What each action does, in words; `ludus play` maps keys to them."""

    _spec: EnvSpec | None = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        refuse_unknown_arguments(cls, kwargs)
        return super().__new__(cls)

    @takes_arguments_of(Game)
    def __init__(
        self, *, observation: str = "cells", render_mode: str | None = None, **arguments: Any
    ) -> None:
        self.game = Game(**arguments)
        if render_mode is not None:
            as_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self.max_turns = self.game.max_steps
        self.observation_space = observation_space(self.game, observation)
        self._planes = observation == "planes"
        self.action_space = Discrete(4)
        self._games = Games(self.game, 1)
        self._begun = False
        self._open = False
        self._failure = ""
        self._task = 0
        self._action = np.zeros(1, np.int64)
        self._nobody = np.zeros(1, np.bool_)
        self._everybody = np.ones(1, np.bool_)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode: a pure function of the arguments and the seed; without one, the next in line.

        Returns:
            The observation, and `info` with `task`, `anchor`, `action_mask` and `frightened`.

        Raises:
            ArgumentError: the seed is no integer ≥ 0, or there are options, of which Pac-Man has none.
        """
        super().reset(seed=None if seed is None else as_seed(seed))
        refuse_unknown_options(options or {}, ())
        if seed is not None or not self._begun:
            self._games.streams[0] = self.np_random.integers(2**63)
            self._begun = True
        self._games.begin(self._everybody, 0, 1)
        self._open, self._failure = True, ""
        # As in `task_key`: below 2⁶³, so that arrays of tasks are int64.
        self._task = self._games.codes(self._everybody).item() >> 1
        observation, info = self._look()
        if self.render_mode == "human":
            self._show()
        return observation, info

    def step(
        self, action: int | np.integer | np.ndarray
    ) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Play one step.

        Returns:
            The observation; the reward; terminated; truncated; and `info` with `task`, `anchor`,
            `action_mask`, `frightened`, `reward_terms` and, when the episode ends, `success`.

        Raises:
            gymnasium.error.ResetNeeded: no episode is open.
            ArgumentError: the action is not 0, 1, 2 or 3.
        """
        if not self._open:
            raise gymnasium.error.ResetNeeded(
                "the episode has ended or never began: call reset() before step()"
            )
        games = self._games
        self._action[0] = as_action(action, DIRECTIONS)
        games.advance(self._action, self._nobody, 0, 1)
        observation, info = self._look()
        info["reward_terms"] = dict(zip(rules.TERMS, games.terms[:, 0].tolist(), strict=True))
        terminated, truncated = games.terminated.item(), games.truncated.item()
        if terminated or truncated:
            self._open = False
            info["success"] = info["reward_terms"]["cleared"] > 0
            cut = f"no end within {self.max_turns} steps: " if truncated else ""
            why = failure(games.states.item(rules.PELLETS), info["reward_terms"]["caught"] > 0)
            self._failure = f"{cut}{why}"
        if self.render_mode == "human":
            self._show()
        return observation, games.rewards.item(), terminated, truncated, info

    def _look(self) -> tuple[np.ndarray, dict[str, Any]]:
        seen = np.empty((1, *self.game.view_shape), np.uint8)
        masks = np.empty((1, 4), np.int8)
        self._games.look(self._everybody, seen, masks, 0, 1)
        observation = as_planes(seen[0]) if self._planes else seen[0]
        info = {
            "task": self._task,
            "anchor": self._task ^ self._games.states.item(rules.ANCHOR),
            "action_mask": masks[0],
            "frightened": self._games.states.item(rules.FRIGHT),
        }
        return observation, info

    @property
    def verdict(self) -> Verdict:
        """How the game that has just ended was lost, if it was."""
        return Verdict(EXPECTED, self._failure)

    def action_masks(self) -> np.ndarray:
        """Which directions have no wall, bool (4,); `MaskablePPO` of sb3-contrib looks for this method."""
        return self._look()[1]["action_mask"].astype(np.bool_)

    def get_keys_to_action(self) -> dict[tuple[int, ...], int]:
        """Keys for `gymnasium.utils.play`: the arrows, and W, D, S and A."""
        return {(key,): action for action, keys in enumerate(_KEYS) for key in keys}

    @property
    def spec(self) -> EnvSpec | None:
        """How `gymnasium.make` made the instance, with the game's own limit in `max_episode_steps`."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = with_step_limit(spec, self.max_turns)

    def snapshot(self) -> Any:
        """The whole episode as an opaque value: about a kilobyte. It can be pickled. The stream from which
        `reset` without a seed draws is not part of it."""
        episode = (self._task, self._open, self._failure)
        return self._games.grids.tobytes(), self._games.states.tobytes(), episode

    def restore(self, snapshot: Any) -> None:
        """Go back to where `snapshot` was taken, here or in another instance with the same arguments."""
        grid, state, (self._task, self._open, self._failure) = snapshot
        self._games.grids[0] = np.frombuffer(grid, np.uint8)
        self._games.states[0] = np.frombuffer(state, np.int64)

    def render(self) -> Any:
        """`rgb_array`: uint8 (height, width, 3). `ansi`: coloured text. `human`: None, it shows by itself."""
        if self.render_mode is None:
            gymnasium.logger.warn(
                "render() needs a mode: make the environment with render_mode 'rgb_array', 'ansi' or 'human'"
            )
            return None
        if self.render_mode == "human":
            return None
        grid, state = self._games.grids[0], self._games.states[0]
        draw = ansi_frame if self.render_mode == "ansi" else rgb_frame
        return draw(self.game, grid, state)

    def _show(self) -> None:
        frame = ansi_frame(self.game, self._games.grids[0], self._games.states[0])
        show_frame(frame, self.metadata["render_fps"])
