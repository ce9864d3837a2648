"""The in-process engine: continuous batching over a `transformers` model that somebody else trains.

Three layers: sessions (one per episode, in the event loop), the schedule (in the event loop: who is computed
next), and steps (in a worker thread: packed forward passes and sampling, back to back until a completion is
finished).

The schedule is what makes rollouts repeatable. Float rounding depends on what is computed together, so what
is computed together must not depend on timing: steps run only while every open session waits in `generate`,
and sessions get their rows in the order in which they were opened. A session that is away longer than the
patience is not waited for until it comes back.
"""

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch

from ludus.agents.engines.base import Completion, Sampling
from ludus.agents.engines.sampling import draw, uniforms
from ludus.agents.engines.slots import ATTENTION, SlotStore, Step

_STEP_TOKENS = 8192
"""New tokens in one forward pass; more prompts than that wait for the next one. Bounds the memory of a
prefill."""

_model_locks: WeakKeyDictionary[Any, threading.Lock] = WeakKeyDictionary()


@dataclass(eq=False)
class _Request:
    session: "EmbeddedSession"
    ids: list[int]
    sampling: Sampling
    seed: int
    room: int
    """How many tokens it may get: by `max_tokens` and by what is left of the context."""
    future: "asyncio.Future[Completion]"
    new_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    @property
    def finish(self) -> Literal["stop", "length", ""]:
        if self.new_ids and self.new_ids[-1] in self.sampling.stop_ids:
            return "stop"
        return "length" if len(self.new_ids) == self.room else ""


@dataclass(eq=False)
class _Row:
    """A row of the store: whose it is, what it holds, what comes next."""

    session: "EmbeddedSession"
    cached: list[int] = field(default_factory=list)
    """Ids whose keys and values are in the store."""
    pending: list[int] = field(default_factory=list)
    """Ids to be computed."""
    request: _Request | None = None

    def begin(self, request: _Request) -> None:
        """Keep what the request's ids have in common with the cache; at least one id is computed, for its
        logits."""
        common = min(_common_prefix(self.cached, request.ids), len(request.ids) - 1)
        del self.cached[common:]
        self.pending = request.ids[common:]
        self.request = request


