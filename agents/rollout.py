"""Rollouts: many episodes at once, each recorded.

There are four kinds of trouble. A *fault* (`EnvironmentFault`, `EngineFault`, a step that takes
longer than `Limits.step_seconds`) is confined to its episode and recorded in its `stop` and `fault`. So is a
*refusal* (`ServerRefusal`): the server would not answer this conversation, and would not the next time. A
*limit* ends its episode and is recorded as its stop reason. Any other exception is a bug: it ends the rollout
as a `RolloutError` that names the environment, the seed and the turn (a `UserError` ends it as it is).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import gymnasium

from ludus.agents.engines.base import EngineFault, ServerRefusal
from ludus.agents.episode import Episode, StopReason
from ludus.agents.policy import Action, EnginePlayer, Player, Policy, ScriptedPlayer, derive_seed
from ludus.agents.recording import Recorder
from ludus.agents.worker import EnvironmentWorker
from ludus.envs.faults import EnvironmentFault
from ludus.tools.errors import UserError

T = TypeVar("T")

_Call = Callable[..., Awaitable[Any]]


class RolloutError(RuntimeError):
    """An environment or a policy raised something that is neither a fault nor a limit."""


@dataclass(frozen=True)
class EnvironmentSpec:
    """An environment's id and its keyword arguments for `gym.make`."""

    id: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def make(self, **extra: Any) -> gymnasium.Env[Any, Any]:
        """A new instance, without Gymnasium's passive checker (`ludus check` does that work, once)."""
        return gymnasium.make(self.id, disable_env_checker=True, **{**self.arguments, **extra})


@dataclass(frozen=True, slots=True)
class EpisodeStart:
    """One episode to play."""

    seed: int
    """Of `env.reset`."""
    group: int = 0
    """Episodes that share one start have the same group number."""
    sample: int = 0
    """Index within its group; the policy's own randomness depends on it."""
    opponent: str = ""
    """Of a game: who plays the other seats, see `rollout_games`. Empty: whom the environment was made
    with."""
    opening: tuple[tuple[int, ...], ...] = ()
    """Of a policy with an engine: what it says first, the ids of each turn; from the end of the last one,
    which may be unfinished or empty, it goes on by itself."""


Job = tuple[EnvironmentSpec, EpisodeStart]
"""One episode to play, and in which environment."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When to end an episode that its environment would continue. None: no such limit."""

    turns: int | None = None
    tokens: int | None = None
    """Tokens of context, prompts and completions together, if the policy gives ids. The turn that reaches it
    is the last. The engine's own `max_context` applies too."""
    step_seconds: float | None = 60.0
    """Time for one `reset` or `step`; taking longer is a fault of the environment."""
    episode_seconds: float | None = None
    """Time for the whole episode. Runs that use it are not repeatable."""


def rollout(
    policy: Policy,
    spec: EnvironmentSpec,
    starts: Sequence[EpisodeStart],
    limits: Limits | None = None,
    concurrency: int = 64,
    on_episode: Callable[[Episode], None] | None = None,
) -> list[Episode]:
    """Plays every start and returns the episodes in the order of `starts`.

    `on_episode` is called with each episode as it ends. Ctrl-C closes everything and raises
    KeyboardInterrupt. If an event loop is already running, as in a notebook, it blocks while another thread
    plays the episodes and calls `on_episode`; `rollout_async` leaves the loop free.

    Raises:
        RolloutError: an environment or the policy raised something that is not a fault.
    """
    return run_blocking(rollout_async(policy, spec, starts, limits, concurrency, on_episode))


def rollout_mixed(
    policy: Policy,
    jobs: Sequence[Job],
    limits: Limits | None = None,
    concurrency: int = 64,
    on_episode: Callable[[Episode], None] | None = None,
    environments: "Environments | None" = None,
) -> list[Episode]:
    """`rollout` for starts in several environments, all played together.

    Args:
        environments: Where they are taken from and left, still open, for the next rollout.
    """
    return run_blocking(_rollout(policy, jobs, limits, concurrency, on_episode, environments))


async def rollout_async(
    policy: Policy,
    spec: EnvironmentSpec,
    starts: Sequence[EpisodeStart],
    limits: Limits | None = None,
    concurrency: int = 64,
    on_episode: Callable[[Episode], None] | None = None,
) -> list[Episode]:
    """`rollout`, inside an event loop."""
    return await _rollout(policy, [(spec, start) for start in starts], limits, concurrency, on_episode)


