"""linear_logprob against its reference, on every path through the operator."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.kernels import linear_logprob
from ludus.kernels.linear_logprob import op
from ludus.kernels.linear_logprob.reference import linear_logprob_reference


def make(rows, words, width, dtype=torch.float64, bias=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, width, generator=generator, dtype=dtype)
    weight = torch.randn(words, width, generator=generator, dtype=dtype)
    targets = torch.randint(0, words, (rows,), generator=generator)
    return hidden, weight, targets, torch.randn(words, generator=generator, dtype=dtype) if bias else None


@pytest.fixture(params=["kept", "recomputed"])
def path(request, monkeypatch):
    """Chunks of three rows; what the backward needs is kept, or computed again."""
    monkeypatch.setattr(op, "CHUNK_BYTES", 3 * 11 * 8)
    monkeypatch.setattr(op, "KEPT_BYTES", 2**30 if request.param == "kept" else 0)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_values_and_gradients_are_those_of_the_reference(with_bias, temperature):
    hidden, weight, targets, bias = make(10, 11, 5, bias=with_bias)
    inputs = [t.requires_grad_() for t in (hidden, weight, bias) if t is not None]
    logprobs, entropy = linear_logprob(hidden, weight, targets, temperature, bias)
    expected, expected_entropy = linear_logprob_reference(hidden, weight, targets, temperature, bias)
    torch.testing.assert_close(logprobs, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(entropy, expected_entropy.detach(), rtol=0, atol=1e-12)
    upstream = torch.linspace(-1, 2, len(targets), dtype=torch.float64)
    ours = torch.autograd.grad(logprobs, inputs, upstream)
    for mine, theirs in zip(ours, torch.autograd.grad(expected, inputs, upstream), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("path")
def test_gradcheck():
    hidden, weight, targets, bias = make(5, 11, 4, bias=True)
    inputs = [t.requires_grad_() for t in (hidden, weight, bias)]
    assert torch.autograd.gradcheck(lambda h, w, b: linear_logprob(h, w, targets, 0.8, b)[0], inputs)


@given(
    rows=st.integers(0, 9),
    words=st.integers(1, 12),
    width=st.integers(1, 6),
    chunk=st.integers(1, 4),
    temperature=st.floats(0.05, 5.0),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_any_shape_chunk_and_temperature(rows, words, width, chunk, temperature, seed):
    hidden, weight, targets, _ = make(rows, words, width, seed=seed)
    hidden.requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(op, "CHUNK_BYTES", chunk * words * 8)
        logprobs, entropy = linear_logprob(hidden, weight, targets, temperature)
    expected, expected_entropy = linear_logprob_reference(hidden, weight, targets, temperature)
    torch.testing.assert_close(logprobs, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(entropy, expected_entropy.detach(), rtol=1e-9, atol=1e-9)
    (gradient,) = torch.autograd.grad(logprobs.sum(), hidden)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), hidden)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-8, atol=1e-9)


def test_tied_weights_get_both_gradients():
    _, weight, targets, _ = make(6, 11, 5)
    weight.requires_grad_()
    ids = torch.tensor([1, 1, 4, 0, 10, 7])
    tied = torch.autograd.grad(linear_logprob(weight[ids].tanh(), weight, targets, 1.0)[0].sum(), weight)[0]
    reference = linear_logprob_reference(weight[ids].tanh(), weight, targets, 1.0)[0].sum()
    torch.testing.assert_close(tied, torch.autograd.grad(reference, weight)[0])


def test_only_what_requires_a_gradient_gets_one():
    hidden, weight, targets, _ = make(6, 11, 5)
    hidden.requires_grad_()
    linear_logprob(hidden, weight, targets, 1.0)[0].sum().backward()
    assert hidden.grad is not None
    assert weight.grad is None


def test_entropy_is_detached():
    hidden, weight, targets, _ = make(6, 11, 5)
    logprobs, entropy = linear_logprob(hidden.requires_grad_(), weight, targets, 1.0)
    assert logprobs.requires_grad
    assert not entropy.requires_grad


def test_extreme_logits_stay_finite():
    hidden = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    weight = torch.tensor([[0.0], [500.0], [-500.0]], requires_grad=True)
    targets = torch.tensor([2, 2])
    logprobs, entropy = linear_logprob(hidden, weight, targets, 0.5)
    logprobs.sum().backward()
    assert logprobs.tolist() == [-2000.0, 0.0]
    assert entropy.tolist() == [0.0, 0.0]
    assert torch.isfinite(hidden.grad).all()
    assert torch.isfinite(weight.grad).all()


def test_half_precision_inputs_are_accumulated_in_float32():
    hidden, weight, targets, _ = make(16, 300, 64, dtype=torch.bfloat16)
    hidden.requires_grad_()
    logprobs, entropy = linear_logprob(hidden, weight, targets, 1.0)
    exact, exact_entropy = linear_logprob_reference(hidden.double(), weight.double(), targets, 1.0)
    assert logprobs.dtype == entropy.dtype == torch.float32
    torch.testing.assert_close(logprobs.double(), exact, rtol=0, atol=1e-4)
    torch.testing.assert_close(entropy.double(), exact_entropy.detach(), rtol=0, atol=1e-4)
    logprobs.sum().backward()
    assert hidden.grad.dtype == torch.bfloat16


def test_the_same_bits_with_and_without_gradients():
    hidden, weight, targets, _ = make(40, 500, 32, dtype=torch.float32)
    with torch.no_grad():
        old, old_entropy = linear_logprob(hidden, weight, targets, 0.9)
    new, new_entropy = linear_logprob(hidden.requires_grad_(), weight.requires_grad_(), targets, 0.9)
    assert torch.equal(old, new)
    assert torch.equal(old_entropy, new_entropy)


def test_backward_twice_gives_the_same_gradient():
    hidden, weight, targets, _ = make(7, 11, 5)
    logprobs, _ = linear_logprob(hidden.requires_grad_(), weight.requires_grad_(), targets, 1.0)
    first = torch.autograd.grad(logprobs.sum(), (hidden, weight), retain_graph=True)
    second = torch.autograd.grad(logprobs.sum(), (hidden, weight))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": torch.zeros(3, 4)}, "hidden must be"),
        ({"targets": torch.zeros(2, dtype=torch.long)}, "one per row of hidden"),
        ({"bias": torch.zeros(4)}, "one per word"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"temperature": float("nan")}, "temperature must be positive"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {
        "hidden": torch.zeros(3, 5),
        "weight": torch.zeros(7, 5),
        "targets": torch.zeros(3, dtype=torch.long),
        "temperature": 1.0,
        "bias": None,
    } | change
    with pytest.raises(ValueError, match=message):
        linear_logprob(**arguments)
