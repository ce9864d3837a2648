"""`PacManVersus`: Pac-Man with the ghosts as players, in PettingZoo's Parallel form."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.utils import seeding

from ludus.envs.arguments import as_action, as_seed, takes_arguments_of
from ludus.envs.grid.pacman import rules
from ludus.envs.grid.pacman.game import RUBRIC, Game, Games
from ludus.envs.grid.pacman.render import ansi_frame, rgb_frame
from ludus.envs.grid.walking import DIRECTIONS
from ludus.envs.multi_agent import Infos, ParallelEnv, ParallelStep, Shown

Observation = dict[str, np.ndarray]

PACMAN = "pacman"
OWN_WAY = len(DIRECTIONS)
"""The action of a ghost that goes as it would by itself."""
GHOST_ACTIONS = (*DIRECTIONS, "own way")


class PacManVersus(Shown, ParallelEnv[str, Observation, int]):
    """Pac-Man with the ghosts as players: `from ludus.envs.grid.pacman.versus import PacManVersus`.

    A PettingZoo `ParallelEnv`, which needs the extra `games`. Agents are `pacman`, and `ghost_0` to `ghost_3`
    in the order of the argument `ghosts`. The rules are those of `ludus/PacMan-v0`, and so are the mazes of a
    seed: where every ghost goes its own way, or is told to go where it would, it is the same game, step by
    step.

    ## Observation
    `Dict` with

    - `observation`: the cells, as in `ludus/PacMan-v0`; with `view=r` those around the agent, whoever it is.
    - `action_mask`: int8, 1 for each action that is heard.
    - `place`: row and column of the agent, int64 `(2,)`.

    ## Actions
    All move at once: who decides does not know what the others do in this step.

    - `pacman`: `Discrete(4)`: 0 up, 1 right, 2 down, 3 left.
    - A ghost: `Discrete(5)`: the same, and 4, its own way, which is the one of its kind (chaser, ambusher,
      patroller, shy).

    A ghost turns neither straight back nor into a wall: told to, it goes its own way. It also does while it
    is frightened, when it wanders at random, or waits at home. At a `ghost_speed` below 1 it stays where it
    is in some steps, whatever it is told.

    ## Rewards
    `pacman` earns what the agent of `ludus/PacMan-v0` earns; the ghosts lose that, in equal parts: the sum
    over all agents is 0. `infos["pacman"]` has `reward_terms`, `task`, `anchor`, `frightened` and, at the
    end, `success`, as there; `infos["ghost_0"]` has `frightened`, and `waits`, for how many more steps at
    home.

    ## End of episode
    Terminates for all when Pac-Man is caught or has cleared the maze; truncates after `max_steps` steps.

    ## Arguments
    Those of `ludus/PacMan-v0` without `observation`; `render_mode`: `ansi`, `rgb_array`, or `human`, which
    prints.

    ## Version history
    - v0: first version.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (as PettingZoo declares it)
        "name": "ludus_PacManVersus_v0",
        "render_modes": ["human", "ansi", "rgb_array"],
        "render_fps": 8,
    }

    @takes_arguments_of(Game)
    def __init__(self, *, render_mode: str | None = None, **arguments: Any) -> None:
        self._set_render_mode(render_mode)
        self.game = Game(**arguments)
        self._ghosts = [f"ghost_{number}" for number in range(len(self.game.ghost_kinds))]
        self.possible_agents = [PACMAN, *self._ghosts]
        self.agents: list[str] = []
        self.action_spaces = {PACMAN: Discrete(OWN_WAY)}
        self.action_spaces |= {ghost: Discrete(len(GHOST_ACTIONS)) for ghost in self._ghosts}
        self.observation_spaces = {
            agent: Dict(
                observation=Box(0, 255, self.game.view_shape, np.uint8),
                action_mask=Box(0, 1, (int(self.action_spaces[agent].n),), np.int8),
                place=Box(0, np.array([self.game.rows - 1, self.game.columns - 1]), dtype=np.int64),
            )
            for agent in self.possible_agents
        }
        self._games = Games(self.game, 1)
        self._begun = False
        self._task = 0
        self._everybody = np.ones(1, np.bool_)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], Infos]:
        """Begin a game: that of `ludus/PacMan-v0` with the seed; without one, the next in line. `options` are
        ignored, as PettingZoo's own tests expect.

        Raises:
            ArgumentError: the seed is no integer ≥ 0.
        """
        if seed is not None or not self._begun:
            generator, _ = seeding.np_random(None if seed is None else as_seed(seed))
            self._games.streams[0] = generator.integers(2**63)
            self._begun = True
        self._games.begin(self._everybody, 0, 1)
        self._task = self._games.codes(self._everybody).item() >> 1
        self.agents = list(self.possible_agents)
        return self._observations(), self._infos()

    def step(self, actions: dict[str, Any]) -> ParallelStep[Observation]:
        """Move everybody.

        Raises:
            gymnasium.error.ResetNeeded: no game is open.
            ArgumentError: an agent's action is missing, or none of its space.
        """
        self._refuse_before_reset()
        games = self._games
        move = np.array([as_action(actions.get(PACMAN), DIRECTIONS)])
        for number, ghost in enumerate(self._ghosts):
            told = as_action(actions.get(ghost), GHOST_ACTIONS)
            games.orders[0, number] = rules.STAY if told == OWN_WAY else told
        games.advance(move, ~self._everybody, 0, 1)
        reward = games.rewards.item()
        terminated, truncated = bool(games.terminated[0]), bool(games.truncated[0])
        infos = self._infos()
        infos[PACMAN]["reward_terms"] = dict(zip(RUBRIC.weights, games.terms[:, 0].tolist(), strict=True))
        if terminated or truncated:
            infos[PACMAN]["success"] = infos[PACMAN]["reward_terms"]["cleared"] > 0
            self.agents = []
        everybody = self.possible_agents
        rewards = dict.fromkeys(everybody, -reward / max(1, len(self._ghosts))) | {PACMAN: reward}
        return (
            self._observations(),
            rewards,
            dict.fromkeys(everybody, terminated),
            dict.fromkeys(everybody, truncated),
            infos,
        )

    def _picture(self) -> np.ndarray:
        return rgb_frame(self.game, self._games.grids[0], self._games.states[0])

    def _text(self) -> str:
        return ansi_frame(self.game, self._games.grids[0], self._games.states[0])

    def _ghost(self, number: int) -> list[int]:
        """Cell, heading, saved way, waiting time and fright of a ghost."""
        first = rules.GHOSTS + number * rules.GHOST_SIZE
        ghost: list[int] = self._games.states[0, first : first + rules.GHOST_SIZE].tolist()
        return ghost

    def _infos(self) -> Infos:
        state = self._games.states[0]
        infos: Infos = {
            PACMAN: {
                "task": self._task,
                "anchor": self._task ^ state.item(rules.ANCHOR),
                "frightened": state.item(rules.FRIGHT),
            }
        }
        for number, name in enumerate(self._ghosts):
            *_, waits, scared = self._ghost(number)
            infos[name] = {"frightened": bool(scared), "waits": waits}
        return infos

    def _observations(self) -> dict[str, Observation]:
        grid = self._games.grids[0].reshape(self.game.rows, self.game.columns)
        cell = self._games.states.item(rules.PACMAN)
        seen = {PACMAN: self._seen(grid, cell, _open(grid, cell))}
        for number, name in enumerate(self._ghosts):
            cell, heading, _, waits, scared = self._ghost(number)
            mask = np.append(_open(grid, cell), np.int8(1))
            if waits or scared:
                mask[:OWN_WAY] = 0
            elif heading != rules.STAY:
                mask[heading ^ 2] = 0
            seen[name] = self._seen(grid, cell, mask)
        return seen

    def _seen(self, grid: np.ndarray, cell: int, mask: np.ndarray) -> Observation:
        """What an agent in a cell observes."""
        row, column = divmod(cell, self.game.columns)
        if self.game.view is not None:
            side = 2 * self.game.view + 1
            padded = np.pad(grid, self.game.view, constant_values=rules.WALL)
            grid = padded[row : row + side, column : column + side]
        return {"observation": grid.copy(), "action_mask": mask, "place": np.array([row, column])}


def _open(grid: np.ndarray, cell: int) -> np.ndarray:
    """Which directions have no wall, int8 (4,)."""
    row, column = divmod(cell, grid.shape[1])
    around = [grid[row - 1, column], grid[row, column + 1], grid[row + 1, column], grid[row, column - 1]]
    return np.array([ground & rules.GROUND_BITS != rules.WALL for ground in around], np.int8)