async def _rollout(
    policy: Policy,
    jobs: Sequence[Job],
    limits: Limits | None,
    concurrency: int,
    on_episode: Callable[[Episode], None] | None,
    kept: "Environments | None" = None,
) -> list[Episode]:
    limits = limits or Limits()
    episodes: dict[int, Episode] = {}
    waiting = iter(enumerate(jobs))
    environments = kept or Environments()

    async def play_on() -> None:
        for index, (spec, start) in waiting:
            worker = environments.take(spec)
            episodes[index] = await _episode(policy, spec, worker, start, limits)
            environments.put_back(spec, worker)
            if on_episode:
                on_episode(episodes[index])

    try:
        await environments.open(jobs, limits, concurrency)
        # Between the end of one episode and the beginning of the next, nothing is awaited, so an engine that
        # waits for all its open sessions sees no gap, and opens them in the order of the jobs, whatever the
        # timing.
        await run_together(play_on() for _ in range(min(concurrency, len(jobs))))
    except BaseException:
        await environments.close_all()
        raise
    if kept is None:
        await environments.close_all()
    return [episodes[index] for index in range(len(jobs))]


@dataclass(eq=False)
class _Stock:
    """The open environments of one spec."""

    spec: EnvironmentSpec
    workers: list[EnvironmentWorker] = field(default_factory=list)
    idle: list[EnvironmentWorker] = field(default_factory=list)


class Environments:
    """Open environments, kept from one rollout to the next one with the same limits: to make one and its
    thread takes longer than many an episode. A rollout that fails closes them all. Use it in a `with` block,
    or close it."""

    def __init__(self) -> None:
        self._stocks: list[_Stock] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all; the next rollout opens others. Closing twice is fine."""
        if self._stocks:
            run_blocking(self.close_all())

    async def open(self, jobs: Sequence[Job], limits: Limits, concurrency: int) -> None:
        """Have as many of each spec as can be played at the same time, so that no episode waits for one, and
        none of other specs."""
        specs: list[EnvironmentSpec] = []
        counts: list[int] = []
        for spec, _ in jobs:
            if spec not in specs:
                specs.append(spec)
                counts.append(0)
            counts[specs.index(spec)] += 1
        others = [stock for stock in self._stocks if stock.spec not in specs]
        await asyncio.gather(*(worker.close() for stock in others for worker in stock.workers))
        kept = self._stocks
        self._stocks = [next((stock for stock in kept if stock.spec == spec), _Stock(spec)) for spec in specs]
        for stock, count in zip(self._stocks, counts, strict=True):
            missing = min(concurrency, count) - len(stock.workers)
            stock.workers += [_worker(stock.spec, limits) for _ in range(missing)]
            stock.idle = list(stock.workers)
        await run_together(worker.open() for stock in self._stocks for worker in stock.workers)

    def take(self, spec: EnvironmentSpec) -> EnvironmentWorker:
        return self._of(spec).idle.pop()

    def put_back(self, spec: EnvironmentSpec, worker: EnvironmentWorker) -> None:
        self._of(spec).idle.append(worker)

    def _of(self, spec: EnvironmentSpec) -> _Stock:
        return next(stock for stock in self._stocks if stock.spec == spec)

    async def close_all(self) -> None:
        stocks, self._stocks = self._stocks, []
        await asyncio.gather(*(worker.close() for stock in stocks for worker in stock.workers))


async def rollout_stream(
    policy: Policy,
    next_start: Callable[[], Awaitable[tuple[EnvironmentSpec, EpisodeStart] | None]],
    on_episode: Callable[[Episode], None],
    limits: Limits | None = None,
    concurrency: int = 64,
) -> None:
    """Plays what `next_start` gives, `concurrency` episodes at once, until it gives None.

    Unlike in `rollout`, episodes may be of several environments and need not be known in advance: one
    environment's last episodes are played alongside the first of the next. `on_episode` gets each as it ends.

    Raises:
        RolloutError: an environment or the policy raised something that is not a fault.
    """
    limits = limits or Limits()

    async def play_on() -> None:
        worker: EnvironmentWorker | None = None
        made: EnvironmentSpec | None = None
        try:
            while (job := await next_start()) is not None:
                spec, start = job
                if worker is None or spec != made:
                    if worker is not None:
                        await worker.close()
                    worker, made = _worker(spec, limits), spec
                on_episode(await _episode(policy, spec, worker, start, limits))
        finally:
            if worker is not None:
                await worker.close()

    await run_together(play_on() for _ in range(concurrency))


def run_blocking(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, in another thread if an event loop already runs in this one."""
    begun: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    async def kept() -> T:
        task = asyncio.current_task()
        assert task is not None
        begun.append((asyncio.get_running_loop(), task))
        return await main

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        try:
            return asyncio.run(kept())
        finally:
            # A second Ctrl-C leaves by the event loop, past the task, which would tell of it when collected.
            for _, task in begun:
                if task.done() and not task.cancelled():
                    task.exception()
    with ThreadPoolExecutor(1, thread_name_prefix="rollout") as thread:
        try:
            return thread.submit(lambda: asyncio.run(kept())).result()
        except KeyboardInterrupt:
            for loop, task in begun:
                loop.call_soon_threadsafe(task.cancel)
            raise


