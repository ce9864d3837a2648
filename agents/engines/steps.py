"""Packed forward passes and sampling over many sequences: what the embedded engine computes.

A `Batch` is used by one thread at a time: the engine's own while it runs, the event loop's in between.
"""

import asyncio
import threading
from collections.abc import Callable, Container, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ludus.agents.attention import computing_with
from ludus.agents.engines.base import Completion, EngineError, Likeliest, Sampling, Tokens, Told
from ludus.agents.engines.fused import FusedForward, can_fuse
from ludus.agents.engines.sampling import draw, uniforms
from ludus.agents.engines.slots import ATTENTION, Ints, SlotStore, Step
from ludus.agents.families import FIX, PLACES, Computed, OncePerModel, Reach, reach_of
from ludus.agents.kept import Ids
from ludus.agents.picture_ids import key_of
from ludus.agents.sight import Seen, features_of, in_grids, rotary_positions, seeing

_STEP_TOKENS = 8192
"""The most new tokens in one forward pass; further prompts wait for the next one. Bounds the memory of a
prefill."""
_SHARED = 32
"""Tokens that two prompts must have in common, at least, for the common part to be computed once."""

Forward = Callable[[Step], torch.Tensor]
"""The logits after each row's last new token, [N, V]."""


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
    pictures: tuple[str, ...] = ()
    """The pictures whose tokens are among the ids, as data URLs."""
    told: Told | None = None
    """Who hears of every token, if somebody does."""
    new_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    kept: list[Ids] = field(default_factory=list)
    """What each new id was drawn among; empty where that was all ids."""
    likeliest: list[Likeliest] = field(default_factory=list)
    """Where each new id was drawn; empty unless they are asked for."""
    cached: int = 0
    """Of `ids`, those that were found in a cache, if anybody counts them."""
    _heard: int = 0
    """How many of the new ids were told."""

    def tell(self) -> None:
        """Tell who wants to hear of them which ids are new; in the event loop, while nothing is computed."""
        new, self._heard = slice(self._heard, None), len(self.new_ids)
        if self.told is not None and self.new_ids[new]:
            ids, logprobs = tuple(self.new_ids[new]), tuple(self.logprobs[new])
            self.told(Tokens(ids, logprobs, tuple(self.likeliest[new])))

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
        self._features: dict[int, Seen] = {}
        """Of the pictures of the requests, by their keys."""

    @property
    def cached_tokens(self) -> int:
        return sum(len(row.cached) for row in self.rows)

    def drop(self) -> None:
        """Free all memory; requests that are still open start over."""
        self.rows, self._store, self._features = [], SlotStore(), {}

    def forget(self) -> None:
        """Forget what was computed, but keep the memory."""
        self._features = {}
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
        with torch.inference_mode(), computing_with(self.model, ATTENTION), self._seeing():
            forward = forward_of(self.model)
            while not self._run(forward, interrupt) and not interrupt.is_set():
                pass

    def _seeing(self) -> AbstractContextManager[None]:
        """The model with the pictures of all requests that have a row. Each is computed once, as long as
        somebody needs it."""
        urls = {key_of(url): url for row in self.rows if row.request for url in row.request.pictures}
        new = [url for key, url in urls.items() if key not in self._features]
        known = self._features | features_of(self.model, new)
        self._features = {key: known[key] for key in urls}
        return seeing(self.model, self._features)

    def _run(self, forward: Forward, interrupt: threading.Event) -> bool:
        """One forward pass and one token for every row that took part and, if they all did, further ones for
        as long as nothing comes to an end; true when a completion is finished."""
        leaders, followers = self._take()
        rows = [self.rows[index] for index in leaders]
        self._store.reserve(len(self.rows), max(len(row.cached) + len(row.pending) for row in rows))
        row_N = np.array(leaders)
        length_N = np.array([len(row.cached) for row in rows])
        count_N = np.array([len(row.pending) for row in rows])
        id_T = np.fromiter(chain.from_iterable(row.pending for row in rows), np.int64)
        rotary = self._rotary(rows)
        logits_NV = forward(Step(self._store, row_N, length_N, count_N, id_T, self.model.device, rotary))
        for row in rows:
            row.cached += row.pending
            row.pending = []
        if followers:
            sources = [source for source, indices in followers.items() for _ in indices]
            rows += self._follow([leaders[source] for source in sources], list(chain(*followers.values())))
            logits_NV = logits_NV[torch.tensor([*range(len(leaders)), *sources], device=logits_NV.device)]
        draws = Draws([row.request for row in rows if row.request])
        id_N = draws.draw(logits_NV[:, : self._words])
        if not followers and len(rows) == sum(row.request is not None for row in self.rows):
            one_N, length_N = np.ones_like(row_N), length_N + count_N
            if rotary is not None:  # what is drawn is text
                rotary = rotary[:, count_N.cumsum() - 1].max(0)
            while not draws.finished and not interrupt.is_set():
                self._store.reserve(len(self.rows), int(length_N.max()) + 1)
                rotary = None if rotary is None else rotary + 1
                step = Step(self._store, row_N, length_N, one_N, id_N, self.model.device, rotary)
                id_N = draws.draw(forward(step)[:, : self._words])
                length_N = length_N + 1
        draws.deliver(rows)
        return draws.finished

    def _rotary(self, rows: Sequence[Row]) -> Ints | None:
        """Of the rows' pending tokens, [3, T]; None: those are their positions."""
        if not in_grids(self._features):
            return None
        whole = [rotary_positions([*row.cached, *row.pending], self._features) for row in rows]
        new = [of_row[:, len(row.cached) :] for of_row, row in zip(whole, rows, strict=True)]
        return np.concatenate(new, axis=1)

    def _take(self) -> tuple[list[int], dict[int, list[int]]]:
        """Rows for the next pass, and for some of them (by index in that list) the rows that begin with the
        same prompt, which get a copy. A group of episodes that share a start is computed once, and what
        other prompts have in common waits until one of them has computed it."""
        leaders: list[int] = []
        followers: dict[int, list[int]] = {}
        first: dict[tuple[int, ...], int] = {}
        holders: dict[tuple[int, ...], int] = {}
        for index, row in enumerate(self.rows):
            if len(row.cached) >= _SHARED:
                holders.setdefault(tuple(row.cached[:_SHARED]), index)
        begun: set[tuple[int, ...]] = set()
        budget = _STEP_TOKENS
        for index, row in enumerate(self.rows):
            if not row.pending:
                continue
            prompt = tuple(row.pending) if not row.cached else ()
            if prompt in first:
                followers.setdefault(first[prompt], []).append(index)
                continue
            if (head := prompt[:_SHARED]) in begun:
                continue
            if head in holders:
                self._adopt(holders[head], index)
            if leaders and len(row.pending) > budget:
                continue
            budget -= len(row.pending)
            if prompt:
                first[prompt] = len(leaders)
                if len(head) == _SHARED and head not in holders:
                    begun.add(head)
            leaders.append(index)
        return leaders, followers

    def _adopt(self, source: int, target: int) -> None:
        """Give a row the part of its prompt that another one has computed."""
        row = self.rows[target]
        common = min(_common_prefix(self.rows[source].cached, row.pending), len(row.pending) - 1)
        row.cached, row.pending = row.pending[:common], row.pending[common:]
        self._store.reserve(len(self.rows), common)
        self._store.copy([source], [target], common)

    def _follow(self, sources: list[int], targets: list[int]) -> list[Row]:
        """Rows that get a copy of others, which began with the same prompt."""
        rows = [self.rows[index] for index in targets]
        for source, row in zip(sources, rows, strict=True):
            row.cached, row.pending = list(self.rows[source].cached), []
        self._store.copy(sources, targets, max(len(row.cached) for row in rows))
        return rows


