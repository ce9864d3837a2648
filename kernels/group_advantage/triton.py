"""One launch, no sort: a program takes a few episodes and compares their groups with those of all episodes.

Each episode adds up its group's rewards relative to its own, so that a common offset costs no digits; the
second pass does the same with the squared deviations from the mean, in units of the group's spread, so that
they cannot overflow. Sums are taken in the order of the episodes: the same bits every time.
"""

import itertools

import torch
import triton
import triton.language as tl
from torch import Tensor

from ludus.kernels.arguments import accumulation_dtype
from ludus.kernels.compilation import ELEMENT_TYPES, Specialisation
from ludus.kernels.group_advantage.reference import FLAT_TOLERANCE, AdvantageKind

EPISODES = 8
"""Episodes of a program."""

OTHERS = 128
"""Episodes compared with them at a time."""

WARPS = 4


def forward(rewards: Tensor, group_ids: Tensor, kind: AdvantageKind) -> tuple[Tensor, Tensor]:
    """(values [E], flat [E]) of one episode or more."""
    dtype = accumulation_dtype(rewards)
    values = torch.empty(rewards.shape, dtype=dtype, device=rewards.device)
    flat = torch.empty(rewards.shape, dtype=torch.bool, device=rewards.device)
    advantage_kernel[(triton.cdiv(len(rewards), EPISODES),)](
        rewards,
        group_ids,
        values,
        flat,
        len(rewards),
        rewards.stride(0),
        group_ids.stride(0),
        **_constants(dtype, kind),
        num_warps=WARPS,
    )
    return values, flat


def _constants(dtype: torch.dtype, kind: AdvantageKind) -> dict[str, int | float | str]:
    return {"KIND": kind, "TOLERANCE": FLAT_TOLERANCE[dtype], "EPISODES": EPISODES, "OTHERS": OTHERS}


@triton.jit
def advantage_kernel(
    rewards_ptr,
    ids_ptr,
    values_ptr,
    flat_ptr,
    episodes,
    stride_reward,
    stride_id,
    KIND: tl.constexpr,
    TOLERANCE: tl.constexpr,
    EPISODES: tl.constexpr,
    OTHERS: tl.constexpr,
):
    dtype = values_ptr.dtype.element_ty
    mine = tl.program_id(0) * EPISODES + tl.arange(0, EPISODES)
    exists = mine < episodes
    mine = tl.where(exists, mine, 0)
    reward = tl.load(rewards_ptr + mine.to(tl.int64) * stride_reward).to(dtype)
    id = tl.load(ids_ptr + mine.to(tl.int64) * stride_id)

    count = tl.zeros([EPISODES, OTHERS], tl.int32)
    broken = tl.zeros([EPISODES, OTHERS], tl.int32)
    relative = tl.zeros([EPISODES, OTHERS], dtype)
    highest = tl.broadcast_to(reward[:, None], [EPISODES, OTHERS])
    lowest = highest
    for first in range(0, episodes, OTHERS):
        other, same = _others(rewards_ptr, ids_ptr, first, id, episodes, stride_reward, stride_id, OTHERS)
        finite = tl.abs(other) < float("inf")
        good = same & finite
        count += same.to(tl.int32)
        broken += (same & ~finite).to(tl.int32)
        relative += tl.where(good, other.to(dtype) - reward[:, None], 0.0)
        highest = tl.maximum(highest, tl.where(good, other.to(dtype), reward[:, None]))
        lowest = tl.minimum(lowest, tl.where(good, other.to(dtype), reward[:, None]))
    n = tl.sum(count, 1).to(dtype)
    whole = tl.sum(broken, 1) == 0
    centred = -tl.sum(relative, 1) / n
    top = tl.max(highest, 1)
    bottom = tl.min(lowest, 1)
    spread = top - bottom
    scale = tl.maximum(tl.maximum(tl.abs(top), tl.abs(bottom)), 1.0)
    flat = whole & (spread <= TOLERANCE * scale)
    plain = flat | (n == 1.0) | ~whole
    if KIND == "grpo":
        unit = 1.0 / tl.where(plain, 1.0, spread)
        squares = tl.zeros([EPISODES, OTHERS], dtype)
        for first in range(0, episodes, OTHERS):
            other, same = _others(rewards_ptr, ids_ptr, first, id, episodes, stride_reward, stride_id, OTHERS)
            deviation = (other.to(dtype) - reward[:, None] + centred[:, None]) * unit[:, None]
            squares += tl.where(same, deviation * deviation, 0.0)
        variance = tl.sum(squares, 1) / tl.where(plain, 1.0, n - 1.0)
        value = centred * unit / tl.sqrt(tl.where(plain, 1.0, variance))
    elif KIND == "dr_grpo":
        value = centred
    else:
        value = centred * (n / tl.where(plain, 1.0, n - 1.0))
    value = tl.where(flat, 0.0, tl.where(whole, value, float("nan")))
    tl.store(values_ptr + mine, value, mask=exists)
    tl.store(flat_ptr + mine, flat, mask=exists)


@triton.jit
def _others(rewards_ptr, ids_ptr, first, id, episodes, stride_reward, stride_id, OTHERS: tl.constexpr):
    """The rewards of episodes from `first` on, [1, OTHERS], and which are in the same group, [EPISODES,
    OTHERS]."""
    place = first + tl.arange(0, OTHERS)
    inside = place < episodes
    other = tl.load(rewards_ptr + place.to(tl.int64) * stride_reward, mask=inside, other=0.0)
    other_id = tl.load(ids_ptr + place.to(tl.int64) * stride_id, mask=inside, other=0)
    return other[None, :], (other_id[None, :] == id[:, None]) & inside[None, :]


def specialisations(warp_size: int) -> list[Specialisation]:
    """What CI compiles: float32 and float64, each kind; strides too."""
    made = []
    kinds: tuple[AdvantageKind, ...] = ("grpo", "rloo")
    for dtype, kind in itertools.product((torch.float32, torch.float64), kinds):
        for stride in (1, 2**33):
            made.append(
                Specialisation(
                    name=f"{ELEMENT_TYPES[dtype]}, {kind}, stride {stride}",
                    kernel=advantage_kernel,
                    arguments={
                        "rewards_ptr": dtype,
                        "ids_ptr": torch.int64,
                        "values_ptr": dtype,
                        "flat_ptr": torch.bool,
                        "episodes": 1024,
                        "stride_reward": stride,
                        "stride_id": 1,
                    },
                    constants=_constants(dtype, kind),
                    num_warps=WARPS,
                )
            )
    return made