async def run_together(coroutines: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Run all to the end; when one fails, cancel the others and raise its exception."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _worker(spec: EnvironmentSpec, limits: Limits) -> EnvironmentWorker:
    return EnvironmentWorker(spec.id, spec.make, limits.step_seconds)


async def _episode(
    policy: Policy, spec: EnvironmentSpec, worker: EnvironmentWorker, start: EpisodeStart, limits: Limits
) -> Episode:
    record = Recorder(spec.id, spec.arguments, start.seed, start.group, start.sample)
    try:
        env = await worker.open()
    except EnvironmentFault as fault:
        return record.end(StopReason.ENVIRONMENT_FAULT, fault=str(fault))
    player = policy.player(env, derive_seed(start.seed, start.sample))
    if start.opening:
        assert isinstance(player, EnginePlayer), "only what has an engine goes on from ids"
        player.opening = start.opening
    try:
        if isinstance(player, ScriptedPlayer):
            # It never waits, and switching threads takes longer than most steps.
            return await worker.play(
                lambda: _at_once(_play(player, env, _here, record, limits)), lambda: record.steps
            )
        return await _play(player, env, worker.call, record, limits)
    except EnvironmentFault as fault:
        # Before the player closes: an engine that waits for open sessions then sees no gap (see
        # rollout_async).
        await worker.renew()
        return record.end(StopReason.ENVIRONMENT_FAULT, fault=str(fault))
    except EngineFault as fault:
        return record.end(StopReason.ENGINE_FAULT, fault=str(fault))
    except ServerRefusal as refusal:
        return record.end(StopReason.REFUSED, fault=str(refusal))
    except UserError:
        raise
    except Exception as error:
        where = f"{spec.id} (seed {start.seed}, turn {len(record.turns)})"
        raise RolloutError(f"{where}: {type(error).__name__}: {error}") from error
    finally:
        player.close()


async def _play(
    player: Player, env: gymnasium.Env[Any, Any], call: _Call, record: Recorder, limits: Limits
) -> Episode:
    """One episode from beginning to end. `call` calls the environment's methods in their thread."""
    seconds = limits.episode_seconds
    deadline = None if seconds is None else time.monotonic() + seconds
    observation, info = await call(env.reset, seed=record.seed)
    record.begin(env, info)

    async def cut_off(stop: StopReason) -> Episode:
        await call(record.judge, env)
        return record.end(stop)

    context = 0
    while True:
        record.observation = observation
        record.steps += 1
        if limits.turns is not None and len(record.turns) >= limits.turns:
            return await cut_off(StopReason.TURN_LIMIT)
        if limits.tokens is not None and context >= limits.tokens:
            return await cut_off(StopReason.TOKEN_LIMIT)
        began = time.perf_counter()
        action = await _act(player, observation, info, deadline)
        if action is None:
            return await cut_off(StopReason.TIME_LIMIT)
        acted = time.perf_counter()
        if action.is_empty:
            return await cut_off(StopReason.TOKEN_LIMIT)
        generated = acted - began if action.model_seconds is None else action.model_seconds
        read = (0 if action.fork else context) + len(action.prompt_ids)
        try:
            observation, reward, terminated, truncated, info = await call(record.step, env, action.reply)
        except EnvironmentFault:
            # The record ends with the action on which the environment broke: it may be the cause.
            record.add(action, read, 0.0, {}, generated, time.perf_counter() - acted)
            raise
        record.add(action, read, float(reward), info, generated, time.perf_counter() - acted)
        context = read + len(action.completion_ids)
        if terminated or truncated:
            record.observation = observation
            stop = StopReason.TERMINATED if terminated else StopReason.TRUNCATED
            return record.end(stop, bool(info.get("success", False)))


async def _act(
    player: Player, observation: Any, info: dict[str, Any], deadline: float | None
) -> Action | None:
    """The player's action; None if it does not come by the deadline, a time of `time.monotonic`."""
    if deadline is None:
        return await player.act(observation, info)
    left = deadline - time.monotonic()
    if left <= 0:
        return None
    if isinstance(player, ScriptedPlayer):
        return await player.act(observation, info)
    try:
        async with asyncio.timeout(left) as clock:
            return await player.act(observation, info)
    except TimeoutError:
        if clock.expired():
            return None
        raise


async def _here(method: Callable[..., T], *arguments: Any, **keywords: Any) -> T:
    return method(*arguments, **keywords)


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waited")
