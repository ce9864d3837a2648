"""Losses: hand-computed cases, the reference, length bias, cutting, clipping, extreme ratios, metrics."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.trainers.losses import (
    PolicyMetrics,
    likelihood_ratio,
    policy_loss,
    policy_loss_reference,
    row_weights,
    soft_overlong_penalty,
)

LOSS_TYPES = ["grpo", "dr_grpo", "dapo"]


def batch_loss(loss_type, logprobs, old, advantages, longest=10, low=0.2, high=0.28):
    """Lists per row → (loss, metrics), every row an episode of its own."""
    tokens_R = torch.tensor([len(row) for row in logprobs])
    weights_R = row_weights(loss_type, tokens_R, torch.arange(len(logprobs)), longest)
    weights_N = weights_R.repeat_interleave(tokens_R)

    def flat(rows):
        return torch.tensor([x for row in rows for x in row], dtype=torch.float64)

    return policy_loss(flat(logprobs), flat(old), flat(advantages), weights_N, low, high)


@pytest.mark.parametrize(
    ("loss_type", "expected"),
    [
        # Two rows, of 1 and of 4 tokens, ratio 1, advantages +1 and -1.
        ("grpo", -(1 / 2) * (1 - 4 / 4)),
        ("dr_grpo", -(1 / 2) * (1 / 10 - 4 / 10)),
        ("dapo", -(1 - 4) / 5),
    ],
)
def test_length_bias_by_hand(loss_type, expected):
    logprobs = [[-1.0], [-2.0] * 4]
    loss, _ = batch_loss(loss_type, logprobs, logprobs, [[1.0], [-1.0] * 4])
    assert loss.item() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    ("loss_type", "short", "long"),
    [("grpo", 1 / 2, 1 / 8), ("dr_grpo", 1 / 20, 1 / 20), ("dapo", 1 / 5, 1 / 5)],
)
def test_what_one_token_weighs_by_hand(loss_type, short, long):
    weights = row_weights(loss_type, torch.tensor([1, 4]), torch.tensor([0, 1]), 10)
    assert weights.tolist() == pytest.approx([short, long])


def test_an_episode_that_forked_is_one_sequence():
    forked = row_weights("grpo", torch.tensor([3, 1, 2]), torch.tensor([8, 5, 8]), 10)
    assert forked.tolist() == pytest.approx([1 / 10, 1 / 2, 1 / 10])
    dr = row_weights("dr_grpo", torch.tensor([3, 1, 2]), torch.tensor([8, 5, 8]), 10)
    assert dr.tolist() == pytest.approx([1 / 20] * 3)


def test_rows_without_sampled_tokens_weigh_nothing_but_count_as_episodes():
    weights = row_weights("grpo", torch.tensor([2, 0]), torch.tensor([0, 1]), 10)
    assert torch.isfinite(weights).all()
    assert weights[0].item() == pytest.approx(1 / 4)


def test_a_batch_without_sampled_tokens_is_refused():
    with pytest.raises(ValueError, match="no sampled token"):
        row_weights("dapo", torch.tensor([0, 0]), torch.tensor([0, 1]), 10)


token = st.tuples(st.floats(-300, 0), st.floats(-300, 0), st.floats(-3, 3))


@given(
    loss_type=st.sampled_from(LOSS_TYPES),
    rows=st.lists(st.lists(token, max_size=6), min_size=1, max_size=5).filter(lambda rows: any(rows)),
    low=st.floats(0.0, 0.9),
    high=st.floats(0.0, 2.0),
)
@settings(max_examples=200, deadline=None)
def test_the_reference(loss_type, rows, low, high):
    logprobs, old, advantages = ([[t[i] for t in row] for row in rows] for i in range(3))
    loss, _ = batch_loss(loss_type, logprobs, old, advantages, 10, low, high)
    expected = policy_loss_reference(loss_type, logprobs, old, advantages, low, high, 10)
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_loss_and_gradients_do_not_depend_on_the_cut(loss_type, data):
    lengths = torch.tensor(data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=8)))
    tokens = int(lengths.sum())
    generator = torch.Generator().manual_seed(tokens)
    logprobs = -3 * torch.rand(tokens, generator=generator, dtype=torch.float64)
    old = logprobs + 0.3 * torch.randn(tokens, generator=generator, dtype=torch.float64)
    advantages = torch.randn(tokens, generator=generator, dtype=torch.float64)
    weights = row_weights(loss_type, lengths, torch.arange(len(lengths)), 10).repeat_interleave(lengths)
    place = torch.tensor(data.draw(st.permutations(range(tokens))))
    cut = data.draw(st.integers(0, tokens))

    def run(parts):
        leaf = logprobs.clone().requires_grad_()
        total, metrics = 0.0, PolicyMetrics(0, 0.0, 0.0, 0, 0, 0.0)
        for part in parts:
            loss, m = policy_loss(leaf[part], old[part], advantages[part], weights[part], 0.2, 0.28)
            loss.backward()
            total, metrics = total + loss.item(), metrics + m
        return total, leaf.grad, metrics

    whole, whole_gradient, whole_metrics = run([torch.arange(tokens)])
    cut_loss, cut_gradient, cut_metrics = run([place[:cut], place[cut:]])
    assert cut_loss == pytest.approx(whole, rel=1e-12, abs=1e-12)
    assert torch.equal(cut_gradient, whole_gradient)
    assert cut_metrics.tokens == whole_metrics.tokens == tokens
    assert cut_metrics.means() == pytest.approx(whole_metrics.means())


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        # In the middle the gradient is -A ratio; a bound stops it only on the side the objective runs to.
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.56, 0.0),
        (0.5, 2.0, -1.0, -1.0),
        (0.5, -2.0, 1.6, 0.0),
        (1.5, -2.0, 3.0, 3.0),
    ],
)
def test_clipping_by_hand(ratio, advantage, loss, gradient):
    logprobs = torch.tensor([math.log(ratio)], dtype=torch.float64, requires_grad=True)
    one = torch.ones(1, dtype=torch.float64)
    value, _ = policy_loss(logprobs, 0 * one, advantage * one, one, 0.2, 0.28)
    value.backward()
    assert value.item() == pytest.approx(loss)
    assert logprobs.grad.item() == pytest.approx(gradient)


@pytest.mark.parametrize("advantage", [1.0, -1.0])
@pytest.mark.parametrize(("new", "old"), [(-0.5, -200.0), (-200.0, -0.5), (-0.5, -1e30)])
def test_a_log_probability_of_minus_200_gives_finite_loss_and_gradient(advantage, new, old):
    logprobs = torch.tensor([new, -1.0], requires_grad=True)
    loss, metrics = policy_loss(
        logprobs, torch.tensor([old, -1.0]), torch.full((2,), advantage), torch.full((2,), 0.5), 0.2, 0.28
    )
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(logprobs.grad).all()
    assert all(math.isfinite(v) for v in metrics.means().values())


def test_ratio_is_exactly_one_on_policy():
    logprobs = torch.randn(100)
    assert torch.equal(likelihood_ratio(logprobs, logprobs.clone()), torch.ones(100))
    _, metrics = policy_loss(logprobs, logprobs, torch.randn(100), torch.ones(100), 0.2, 0.2)
    assert metrics.ratio_max_deviation == 0.0
    assert metrics.means()["ratio_mean"] == 1.0
    assert metrics.kl_sum == 0.0


def test_metrics_by_hand():
    ratio = torch.tensor([0.5, 0.5, 1.0, 2.0, 2.0], dtype=torch.float64)
    advantages = torch.tensor([-1.0, 1.0, 1.0, 1.0, -1.0])
    _, metrics = policy_loss(ratio.log(), torch.zeros(5), advantages, torch.ones(5), 0.2, 0.28)
    means = metrics.means()
    assert means["ratio_mean"] == pytest.approx(6 / 5)
    assert means["ratio_max_deviation"] == pytest.approx(1.0)
    assert means["clip_low"] == pytest.approx(1 / 5)
    assert means["clip_high"] == pytest.approx(1 / 5)
    assert means["policy_kl"] == pytest.approx(sum(r - 1 - math.log(r) for r in ratio.tolist()) / 5)


def test_soft_overlong_penalty_by_hand():
    lengths = torch.tensor([0, 80, 81, 90, 99, 100, 101, 500])
    penalty = soft_overlong_penalty(lengths, longest=100, margin=20)
    assert penalty.tolist() == pytest.approx([0.0, 0.0, -0.05, -0.5, -0.95, -1.0, -1.0, -1.0])


@pytest.mark.parametrize("margin", [0, -1, 101])
def test_an_impossible_margin_is_refused(margin):
    with pytest.raises(ValueError, match="margin must be between"):
        soft_overlong_penalty(torch.tensor([1]), 100, margin)
