"""Rollouts: many episodes at once, each recorded.

Three kinds of trouble, by whom they concern. A *fault* (`EnvironmentFault`, `EngineFault`, a step that takes
longer than `Limits.step_seconds`) is confined to its episode, whose `stop` and `fault` say so. A *limit* ends
its episode and is recorded as its stop reason. Any other exception is a bug: it ends the rollout as a
`RolloutError` that names the environment, the seed and the turn (a `UserError` ends it as it is).
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import gymnasium
import numpy as np

from ludus.agents.engines.base import EngineFault
from ludus.agents.episode import Episode, StopReason, Turn
from ludus.agents.policy import Action, Player, Policy, ScriptedPlayer, derive_seed
from ludus.agents.worker import Worker
from ludus.envs.chat import Message, assistant, content_text
from ludus.envs.faults import EnvironmentFault
from ludus.tools.errors import UserError

_CLOSING_SECONDS = 1.0
"""How long an environment may take to close before its thread is left to itself."""


class RolloutError(RuntimeError):
    """An environment or a policy raised what is neither a fault nor a limit."""


@dataclass(frozen=True)
class EnvironmentSpec:
    """Which environment, with which keyword arguments of `gym.make`."""

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
    """Which of its group; the policy's own randomness depends on it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When to end an episode that its environment would let go on. None: no such limit."""

    turns: int | None = None
    tokens: int | None = None
    """Of context, prompts and completions together, where the policy gives ids. The turn that reaches it is
    the last. The engine's own `max_context` holds besides."""
    step_seconds: float | None = 60.0
    """For one `reset` or `step`; longer is a fault of the environment."""
    episode_seconds: float | None = None
    """For the whole episode. Runs that use it are not repeatable."""


def rollout(
    policy: Policy,
    spec: EnvironmentSpec,
    starts: Sequence[EpisodeStart],
    limits: Limits | None = None,
    concurrency: int = 64,
    on_episode: Callable[[Episode], None] | None = None,
) -> list[Episode]:
    """Plays every start and returns the episodes in the order of `starts`.

    `on_episode` is called with each episode as it ends. To be used where no event loop runs; elsewhere,
    `rollout_async`. Ctrl-C closes everything and raises KeyboardInterrupt.

    Raises:
        RolloutError: an environment or the policy raised something that is not a fault.
    """
    return asyncio.run(rollout_async(policy, spec, starts, limits, concurrency, on_episode))


async def rollout_async(
    policy: Policy,
    spec: EnvironmentSpec,
    starts: Sequence[EpisodeStart],
    limits: Limits | None = None,
    concurrency: int = 64,
    on_episode: Callable[[Episode], None] | None = None,
) -> list[Episode]:
    """`rollout`, inside an event loop."""
    limits = limits or Limits()
    episodes: dict[int, Episode] = {}
    waiting = iter(enumerate(starts))
    seats = [_Seat(spec, limits.step_seconds) for _ in range(min(concurrency, len(starts)))]

    async def play_on(seat: _Seat) -> None:
        for index, start in waiting:
            episodes[index] = await _episode(policy, seat, start, limits)
            if on_episode:
                on_episode(episodes[index])

    try:
        await _all(seat.open() for seat in seats)
        # Between the end of one episode and the beginning of the next on the same seat nothing is awaited, so
        # an engine that waits for all its open sessions sees them handed over in one piece, whatever the
        # timing.
        await _all(play_on(seat) for seat in seats)
    finally:
        await asyncio.gather(*(seat.close() for seat in seats))
    return [episodes[index] for index in range(len(starts))]


async def rollout_stream(
    policy: Policy,
    next_start: Callable[[], Awaitable[tuple[EnvironmentSpec, EpisodeStart] | None]],
    on_episode: Callable[[Episode], None],
    limits: Limits | None = None,
    concurrency: int = 64,
) -> None:
    """Plays what `next_start` gives, `concurrency` episodes at once, until it gives None.

    Unlike `rollout`, the episodes may be of several environments, and need not be known in advance: one
    environment's last episodes are played beside the next one's first. `on_episode` gets each as it ends.

    Raises:
        RolloutError: an environment or the policy raised something that is not a fault.
    """
    limits = limits or Limits()

    async def play_on() -> None:
        seat: _Seat | None = None
        try:
            while (job := await next_start()) is not None:
                spec, start = job
                if seat is None or seat.spec != spec:
                    if seat is not None:
                        await seat.close()
                    seat = _Seat(spec, limits.step_seconds)
                on_episode(await _episode(policy, seat, start, limits))
        finally:
            if seat is not None:
                await seat.close()

    await _all(play_on() for _ in range(concurrency))


