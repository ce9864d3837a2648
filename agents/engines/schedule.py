"""`ScheduledEngine`: what engines in this process have in common, sessions and the schedule.

Sessions, one per episode, and the schedule, which decides what is computed next, live in the event loop; a
`Batch` computes in a thread, pass after pass, until a completion is finished.

The schedule is what makes rollouts repeatable. Float rounding depends on what is computed together, so what
is computed together must not depend on timing: steps run only while every open session waits in `generate`,
and sessions get their rows in the order in which they were opened. Once a session has been away longer than
the patience, the others stop waiting for it until it comes back; for one that rests they do not wait at all.
"""

import asyncio
import contextlib
import itertools
import math
import threading
import time
from collections.abc import Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from ludus.agents.engines.base import (
    Completion,
    EngineError,
    Sampling,
    Told,
    refuse_likeliest,
    refuse_pictures,
)
from ludus.agents.engines.steps import Request
from ludus.agents.families import Reach
from ludus.agents.kept import KeptSets


class Row(Protocol):
    """A place in a batch."""

    request: Request | None
    """What is computed there."""


class Batch(Protocol):
    """What computes the requests of a schedule, which calls it from one thread at a time."""

    @property
    def rows(self) -> Sequence[Row]:
        """All places; the schedule takes a request off its row once it is finished."""
        ...

    @property
    def cached_tokens(self) -> int:
        """Of how many tokens there are keys and values that a request could attend to."""
        ...

    def release(self, sessions: Container[int]) -> None:
        """Drop what belongs to any other session, and requests that nobody waits for any more."""
        ...

    def admit(self, requests: Sequence[Request]) -> None:
        """Take over those of the requests that it does not have yet, in order, as far as there is room."""
        ...

    def run(self, interrupt: threading.Event) -> None:
        """Compute until a request is finished or there is an interrupt."""
        ...

    def forget(self) -> None:
        """Forget what was computed, but keep the memory."""
        ...

    def drop(self) -> None:
        """Free the memory; requests that are still open start over."""
        ...


