"""Fused kernel: a program rotates a few heads of one token, of its query or of its key."""

import itertools

import torch
import triton
import triton.language as tl
from torch import Tensor

from ludus.kernels.compilation import ELEMENT_TYPES, Specialisation, warp_size

HEADS = 8
"""Heads that a program rotates; half a head is 16-byte loads of several threads."""


def rotate(pairs: list[tuple[Tensor, Tensor]], cos: Tensor, sin: Tensor, backwards: bool) -> None:
    """For query and key each (x, out), both [..., T, heads, D]: out = x rotated by cos and sin [..., T, D],
    or, backwards, multiplied by the transposed matrix. out may be x; its heads are contiguous."""
    (query, query_out), (key, key_out) = (tuple(_batched(x, 4) for x in pair) for pair in pairs)
    batch, tokens, query_heads, size = query.shape
    key_heads = key.shape[2]
    cos, sin = (_batched(angle, 3).expand(batch, tokens, size) for angle in (cos, sin))
    groups = triton.cdiv(query_heads, HEADS) + triton.cdiv(key_heads, HEADS)
    if batch * tokens * groups and size:
        rope_kernel[(batch * tokens * groups,)](
            query,
            query_out,
            key,
            key_out,
            cos,
            sin,
            tokens,
            query_heads,
            key_heads,
            *query.stride()[:3],
            *query_out.stride()[:3],
            *key.stride()[:3],
            *key_out.stride()[:3],
            *cos.stride()[:2],
            *sin.stride()[:2],
            **_constants(size, backwards),
            num_warps=_warps(size, warp_size()),
        )


def _batched(x: Tensor, dims: int) -> Tensor:
    x = x if x.dim() == dims else x.unsqueeze(0)
    return x if x.stride(-1) == 1 else x.contiguous()


def _constants(size: int, backwards: bool) -> dict[str, int | bool]:
    half = size // 2
    return {"HEADS": HEADS, "HALF": half, "BLOCK": triton.next_power_of_2(half), "BACKWARDS": backwards}


def _warps(size: int, warp_size: int) -> int:
    """So that a thread takes 8 pairs."""
    return min(8, max(1, HEADS * triton.next_power_of_2(size // 2) // (8 * warp_size)))


@triton.jit
def rope_kernel(
    query_ptr,
    query_out_ptr,
    key_ptr,
    key_out_ptr,
    cos_ptr,
    sin_ptr,
    tokens,
    query_heads,
    key_heads,
    query_batch,
    query_token,
    query_head,
    query_out_batch,
    query_out_token,
    query_out_head,
    key_batch,
    key_token,
    key_head,
    key_out_batch,
    key_out_token,
    key_out_head,
    cos_batch,
    cos_token,
    sin_batch,
    sin_token,
    HEADS: tl.constexpr,
    HALF: tl.constexpr,
    BLOCK: tl.constexpr,
    BACKWARDS: tl.constexpr,
):
    query_groups = tl.cdiv(query_heads, HEADS)
    groups = query_groups + tl.cdiv(key_heads, HEADS)
    program = tl.program_id(0)
    group = program % groups
    batch = (program // groups // tokens).to(tl.int64)
    token = (program // groups % tokens).to(tl.int64)
    cos_ptr += batch * cos_batch + token * cos_token
    sin_ptr += batch * sin_batch + token * sin_token
    if group < query_groups:
        into = query_out_ptr + batch * query_out_batch + token * query_out_token
        query_ptr += batch * query_batch + token * query_token
        head = group * HEADS + tl.arange(0, HEADS)[:, None]
        _rotate(
            query_ptr,
            into,
            head,
            query_heads,
            query_head,
            query_out_head,
            cos_ptr,
            sin_ptr,
            HALF,
            BLOCK,
            BACKWARDS,
        )
    else:
        into = key_out_ptr + batch * key_out_batch + token * key_out_token
        key_ptr += batch * key_batch + token * key_token
        head = (group - query_groups) * HEADS + tl.arange(0, HEADS)[:, None]
        _rotate(
            key_ptr, into, head, key_heads, key_head, key_out_head, cos_ptr, sin_ptr, HALF, BLOCK, BACKWARDS
        )


@triton.jit
def _rotate(
    x_ptr,
    out_ptr,
    head,
    heads,
    stride_head,
    stride_out,
    cos_ptr,
    sin_ptr,
    HALF: tl.constexpr,
    BLOCK: tl.constexpr,
    BACKWARDS: tl.constexpr,
):
    pair = tl.arange(0, BLOCK)[None, :]
    inside = (head < heads) & (pair < HALF)
    x = x_ptr + head.to(tl.int64) * stride_head + pair
    a = tl.load(x, mask=inside).to(tl.float32)
    b = tl.load(x + HALF, mask=inside).to(tl.float32)
    # Each thread loads the angles of its own pairs, from the first-level cache: to exchange them would take
    # barriers.
    angle = pair + tl.zeros_like(head)
    cos_a = tl.load(cos_ptr + angle, mask=inside).to(tl.float32)
    cos_b = tl.load(cos_ptr + HALF + angle, mask=inside).to(tl.float32)
    sin_a = tl.load(sin_ptr + angle, mask=inside).to(tl.float32)
    sin_b = tl.load(sin_ptr + HALF + angle, mask=inside).to(tl.float32)
    if BACKWARDS:
        turned_a = a * cos_a + b * sin_b
        turned_b = b * cos_b - a * sin_a
    else:
        turned_a = a * cos_a - b * sin_a
        turned_b = b * cos_b + a * sin_b
    out = out_ptr + head.to(tl.int64) * stride_out + pair
    tl.store(out, turned_a.to(out_ptr.dtype.element_ty), mask=inside)
    tl.store(out + HALF, turned_b.to(out_ptr.dtype.element_ty), mask=inside)


def specialisations(warp_size: int) -> list[Specialisation]:
    """What CI compiles: heads of 64, 128 and 96; tokens first, or heads first as transformers has it;
    distances that need 64 bits."""
    made = []
    layouts = {"tokens first": (16_384, 1), "heads first": (1, 16_384), "far apart": (2**27, 1)}
    for dtype, size, backwards, (layout, (token, head)) in itertools.product(
        (torch.bfloat16, torch.float32), (64, 96, 128), (False, True), layouts.items()
    ):
        if layout != "tokens first" and size != 128:
            continue
        names = ("query_ptr", "query_out_ptr", "key_ptr", "key_out_ptr", "cos_ptr", "sin_ptr")
        distances = {"batch": 16_384 * 32 * size, "token": token * size, "head": head * size}
        strides = {
            f"{tensor}_{dim}": distance
            for tensor in ("query", "query_out", "key", "key_out")
            for dim, distance in distances.items()
        }
        angles = {f"{tensor}_{dim}": size for tensor in ("cos", "sin") for dim in ("batch", "token")}
        made.append(
            Specialisation(
                name=f"{ELEMENT_TYPES[dtype]}, D = {size}, {layout}{', backwards' * backwards}",
                kernel=rope_kernel,
                arguments=dict.fromkeys(names, dtype)
                | {"tokens": 16_384, "query_heads": 32, "key_heads": 8}
                | strides
                | angles,
                constants=_constants(size, backwards),
                num_warps=_warps(size, warp_size),
                wide_loads=True,
            )
        )
    return made
