"""What tokens weigh: by hand, against the operator's own means, however a batch is cut; overlong answers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.kernels import grpo_loss
from ludus.trainers.losses.weights import PolicyMetrics, row_weights, soft_overlong_penalty

OWN_MEANS = {
    "grpo": "sequence_mean",
    "gspo": "sequence_mean",
    "dr_grpo": "constant",
    "dapo": "token_mean",
    "cispo": "token_mean",
}
LOSS_TYPES = list(OWN_MEANS)
BOUNDS = {"clip_low": 0.2, "clip_high": 0.28}


def batch_loss(loss_type, logprobs, old, advantages, longest=10):
    """Lists per row → loss, every row an episode of its own."""
    tokens_R = torch.tensor([len(row) for row in logprobs])
    weights_R = row_weights(loss_type, tokens_R, torch.arange(len(logprobs)), longest)
    weights_N = weights_R.repeat_interleave(tokens_R)
    loss, _ = grpo_loss(*map(flat, (logprobs, old, advantages)), weights_N, aggregation="sum", **BOUNDS)
    return loss


def flat(rows):
    return torch.tensor([x for row in rows for x in row], dtype=torch.float64)


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
    loss = batch_loss(loss_type, logprobs, logprobs, [[1.0], [-1.0] * 4])
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
)
@settings(max_examples=200, deadline=None)
def test_weights_are_the_operators_own_means(loss_type, rows):
    """Where every episode is one row, the weighted sum is what `grpo_loss` computes as the paper's mean."""
    logprobs, old, advantages = ([[t[i] for t in row] for row in rows] for i in range(3))
    offsets = torch.tensor([0, *(len(row) for row in rows)]).cumsum(0)
    expected, _ = grpo_loss(
        *map(flat, (logprobs, old, advantages)),
        torch.ones(int(offsets[-1]), dtype=torch.bool),
        offsets=offsets,
        aggregation=OWN_MEANS[loss_type],
        longest=10 if loss_type == "dr_grpo" else None,
        **BOUNDS,
    )
    loss = batch_loss(loss_type, logprobs, old, advantages)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-9)


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
        total, metrics = 0.0, PolicyMetrics()
        for part in parts:
            given = (leaf[part], old[part], advantages[part], weights[part])
            loss, m = grpo_loss(*given, aggregation="sum", **BOUNDS)
            loss.backward()
            total, metrics = total + loss.item(), metrics + PolicyMetrics.read(m)
        return total, leaf.grad, metrics

    whole, whole_gradient, whole_metrics = run([torch.arange(tokens)])
    cut_loss, cut_gradient, cut_metrics = run([place[:cut], place[cut:]])
    assert cut_loss == pytest.approx(whole, rel=1e-12, abs=1e-12)
    assert torch.equal(cut_gradient, whole_gradient)
    assert cut_metrics.tokens == whole_metrics.tokens == tokens
    assert cut_metrics.means() == pytest.approx(whole_metrics.means())


def test_metrics_by_hand():
    ratio = torch.tensor([0.5, 0.5, 1.0, 2.0, 2.0], dtype=torch.float64)
    advantages = torch.tensor([-1.0, 1.0, 1.0, 1.0, -1.0])
    _, metrics = grpo_loss(ratio.log(), torch.zeros(5), advantages, torch.ones(5), **BOUNDS)
    means = PolicyMetrics.read(metrics).means()
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
