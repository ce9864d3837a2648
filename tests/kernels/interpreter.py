"""Fixes for what Triton's interpreter does differently from every GPU, and for what it does over and over."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle


def round_fma_once() -> None:
    """As GPUs do; the interpreter's own fused multiply-add rounds twice."""
    InterpreterBuilder.create_fma = _fused_multiply_add


def patch_language_once() -> None:
    """For all functions, for as long as the process lives.

    The interpreter looks through all of `triton.language` for what it has to patch at every launch, and again
    at every call of a function on the device, such as `tl.sum`: a millisecond each.
    """
    interpreter._patch_lang(SimpleNamespace(__globals__={"tl": tl, "core": tl.core}))
    interpreter._patch_lang = lambda _: interpreter._LangPatchScope()


def _fused_multiply_add(self: Any, x: Any, y: Any, z: Any) -> Any:
    exact = x.data.astype(np.float64) * y.data + z.data
    return TensorHandle(exact.astype(z.data.dtype), z.dtype.scalar)
