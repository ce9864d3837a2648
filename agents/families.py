"""Is a model computed right? What engine and trainer compute is compared with the model's own forward.

Both put an attention of their own into a `transformers` model: causal, perhaps with a window. Where that is
not all it computes with, they let it attend by itself, over rows that are not packed. Nothing in a model says
which is right, so a few short rows tell, once per model: alone and together, at once and token by token. What
its configuration names as changing beyond some length (a window, chunks, rotary factors) is tried there if
that is cheap; rows may not be longer than what is known to be right.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from math import sqrt
from typing import Any, Generic, Literal, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor

from ludus.agents.attention import computing_with
from ludus.tools.errors import UserError
from ludus.tools.wording import first_line

T = TypeVar("T")

PLACES = (-5, -3, -2, -1)
"""Positions of a row whose logits are compared. With a cache: after all tokens but four, two more, one more,
and the last."""
FIX = "use another model, or evaluate this one behind a server"
_SHORTEST = 1 - PLACES[0]
_LENGTHS = (13, 9, 12)
"""Of the rows that are computed together; the last one begins like the first."""
_SHARED = 8
_CHEAP_TOKENS = 2048
_CHEAP_PRODUCTS = 2e10
"""Multiplications in a forward pass over a long row, at most: about a second on two CPU cores."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How long a model's rows may be."""

    tokens: int | None
    """None: its configuration names no limit."""
    why: str
    """What a longer row exceeds: words that follow a comma and "but"."""

    def __contains__(self, length: int) -> bool:
        return self.tokens is None or length <= self.tokens


@dataclass(frozen=True, slots=True)
class Computed:
    """What engine or trainer computed of rows that were given together."""

    logits: list[Tensor]
    """Of each row, [len(PLACES), V]."""
    windows: frozenset[int | None] | None
    """That the model handed to an attention of ours; None: it attended by itself, with its own masks."""


@dataclass(frozen=True, slots=True)
class _Switch:
    """A length beyond which a model computes differently."""

    tokens: int
    name: str
    """In its configuration."""
    changes: Literal["window", "mask", "keys"]
    """What: which of the last tokens a token sees, or which other ones, or the keys themselves."""


_restless: WeakSet[Any] = WeakSet()
"""Models whose forward changed their weights when they were first tried."""
Compute = Callable[[Sequence[Sequence[int]]], Computed]


class OncePerModel(Generic[T]):
    """Remembers what a function of a model returned, as long as the model lives."""

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function = function
        self._known: WeakKeyDictionary[Any, T] = WeakKeyDictionary()
        update_wrapper(self, function)

    def __call__(self, model: Any) -> T:
        if model not in self._known:
            self._known[model] = self._function(model)
        return self._known[model]

    def assume(self, model: Any, value: T) -> None:
        """Of a model that cannot be tried, since its weights are not there."""
        self._known[model] = value


@torch.no_grad()
def reach_of(model: Any, who: str, compute: Compute, error: type[UserError]) -> Reach:
    """How far `compute` gives the logits of the model's own forward with its own (eager) attention. Leaves
    weights, gradients, mode and random state as they are.

    Args:
        model: a causal language model of `transformers`.
        who: computes, for the message: "the embedded engine".
        compute: the logits of rows of ids, computed together.
        error: what to raise.

    Raises:
        UserError: an `error`: the model's logits are not finite, or `compute` gives others.
    """
    name, config = type(model).__name__, model.config.get_text_config()
    built_for = _positions(config)
    reach = Reach(built_for, f"{name} was built for {built_for} positions")
    if _SHORTEST not in reach:
        raise error(f"{name} was built for {built_for} positions: too few for a conversation")
    rows = _rows(model, [min(length, built_for or length) for length in _LENGTHS])
    try:
        versions = [parameter._version for parameter in model.parameters()]
        own = _own_logits(model, rows, error)
        if versions != [parameter._version for parameter in model.parameters()]:
            _restless.add(model)
        if model in _restless:
            raise error(f"{name} changes its own weights in a forward pass; {FIX}")
        computed = compute(rows)
        if cause := _difference(model, compute, rows, computed.logits, own):
            raise error(f"{name} cannot be computed by {who}: {cause}; {FIX}")
        for switch in sorted(_switches(config), key=lambda switch: switch.tokens):
            if switch.tokens + 1 in reach and not _is_right_beyond(switch, model, compute, computed, error):
                why = f"{who} computes {name} right up to its {switch.name} of {switch.tokens} only"
                return Reach(switch.tokens, why)
    except UserError:
        raise
    except Exception as problem:  # any code may be in a model's forward
        raise error(
            f"{name} cannot be computed by {who}: its forward fails on plain rows "
            f"({first_line(problem)}); {FIX}"
        ) from problem
    return reach


