"""Packed forward passes and sampling over many sequences: what the embedded engine computes.

A `Batch` is used by one thread at a time: the engine's own while it runs, the event loop's in between.
"""

import asyncio
import threading
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch

from ludus.agents.attention import computing_with
from ludus.agents.engines.base import Completion, EngineError, Sampling
from ludus.agents.engines.sampling import draw, uniforms
from ludus.agents.engines.slots import ATTENTION, SlotStore, Step
from ludus.agents.families import FIX, PLACES, Computed, Reach, once_per_model, reach_of
from ludus.agents.kept import Ids

_STEP_TOKENS = 8192
"""The most new tokens in one forward pass; further prompts wait for the next one. Bounds the memory of a
prefill."""


@dataclass(eq=False)
class Request:
    """One call to `generate`, from its arrival until its completion."""

    session: int
    """The number of the session that waits for it."""
    ids: list[int]
    sampling: Sampling
    seed: int
    room: int
    """How many tokens it may get, by `max_tokens` and by the room left in the context."""
    future: "asyncio.Future[Completion]"
    new_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    kept: list[Ids] = field(default_factory=list)
    """What each new id was drawn among; empty where that was all ids."""
    cached: int = 0
    """Of `ids`, those that were found in a cache, if anybody counts them."""

    @property
    def finish(self) -> Literal["stop", "length", ""]:
        if self.new_ids and self.new_ids[-1] in self.sampling.stop_ids:
            return "stop"
        return "length" if len(self.new_ids) == self.room else ""


@dataclass(eq=False)
class Row:
    """A row of the store: its owner, its contents, and the ids to compute next."""

    session: int
    cached: list[int] = field(default_factory=list)
    """Ids whose keys and values are in the store."""
    pending: list[int] = field(default_factory=list)
    """Ids to be computed."""
    request: Request | None = None

    def begin(self, request: Request) -> None:
        """Keep the prefix that the request's ids share with the cache; at least one id is computed, for its
        logits."""
        common = min(_common_prefix(self.cached, request.ids), len(request.ids) - 1)
        del self.cached[common:]
        self.pending = request.ids[common:]
        self.request = request


