"""A model shared by engine and trainer, each of which computes with its own attention function."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

_locks: WeakKeyDictionary[Any, threading.RLock] = WeakKeyDictionary()


@contextmanager
def computing_with(model: Any, attention: str) -> Iterator[None]:
    """Puts the model into evaluation mode with this attention, and restores it afterwards. Users of a shared
    model must take turns.

    Args:
        attention: The name under which the function is registered with transformers.
    """
    with _locks.setdefault(model, threading.RLock()):
        before = model.config._attn_implementation
        in_training = [module for module in model.modules() if module.training]
        model.config._attn_implementation = attention
        if in_training:
            model.eval()
        try:
            yield
        finally:
            model.config._attn_implementation = before
            for module in in_training:
                module.training = True


def plain_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    scale: float | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """What `scaled_dot_product_attention` does not have: scores with a soft cap, c tanh(score / c) (Gemma 2,
    arXiv 2408.00118), and sinks, one more score for each head, which takes its share of the weights and has
    no value (gpt-oss, arXiv 2508.10925). The scores exist as a whole.

    Args:
        query: [B, heads, Q, D]; key and value: [B, key heads, K, D].
        bias: added to the scores, [B or 1, 1, Q, K]: 0 where a query sees a key, else -inf.
        scale: of the scores; None: 1 / √D.
        sinks: [heads].

    Returns:
        [B, heads, Q, D].
    """
    shared = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(shared, dim=1) for tensor in (key, value))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores + bias
    if sinks is not None:
        column = sinks.to(scores.dtype)[:, None, None].expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, column], dim=-1)
    exact = torch.promote_types(scores.dtype, torch.float32)
    weights = scores.softmax(-1, dtype=exact).to(value.dtype)[..., : key.shape[2]]
    return weights @ value
