"""group_advantage on every path: by hand, against the reference, flat and broken groups, large offsets."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.kernels import group_advantage
from ludus.kernels.group_advantage.reference import group_advantage_reference

from .conftest import INTERPRETED
from .logits import assert_close

KINDS = ("grpo", "dr_grpo", "rloo")
DTYPES = (torch.float32, torch.float64)


def run(rewards, groups, kind="grpo", device="cpu", dtype=torch.float64):
    return group_advantage(
        torch.as_tensor(rewards, dtype=dtype).to(device), torch.as_tensor(groups).to(device), kind
    )


def random_groups(episodes, groups, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randn(episodes, generator=generator, dtype=torch.float64)
    return rewards, torch.randint(-groups, groups, (episodes,), generator=generator)


@pytest.mark.parametrize("dtype", DTYPES)
def test_by_hand(device, dtype):
    rewards, groups = [1.0, 2.0, 6.0], [0, 0, 0]
    deviations = torch.tensor([-2.0, -1.0, 3.0], dtype=dtype)
    assert torch.equal(run(rewards, groups, "dr_grpo", device, dtype).values.cpu(), deviations)
    assert torch.equal(run(rewards, groups, "rloo", device, dtype).values.cpu(), deviations * 1.5)
    values, flat = run(rewards, groups, "grpo", device, dtype)
    assert_close(values, deviations / math.sqrt(7.0), 2e-7, 0.0)
    assert values.dtype == dtype
    assert not flat.any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("episodes", [1, 2, 9, 64, 300])
def test_against_the_reference(device, episodes, kind, dtype):
    rewards, groups = random_groups(episodes, max(episodes // 8, 1), seed=episodes)
    exact, exact_flat = group_advantage_reference(rewards.to(dtype).double(), groups, kind)
    values, flat = run(rewards, groups, kind, device, dtype)
    tolerance = 2e-6 if dtype == torch.float32 else 1e-14
    assert_close(values, exact, tolerance, tolerance)
    assert torch.equal(flat.cpu(), exact_flat)


@pytest.mark.skipif(INTERPRETED, reason="hundreds of programs take the interpreter minutes")
def test_many_episodes(device, fused_path):
    rewards, groups = random_groups(70_000, 2000)
    exact, _ = group_advantage_reference(rewards, groups, "grpo")
    assert_close(run(rewards, groups, "grpo", device).values, exact, 1e-9, 1e-12)
    assert_close(
        run(rewards[:60_000], groups[:60_000], "rloo", device).values,
        group_advantage_reference(rewards[:60_000], groups[:60_000], "rloo")[0],
        1e-9,
        1e-12,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_flat_groups_and_groups_of_one_get_exactly_zero(device, kind, dtype):
    values, flat = run([0.7, 0.7, 0.7, 5.0, 0.0, 1.0], [3, 3, 3, 9, 4, 4], kind, device, dtype)
    assert values[:4].tolist() == [0.0] * 4
    assert flat.tolist() == [True] * 4 + [False] * 2
    assert values[5] == -values[4] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_difference_that_is_rounding_is_not_a_difference(device, kind):
    assert 0.1 + 0.2 != 0.3
    values, flat = run([0.1 + 0.2, 0.3, 0.3], [0, 0, 0], kind, device)
    assert values.tolist() == [0.0] * 3
    assert flat.all()
    tenth = torch.tensor(0.1, dtype=torch.float32)
    values, flat = run([float(sum([tenth] * 7)), 0.7], [0, 0], kind, device, torch.float32)
    assert values.tolist() == [0.0] * 2
    assert flat.all()
    assert not run([1.0, 1.0 + 2e-6], [0, 0], kind, device, torch.float32).flat.any()
    assert not run([1.0, 1.0 + 2e-9], [0, 0], kind, device).flat.any()


def test_a_difference_too_small_to_square_divides_by_nothing(device):
    assert run([0.0, 1e-200], [0, 0], "grpo", device).values.tolist() == [0.0, 0.0]
    assert run([0.0, -0.0], [0, 0], "grpo", device).flat.all()


def test_rewards_too_large_to_square(device):
    values, _ = run([1e30, 3e30], [0, 0], "grpo", device, torch.float32)
    assert values.tolist() == pytest.approx([-math.sqrt(0.5), math.sqrt(0.5)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "offset"), [(torch.float32, 2.0**20), (torch.float64, 2.0**30)])
def test_a_common_offset_costs_no_digits(device, fused_path, kind, dtype, offset):
    """The rewards are exact in both places; their mean is not, at the offset."""
    small = torch.arange(21, dtype=dtype).remainder(8) * 0.5
    groups = torch.arange(21) % 3
    plain, shifted = (run(r, groups, kind, device, dtype).values for r in (small, small + offset))
    assert_close(shifted, plain, 4 * torch.finfo(dtype).eps, 4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("kind", KINDS)
def test_scale(device, kind):
    rewards, groups = random_groups(40, 4)
    one, four = (run(s * rewards, groups, kind, device).values for s in (1.0, 4.0))
    assert torch.equal(four, one if kind == "grpo" else 4.0 * one)


@pytest.mark.parametrize("kind", KINDS)
def test_advantages_of_a_group_cancel(device, kind):
    rewards, groups = random_groups(64, 4)
    values = run(rewards, groups, kind, device).values.cpu()
    for name in groups.unique():
        assert values[groups == name].sum().item() == pytest.approx(0.0, abs=1e-12)


def test_any_ids_and_strides(device):
    rewards, groups = random_groups(40, 4)
    ids = groups * (2**62 // 4) + 3
    plain = run(rewards, groups, "grpo", device)
    assert torch.equal(run(rewards, ids, "grpo", device).values, plain.values)
    assert torch.equal(run(rewards, groups.to(torch.int32), "grpo", device).values, plain.values)
    wide_rewards, wide_ids = (torch.stack([t, t + 1], 1).to(device)[:, 0] for t in (rewards, groups))
    assert torch.equal(group_advantage(wide_rewards, wide_ids, "grpo").values, plain.values)
    once = torch.full((1,), 2.0, device=device).expand(7)
    assert group_advantage(once, torch.zeros(1, dtype=torch.int64, device=device).expand(7)).flat.all()


def test_no_episodes(device):
    values, flat = run([], torch.zeros(0, dtype=torch.int64), "grpo", device, torch.float32)
    assert values.shape == flat.shape == (0,)
    assert values.dtype == torch.float32
    assert flat.dtype == torch.bool


def test_bitwise_repeatable(device):
    rewards, groups = random_groups(200, 5)
    first, second = (run(rewards, groups, "grpo", device) for _ in range(2))
    assert torch.equal(first.values, second.values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_not_finite_spoils_its_own_group_only(path, kind, broken):
    """If rewards cannot be inspected beforehand, as on a GPU."""
    rewards = torch.tensor([1.0, broken, 0.0, 2.0, broken, 5.0], dtype=torch.float32)
    groups = torch.tensor([0, 1, 0, 1, 2, 3])
    if path == "reference":
        values, flat = group_advantage_reference(rewards, groups, kind)
    elif path == "cpu":
        from ludus.kernels.group_advantage.cpu import forward

        values, flat = forward(rewards, groups, kind)
    else:
        from ludus.kernels.group_advantage.triton import forward

        device = "cpu" if INTERPRETED else "cuda"
        values, flat = (t.cpu() for t in forward(rewards.to(device), groups.to(device), kind))
    assert values.isnan().tolist() == [False, True, False, True, True, False]
    assert values[0] == -values[2] > 0
    assert values[5] == 0.0
    assert flat.tolist() == [False] * 5 + [True]


@given(
    members=st.lists(st.tuples(st.integers(-3, 3), st.floats(-100, 100)), min_size=1, max_size=20),
    kind=st.sampled_from(KINDS),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=100)
def test_where_the_members_of_a_group_stand_does_not_matter(members, kind, order):
    groups, rewards = zip(*members, strict=True)
    shuffled = list(range(len(members)))
    order.shuffle(shuffled)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUDUS_KERNELS", "cpu")
        values, flat = run(rewards, groups, kind)
        again = run([rewards[i] for i in shuffled], [groups[i] for i in shuffled], kind)
        exact, exact_flat = group_advantage_reference(
            torch.tensor(rewards, dtype=torch.float64), torch.tensor(groups), kind
        )
        assert_close(values, exact, 1e-9, 1e-9)
        assert torch.equal(flat, exact_flat)
        assert_close(again.values, values[shuffled], 1e-9, 1e-9)
        for name in set(groups):
            alone = [r for g, r in members if g == name]
            mine = values[[g == name for g in groups]]
            assert_close(mine, run(alone, [0] * len(alone), kind).values, 1e-9, 1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": torch.zeros(2, 3)}, r"rewards must be \[E\]"),
        ({"rewards": torch.zeros(3, dtype=torch.int64)}, "int64 is not supported"),
        ({"rewards": torch.tensor([0.0, 1.0, math.nan])}, "reward of episode 2 is nan"),
        ({"rewards": torch.tensor([0.0, math.inf, math.nan])}, "reward of episode 1 is inf"),
        ({"rewards": torch.zeros(3, requires_grad=True)}, r"rewards\.detach\(\)"),
        ({"group_ids": torch.zeros(2, dtype=torch.int64)}, "there must be one for each"),
        ({"group_ids": torch.zeros(3)}, "group_ids must be integers"),
        ({"kind": "gae"}, "kind must be one of grpo, dr_grpo, rloo"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {"rewards": torch.zeros(3), "group_ids": torch.zeros(3, dtype=torch.int64), "kind": "grpo"}
    with pytest.raises(ValueError, match=message):
        group_advantage(**arguments | change)
