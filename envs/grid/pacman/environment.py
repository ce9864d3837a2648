"""`ludus/PacMan-v0`: Pac-Man on a grid, with arrays for observations."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from ludus.envs.arguments import as_choice, refuse_unknown_arguments
from ludus.envs.errors import ArgumentError
from ludus.envs.grid.pacman import rules
from ludus.envs.grid.pacman.game import DIRECTIONS, RUBRIC, Game, Games
from ludus.envs.grid.pacman.render import ansi_frame, rgb_frame, show_frame
from ludus.envs.grid.pacman.scripted import GRID_AGENTS
from ludus.envs.rubric import Rubric
from ludus.envs.scripted import ScriptedAgent

_ACTIONS = frozenset(range(4))


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

    `info["action_mask"]`, int8 `(4,)`, has a 1 for each direction without a wall, in the form that
    `action_space.sample(mask)` takes. `info["frightened"]` is for how many more steps ghosts are frightened.
    `info["task"]` names the start by its content.

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

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        refuse_unknown_arguments(cls, kwargs)
        return super().__new__(cls)

    def __init__(
        self,
        rows: int = 15,
        columns: int = 15,
        layout: str | None = None,
        ghosts: int | Sequence[str] = 4,
        ghost_speed: float = 0.75,
        power_pellets: int = 4,
        frightened_steps: int = 20,
        max_steps: int | None = None,
        view: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.game = Game(
            rows=rows,
            columns=columns,
            layout=layout,
            ghosts=ghosts,
            ghost_speed=ghost_speed,
            power_pellets=power_pellets,
            frightened_steps=frightened_steps,
            max_steps=max_steps,
            view=view,
        )
        if render_mode is not None:
            as_choice("render_mode", render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self.max_turns = self.game.max_steps
        self.observation_space = Box(0, 255, self.game.view_shape, np.uint8)
        self.action_space = Discrete(4)
        self._games = Games(self.game, 1)
        self._begun = False
        self._open = False
        self._task = ""
        self._action = np.zeros(1, np.int64)
        self._nobody = np.zeros(1, np.bool_)
        self._everybody = np.ones(1, np.bool_)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode: a pure function of the arguments and the seed; without one, the next in line.

        Returns:
            The observation, and `info` with `task`, `action_mask` and `frightened`.

        Raises:
            ArgumentError: there are no options here.
        """
        super().reset(seed=seed)
        refuse_options(options)
        if seed is not None or not self._begun:
            self._games.streams[0] = self.np_random.integers(2**63)
            self._begun = True
        self._games.begin(self._everybody, 0, 1)
        self._open = True
        (self._task,) = self._games.tasks(self._everybody)
        observation, info = self._look()
        if self.render_mode == "human":
            self._show()
        return observation, info

    def step(self, action: int | np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Play one step.

        Returns:
            The observation; the reward; terminated; truncated; and `info` with `task`, `action_mask`,
            `frightened`, `reward_terms` and, when the episode ends, `success`.

        Raises:
            gymnasium.error.ResetNeeded: no episode is open.
            ArgumentError: the action is none of 0, 1, 2 and 3.
        """
        if not self._open:
            raise gymnasium.error.ResetNeeded(
                "the episode has ended or never began: call reset() before step()"
            )
        if action not in _ACTIONS:
            raise ArgumentError(f"action {action!r}: give 0 (up), 1 (right), 2 (down) or 3 (left)")
        games = self._games
        self._action[0] = action
        games.advance(self._action, self._nobody, 0, 1)
        observation, info = self._look()
        info["reward_terms"] = dict(zip(rules.TERMS, games.terms[:, 0].tolist(), strict=True))
        terminated, truncated = games.terminated.item(), games.truncated.item()
        if terminated or truncated:
            self._open = False
            info["success"] = info["reward_terms"]["cleared"] > 0
        if self.render_mode == "human":
            self._show()
        return observation, games.rewards.item(), terminated, truncated, info

    def _look(self) -> tuple[np.ndarray, dict[str, Any]]:
        seen = np.empty((1, *self.game.view_shape), np.uint8)
        masks = np.empty((1, 4), np.int8)
        self._games.look(self._everybody, seen, masks, 0, 1)
        info = {
            "task": self._task,
            "action_mask": masks[0],
            "frightened": self._games.states.item(rules.FRIGHT),
        }
        return seen[0], info

    def snapshot(self) -> Any:
        """The whole episode as an opaque value: about a kilobyte. It can be pickled. The stream from which
        `reset` without a seed draws is not part of it."""
        return self._games.grids.tobytes(), self._games.states.tobytes(), self._task, self._open

    def restore(self, snapshot: Any) -> None:
        """Go back to where `snapshot` was taken, here or in another instance with the same arguments."""
        grid, state, self._task, self._open = snapshot
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


def refuse_options(options: dict[str, Any] | None) -> None:
    """
    Raises:
        ArgumentError: there is an option, and Pac-Man has none.
    """
    if options:
        raise ArgumentError(
            f"reset options {options!r}: Pac-Man has none; arguments are given to gymnasium.make"
        )