class Draws:
    """The tokens that some requests are given together, one for each of them at every step. Nothing is done
    for a single one of them before they are delivered.

    Args:
        requests: N of them.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        self._requests = requests
        self._counter_N = np.array([len(request.new_ids) for request in requests])
        self._room_N = np.array([request.room for request in requests])
        groups: dict[Sampling, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(request.sampling, []).append(place)
        self._groups = [
            (
                sampling,
                places,
                [requests[place].seed for place in places],
                np.array(sampling.stop_ids, np.int64),
            )
            for sampling, places in groups.items()
        ]
        self._drawn: list[NDArray[np.float64]] = []
        self.finished = False
        """Whether a completion is."""

    def draw(self, logits_NV: torch.Tensor) -> Ints:
        """The next token of each request."""
        drawn_2N = np.empty((2, len(self._requests)))
        for sampling, places, seeds, stops in self._groups:
            logits = logits_NV if len(self._groups) == 1 else logits_NV[places]
            drawn = draw(logits, sampling, uniforms(seeds, self._counter_N[places].tolist()))
            both = torch.stack([drawn.ids_N.double(), drawn.logprobs_N.double()])
            drawn_2N[:, places] = both.tolist()  # as tensors without numbers have, too
            for place, kept in zip(places, drawn.kept, strict=False):
                self._requests[place].kept.append(kept)
            for place, likeliest in zip(places, drawn.likeliest, strict=False):
                self._requests[place].likeliest.append(likeliest)
            self.finished |= bool(np.isin(drawn_2N[0, places], stops).any())
        self._drawn.append(drawn_2N)
        self._counter_N += 1
        self.finished |= bool((self._counter_N == self._room_N).any())
        return drawn_2N[0].astype(np.int64)

    def deliver(self, rows: Sequence[Row]) -> None:
        """Write them into the requests and their rows, of which all but the last token was computed."""
        drawn_N2S = np.stack(self._drawn, axis=-1).transpose(1, 0, 2)
        for row, request, (ids, logprobs) in zip(rows, self._requests, drawn_N2S, strict=True):
            new = ids.astype(np.int64).tolist()
            request.new_ids += new
            request.logprobs += logprobs.tolist()
            row.cached += new[:-1]
            row.pending = [] if request.finish else new[-1:]


def forward_of(model: Any) -> Forward:
    """How to compute a model, as it is now."""
    return FusedForward(model) if can_fuse(model) else partial(_forward, model)


def _forward(model: Any, step: Step) -> torch.Tensor:
    """The logits after each row's last new token, [N, V]."""
    output = model(
        input_ids=step.ids_1T,
        position_ids=step.rotary,
        use_cache=False,
        logits_to_keep=step.last_N,
        slots=step,
    )
    logits_NV: torch.Tensor = output.logits[0]
    return logits_NV


@OncePerModel
def reach(model: Any) -> Reach:
    """How long the contexts of a model may be.

    Raises:
        EngineError: the engine would compute another model; found by trying, at the first call on a model.
    """
    return reach_of(model, "the embedded engine", partial(_computed, model), EngineError)


def _computed(model: Any, rows: Sequence[Sequence[int]]) -> Computed:
    """Rows as `Batch` computes them: a prompt each, then what follows in steps that end at `PLACES`."""
    store, windows, logits = SlotStore(), set[int | None](), list[torch.Tensor]()
    with torch.inference_mode(), computing_with(model, ATTENTION):
        forward = forward_of(model)
        for begin, end in zip((None, *PLACES[:-1]), PLACES, strict=True):
            cached = [0 if begin is None else len(row) + begin + 1 for row in rows]
            new = [row[start : len(row) + end + 1] for row, start in zip(rows, cached, strict=True)]
            store.reserve(len(rows), max(map(len, rows)))
            counts, ids = np.array([len(ids) for ids in new]), np.array([id for ids in new for id in ids])
            step = Step(store, np.arange(len(rows)), np.array(cached), counts, ids, model.device)
            logits.append(forward(step))
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
