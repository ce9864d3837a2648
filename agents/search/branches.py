"""Playing in copies of an environment, alongside the real episode."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import gymnasium

from ludus.agents.episode import Episode, StopReason
from ludus.agents.policy import Action, BranchingPlayer, Player, Policy, derive_seed
from ludus.agents.recording import Recorder
from ludus.agents.worker import Worker
from ludus.envs.faults import EnvironmentFault
from ludus.tools.errors import UserError

STEP_S = 60.0
"""If a step of a copy takes longer, that is a fault of the environment."""

T = TypeVar("T")


class SearchError(UserError):
    """An environment or a policy does not support search."""


@dataclass(frozen=True, slots=True)
class Step:
    """An action in a copy, the copy's answer, and the reward."""

    observation: Any
    action: Action
    reward: float


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A state: where a copy is, and the path to it from where the search began."""

    state: Any
    """The environment's snapshot."""
    observation: Any
    info: dict[str, Any]
    steps: tuple[Step, ...] = ()
    player: Player | None = None
    """The player that acted last; it can be branched even after it is closed."""
    ended: bool = False
    written: Action | None = None
    """The beginning of the next reply, all of it so far, where the player writes it step by step."""

    @property
    def reward(self) -> float:
        """The sum of the rewards of the steps."""
        return sum(step.reward for step in self.steps)

    @property
    def actions(self) -> tuple[Action, ...]:
        """Those of the steps, then what is written of the next."""
        return (*(step.action for step in self.steps), *([self.written] if self.written else []))


