"""`content_key`: a number that tells values apart by their content, the same in every process."""

import math
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from enum import Enum
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Generic, TypeVar

import numpy as np

T = TypeVar("T")


class NoContentKey(TypeError):
    """A value has a part whose content cannot be told."""


def content_key(value: Any) -> int:
    """A number below 2⁶³ for the content of a value: equal values have the same one, others practically
    never.

    Values are None, numbers, texts, bytes, dates and times, enumerations, arrays, and tuples, lists,
    mappings, sets and dataclasses of these. As for `==`, the order of a mapping's or a set's entries and the
    type of a number play no part; of a dataclass, the fields that it compares count.

    A number, because Gymnasium's vector wrappers make arrays and tensors of what is in `info`.

    Raises:
        NoContentKey: for anything else, such as a function.
    """
    written = _written(value).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(written, digest_size=8).digest(), "big") >> 1


def _written(value: Any) -> str:
    """The content as text: no text is that of two contents."""
    kind: type = type(value)
    write = _WRITERS.get(kind)
    return _writer(kind)(value) if write is None else write(value)


def _text(value: str) -> str:
    return f"'{len(value)}:{value}"


def _bytes(value: bytes | bytearray) -> str:
    return f"b{len(value)}:{value.decode('latin-1')}"


def _integer(value: int) -> str:
    # In hexadecimal, since Python refuses to write very long integers in decimal.
    return f"#{int(value):x};"


def _float(value: float) -> str:
    return _fraction(value) if math.isfinite(value) else f"{value};"


def _fraction(value: Any) -> str:
    numerator, denominator = value.as_integer_ratio()
    return _integer(numerator) if denominator == 1 else f"#{numerator:x}/{denominator:x};"


def _sequence(value: Any) -> str:
    return f"{'[' if isinstance(value, list) else '('}{''.join(map(_written, value))})"


def _mapping(value: Mapping[Any, Any]) -> str:
    return f"{{{''.join(sorted(_written(key) + _written(item) for key, item in value.items()))}}}"


def _set(value: AbstractSet[Any]) -> str:
    return f"<{''.join(sorted(map(_written, value)))}>"


def _array(value: np.ndarray) -> str:
    if value.dtype.hasobject:
        return f"a{value.shape}{_written(value.tolist())}"
    return f"a{value.shape}{value.dtype.str}{_bytes(value.tobytes())}"


_WRITERS: dict[type, Callable[[Any], str]] = {
    type(None): lambda value: "~",
    bool: _integer,
    int: _integer,
    float: _float,
    Fraction: _fraction,
    str: _text,
    bytes: _bytes,
    tuple: _sequence,
    list: _sequence,
    dict: _mapping,
    set: _set,
    frozenset: _set,
}
_OTHERS: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (str, _text),
    (int, _integer),
    (float, _float),
    (Fraction, _fraction),
    (np.integer, _integer),
    (np.floating, lambda value: _float(float(value))),
    (np.bool_, _integer),
    (np.ndarray, _array),
    (bytes, _bytes),
    (bytearray, _bytes),
    # An aware time is also told apart by its zone, in which it is shown.
    (datetime, lambda value: f"d{value.isoformat()}{value.tzinfo};"),
    (date, lambda value: f"d{value.isoformat()};"),
    (time, lambda value: f"d{value.isoformat()}{value.tzinfo};"),
    (timedelta, lambda value: f"d{value // timedelta(microseconds=1)};"),
    (tuple, _sequence),
    (list, _sequence),
    (Mapping, _mapping),
    (AbstractSet, _set),
)


@lru_cache(maxsize=1024)
def _writer(kind: type) -> Callable[[Any], str]:
    """How values of a type without an entry in `_WRITERS` are written.

    Raises:
        NoContentKey: their content cannot be told.
    """
    name = f"{kind.__module__}.{kind.__qualname__}"
    for base, write in _OTHERS:
        if issubclass(kind, base):
            return write
    if issubclass(kind, Enum):
        return lambda value: f"e{name}.{value.name};"
    if is_dataclass(kind):
        compared = tuple(field.name for field in fields(kind) if field.compare)
        return lambda value: f"={name}({''.join(_written(getattr(value, field)) for field in compared)})"
    raise NoContentKey(f"a {name} has no content to be told by")


class KeysByIdentity(Generic[T]):
    """Keys of values that are never changed in place: each is computed once, as long as the value is among
    the last ones.

    Args:
        key: computes a value's key.
        most: how many values are kept, and kept alive.
    """

    def __init__(self, key: Callable[[T], int], most: int) -> None:
        self._key, self._most = key, most
        self._kept: dict[int, tuple[T, int]] = {}

    def __call__(self, value: T) -> int:
        kept = self._kept.get(id(value))
        if kept is None:
            # A value that is kept is alive, so that no other has its id.
            kept = self._kept[id(value)] = (value, self._key(value))
            if len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]
        return kept[1]