class Batch:
    """The sequences that are computed together, at most `slots`, and their keys and values. Of the model's
    ids, the first `words` may be sampled; None: all."""

    def __init__(self, model: Any, slots: int, words: int | None) -> None:
        self.model = model
        self._words = words
        self._slots = slots
        self._store = SlotStore()
        self.rows: list[Row] = []

    @property
    def cached_tokens(self) -> int:
        return sum(len(row.cached) for row in self.rows)

    def drop(self) -> None:
        """Free all memory; requests that are still open start over."""
        self.rows, self._store = [], SlotStore()

    def forget(self) -> None:
        """Forget what was computed, but keep the memory."""
        for row in self.rows:
            row.request, row.pending, row.cached = None, [], []

    def release(self, sessions: Container[int]) -> None:
        """Drop the rows of all other sessions and move the last rows up, so that rows stay dense."""
        for row in self.rows:
            if row.request is not None and row.request.future.done():
                row.request, row.pending = None, []
        stays = [row.session in sessions for row in self.rows]
        count = sum(stays)
        holes = [index for index in range(count) if not stays[index]]
        moved = [index for index in range(count, len(stays)) if stays[index]]
        for hole, index in zip(holes, moved, strict=True):
            self.rows[hole] = self.rows[index]
        del self.rows[count:]
        self._store.copy(moved, holes, max((len(self.rows[hole].cached) for hole in holes), default=0))

    def admit(self, requests: Sequence[Request]) -> None:
        """Give rows to the requests, in order, as long as there are any; those whose session has one come
        first."""
        rows = {row.session: row for row in self.rows}
        for request in requests:
            row = rows.get(request.session)
            if row is not None and row.request is None:
                row.begin(request)
        for request in requests:
            if request.session not in rows and (row := self._free_row(request.session)):
                row.begin(request)

    def _free_row(self, session: int) -> Row | None:
        """A new row, or that of a session that is away, which is no longer waited for."""
        if len(self.rows) < self._slots:
            self.rows.append(Row(session))
            return self.rows[-1]
        for index, row in enumerate(self.rows):
            if row.request is None:
                self.rows[index] = Row(session)
                return self.rows[index]
        return None

    def run(self, interrupt: threading.Event) -> None:
        """Compute until a request is finished or there is an interrupt."""
        with torch.inference_mode(), computing_with(self.model, ATTENTION):
            while not self._step() and not interrupt.is_set():
                pass

    def _step(self) -> bool:
        """One forward pass and one token for every row that took part; true when a completion is finished."""
        leaders, followers = self._take()
        rows = [self.rows[index] for index in leaders]
        self._store.reserve(len(self.rows), max(len(row.cached) + len(row.pending) for row in rows))
        step = Step(
            self._store,
            leaders,
            [len(row.cached) for row in rows],
            [row.pending for row in rows],
            self.model.device,
        )
        logits_NV = _forward(self.model, step)
        sources = list(range(len(leaders)))
        for row in rows:
            row.cached += row.pending
            row.pending = []
        for source, indices in followers.items():
            for index in indices:
                follower = self.rows[index]
                follower.cached, follower.pending = list(rows[source].cached), []
                rows.append(follower)
                sources.append(source)
        copied = sources[len(leaders) :]
        self._store.copy(
            [leaders[source] for source in copied],
            [index for indices in followers.values() for index in indices],
            max((len(rows[source].cached) for source in copied), default=0),
        )
        if followers:
            logits_NV = logits_NV[torch.tensor(sources, device=logits_NV.device)]
        requests = [row.request for row in rows if row.request]
        return self._sample(requests, rows, logits_NV[:, : self._words])

    def _take(self) -> tuple[list[int], dict[int, list[int]]]:
        """Rows for the next pass, and for some of them (by index in that list) the rows that begin with the
        same prompt, which get a copy. A group of episodes that share a start is computed once."""
        leaders: list[int] = []
        followers: dict[int, list[int]] = {}
        first: dict[tuple[int, ...], int] = {}
        budget = _STEP_TOKENS
        for index, row in enumerate(self.rows):
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

    def _sample(self, requests: list[Request], rows: list[Row], logits_NV: torch.Tensor) -> bool:
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
            ids, logprobs = torch.stack([drawn.ids_N.double(), drawn.logprobs_N.double()]).tolist()
            for place, id, logprob in zip(places, ids, logprobs, strict=True):
                requests[place].new_ids.append(int(id))
                requests[place].logprobs.append(logprob)
            for place, kept in zip(places, drawn.kept, strict=False):
                requests[place].kept.append(kept)
        finished = False
        for request, row in zip(requests, rows, strict=True):
            if request.finish:
                finished = True
            else:
                row.pending = request.new_ids[-1:]
        return finished


def _forward(model: Any, step: Step) -> torch.Tensor:
    """The logits after each row's last new token, [N, V]."""
    output = model(
        input_ids=step.ids_1T,
        position_ids=step.positions_1T,
        use_cache=False,
        logits_to_keep=step.last_N,
        slots=step,
    )
    logits_NV: torch.Tensor = output.logits[0]
    return logits_NV


@once_per_model
def reach(model: Any) -> Reach:
    """How long the contexts of a model may be.

    Raises:
        EngineError: the engine would compute another model; found by trying, at the first call on a model.
    """
    return reach_of(model, "the embedded engine", partial(_computed, model), EngineError)


def _computed(model: Any, rows: Sequence[Sequence[int]]) -> Computed:
    """Rows as `Batch` computes them: a prompt each, then what follows in steps that end at `PLACES`."""
    store, windows, logits = SlotStore(), set[int | None](), list[torch.Tensor]()
    with computing_with(model, ATTENTION):
        for begin, end in zip((None, *PLACES[:-1]), PLACES, strict=True):
            cached = [0 if begin is None else len(row) + begin + 1 for row in rows]
            new = [row[start : len(row) + end + 1] for row, start in zip(rows, cached, strict=True)]
            store.reserve(len(rows), max(map(len, rows)))
            step = Step(store, range(len(rows)), cached, new, model.device)
            logits.append(_forward(model, step))
            windows |= step.windows
            if not store.layers or len(logits[-1]) != len(rows):
                raise EngineError(
                    f"{type(model).__name__} does not route its attention through transformers' "
                    "AttentionInterface, has none, or keeps its logits to itself, so the embedded engine "
                    f"cannot run it: {FIX}"
                )
    return Computed(list(torch.stack(logits, dim=1)), frozenset(windows))


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common prefix of two sequences."""
    if a == b[: len(a)]:
        return len(a)
    return next(i for i, (x, y) in enumerate(zip(a, [*b, None], strict=False)) if x != y)