class Branches:
    """One copy of an environment, brought to whatever state is to be continued.

    The copy is made like `env` (same id, arguments and wrappers) and lives in a thread of its own. A step
    restores a state, acts and takes a snapshot, so several lines can be played at once.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        if env.spec is None or not hasattr(env.unwrapped, "snapshot"):
            name = env.spec.id if env.spec else type(env.unwrapped).__name__
            raise SearchError(
                f"{name} cannot be copied: search needs gymnasium.make, snapshot() and restore()"
            )
        self._env = env
        self._copy: gymnasium.Env[Any, Any] | None = None
        self._worker: Worker | None = None
        self._spent: Counter[str] = Counter()
        self._cost = 0.0

    def here(self, observation: Any, info: dict[str, Any]) -> Node:
        """The current state of the environment itself."""
        return Node(self._env.unwrapped.snapshot(), observation, info)  # type: ignore[attr-defined]

    def episode(self, node: Node) -> Episode:
        """The line of play up to a state, as a record; one that goes on ends with `limit:turns`."""
        spec = self._env.spec
        assert spec is not None
        record = Recorder(spec.id, dict(spec.kwargs), self._env.unwrapped.np_random_seed, group=0, sample=0)
        record.begin(self._env, node.info)
        written = [Step(node.observation, node.written, 0.0)] if node.written else []
        read = 0
        for step in (*node.steps, *written):
            record.observation, action = step.observation, step.action
            read = (0 if action.fork else read) + len(action.prompt_ids)
            record.add(action, read, step.reward, {}, 0.0, 0.0)
            read += len(action.completion_ids)
        record.observation = [] if written else node.observation
        stop = StopReason.TERMINATED if node.ended else StopReason.TURN_LIMIT
        return record.end(stop, node.ended and bool(node.info.get("success", False)))

    def begin(self, policy: Policy, seed: int) -> BranchingPlayer:
        """A player that can be branched, at the beginning of an episode.

        Raises:
            SearchError: the policy's players cannot be branched.
        """
        player = policy.player(self._env, seed)
        player.close()
        if not isinstance(player, BranchingPlayer):
            raise SearchError(
                f"{type(policy).__name__} cannot be continued in several ways: search over turns needs a "
                "model; best-of and majority take any player"
            )
        return player

    async def branch(self, node: Node, player: BranchingPlayer, seed: int) -> Node:
        """The result of one action by a player that branches off."""
        return await self.advance(node, player.branch(seed), close=True)

    async def play_out(self, node: Node, player: Player) -> Node:
        """The end of the line that the player plays from here."""
        try:
            while not node.ended:
                node = await self.advance(node, player)
        finally:
            player.close()
        return node

    async def lines(self, root: Node, policy: Policy, n: int, seed: int) -> list[Node]:
        """n lines from the beginning of an episode to its end, each by its own player."""
        players = [policy.player(self._env, derive_seed(seed, sample)) for sample in range(n)]
        return await together(self.play_out(root, player) for player in players)

    async def advance(self, node: Node, player: Player, close: bool = False) -> Node:
        """The result of the player's next action."""
        try:
            action = await player.act(node.observation, node.info)
        finally:
            if close:
                player.close()
        self._spent += Counter(
            prompt_tokens=action.prompt_tokens or 0,
            completion_tokens=_sampled(action),
            reasoning_tokens=action.reasoning_tokens,
            cached_tokens=action.cached_tokens,
        )
        self._cost += action.cost
        if action.is_empty:
            steps = (*node.steps, Step(node.observation, action, 0.0))
            return replace(node, steps=steps, ended=True, written=None)
        if action.is_partial:
            return replace(node, written=action, player=player)
        state, (observation, reward, terminated, truncated, info) = await self._step(node.state, action.reply)
        step = Step(node.observation, action, float(reward))
        return Node(state, observation, info, (*node.steps, step), player, terminated or truncated)

    def spent(self, action: Action) -> Action:
        """The action with all that was counted since the last call."""
        tokens, cost, self._spent, self._cost = self._spent, self._cost, Counter(), 0.0
        return replace(
            action,
            prompt_tokens=tokens["prompt_tokens"],
            completion_tokens=tokens["completion_tokens"],
            reasoning_tokens=tokens["reasoning_tokens"],
            cached_tokens=tokens["cached_tokens"],
            cost=cost,
            model_seconds=None,
        )

    def close(self) -> None:
        if self._worker is not None:
            self._worker.stop(self._close_copy)

    async def _step(
        self, state: Any, reply: Any
    ) -> tuple[Any, tuple[Any, float, bool, bool, dict[str, Any]]]:
        if self._worker is None:
            self._worker = Worker(f"copy of {type(self._env.unwrapped).__name__}")
        try:
            return await self._worker.call(lambda: self._step_copy(state, reply), STEP_S)
        except TimeoutError as error:
            raise EnvironmentFault(f"a copy's step() gave {error}") from error

    def _step_copy(self, state: Any, reply: Any) -> tuple[Any, Any]:
        if self._copy is None:
            assert self._env.spec is not None
            # Its own limit on turns is part of the state; a wrapper would count steps across all branches.
            self._copy = gymnasium.make(self._env.spec, max_episode_steps=-1, disable_env_checker=True)
            self._copy.reset(seed=0)  # gymnasium's wrappers require it
        inner: Any = self._copy.unwrapped
        inner.restore(state)
        outcome = self._copy.step(reply)
        return inner.snapshot(), outcome

    def _close_copy(self) -> None:
        if self._copy is not None:
            self._copy.close()


class PlanningPlayer:
    """Acts by plans found in copies: follows one to its end, then makes the next.

    The `prompt_tokens` and `completion_tokens` of a plan's first action count all tokens that the plan cost.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        self.branches = Branches(env)
        self._plan: list[Step] = []

    async def plan(self, root: Node) -> Iterable[Step]:
        """The next steps, at least one. Subclasses override it."""
        raise NotImplementedError

    async def act(self, observation: Any, info: dict[str, Any]) -> Action:
        """
        Raises:
            SearchError: the environment answered differently from its copy.
        """
        if not self._plan:
            self._plan = list(await self.plan(self.branches.here(observation, info)))
        step = self._plan.pop(0)
        if step.observation != observation:
            raise SearchError(
                "the environment answered differently from its copy: search needs environments in which the "
                "same actions have the same consequences"
            )
        return self.branches.spent(step.action)

    def close(self) -> None:
        self.branches.close()


def _sampled(action: Action) -> int:
    return len(action.completion_ids) if action.completion_tokens is None else action.completion_tokens


async def together(lines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All at once; when one fails, the others are cancelled and its exception is raised."""
    tasks = [asyncio.ensure_future(line) for line in lines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