class EmbeddedSession:
    """One episode's place in the engine. Close it, or use it in a `with` block."""

    def __init__(self, engine: "EmbeddedEngine", number: int) -> None:
        self._engine = engine
        self.number = number
        self.away_since = time.monotonic()
        self.request: _Request | None = None
        self.closed = False

    async def generate(self, ids: Sequence[int], sampling: Sampling, seed: int) -> Completion:
        """Continue `ids`, the whole context. Only what follows its longest common prefix with what this
        session computed before is computed. A context without room gives an empty completion with finish
        "length".

        Raises:
            ValueError: no ids, or a `max_tokens` below 1.
            RuntimeError: the session is closed, or busy with another call.
        """
        if self.closed or self.request is not None:
            raise RuntimeError(
                f"this session is {'closed' if self.closed else 'busy with another generate()'}"
            )
        if not ids or sampling.max_tokens < 1:
            raise ValueError(
                f"generate() needs at least one id and max_tokens ≥ 1; got {len(ids)} and {sampling}"
            )
        engine = self._engine
        room = min(sampling.max_tokens, engine.max_context - len(ids))
        if room <= 0:
            return Completion((), (), "length", engine.weights_version)
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        request = self.request = _Request(self, list(ids), sampling, seed, room, future)
        try:
            engine._arrived()
            return await future
        except asyncio.CancelledError:
            engine._interrupt.set()
            raise
        finally:
            if self.request is request:
                self.request, self.away_since = None, time.monotonic()

    def close(self) -> None:
        """Give the place back; what is still being generated is dropped."""
        if not self.closed:
            self.closed = True
            if self.request is not None:
                self.request.future.cancel()
            self._engine._left(self)

    def __enter__(self) -> "EmbeddedSession":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class EmbeddedEngine:
    """Generates with `model` itself: no copy of the weights, and none to keep in step.

    Args:
        model: any causal language model of `transformers` whose attention goes through its
            `AttentionInterface`.
        slots: how many sequences are computed together; further sessions wait for a free one.
        max_context: prompt and completion together, in tokens; at most, and by default, what the model's
            configuration allows.
        patience_s: how long a session that is away holds up the others, once per turn. With answers that
            always come sooner, results are repeatable to the bit. 0 never waits: for environments that take
            long, where throughput counts more than that.

    Raises:
        ValueError: the model's attention cannot be replaced, or `max_context` exceeds what it was built for.
    """

    def __init__(
        self, model: Any, slots: int = 64, max_context: int | None = None, patience_s: float = 2.0
    ) -> None:
        name = type(model).__name__
        if not getattr(model, "_supports_attention_backend", False):
            raise ValueError(
                f"{name} does not route its attention through transformers' AttentionInterface, so the "
                "embedded engine cannot run it: use a model that does (Qwen, Llama, GPT-2, …)"
            )
        longest: int | None = getattr(model.config, "max_position_embeddings", None)
        if max_context is None:
            max_context = longest
        if max_context is None:
            raise ValueError(f"{name}'s configuration sets no max_position_embeddings: pass max_context")
        if longest is not None and max_context > longest:
            raise ValueError(f"max_context={max_context}, but {name} was built for {longest} positions")
        self._model = model
        self._slots = slots
        self._max_context: int = max_context
        self.patience_s = patience_s
        self._weights_version = 0
        self._store = SlotStore()
        self._rows: list[_Row] = []
        self._sessions: dict[int, EmbeddedSession] = {}
        self._numbers = itertools.count()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._interrupt = threading.Event()
        """Asks the thread to come back before a completion is finished: somebody came or went."""
        self._running = False
        self._changed: asyncio.Event | None = None
        self._schedule_task: asyncio.Task[None] | None = None

    @property
    def max_context(self) -> int:
        return self._max_context

    @property
    def weights_version(self) -> int:
        """How often `weights_changed` was called."""
        return self._weights_version

    def weights_changed(self) -> None:
        """To be called after every update of the model's weights: forgets all keys and values.

        Raises:
            RuntimeError: completions are being generated.
        """
        if busy := len(self._waiting()):
            raise RuntimeError(
                f"the weights changed while {busy} completions were being generated: wait for them"
            )
        self._weights_version += 1
        for row in self._rows:
            row.cached.clear()

    def session(self) -> EmbeddedSession:
        session = EmbeddedSession(self, next(self._numbers))
        self._sessions[session.number] = session
        return session

    # The schedule: all in the event loop.

    def _arrived(self) -> None:
        self._interrupt.set()
        if self._schedule_task is None or self._schedule_task.done():
            self._changed = asyncio.Event()
            self._schedule_task = asyncio.ensure_future(self._schedule())
        assert self._changed is not None
        self._changed.set()

    def _left(self, session: EmbeddedSession) -> None:
        del self._sessions[session.number]
        self._interrupt.set()
        if self._changed is not None:
            self._changed.set()
        self._tidy()

    def _tidy(self) -> None:
        """Give the memory back when nobody is left: between rollouts the trainer needs it."""
        if not self._sessions and not self._running:
            self._rows, self._store = [], SlotStore()

    async def _schedule(self) -> None:
        try:
            while self._waiting():
                if await self._all_here():
                    self._release_rows()
                    self._assign_rows()
                    await self._run_in_thread()
                    self._deliver()
        except Exception as error:
            self._fail(error)

    def _waiting(self) -> list[_Request]:
        """What is to be answered, in the order of the sessions."""
        requests = [session.request for _, session in sorted(self._sessions.items())]
        return [request for request in requests if request is not None and not request.future.done()]

    async def _run_in_thread(self) -> None:
        self._interrupt.clear()
        running = asyncio.get_running_loop().run_in_executor(self._thread, self._run)
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

    async def _all_here(self) -> bool:
        """Wait until every open session waits in `generate`, or ran out of patience. False: look again,
        somebody came or went."""
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

    def _release_rows(self) -> None:
        """Drop the rows of closed sessions and let the last rows move up, so that rows stay dense."""
        for row in self._rows:
            if row.request is not None and row.request.future.done():
                row.request, row.pending = None, []
        for index in reversed(range(len(self._rows))):
            if self._rows[index].session.closed:
                last = self._rows.pop()
                if index < len(self._rows):
                    self._store.copy(len(self._rows), [index], len(last.cached))
                    self._rows[index] = last

    def _assign_rows(self) -> None:
        rows = {row.session.number: row for row in self._rows}
        waiting = self._waiting()
        for request in waiting:
            row = rows.get(request.session.number)
            if row is not None and row.request is None:
                row.begin(request)
        for request in waiting:
            if request.session.number not in rows and (row := self._free_row(request.session)):
                row.begin(request)

    def _free_row(self, session: EmbeddedSession) -> _Row | None:
        """A new row, or that of a session that is away: its patience is over, since all others are here."""
        if len(self._rows) < self._slots:
            self._rows.append(_Row(session))
            return self._rows[-1]
        for index, row in enumerate(self._rows):
            if row.request is None:
                self._rows[index] = _Row(session)
                return self._rows[index]
        return None

    def _deliver(self) -> None:
        for row in self._rows:
            request = row.request
            if request is not None and request.finish and not request.future.done():
                row.request = None
                request.session.request = None
                request.session.away_since = time.monotonic()
                request.future.set_result(
                    Completion(
                        tuple(request.new_ids), tuple(request.logprobs), request.finish, self._weights_version
                    )
                )

    def _fail(self, error: Exception) -> None:
        """Every waiting session gets the exception; what the rows hold is of no use any more."""
        for request in self._waiting():
            request.future.set_exception(error)
        for row in self._rows:
            row.request, row.pending, row.cached = None, [], []

    # Steps: all in the thread, which has the rows to itself meanwhile.

    def _run(self) -> None:
        with torch.inference_mode(), _prepared(self._model):
            while not self._step() and not self._interrupt.is_set():
                pass

    def _step(self) -> bool:
        """One forward pass and one token for every row that took part; true when a completion is finished."""
        leaders, followers = self._take()
        rows = [self._rows[index] for index in leaders]
        self._store.reserve(len(self._rows), max(len(row.cached) + len(row.pending) for row in rows))
        step = Step(
            self._store,
            leaders,
            [len(row.cached) for row in rows],
            [row.pending for row in rows],
            self._model.device,
        )
        output = self._model(
            input_ids=step.ids_1T,
            position_ids=step.positions_1T,
            use_cache=False,
            logits_to_keep=step.last_N,
            slots=step,
        )
        self._check(step, output.logits)
        sources = list(range(len(leaders)))
        for row in rows:
            row.cached += row.pending
            row.pending = []
        for source, indices in followers.items():
            self._store.copy(leaders[source], indices, len(rows[source].cached))
            for index in indices:
                follower = self._rows[index]
                follower.cached, follower.pending = list(rows[source].cached), []
                rows.append(follower)
                sources.append(source)
        logits_NV = output.logits[0]
        if followers:
            logits_NV = logits_NV[torch.tensor(sources, device=logits_NV.device)]
        return self._sample([row.request for row in rows if row.request], rows, logits_NV)

    def _take(self) -> tuple[list[int], dict[int, list[int]]]:
        """Rows for the next pass, and for some of them (by place in that list) the rows that begin with the
        very same prompt: those get a copy. A group of episodes with one start is computed once."""
        leaders: list[int] = []
        followers: dict[int, list[int]] = {}
        first: dict[tuple[int, ...], int] = {}
        budget = _STEP_TOKENS
        for index, row in enumerate(self._rows):
            if not row.pending:
                continue
            prompt = tuple(row.pending) if not row.cached else ()
            if prompt in first:
                followers.setdefault(first[prompt], []).append(index)
            elif not leaders or len(row.pending) <= budget:
                budget -= len(row.pending)
                if prompt:
                    first[prompt] = len(leaders)
                leaders.append(index)
        return leaders, followers

    def _sample(self, requests: list[_Request], rows: list[_Row], logits_NV: torch.Tensor) -> bool:
        groups: dict[Sampling, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(request.sampling, []).append(place)
        for sampling, places in groups.items():
            chosen = [requests[place] for place in places]
            logits = logits_NV if len(groups) == 1 else logits_NV[places]
            numbers = uniforms(
                [request.seed for request in chosen], [len(request.new_ids) for request in chosen]
            )
            drawn = draw(logits, sampling, numbers)
            ids, logprobs = torch.stack([tensor.double() for tensor in drawn]).tolist()
            for place, id, logprob in zip(places, ids, logprobs, strict=True):
                requests[place].new_ids.append(int(id))
                requests[place].logprobs.append(logprob)
        finished = False
        for request, row in zip(requests, rows, strict=True):
            if request.finish:
                finished = True
            else:
                row.pending = request.new_ids[-1:]
        return finished

    def _check(self, step: Step, logits: torch.Tensor) -> None:
        if not self._store.layers or logits.shape[1] != len(step.last_N):
            raise NotImplementedError(
                f"{type(self._model).__name__} keeps its attention or its logits to itself, so the embedded "
                "engine cannot run it"
            )


@contextlib.contextmanager
def _prepared(model: Any) -> Iterator[None]:
    """The model in evaluation mode with the engine's attention, and afterwards as it was. Engines that share
    a model take turns."""
    with _model_locks.setdefault(model, threading.Lock()):
        training, attention = model.training, model.config._attn_implementation
        if training:
            model.eval()
        model.config._attn_implementation = ATTENTION
        try:
            yield
        finally:
            model.config._attn_implementation = attention
            if training:
                model.train()


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids two sequences begin with in common."""
    if a == b[: len(a)]:
        return len(a)
    return next(i for i, (x, y) in enumerate(zip(a, [*b, None], strict=False)) if x != y)
