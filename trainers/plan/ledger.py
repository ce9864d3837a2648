"""`Ledger`: counts the bytes that code would allocate, while it runs on tensors without numbers.

Tensors are torch's fake ones: they have shapes, types and lifetimes, and no memory. So the code that trains
is also what says how much memory training takes. What it needs to know of a number that is not there (a norm,
a step's count) is answered by 1; tensors with numbers, such as the places of tokens, are computed with.
"""

import itertools
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


class Ledger:
    """Inside `with Ledger() as ledger`, new tensors are fake, and their bytes are counted under the part that
    is current (`counting`), until they are freed."""

    def __init__(self) -> None:
        self._part = "other"
        self._live: Counter[str] = Counter()
        self._total = 0
        """Of all parts."""
        self._peak: Counter[str] = Counter()
        self._most = 0
        """Its total."""
        self._count = itertools.count()
        self._held: dict[int, tuple[str, int]] = {}
        """Part and bytes of a storage, by its number."""
        self._numbers = WeakIdKeyDictionary()
        """Of storages that live."""
        self._modes = (FakeTensorMode(allow_non_fake_inputs=True), _Count(self))

    def __enter__(self) -> Self:
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*exception)

    @property
    def live(self) -> Mapping[str, int]:
        """Bytes now, by part."""
        return dict(self._live)

    @property
    def peak(self) -> Mapping[str, int]:
        """Bytes by part at the moment since `begin` at which they were the most together."""
        return dict(self._peak)

    def begin(self) -> None:
        """A new peak is looked for."""
        self._peak, self._most = self._live.copy(), self._total

    @contextmanager
    def counting(self, part: str) -> Iterator[None]:
        """What is allocated inside belongs to a part."""
        before, self._part = self._part, part
        try:
            yield
        finally:
            self._part = before

    def switch(self, part: str) -> None:
        """What is allocated from now on belongs to a part."""
        self._part = part

    def move(self, tensor: Tensor, part: str) -> None:
        """A tensor's memory belongs to another part from now on."""
        self._move(self._numbers[tensor.untyped_storage()], part)

    def move_all(self, before: str, part: str) -> None:
        """All memory of a part belongs to another one from now on."""
        for number, (old, _) in list(self._held.items()):
            if old == before:
                self._move(number, part)

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's memory, once."""
        storage = tensor.untyped_storage()
        if storage in self._numbers:
            return
        number = self._numbers[storage] = next(self._count)
        self._held[number] = self._part, storage.nbytes()
        self._live[self._part] += storage.nbytes()
        self._total += storage.nbytes()
        weakref.finalize(storage, self._free, number).atexit = False
        if self._total > self._most:
            self._peak, self._most = self._live.copy(), self._total

    def _move(self, number: int, part: str) -> None:
        old, size = self._held[number]
        self._live[old] -= size
        self._live[part] += size
        self._held[number] = part, size

    def _free(self, number: int) -> None:
        part, size = self._held.pop(number)
        self._live[part] -= size
        self._total -= size


_INDEXED = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put.default, torch.ops.aten.index_put_.default)
_READS = (torch.ops.aten.item.default, torch.ops.aten._local_scalar_dense.default)


class _Count(TorchDispatchMode):
    """Above the mode that makes tensors fake."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        if given and not any(isinstance(tensor, FakeTensor) for tensor in given):
            with unset_fake_temporarily():
                return function(*args, **kwargs)
        if function in _READS:
            return _one(given[0].dtype)
        if function in _INDEXED:
            args = (args[0], _places(args[1]), *args[2:])
        result = function(*args, **kwargs)
        for value in tree_leaves(result):
            if isinstance(value, FakeTensor):
                self._ledger.add(value)
        return result


def _places(indices: Any) -> list[Tensor | None]:
    """Indices, of which a mask with numbers is where it is true: how many that are has to be known."""
    places: list[Tensor | None] = []
    for index in indices:
        if index is None or index.dtype is not torch.bool or isinstance(index, FakeTensor):
            places.append(index)
        else:
            with unset_fake_temporarily():
                places += index.nonzero(as_tuple=True)
    return places


def _one(dtype: torch.dtype) -> bool | int | float:
    if dtype is torch.bool:
        return True
    return 1.0 if dtype.is_floating_point else 1
