"""Group advantages: hand-computed cases, flat groups, groups of one, split groups."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.trainers.advantages import group_advantages


def test_grpo_by_hand():
    result = group_advantages([1.0, 2.0, 6.0], [0, 0, 0], "grpo")
    np.testing.assert_allclose(result.values_E, np.array([-2.0, -1.0, 3.0]) / np.sqrt(7.0))
    assert (result.groups, result.flat_groups) == (1, 0)


def test_dr_grpo_by_hand():
    assert group_advantages([1.0, 2.0, 6.0], [0, 0, 0], "dr_grpo").values_E.tolist() == [-2.0, -1.0, 3.0]


@pytest.mark.parametrize("kind", ["grpo", "dr_grpo"])
def test_flat_groups_and_groups_of_one_get_exactly_zero_and_are_counted(kind):
    result = group_advantages([0.7, 0.7, 0.7, 5.0, 0.0, 1.0], [3, 3, 3, 9, 4, 4], kind)
    assert result.values_E[:4].tolist() == [0.0] * 4
    assert result.flat_E.tolist() == [True] * 4 + [False] * 2
    assert (result.groups, result.flat_groups) == (3, 2)
    assert result.values_E[5] == -result.values_E[4] > 0


def test_a_difference_that_is_rounding_is_not_a_difference():
    result = group_advantages([0.1 + 0.2, 0.3, 0.3], [0, 0, 0], "grpo")
    assert 0.1 + 0.2 != 0.3
    assert result.values_E.tolist() == [0.0] * 3
    assert result.flat_groups == 1


def test_a_difference_too_small_to_square_divides_by_nothing():
    assert group_advantages([0.0, 1e-200], [0, 0], "grpo").values_E.tolist() == [0.0, 0.0]


def test_all_rewards_zero_is_flat():
    assert group_advantages([0.0, -0.0], [0, 0], "grpo").flat_groups == 1


@given(
    members=st.lists(st.tuples(st.integers(-3, 3), st.floats(-100, 100)), min_size=1, max_size=20),
    kind=st.sampled_from(["grpo", "dr_grpo"]),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=100, deadline=None)
def test_where_the_members_of_a_group_stand_does_not_matter(members, kind, order):
    groups, rewards = zip(*members, strict=True)
    result = group_advantages(rewards, groups, kind)
    shuffled = list(range(len(members)))
    order.shuffle(shuffled)
    again = group_advantages([rewards[i] for i in shuffled], [groups[i] for i in shuffled], kind)
    np.testing.assert_allclose(again.values_E, result.values_E[shuffled], rtol=1e-9, atol=1e-9)
    assert (again.groups, again.flat_groups) == (result.groups, result.flat_groups)
    for name in set(groups):
        alone = [r for g, r in members if g == name]
        np.testing.assert_allclose(
            result.values_E[[g == name for g in groups]],
            group_advantages(alone, [0] * len(alone), kind).values_E,
            rtol=1e-9,
            atol=1e-9,
        )


def test_rewards_in_float64():
    base = 1e8
    result = group_advantages([base, base + 1.0], [0, 0], "dr_grpo")
    assert result.values_E.tolist() == [-0.5, 0.5]


def test_no_episodes():
    result = group_advantages([], [], "grpo")
    assert (len(result.values_E), result.groups, result.flat_groups) == (0, 0, 0)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="2 rewards but 1 group"):
        group_advantages([1.0, 2.0], [0], "grpo")
    with pytest.raises(ValueError, match="reward of episode 1 is nan"):
        group_advantages([1.0, float("nan")], [0, 0], "grpo")
