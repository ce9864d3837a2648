"""Sampling with a model's own forward and its own cache: what the embedded engine computes where a model
keeps other things of a row than the keys and values of each layer, or attends in a way of its own.

A recurrent or convolutional layer takes in every token that it is given, so it must not be given padding:
prompts go through the model by themselves, or with prompts of the same length after contexts of the same
length. Single tokens of many rows go together; keys and values are padded on the left for that, where the
model's mask hides them. A state cannot be shortened: it is of use if the next context begins with all of what
it has seen; otherwise everything is computed anew.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin, LinearAttentionCacheLayerMixin

from ludus.agents.attention import computing_with
from ludus.agents.engines.base import EngineError
from ludus.agents.engines.steps import Batch, Draws, Request, Row
from ludus.agents.families import FIX, PLACES, Computed, OncePerModel, Reach, reach_of

_PASS_TOKENS = 8192
"""The most new tokens in one forward pass of several rows."""
_PER_TOKEN = ("keys", "values", "indexer_keys")
"""Tensors of a cache that have a place for each token, [B, …, L, D]; all others are states, [B, …]."""
_SEEN = "cumulative_length"
"""The number of tokens that a layer with a window has seen."""
_NO_LIMIT = (0.0, float("inf"))


class OwnCacheBatch(Batch):
    """The sequences that are computed together, at most `slots`, each with a cache of its own."""

    def __init__(self, model: Any, slots: int, words: int | None) -> None:
        super().__init__(model, slots, words)
        self._caches = Caches(model, _way(model).in_one)

    def drop(self) -> None:
        super().drop()
        self._caches.clear()

    def forget(self) -> None:
        super().forget()
        self._caches.clear()

    def admit(self, requests: Sequence[Request]) -> None:
        super().admit(requests)
        self._caches.keep([row.session for row in self.rows])

    def run(self, interrupt: threading.Event) -> None:
        with torch.inference_mode(), _computing(self.model), self._seeing():
            while not self._step() and not interrupt.is_set():
                pass
            self._caches.part()

    def _step(self) -> bool:
        rows = [row for row in self.rows if row.pending]
        logits_NV = self._caches.compute(rows)
        requests = [row.request for row in rows if row.request]
        draws = Draws(requests)
        draws.draw(logits_NV[:, : self._words])
        draws.deliver(rows)
        return draws.finished


class Caches:
    """What a model has computed of each session's row.

    Args:
        in_one: whether several tokens may follow a context in one forward pass; else one by one.

    Raises:
        EngineError: the model takes no cache.
    """

    def __init__(self, model: Any, in_one: bool) -> None:
        accepted = signature(model.forward).parameters
        names = [name for name in ("past_key_values", "cache_params") if name in accepted]
        if not names:
            raise _form_of_its_own(model)
        self._model, self._name, self._in_one = model, names[0], in_one
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self._takes_positions = "position_ids" in accepted
        self._has_keys = True
        self._kept: dict[int, tuple[int, Any]] = {}
        """By session: how many tokens were computed, and the cache after them."""
        self._joint: tuple[list[Row], Any] | None = None
        """Rows that were computed together last, and are in no cache of their own."""

    def clear(self) -> None:
        self._kept, self._joint = {}, None

    def keep(self, sessions: Collection[int]) -> None:
        """Forget all other sessions."""
        self.part()
        self._kept = {session: kept for session, kept in self._kept.items() if session in sessions}

    def part(self) -> None:
        """Give each row that was computed with others a cache of its own."""
        if self._joint is not None:
            rows, cache = self._joint
            self._joint = None
            self._part(rows, cache, range(len(rows)))

    def compute(self, rows: Sequence[Row]) -> Tensor:
        """Compute what is pending in the rows, which is cached then.

        Returns:
            The logits after each row's last token, [N, V].
        """
        for row in rows:
            self._begin(row)
        while not self._in_one and (more := [row for row in rows if row.cached and len(row.pending) > 1]):
            later = [row.pending[1:] for row in more]
            for row in more:
                del row.pending[1:]
            self._compute(more)
            for row, pending in zip(more, later, strict=True):
                row.pending = pending
        return self._compute(rows)

    def _compute(self, rows: Sequence[Row]) -> Tensor:
        logits: dict[int, Tensor] = {}
        for group in self._groups(rows):
            for row, logits_V in zip(group, self._forward(group), strict=True):
                logits[row.session] = logits_V
        return torch.stack([logits[row.session] for row in rows])

    def _begin(self, row: Row) -> None:
        """Bring the row's cache to the tokens that it shares with the next context."""
        if self._joint is not None and row in self._joint[0]:
            return
        length, cache = self._kept.get(row.session, (0, None))
        if cache is None or length == len(row.cached):
            return
        del self._kept[row.session]
        if row.cached and _can_be_shortened(cache, length):
            self._kept[row.session] = len(row.cached), _parted(cache, 0, len(row.cached), from_begin=True)
        else:
            row.cached, row.pending = [], row.cached + row.pending

    def _groups(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Rows for a forward pass each: as many new tokens after as many old ones, or one new token."""
        groups: dict[tuple[int, int], list[Row]] = {}
        for row in rows:
            old, new = len(row.cached), len(row.pending)
            mixed = old > 0 and new == 1 and (self._takes_positions or not self._has_keys)
            groups.setdefault((-1 if mixed else old, new), []).append(row)
        for (_, new), group in groups.items():
            most = max(1, _PASS_TOKENS // new)
            for begin in range(0, len(group), most):
                yield group[begin : begin + most]

    def _forward(self, rows: list[Row]) -> Tensor:
        """The logits after the last token of each row of a group, [N, V]."""
        lengths = [len(row.cached) for row in rows]
        longest = max(lengths)
        ids, sources = [tuple(row.pending) for row in rows], list(range(len(rows)))
        if not longest:  # equal prompts are computed once
            first = {prompt: index for index, prompt in enumerate(dict.fromkeys(ids))}
            ids, sources = list(first), [first[prompt] for prompt in ids]
        named: dict[str, Any] = dict(self._last_only)
        device = self._model.device
        if longest:
            named[self._name] = self._joined(rows)
        if self._takes_positions:
            begin_B1 = torch.tensor(lengths[: len(ids)], device=device)[:, None]
            named["position_ids"] = begin_B1 + torch.arange(len(ids[0]), device=device)
        if self._has_keys and min(lengths) < longest:
            padding_B1 = longest - torch.tensor(lengths, device=device)[:, None]
            place_L = torch.arange(longest + 1, device=device)
            named["attention_mask"] = (place_L >= padding_B1).long()
        output = self._model(input_ids=torch.tensor(ids, device=device), use_cache=True, **named)
        cache = getattr(output, self._name, None)
        if cache is None:
            raise _form_of_its_own(self._model)
        for row in rows:
            row.cached += row.pending
            row.pending = []
        if longest:
            self._joint = rows, cache
        else:
            self._has_keys = _has_keys(cache)
            self._part(rows, cache, sources)
        logits_NV: Tensor = output.logits[sources, -1]
        return logits_NV

    def _joined(self, rows: list[Row]) -> Any:
        """One cache of all rows of a group, which have none of their own then."""
        if self._joint is None or self._joint[0] != rows:
            self.part()
            return _joined([self._kept.pop(row.session)[1] for row in rows])
        return self._joint[1]

    def _part(self, rows: Sequence[Row], cache: Any, sources: Sequence[int]) -> None:
        for row, source in zip(rows, sources, strict=True):
            self._kept[row.session] = len(row.cached), _parted(cache, source, len(row.cached))


def _form_of_its_own(model: Any) -> EngineError:
    return EngineError(
        f"{type(model).__name__} keeps what it has computed of a row in a form of its own, which the "
        f"embedded engine does not know; {FIX}"
    )


def _joined(caches: Sequence[Any]) -> Any:
    """One cache of several rows, aligned at their ends."""

    def joined(name: str, given: list[Any]) -> Any:
        if name in _PER_TOKEN:
            longest = max(tensor.shape[-2] for tensor in given)
            given = [pad(tensor, (0, 0, longest - tensor.shape[-2], 0)) for tensor in given]
        return max(given) if name == _SEEN else torch.cat(given)

    return _changed(caches, joined)


def _parted(cache: Any, row: int, length: int, from_begin: bool = False) -> Any:
    """One row of a cache, of so many tokens: those at its end, or at its begin."""
    places = slice(None, length) if from_begin else slice(-length, None)

    def parted(name: str, given: list[Any]) -> Any:
        if name == _SEEN:
            return length
        of_row = given[0][row : row + 1]
        return (of_row[..., places, :] if name in _PER_TOKEN else of_row).clone()

    return _changed([cache], parted)


def _has_keys(cache: Any) -> bool:
    return any(name in _PER_TOKEN for name, _ in _tensors(cache))


def _can_be_shortened(cache: Any, length: int) -> bool:
    """Whether it holds nothing but a place for each of so many tokens."""
    return all(name in _PER_TOKEN and tensor.shape[-2] == length for name, tensor in _tensors(cache))


def _tensors(cache: Any) -> list[tuple[str, Tensor]]:
    """The tensors of a cache, with the names that they have there."""
    found: list[tuple[str, Tensor]] = []

    def note(name: str, given: list[Any]) -> Any:
        found.extend((name, value) for value in given if isinstance(value, Tensor))
        return given[0]

    _changed([cache], note)
    return found


def _changed(given: Sequence[Any], change: Callable[[str, list[Any]], Any], name: str = "") -> Any:
    """A cache like others, in which each tensor, and the number of tokens that it has seen, is made from
    theirs."""
    first = given[0]
    if isinstance(first, Tensor):
        return change(name, list(given)) if first.dim() else first
    if isinstance(first, Cache | CacheLayerMixin | LinearAttentionCacheLayerMixin):
        made = copy(first)
        for key in vars(first):
            setattr(made, key, _changed([getattr(one, key) for one in given], change, key))
        return made
    if isinstance(first, dict):
        return {key: _changed([one[key] for one in given], change, name) for key in first}
    if isinstance(first, list | tuple):
        return type(first)(_changed(parts, change, name) for parts in zip(*given, strict=True))
    return change(name, list(given)) if name == _SEEN else first


@contextmanager
def _computing(model: Any) -> Iterator[None]:
    """The model as it attends by itself, with time steps as over whole rows.

    Nemotron-H and Zamba2 limit the time steps of their recurrence, softplus(dt + bias), over several tokens
    but not for a single one (transformers 5.23); inside, dt is within the limits from the start.
    """
    hooks = [
        module.in_proj.register_forward_hook(partial(_limit_time_steps, module))
        for module in model.modules()
        if getattr(module, "time_step_limit", None) not in (None, _NO_LIMIT) and hasattr(module, "in_proj")
    ]
    try:
        with computing_with(model, model.config._attn_implementation):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _limit_time_steps(mixer: Any, _: Any, __: Any, projected: Tensor) -> Tensor:
    """dt is what the projection ends with, a number for each head."""
    heads = mixer.dt_bias.shape[0]
    least, most = (
        torch.tensor(limit, dtype=torch.float64).expm1().log().to(mixer.dt_bias) - mixer.dt_bias
        for limit in mixer.time_step_limit
    )
    dt = projected[..., -heads:].clamp(least.to(projected.dtype), most.to(projected.dtype))
    return torch.cat([projected[..., :-heads], dt], dim=-1)


@dataclass(frozen=True, slots=True)
class _Way:
    in_one: bool
    reach: Reach


def reach(model: Any) -> Reach:
    """How long the contexts of a model may be.

    Raises:
        EngineError: the engine would compute another model; found by trying, at the first call on a model.
    """
    return _way(model).reach


@OncePerModel
def _way(model: Any) -> _Way:
    who = "the embedded engine"
    try:
        return _Way(True, reach_of(model, who, partial(_computed, model, True), EngineError))
    except EngineError:
        return _Way(False, reach_of(model, who, partial(_computed, model, False), EngineError))


def _computed(model: Any, in_one: bool, rows: Sequence[Sequence[int]]) -> Computed:
    """Rows as `OwnCacheBatch` computes them: a prompt each, then steps that end at `PLACES`."""
    caches, logits = Caches(model, in_one), list[Tensor]()
    states = [Row(session) for session in range(len(rows))]
    with _computing(model):
        for begin, end in zip((None, *PLACES[:-1]), PLACES, strict=True):
            for state, row in zip(states, rows, strict=True):
                state.pending = list(row[0 if begin is None else len(row) + begin + 1 : len(row) + end + 1])
            logits.append(caches.compute(states))
    return Computed(list(torch.stack(logits, dim=1)), None)