class EngineSession:
    """One episode's place in the engine. Close it, or use it in a `with` block."""

    def __init__(self, engine: "ScheduledEngine", number: int) -> None:
        self._engine = engine
        self.number = number
        self.away_since = time.monotonic()
        self.request: Request | None = None
        self.closed = False

    async def generate(
        self,
        ids: Sequence[int],
        sampling: Sampling,
        seed: int,
        pictures: Sequence[str] = (),
        told: Told | None = None,
    ) -> Completion:
        """Continue `ids`, the whole context. Only the ids after the longest prefix shared with this session's
        cache are computed. A context without room gives an empty completion with finish "length".

        Raises:
            ValueError: no ids, or a `max_tokens` below 1.
            RuntimeError: the session is closed or busy with another call, or the engine is asleep.
            EngineError: there are pictures, and the engine takes none, or it does not tell the likeliest ids.
        """
        if not self._engine.sees:
            refuse_pictures(pictures, type(self._engine).__name__)
        if not self._engine.tells_likeliest:
            refuse_likeliest(sampling, type(self._engine).__name__)
        if self.closed or self.request is not None:
            raise RuntimeError(
                f"this session is {'closed' if self.closed else 'busy with another generate()'}"
            )
        if not ids or sampling.max_tokens < 1:
            raise ValueError(
                f"generate() needs at least one id and max_tokens ≥ 1; got {len(ids)} and {sampling}"
            )
        engine = self._engine
        if engine.is_asleep:
            raise RuntimeError("the engine is asleep: call its wake() first")
        room = sampling.room(len(ids), engine.max_context)
        if room <= 0:
            return Completion((), (), "length", engine.weights_version)
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        request = self.request = Request(
            self.number, list(ids), sampling, seed, room, future, tuple(pictures), told
        )
        try:
            engine._arrived()
            return await future
        except asyncio.CancelledError:
            engine._interrupt.set()
            raise
        finally:
            if self.request is request:
                self.request, self.away_since = None, time.monotonic()

    def rest(self) -> None:
        """Not to be waited for until the next `generate`."""
        self.away_since = -math.inf
        self._engine._look_again()

    def close(self) -> None:
        """Give the place back; a completion still being generated is dropped."""
        if not self.closed:
            self.closed = True
            if self.request is not None:
                self.request.future.cancel()
            self._engine._left(self)

    def __enter__(self) -> "EngineSession":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ScheduledEngine:
    """Sessions, and the schedule by which a batch computes what they wait for.

    Args:
        batch: computes; it samples from the trainer's weights.
        max_context: prompt and completion together, in tokens.
        patience_s: how long a session that is away holds up the others, once per turn.
    """

    sees = False
    """Whether it takes pictures."""
    tells_likeliest = False
    """Whether it can do what `Sampling.likeliest` asks for."""

    def __init__(self, batch: Batch, max_context: int, patience_s: float) -> None:
        self._batch = batch
        self._max_context = max_context
        self.patience_s = patience_s
        self._weights_version = 0
        self._sessions: dict[int, EngineSession] = {}
        self._numbers = itertools.count()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._interrupt = threading.Event()
        """Asks the thread to return before a completion is finished: a session came or went."""
        self._running = False
        self.is_asleep = False
        self._closed = False
        self._changed: asyncio.Event | None = None
        self._schedule_task: asyncio.Task[None] | None = None

    @property
    def max_context(self) -> int:
        return self._max_context

    @property
    def weights_version(self) -> int:
        """How many times `weights_changed` was called."""
        return self._weights_version

    @property
    def cached_tokens(self) -> int:
        return self._batch.cached_tokens

    def session(self) -> EngineSession:
        """
        Raises:
            RuntimeError: the engine is closed.
        """
        if self._closed:
            raise RuntimeError("this engine is closed")
        session = EngineSession(self, next(self._numbers))
        self._sessions[session.number] = session
        return session

    def weights_changed(self) -> None:
        """Call it after every update of the model's weights: forgets all keys and values.

        Raises:
            RuntimeError: completions are being generated.
        """
        self._require_rest("the weights changed")
        self._weights_version += 1
        self._batch.forget()

    def sleep(self) -> None:
        """Free the memory of keys and values. Sessions stay open; after `wake` they recompute their context
        and get the same tokens.

        Raises:
            RuntimeError: completions are being generated.
        """
        self._require_rest("the engine was sent to sleep")
        self.is_asleep = True
        self._batch.drop()

    def wake(self) -> None:
        """Be ready to sample again; memory is allocated again when needed."""
        self.is_asleep = False

    def close(self) -> None:
        """Close all sessions and end the thread. The model, which the engine does not own, stays as it is."""
        self._closed = True
        for session in list(self._sessions.values()):
            session.close()
        self._thread.shutdown(wait=False)

    def _require_rest(self, what: str) -> None:
        if self._running or self._waiting():
            raise RuntimeError(f"{what} while completions were being generated: wait for them")

    # The schedule: all in the event loop, but for the passes. Round and round: wait until all sessions are
    # here, give them rows, compute until a completion is finished or somebody comes or goes, deliver. Where
    # somebody is told of every token, an interrupt that is there already ends the computing after a pass.

    def _arrived(self) -> None:
        self._interrupt.set()
        if self._schedule_task is None or self._schedule_task.done():
            self._changed = asyncio.Event()
            self._schedule_task = asyncio.ensure_future(self._schedule())
        assert self._changed is not None
        self._changed.set()

    def _left(self, session: EngineSession) -> None:
        del self._sessions[session.number]
        self._interrupt.set()
        self._look_again()
        self._tidy()

    def _look_again(self) -> None:
        if self._changed is not None:
            self._changed.set()

    def _tidy(self) -> None:
        """Free the memory when no session is left: between rollouts the trainer needs it."""
        if not self._sessions and not self._running:
            self._batch.drop()

    async def _schedule(self) -> None:
        try:
            while self._waiting():
                if await self._all_here():
                    self._batch.release(self._sessions)
                    self._batch.admit(self._waiting())
                    await self._run_in_thread()
                    self._deliver()
        except Exception as error:
            self._fail(error)

    def _waiting(self) -> list[Request]:
        """The pending requests, in the order of the sessions."""
        requests = [session.request for _, session in sorted(self._sessions.items())]
        return [request for request in requests if request is not None and not request.future.done()]

    async def _all_here(self) -> bool:
        """Wait until every open session waits in `generate` or the patience with it has run out. False: check
        again, a session came or went."""
        assert self._changed is not None
        now = time.monotonic()
        expected = [
            session.away_since + self.patience_s - now
            for session in self._sessions.values()
            if session.request is None and session.away_since + self.patience_s > now
        ]
        if not expected:
            return True
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), min(expected))
        return False

    async def _run_in_thread(self) -> None:
        if any(request.told for request in self._waiting()):
            self._interrupt.set()
        else:
            self._interrupt.clear()
        running = asyncio.get_running_loop().run_in_executor(self._thread, self._batch.run, self._interrupt)
        self._running = True
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            self._interrupt.set()
            await asyncio.wait([running])
            raise
        finally:
            self._running = False
            self._tidy()

    def _deliver(self) -> None:
        for row in self._batch.rows:
            request = row.request
            if request is None or request.future.done():
                continue
            request.tell()
            if request.finish:
                row.request = None
                session = self._sessions[request.session]
                session.request, session.away_since = None, time.monotonic()
                request.future.set_result(
                    Completion(
                        tuple(request.new_ids),
                        tuple(request.logprobs),
                        request.finish,
                        self._weights_version,
                        KeptSets.of(request.kept) if request.kept else None,
                        request.cached,
                        tuple(request.likeliest),
                    )
                )

    def _fail(self, error: Exception) -> None:
        """Every waiting session gets the exception; the contents of the rows are no longer valid."""
        for request in self._waiting():
            request.future.set_exception(error)
        self._batch.forget()


def context_of(model: object, limit: Reach, wanted: int | None) -> int:
    """The maximum context length: what is wanted or, without that, the limit.

    Raises:
        EngineError: it is beyond the limit, or the model does not say how long contexts may be.
    """
    context = limit.tokens if wanted is None else wanted
    if context is None:
        raise EngineError(
            f"{type(model).__name__}'s configuration sets no max_position_embeddings: set engine.max_context"
        )
    if context not in limit:
        raise EngineError(f"max_context={context}, but {limit.why}: take no more")
    return context