def _positions(config: Any) -> int | None:
    """How many positions a configuration allows; some write -1 for any number."""
    positions: int | None = getattr(config, "max_position_embeddings", None)
    return positions if positions and positions > 0 else None


def _own_logits(model: Any, rows: Sequence[Sequence[int]], error: type[UserError]) -> list[Tensor]:
    logits = []
    with computing_with(model, "eager"):
        for row in rows:
            ids = torch.tensor([row], device=model.device)
            logits.append(model(input_ids=ids, use_cache=False).logits[0, list(PLACES)])
    if not all(bool(of_row.isfinite().all()) for of_row in logits):
        short = model.dtype.itemsize < 4
        cause = f", or too large for {model.dtype}: load it as float32, or" if short else ":"
        raise error(
            f"{type(model).__name__} gives logits that are NaN or infinite: its weights are damaged{cause} "
            "fetch it anew"
        )
    return logits


def _difference(
    model: Any, compute: Compute, rows: Sequence[Sequence[int]], got: list[Tensor], own: list[Tensor]
) -> str:
    """The likely cause of a difference; nothing if there is none."""
    if all(are_same(model, mine, its) for mine, its in zip(got, own, strict=True)):
        return ""
    (alone,) = compute(rows[:1]).logits
    if are_same(model, alone, own[0]):
        return "what it computes of a row changes when others are there, by a state or a position of its own"
    if are_same(model, alone[:1], own[0][:1]):
        return (
            "it keeps more of a row than keys and values of each layer (a convolutional, recurrent or linear "
            "state, a second attention), which is lost between tokens"
        )
    return (
        "its attention is not plain causal attention (a mask or a bias of its own, positions that are not "
        "given to it, a state)"
    )


def are_same(model: Any, got: Tensor, own: Tensor) -> bool:
    """Whether half of the digits agree that the model's coarsest numbers have (norms and rotations are
    computed in float32 at most), but for a constant in each row, [..., V]."""
    types = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    unit = max(torch.finfo(dtype).eps for dtype in (*types, torch.float32))
    got, own = got.double(), own.double()
    got, own = got - got.mean(-1, keepdim=True), own - own.mean(-1, keepdim=True)
    return bool((got - own).norm() <= sqrt(unit) * own.norm())


def _is_right_beyond(
    switch: _Switch, model: Any, compute: Compute, computed: Computed, error: type[UserError]
) -> bool:
    """A window, or a mask of the model's own, is tried with a longer row. Where that takes long, it is
    believed if the model handed it to its attention, or attended by itself."""
    if switch.changes == "keys" or (switch.changes == "mask" and computed.windows is not None):
        return False
    length = switch.tokens - PLACES[0] + 1
    built_for = _positions(model.config.get_text_config())
    products = length * sum(parameter.numel() for parameter in model.parameters())
    if length > min(_CHEAP_TOKENS, built_for or length) or products > _CHEAP_PRODUCTS:
        return computed.windows is None or switch.tokens in computed.windows
    rows = _rows(model, [length])
    got, own = compute(rows).logits, _own_logits(model, rows, error)
    return are_same(model, got[0], own[0])


def _switches(config: Any) -> Iterator[_Switch]:
    layers = set(getattr(config, "layer_types", None) or ())
    if (window := getattr(config, "sliding_window", None)) and (not layers or "sliding_attention" in layers):
        yield _Switch(window, "sliding_window", "window")
    if (chunk := getattr(config, "attention_chunk_size", None)) and (
        not layers or "chunked_attention" in layers
    ):
        yield _Switch(chunk, "attention_chunk_size", "mask")
    rope = getattr(config, "rope_parameters", None) or {}
    for factors in (rope, *(value for value in rope.values() if isinstance(value, dict))):
        if factors.get("rope_type") == "longrope":
            # Keys of a row are kept, or shared with longer rows: they cannot change with its length.
            name = "original_max_position_embeddings"
            yield _Switch(factors.get(name) or getattr(config, name), name, "keys")


def _rows(model: Any, lengths: Sequence[int]) -> list[list[int]]:
    """Rows of ordinary ids, as far apart as the vocabulary allows."""
    known = model.get_input_embeddings().num_embeddings
    special = set(_special_ids(model.config.to_dict()))
    ordinary = [id for id in range(known) if id not in special] or list(range(known))
    ids = (ordinary[(7919 * place + 3) % len(ordinary)] for place in range(sum(lengths)))
    rows = [[next(ids) for _ in range(length)] for length in lengths]
    if len(rows) > 1:
        rows[-1][:_SHARED] = rows[0][:_SHARED]
    return rows


def _special_ids(config: dict[str, Any]) -> Iterator[int]:
    """Ids with a meaning: ends, padding, images. What they stand for may be computed otherwise."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _special_ids(value)
        elif str(name).endswith(("token_id", "token_index")):
            yield from value if isinstance(value, list) else [value]
