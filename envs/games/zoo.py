"""Games in PettingZoo's two forms; both play the same `Table`, as the environments for one seat do."""

import secrets
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

from ludus.envs import spaces
from ludus.envs.arguments import as_integer, as_seed
from ludus.envs.base import stream_of
from ludus.envs.games import words
from ludus.envs.games.catalogue import make_game
from ludus.envs.games.environment import as_move, mask_of
from ludus.envs.games.table import outcome, sit_down, submit, waiting
from ludus.envs.multi_agent import AECEnv, Infos, ParallelEnv, ParallelStep, Shown

Observation = dict[str, Any]


class _Seats(Shown):
    """What both forms have in common: the table, spaces and observations of the seats, pictures.

    Agents are `player_0`, `player_1`, … in the order of the seats. An observation has the seat's
    `observation` (numbers, float32), its `action_mask` (int8; all 0 for who is not to move) and its
    `messages` (rules and what it sees, in words). A move that is illegal here is counted in
    `infos[agent]["errors"]`, and nothing moves; a seat with `error_limit` of them loses. Rewards are the
    game's outcome, at its end.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (as PettingZoo declares it)
        "render_modes": ["human", "ansi", "rgb_array"],
        "render_fps": 2,
    }

    def __init__(
        self,
        name: str,
        error_limit: int = 3,
        max_cycles: int | None = None,
        render_mode: str | None = None,
        **arguments: Any,
    ) -> None:
        """
        Args:
            name: of the game.
            error_limit: with so many illegal moves a seat loses.
            max_cycles: with so many moves of each seat the game is truncated, with no reward.
            render_mode: `human` (shown in the terminal), `ansi` or `rgb_array`.
            arguments: of the game.
        """
        self._set_render_mode(render_mode)
        self.game = make_game(name, **arguments)
        self.metadata = {**self.metadata, "name": f"ludus_{name}_v0", "is_parallelizable": False}
        self.error_limit = as_integer("error_limit", error_limit, 1, 100)
        self.max_cycles = None if max_cycles is None else as_integer("max_cycles", max_cycles, 1, 10**9)
        self.possible_agents = [f"player_{seat}" for seat in range(self.game.seats)]
        self.agents: list[str] = []
        self.observation_spaces = {agent: self._observation_space() for agent in self.possible_agents}
        self.action_spaces = {agent: Discrete(self.game.actions) for agent in self.possible_agents}
        self._rng = np.random.Generator(np.random.PCG64(0))
        self._seeded = False
        self._table = sit_down(self.game, 0)

    def observe(self, agent: str) -> Observation:
        """What an agent sees of the game as it stands."""
        game, table, seat = self.game, self._table, self.possible_agents.index(agent)
        is_waited_for = agent in self.agents and seat in waiting(game, table)
        ended = outcome(game, table) is not None
        tell = words.ending if ended else words.scene if is_waited_for else words.idle_scene
        return {
            "observation": game.array(game.view(table.state, seat)),
            "action_mask": mask_of(game, game.legal(table.state, seat) if is_waited_for else ()),
            "messages": [words.opening(game, seat), tell(game, table, seat)],
        }

    def _picture(self) -> np.ndarray:
        return self.game.picture(self._table.state)

    def _text(self) -> str:
        return self.game.board(self._table.state)

    def _begin(self, seed: int | None) -> None:
        if seed is not None or not self._seeded:
            self._rng.bit_generator.state = stream_of(secrets.randbits(63) if seed is None else as_seed(seed))
            self._seeded = True
        self._table = sit_down(self.game, int(self._rng.integers(2**63)))
        self._steps = 0
        self.agents = list(self.possible_agents)

    def _submit(self, agent: str, action: Any) -> None:
        seat = self.possible_agents.index(agent)
        self._table = submit(self.game, self._table, seat, as_move(self.game, action), self.error_limit)

    def _results(self) -> tuple[dict[str, float], bool]:
        """The rewards as the game stands, and whether it is over."""
        result = outcome(self.game, self._table)
        rewards = result or (0.0,) * self.game.seats
        return dict(zip(self.possible_agents, rewards, strict=True)), result is not None

    def _infos(self) -> Infos:
        errors = zip(self.possible_agents, self._table.errors, strict=True)
        return {agent: {"errors": count} for agent, count in errors}

    def _observation_space(self) -> Dict:
        game = self.game
        return Dict(
            observation=Box(0.0, 1.0, game.shape, np.float32),
            action_mask=Box(0, 1, (game.actions,), np.int8),
            messages=spaces.Chat(),
        )


class GameAEC(_Seats, AECEnv[str, Observation, int]):
    """A game in which one seat moves at a time; where several move at once they are asked in turn, and none
    learns of another's move before all have made theirs."""

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin a game; `options` are ignored, as PettingZoo's own tests expect."""
        self._begin(seed)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = self._infos()
        self._select()

    def step(self, action: Any) -> None:
        """Make the move of `agent_selection`.

        Raises:
            gymnasium.error.ResetNeeded: no game is open.
            ArgumentError: the action is none of the space's.
        """
        self._refuse_before_reset()
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        self._submit(agent, action)
        self._steps += 1
        self._cumulative_rewards[agent] = 0.0
        self.rewards, ended = self._results()
        cut = not ended and self.max_cycles is not None and self._steps >= self.max_cycles * self.game.seats
        self.terminations = dict.fromkeys(self.agents, ended)
        self.truncations = dict.fromkeys(self.agents, cut)
        self.infos = self._infos()
        self._select()
        self._accumulate_rewards()
        if ended or cut:
            self._deads_step_first()

    def _select(self) -> None:
        for seat in waiting(self.game, self._table)[:1]:
            self.agent_selection = self.possible_agents[seat]


class GameParallel(_Seats, ParallelEnv[str, Observation, int]):
    """A game in which every agent acts in every step; what those do who are not to move is ignored. A seat
    whose move was illegal is asked again; the moves that others made at the same time stand."""

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], Infos]:
        """Begin a game; `options` are ignored, as PettingZoo's own tests expect."""
        self._begin(seed)
        return self._observations(self.agents), self._infos()

    def step(self, actions: dict[str, Any]) -> ParallelStep[Observation]:
        """Make the moves of those that are waited for.

        Raises:
            gymnasium.error.ResetNeeded: no game is open.
            ArgumentError: such an action is missing, or none of the space's.
        """
        self._refuse_before_reset()
        asked = waiting(self.game, self._table)
        for seat in asked:
            # One that forfeits ends the game for the others.
            if waiting(self.game, self._table):
                agent = self.possible_agents[seat]
                self._submit(agent, actions.get(agent))
        self._steps += 1
        rewards, ended = self._results()
        cut = not ended and self.max_cycles is not None and self._steps >= self.max_cycles
        agents = self.agents
        if ended or cut:
            self.agents = []
        return (
            self._observations(agents),
            rewards,
            dict.fromkeys(agents, ended),
            dict.fromkeys(agents, cut),
            self._infos(),
        )

    def _observations(self, agents: list[str]) -> dict[str, Observation]:
        return {agent: self.observe(agent) for agent in agents}