async def _all(coroutines: Any) -> None:
    """Run all to the end; when one fails, cancel the others and raise its exception."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Seat:
    """One environment in a thread of its own, used for one episode after the other."""

    def __init__(self, spec: EnvironmentSpec, seconds: float | None) -> None:
        self.spec = spec
        self._seconds = seconds
        self._worker = Worker(spec.id)
        self._stuck = False
        self.env: gymnasium.Env[Any, Any] | None = None

    async def open(self) -> gymnasium.Env[Any, Any]:
        if self.env is None:
            self.env = await self._worker.call(self.spec.make)
        return self.env

    async def call(self, method: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """
        Raises:
            EnvironmentFault: of its own, or because it took too long.
        """
        try:
            return await self._worker.call(lambda: method(*arguments, **keywords), self._seconds)
        except TimeoutError as error:
            self._stuck = True
            raise EnvironmentFault(f"{method.__name__}() gave {error}") from error

    async def play(self, episode: Callable[[], Episode], record: "_Record") -> Episode:
        """A whole episode in the environment's thread, each of whose steps may take the seat's seconds.

        Raises:
            EnvironmentFault: of its own, or because one of them took too long.
        """
        try:
            return await self._worker.call(episode, self._seconds, lambda: record.moves)
        except TimeoutError as error:
            self._stuck = True
            raise EnvironmentFault(f"{'step' if record.moves else 'reset'}() gave {error}") from error

    async def renew(self) -> None:
        """Replace a faulty environment. Where no new one can be made either, the next `open` says why."""
        await self.close()
        self._worker, self._stuck = Worker(self.spec.id), False
        with contextlib.suppress(EnvironmentFault):
            await self.open()

    async def close(self) -> None:
        env, self.env = self.env, None
        if env is not None:
            with contextlib.suppress(TimeoutError):
                await self._worker.call(env.close, 0 if self._stuck else _CLOSING_SECONDS)
        self._worker.stop()


async def _episode(policy: Policy, seat: _Seat, start: EpisodeStart, limits: Limits) -> Episode:
    record = _Record(seat.spec, start)
    try:
        env = await seat.open()
    except EnvironmentFault as fault:
        return record.end(StopReason.ENVIRONMENT_FAULT, fault=str(fault))
    player = policy.player(env, derive_seed(start.seed, start.sample))
    try:
        if isinstance(player, ScriptedPlayer):
            return await seat.play(partial(_play_scripted, player, env, record, limits), record)
        return await _play(player, seat, env, record, limits)
    except EnvironmentFault as fault:
        # Before the player closes: an engine that waits for open sessions then sees no gap (see
        # rollout_async).
        await seat.renew()
        return record.end(StopReason.ENVIRONMENT_FAULT, fault=str(fault))
    except EngineFault as fault:
        return record.end(StopReason.ENGINE_FAULT, fault=str(fault))
    except UserError:
        raise
    except Exception as error:
        where = f"{seat.spec.id} (seed {start.seed}, turn {len(record.turns)})"
        raise RolloutError(f"{where}: {type(error).__name__}: {error}") from error
    finally:
        player.close()


async def _play(
    player: Player, seat: _Seat, env: gymnasium.Env[Any, Any], record: "_Record", limits: Limits
) -> Episode:
    loop = asyncio.get_running_loop()
    deadline = None if limits.episode_seconds is None else loop.time() + limits.episode_seconds
    observation, info = await seat.call(env.reset, seed=record.start.seed)
    record.begin(env, info)
    context = 0
    while True:
        record.observation = observation
        if limits.turns is not None and len(record.turns) >= limits.turns:
            return record.end(StopReason.TURN_LIMIT)
        if limits.tokens is not None and context >= limits.tokens:
            return record.end(StopReason.TOKEN_LIMIT)
        began = time.perf_counter()
        try:
            async with asyncio.timeout_at(deadline) as clock:
                action = await player.act(observation, info)
        except TimeoutError:
            if clock.expired():
                return record.end(StopReason.TIME_LIMIT)
            raise
        acted = time.perf_counter()
        if action.is_empty:
            return record.end(StopReason.TOKEN_LIMIT)
        observation, reward, terminated, truncated, info = await seat.call(env.step, action.reply)
        read = (0 if action.fork else context) + len(action.prompt_ids)
        record.add(action, read, float(reward), info, acted - began, time.perf_counter() - acted)
        context = read + len(action.completion_ids)
        if terminated or truncated:
            record.observation = observation
            return record.end(
                StopReason.TERMINATED if terminated else StopReason.TRUNCATED,
                bool(info.get("success", False)),
            )


def _play_scripted(
    player: ScriptedPlayer, env: gymnasium.Env[Any, Any], record: "_Record", limits: Limits
) -> Episode:
    """`_play` for a player that waits for nothing: from beginning to end in one thread, since going from one
    to another takes longer than most steps."""
    began = time.perf_counter()
    observation, info = env.reset(seed=record.start.seed)
    record.begin(env, info)
    while True:
        record.observation = observation
        record.moves += 1
        if limits.turns is not None and len(record.turns) >= limits.turns:
            return record.end(StopReason.TURN_LIMIT)
        turn = time.perf_counter()
        if limits.episode_seconds is not None and turn - began > limits.episode_seconds:
            return record.end(StopReason.TIME_LIMIT)
        action = player.act_now(observation, info)
        acted = time.perf_counter()
        observation, reward, terminated, truncated, info = env.step(action.reply)
        record.add(action, 0, float(reward), info, acted - turn, time.perf_counter() - acted)
        if terminated or truncated:
            record.observation = observation
            return record.end(
                StopReason.TERMINATED if terminated else StopReason.TRUNCATED,
                bool(info.get("success", False)),
            )


@dataclass
class _Record:
    """An episode while it is played."""

    spec: EnvironmentSpec
    start: EpisodeStart
    task: str = ""
    task_name: str = ""
    form_terms: tuple[str, ...] = ()
    observation: Any = None
    turns: list[Turn] = field(default_factory=list)
    weights_versions: list[int] = field(default_factory=list)
    moves: int = 0
    """What a scripted player's environment has answered, `reset` included."""

    def begin(self, env: gymnasium.Env[Any, Any], info: dict[str, Any]) -> None:
        """Note what `reset` said and what the environment says about itself."""
        made = env.unwrapped
        self.task = info.get("task", "")
        self.task_name = getattr(made, "task_name", "")
        self.form_terms = tuple(getattr(getattr(made, "rubric", None), "form", ()))

    def add(
        self,
        action: Action,
        read: int,
        reward: float,
        info: dict[str, Any],
        generate_seconds: float,
        step_seconds: float,
    ) -> None:
        self.weights_versions.append(action.weights_version)
        self.turns.append(
            Turn(
                observation=_messages(self.observation),
                reply=_recorded(action.reply),
                reward=reward,
                reward_terms={name: float(value) for name, value in info.get("reward_terms", {}).items()},
                prompt_ids=action.prompt_ids,
                completion_ids=action.completion_ids,
                logprobs=action.logprobs,
                finish=action.finish,
                fork=action.fork,
                generate_seconds=generate_seconds,
                step_seconds=step_seconds,
                prompt_tokens=read if action.prompt_tokens is None else action.prompt_tokens,
                completion_tokens=(
                    len(action.completion_ids)
                    if action.completion_tokens is None
                    else action.completion_tokens
                ),
            )
        )

    def end(self, stop: StopReason, success: bool = False, fault: str = "") -> Episode:
        return Episode(
            environment=self.spec.id,
            arguments=dict(self.spec.arguments),
            seed=self.start.seed,
            task=self.task,
            turns=tuple(self.turns),
            stop=stop,
            success=success,
            group=self.start.group,
            sample=self.start.sample,
            weights_version=min(self.weights_versions, default=0),
            fault=fault,
            final_observation=_messages(self.observation),
            task_name=self.task_name,
            form_terms=self.form_terms,
        )


