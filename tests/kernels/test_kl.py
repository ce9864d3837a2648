"""KL terms: summed over all outcomes of a small categorical policy, their gradient is the analytic one."""

import pytest
import torch

from ludus.kernels.grpo_loss.kl import kl_term, kl_value

ESTIMATORS = ["k1", "k2", "k3"]


def setting(seed=0, vocabulary=6):
    generator = torch.Generator().manual_seed(seed)
    policy = torch.randn(vocabulary, generator=generator, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(vocabulary, generator=generator, dtype=torch.float64).log_softmax(0)
    behaviour = (
        policy.detach() + 0.7 * torch.randn(vocabulary, generator=generator, dtype=torch.float64)
    ).log_softmax(0)
    return policy, reference, behaviour


def analytic(policy, reference):
    logprobs = policy.log_softmax(0)
    divergence = (logprobs.exp() * (logprobs - reference)).sum()
    return divergence.item(), torch.autograd.grad(divergence, policy)[0]


@pytest.mark.parametrize("off_policy", [False, True])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("seed", range(5))
def test_expected_gradient_is_that_of_the_divergence(estimator, off_policy, seed):
    policy, reference, behaviour = setting(seed)
    logprobs = policy.log_softmax(0)
    old = behaviour if off_policy else logprobs.detach()
    expected = (old.exp() * kl_term(estimator, logprobs, reference, old)).sum()
    torch.testing.assert_close(torch.autograd.grad(expected, policy)[0], analytic(policy, reference)[1])


@pytest.mark.parametrize("off_policy", [False, True])
@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_expected_value_is_the_divergence(estimator, off_policy):
    policy, reference, behaviour = setting()
    logprobs = policy.log_softmax(0).detach()
    old = behaviour if off_policy else logprobs
    value = (old.exp() * kl_term(estimator, logprobs, reference, old)).sum()
    assert value.item() == pytest.approx(analytic(policy, reference)[0])


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_the_naive_form_fails_what_the_right_form_passes(estimator):
    policy, reference, _ = setting()
    logprobs = policy.log_softmax(0)
    naive = (logprobs.exp().detach() * kl_value(estimator, logprobs, reference)).sum()
    gradient = torch.autograd.grad(naive, policy)[0]
    assert (gradient - analytic(policy, reference)[1]).abs().max() > 0.05
    if estimator == "k1":
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))
    else:  # it descends the other divergence
        other = (reference.exp() * (reference - policy.log_softmax(0))).sum()
        torch.testing.assert_close(gradient, torch.autograd.grad(other, policy)[0])


def test_naive_forms_fail_off_policy_too():
    policy, reference, behaviour = setting()
    logprobs = policy.log_softmax(0)
    right = analytic(policy, reference)[1]
    ratio = (logprobs - behaviour).exp()
    k2 = kl_value("k2", logprobs, reference)
    for wrong in (k2, ratio * k2):  # not weighted; the weight differentiated
        gradient = torch.autograd.grad((behaviour.exp() * wrong).sum(), policy, retain_graph=True)[0]
        assert (gradient - right).abs().max() > 0.02


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_values_by_hand(estimator):
    value = kl_value(estimator, torch.tensor([-1.0]), torch.tensor([-1.5])).item()
    assert value == pytest.approx({"k1": 0.5, "k2": 0.125, "k3": 0.6065307 - 1 + 0.5}[estimator], abs=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_zero_where_policy_and_reference_agree(estimator):
    logprobs = torch.tensor([-1.0, -7.0], requires_grad=True)
    loss = kl_term(estimator, logprobs, logprobs.detach(), logprobs.detach())
    loss.sum().backward()
    assert loss.tolist() == [0.0, 0.0]
    assert logprobs.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("new", "reference", "old"), [(-200.0, -0.1, -0.1), (-0.1, -200.0, -200.0), (float("-inf"),) * 3]
)
def test_extreme_log_probabilities_stay_finite(estimator, new, reference, old):
    logprobs = torch.tensor([new], requires_grad=True)
    loss = kl_term(estimator, logprobs, torch.tensor([reference]), torch.tensor([old]))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(logprobs.grad).all()
