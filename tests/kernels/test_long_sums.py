"""Sums over rows and over vocabularies keep their digits, in whatever order matrix products add.

The terms are alike, which is the worst case: added one after another they lose the same digits each time, so
that 65,537 of them are off by a thousandth. Every test runs twice, with torch's own matrix products and with
`serial_products`.
"""

import contextlib

import pytest
import torch

from ludus.kernels import (
    Support,
    add_rmsnorm,
    group_advantage,
    grpo_loss,
    linear_logprob,
    logprob_entropy,
    support_logprob,
)

from ..rounding import gamma, longest_chain
from ..serial_products import serial_products
from .conftest import INTERPRETED

pytestmark = pytest.mark.skipif(INTERPRETED, reason="the interpreter is for short sums")

ROWS, VOCABULARY = 65_537, 151_936

BLOCK = 1024
"""The most terms that an operator adds one after another."""

FEW = 64
"""Roundings that each term has seen before: exp and log, and a log-sum-exp of 12, whose digits p has not."""


@pytest.fixture(params=["torch's products", "serial products"])
def products(request):
    with serial_products() if request.param == "serial products" else contextlib.nullcontext():
        yield


@pytest.fixture(autouse=True)
def _on_every_path(products, path):
    pass


def assert_sum(got, exact, terms):
    """Of numbers of one sign, so that the bound is relative to the sum itself."""
    got = got.detach().double().cpu()
    exact = torch.as_tensor(exact, dtype=torch.float64).expand(got.shape)
    error = float(((got - exact) / exact).abs().max())
    assert error <= gamma(longest_chain(terms, BLOCK) + FEW)


def test_hidden_gradient_of_a_large_vocabulary(device):
    """The log-sum-exp's is the mean of the weight's rows."""
    hidden = torch.zeros(2, 4, device=device, requires_grad=True)
    weight = torch.full((VOCABULARY, 4), 0.1, device=device)
    targets = torch.tensor([0, VOCABULARY - 1], device=device)
    outputs = linear_logprob(hidden, weight, targets)
    assert_sum(outputs.lse, torch.tensor(VOCABULARY).double().log(), VOCABULARY)
    assert_sum(outputs.entropy, torch.tensor(VOCABULARY).double().log(), VOCABULARY)
    outputs.lse.sum().backward()
    assert_sum(hidden.grad, float(weight[0, 0]), VOCABULARY)


@pytest.mark.parametrize("output", ["logprobs", "lse"])
def test_weight_gradient_of_many_rows(device, output):
    """With three equally likely entries, the last of which is every row's target."""
    hidden = torch.full((ROWS, 4), 0.1, device=device)
    weight = torch.zeros(3, 4, device=device, requires_grad=True)
    bias = torch.zeros(3, device=device, requires_grad=True)
    targets = torch.full((ROWS,), 2, device=device)
    getattr(linear_logprob(hidden, weight, targets, 1.0, bias), output).sum().backward()
    thirds = torch.tensor({"logprobs": [-1, -1, 2], "lse": [1, 1, 1]}[output]).double() / 3
    assert_sum(weight.grad, ROWS * float(hidden[0, 0]) * thirds[:, None], ROWS)
    assert_sum(bias.grad, ROWS * thirds, ROWS)


def test_hidden_gradient_of_a_large_kept_set(device):
    hidden = torch.zeros(1, 4, device=device, requires_grad=True)
    weight = torch.full((VOCABULARY, 4), 0.1, device=device)
    support = Support(torch.arange(VOCABULARY), torch.tensor([0, VOCABULARY])).to(device)
    outputs = support_logprob(hidden, weight, torch.zeros(1, dtype=torch.long, device=device), support)
    assert_sum(outputs.lse, torch.tensor(VOCABULARY).double().log(), VOCABULARY)
    outputs.lse.sum().backward()
    assert_sum(hidden.grad, float(weight[0, 0]), VOCABULARY)


def test_weight_gradient_of_a_word_that_many_rows_keep(device):
    hidden = torch.full((ROWS, 4), 0.1, device=device)
    weight = torch.zeros(3, 4, device=device, requires_grad=True)
    bias = torch.zeros(3, device=device, requires_grad=True)
    targets = torch.zeros(ROWS, dtype=torch.long, device=device)
    support = Support.from_mask(torch.ones(ROWS, 3, dtype=torch.bool)).to(device)
    support_logprob(hidden, weight, targets, support, 1.0, bias).lse.sum().backward()
    assert_sum(weight.grad, ROWS * float(hidden[0, 0]) / 3, ROWS)
    assert_sum(bias.grad, ROWS / 3, ROWS)


def test_log_sum_exp_and_entropy_of_equal_logits(device):
    logits = torch.full((2, VOCABULARY), 1.5, device=device)
    _, entropy = logprob_entropy(logits, torch.tensor([0, 7], device=device))
    assert_sum(entropy, torch.tensor(VOCABULARY).double().log(), VOCABULARY)


def test_weight_gradient_of_the_norm_of_many_rows(device):
    x = torch.full((ROWS, 8), 2.0, device=device)
    weight = torch.ones(8, device=device, requires_grad=True)
    grad_out = torch.full((ROWS, 8), 0.1, device=device)
    add_rmsnorm(x, weight, 0.0).backward(grad_out)
    assert_sum(weight.grad, ROWS * float(grad_out[0, 0]), ROWS)


@pytest.mark.parametrize("packed", [False, True])
def test_loss_of_a_long_sequence(device, packed):
    """Its ratio is the exponential of a mean over the sequence."""
    shape = (ROWS,) if packed else (1, ROWS)
    logprobs = torch.full(shape, -0.1, device=device, requires_grad=True)
    weights = torch.full(shape, 0.1, device=device)
    loss, _ = grpo_loss(
        logprobs,
        torch.full(shape, -1.1, device=device),
        torch.ones(shape, device=device),
        weights,
        clip_low=0.2,
        clip_high=10.0,
        offsets=torch.tensor([0, ROWS], device=device) if packed else None,
        ratio="sequence",
    )
    loss.backward()
    ratio = torch.tensor(-0.1).double().sub(torch.tensor(-1.1).double()).exp()
    weight = float(weights.flatten()[0])
    assert_sum(loss, -ratio * weight * ROWS, ROWS)
    assert_sum(logprobs.grad, -ratio * weight, ROWS)


def test_advantages_in_a_large_group(device):
    """One failed, all others did not: what an advantage is, but for the failure's, is next to nothing."""
    rewards = torch.full((ROWS - 1,), 0.1, device=device)
    rewards[0] = 0.0
    groups = torch.zeros(ROWS - 1, dtype=torch.long, device=device)
    mean = float(rewards[1]) * (ROWS - 2) / (ROWS - 1)
    for kind, divisor in (("dr_grpo", 1.0), ("grpo", float(rewards.double().std()))):
        values = group_advantage(rewards, groups, kind).values
        assert_sum(values[:1], -mean / divisor, ROWS)
        error = (values[1:].double().cpu() - (float(rewards[1]) - mean) / divisor).abs().max()
        assert float(error) <= gamma(longest_chain(ROWS, BLOCK) + FEW) * float(rewards[1]) / divisor