def _messages(observation: Any) -> list[Message]:
    """The messages of a language environment; a native environment's arrays are not recorded."""
    return observation if isinstance(observation, list) else []


def _recorded(reply: Any) -> Message:
    """A reply as a message; a native action as its JSON."""
    if isinstance(reply, str):
        return assistant(reply)
    if isinstance(reply, dict):
        return cast(Message, reply)
    return assistant(json.dumps(np.asarray(reply).tolist()))


def replay(episode: Episode, render_mode: str = "rgb_array") -> list[Any]:
    """Plays a record again and returns what was rendered: after `reset`, then after each turn. The mode
    `rgb_array_list` gives as many pictures a turn as the environment has moves.

    Raises:
        ValueError: the environment no longer pays what the record says, so it is not the same environment.
    """
    env = EnvironmentSpec(episode.environment, episode.arguments).make(render_mode=render_mode)
    try:
        observation, _ = env.reset(seed=episode.seed)
        native = not isinstance(observation, list)
        frames = _rendered(env)
        for number, turn in enumerate(episode.turns):
            action = json.loads(content_text(turn.reply)) if native else turn.reply
            _, reward, _, _, _ = env.step(action)
            if float(reward) != turn.reward:
                raise ValueError(
                    f"{episode.environment} (seed {episode.seed}) pays {float(reward)!r} on turn {number}, "
                    f"the record says {turn.reward!r}: the environment changed since the episode was played"
                )
            frames += _rendered(env)
        return frames
    finally:
        env.close()


def _rendered(env: gymnasium.Env[Any, Any]) -> list[Any]:
    """What `render` gives; in the mode `rgb_array_list` it gives several pictures a turn."""
    rendered: Any = env.render()
    return rendered if isinstance(rendered, list) else [rendered]
