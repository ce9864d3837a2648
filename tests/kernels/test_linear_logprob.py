"""linear_logprob on every path, against its reference in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.kernels import linear_logprob
from ludus.kernels.linear_logprob import cpu
from ludus.kernels.linear_logprob.reference import linear_logprob_reference

from ..rounding import likely_gamma, unit_roundoff
from .conftest import INTERPRETED
from .logits import ADVERSARIAL, INF, adversarial, assert_close, untouched

DTYPES = (torch.float32, torch.float16) if INTERPRETED else (torch.float32, torch.float16, torch.bfloat16)

ROUNDINGS = 32
"""On the way of a logit through temperature, softcap, exp and the statistics' sums, and of a slope back."""


def make(rows, vocabulary, hidden_size, dtype=torch.float32, bias=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, hidden_size, generator=generator)
    weight = torch.randn(vocabulary, hidden_size, generator=generator) * (3 / math.sqrt(hidden_size))
    targets = torch.randint(0, vocabulary, (rows,), generator=generator)
    shift = torch.randn(vocabulary, generator=generator) if bias else None
    return hidden.to(dtype), weight.to(dtype), targets, shift if shift is None else shift.to(dtype)


def through_bias(name, rows, vocabulary, hidden_size=16):
    """Adversarial logits, all rows alike: hidden is zero, and the bias is the logits."""
    logits, targets = adversarial(name, 1, vocabulary, seed=3)
    hidden, weight, _, _ = make(rows, vocabulary, hidden_size)
    return torch.zeros_like(hidden), weight, targets.expand(rows), logits[0]


def through_products(name, rows, vocabulary):
    """Adversarial logits, each row its own: hidden is the identity, the weight the logits transposed."""
    logits, targets = adversarial(name, rows, vocabulary, seed=3)
    return torch.eye(rows), logits.t().contiguous(), targets, None


def directions(rows, seed=0):
    """Gradients of the three outputs."""
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(3, rows, generator=generator, dtype=torch.float64))


def compare(inputs, device, temperature=1.0, softcap=None, upstream=None):
    """Outputs and gradients of the operator against those of the reference in float64."""
    hidden, weight, targets, bias = inputs
    upstream = directions(len(targets)) if upstream is None else upstream
    exact_inputs = [t.detach().double().requires_grad_() for t in (hidden, weight, bias) if t is not None]
    exact_temperature = temperature.double() if isinstance(temperature, torch.Tensor) else temperature
    exact = linear_logprob_reference(
        exact_inputs[0], exact_inputs[1], targets, exact_temperature, *exact_inputs[2:], softcap=softcap
    )
    exact_gradients = torch.autograd.grad(exact, exact_inputs, upstream)
    mine = [t.detach().to(device).requires_grad_() for t in (hidden, weight, bias) if t is not None]
    on_device = temperature.to(device) if isinstance(temperature, torch.Tensor) else temperature
    outputs = linear_logprob(mine[0], mine[1], targets.to(device), on_device, *mine[2:], softcap=softcap)
    finite = [v.detach()[v.isfinite()].abs() for v in exact]
    magnitude = 1.0 + max((float(v.max()) for v in finite if v.numel()), default=0.0)
    dtype, ((rows, hidden_size), vocabulary) = hidden.dtype, (hidden.shape, len(weight))
    sums = torch.promote_types(dtype, torch.float32)
    # In float64 the bound is looser: a saturated softcap's slope, 1 - tanh², is nearly all rounding.
    rtol = likely_gamma(hidden_size + ROUNDINGS, sums) if sums == torch.float32 else 1e-11
    for got, expected in zip(outputs, exact, strict=True):
        assert_close(got, expected, rtol, rtol * magnitude)
    gradients = torch.autograd.grad(
        outputs, mine, [u.to(device, o.dtype) for u, o in zip(upstream, outputs, strict=True)]
    )
    # Slopes may be rounded to 16 bits before the second product, and gradients are after it.
    rtol += likely_gamma(max(rows, vocabulary), sums) + (4 * unit_roundoff(dtype) if dtype != sums else 0.0)
    for got, expected, tensor in zip(gradients, exact_gradients, mine, strict=True):
        assert got.dtype == tensor.dtype
        size = float(expected.abs().max()) if expected.numel() else 0.0
        assert_close(got, expected, rtol, rtol * (0.2 * size + 1e-3 * magnitude))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "vocabulary", "hidden_size"),
    [(5, 1, 16), (5, 2, 8), (9, 17, 24), (40, 1000, 64), (7, 4099, 40), (33, 300, 17)],
)
def test_values_and_gradients(device, dtype, rows, vocabulary, hidden_size):
    compare(make(rows, vocabulary, hidden_size, dtype, seed=vocabulary), device, 0.7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("softcap", [None, 5.0])
def test_bias_and_softcap(device, dtype, bias, softcap):
    compare(make(12, 300, 32, dtype, bias), device, 0.8, softcap)


@pytest.mark.parametrize("vocabulary", [17, 700])
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial_logits(device, name, vocabulary):
    compare(through_bias(name, 4, vocabulary), device)
    if "-inf" not in name:
        compare(through_products(name, 6, vocabulary), device)


def test_rows_without_any_word(device):
    """Through the bias all rows are alike, so a different one is tested alone."""
    hidden, weight, targets, _ = make(3, 50, 16)
    inputs = [t.to(device).requires_grad_() for t in (hidden, weight, torch.full((50,), -INF))]
    outputs = linear_logprob(inputs[0], inputs[1], targets.to(device), 1.0, inputs[2])
    assert [v[1].item() for v in outputs] == [-INF, 0.0, -INF]
    gradients = torch.autograd.grad(outputs, inputs, [torch.ones_like(v) for v in outputs])
    assert all(not g.any() for g in gradients)


def test_impossible_words_have_no_gradient(device):
    hidden, weight, targets, bias = make(6, 90, 16, bias=True)
    bias[10:70] = -INF
    targets = targets % 10
    inputs = [t.to(device).requires_grad_() for t in (hidden, weight, bias)]
    outputs = linear_logprob(inputs[0], inputs[1], targets.to(device), 1.0, inputs[2])
    _, grad_weight, grad_bias = torch.autograd.grad(outputs, inputs, [torch.ones_like(v) for v in outputs])
    assert not grad_weight[10:70].any()
    assert not grad_bias[10:70].any()
    assert grad_weight[:10].all()


def test_a_target_far_above_keeps_its_digits(device):
    """1 - p is 1e-17 there: the log-probability is -1e-17, not 0."""
    hidden, weight, targets, _ = through_products("target above by 40", 4, 700)
    exact = linear_logprob_reference(hidden.double(), weight.double(), targets)
    got = linear_logprob(hidden.to(device), weight.to(device), targets.to(device))
    assert_close(got.logprobs, exact[0], rtol=1e-4, atol=0.0)
    assert (got.logprobs < 0).all()
    assert (got.entropy > 0).all()


def test_temperatures_of_each_row(device):
    temperature = torch.tensor([0.3, 0.5, 1.0, 1.0, 1.7, 4.0])
    compare(make(6, 300, 16, bias=True), device, temperature)
    compare(make(6, 300, 16), device, temperature, softcap=4.0)


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(device, rows):
    compare(make(rows, 40, 16, bias=True), device)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter is for at most 64 rows and 8,192 words")
@pytest.mark.parametrize("vocabulary", [151_936, 151_669, 129_920])
def test_vocabularies_of_real_models(device, vocabulary):
    compare(make(3, vocabulary, 16), device)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter is for at most 64 rows")
def test_more_rows_than_a_grid_dimension(device):
    compare(make(65_537, 17, 8), device)


@pytest.mark.parametrize("layout", ["every second row", "columns", "transposed", "expanded", "an odd offset"])
def test_strides(device, layout):
    hidden, weight, targets, bias = make(12, 200, 24, bias=True)
    match layout:
        case "every second row":
            hidden, targets, weight, bias = hidden[::2], targets[::2] % 100, weight[::2], bias[::2]
        case "columns":
            hidden, weight = hidden[:, 3:19], weight[:, 5:21]
        case "transposed":
            hidden, weight = hidden.t().contiguous().t(), weight.t().contiguous().t()
        case "expanded":
            hidden, targets, bias = hidden[:1].expand(12, 24), targets[:1].expand(12), bias[:1].expand(200)
        case "an odd offset":
            hidden = torch.cat([torch.zeros(1), hidden.flatten()])[1:].view(12, 24)
            weight = torch.cat([torch.zeros(1), weight.flatten()])[1:].view(200, 24)
    compare((hidden, weight, targets, bias), device)


@pytest.mark.parametrize("offset", [0, 1])  # where there are descriptors, only aligned tensors use them
def test_rows_beyond_2_to_the_31_elements(device, offset):
    """Rows are so far apart that 300 of them span 2.5 billion numbers, few of which are ever in memory."""
    if device.type != "cpu":
        pytest.skip("memory on a GPU is not lazy")
    hidden, weight, targets, _ = make(6, 300, 16, torch.float16)
    spacing = 2**23 - 16
    far = torch.as_strided(untouched(300 * spacing + offset), (300, 16), (spacing, 1), offset)
    far.copy_(weight)
    assert 299 * spacing > 2**31
    compare((hidden, far, targets, None), device)


@pytest.mark.parametrize("output", [0, 1, 2])
def test_each_output_alone(device, output):
    """An output on which nothing depends passes no gradient, and its part of the backward is left out."""
    hidden, weight, targets, bias = make(7, 300, 16, bias=True)
    mine = [t.clone().to(device).requires_grad_() for t in (hidden, weight, bias)]
    got = torch.autograd.grad(
        linear_logprob(mine[0], mine[1], targets.to(device), 1.0, mine[2])[output].sum(), mine
    )
    exact = [t.double().requires_grad_() for t in (hidden, weight, bias)]
    expected = torch.autograd.grad(
        linear_logprob_reference(exact[0], exact[1], targets, 1.0, exact[2])[output].mean() * 7, exact
    )
    for a, b in zip(got, expected, strict=True):
        assert_close(a, b, 2e-5, 2e-5)


@pytest.mark.parametrize("trained", ["hidden", "weight", "bias"])
def test_only_what_requires_a_gradient_gets_one(device, trained):
    inputs = dict(zip(("hidden", "weight", "targets", "bias"), make(6, 300, 16, bias=True), strict=True))
    inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
    whole = {n: t.clone().requires_grad_() if n != "targets" else t for n, t in inputs.items()}
    inputs[trained].requires_grad_()
    for arguments in (inputs, whole):
        sum(v.sum() for v in linear_logprob(**arguments)).backward()
    for name in ("hidden", "weight", "bias"):
        if name == trained:
            assert_close(inputs[name].grad, whole[name].grad, 1e-6, 1e-6)
        else:
            assert inputs[name].grad is None


def test_tied_weights_get_both_gradients(device):
    _, weight, targets, _ = make(6, 300, 16)
    ids = torch.tensor([1, 1, 4, 0, 10, 7])
    tied = weight.clone().to(device).requires_grad_()
    linear_logprob(tied[ids.to(device)].tanh(), tied, targets.to(device)).logprobs.sum().backward()
    exact = weight.double().requires_grad_()
    linear_logprob_reference(exact[ids].tanh(), exact, targets)[0].sum().backward()
    assert_close(tied.grad, exact.grad, 2e-5, 2e-5)


def test_the_same_bits_again_with_and_without_gradients(device):
    hidden, weight, targets, _ = (t if t is None else t.to(device) for t in make(40, 1500, 32))

    def once(train):
        leaves = [t.clone().requires_grad_(train) for t in (hidden, weight)]
        outputs = linear_logprob(*leaves, targets, 0.9)
        return outputs, torch.autograd.grad(sum(v.sum() for v in outputs), leaves) if train else ()

    (first, gradients), (second, others), (third, _) = once(True), once(True), once(False)
    assert all(torch.equal(a, b) for a, b in zip(gradients, others, strict=True))
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(first, second, third, strict=True))


def test_backward_twice_gives_the_same_gradient(device):
    hidden, weight, targets, _ = make(7, 300, 16)
    leaves = [hidden.to(device).requires_grad_(), weight.to(device).requires_grad_()]
    outputs = linear_logprob(*leaves, targets.to(device))
    total = outputs.logprobs.sum() + outputs.entropy.sum()
    first = torch.autograd.grad(total, leaves, retain_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(first, torch.autograd.grad(total, leaves), strict=True))


def test_the_gradient_is_the_slope(device, fused_path):
    """Directional finite differences of the reference, in float64, against the operator's gradient."""
    inputs = make(4, 50, 16, bias=True)
    hidden, weight, targets, bias = inputs
    leaves = [t.clone().to(device).requires_grad_() for t in (hidden, weight, bias)]
    logprobs, entropy, lse = linear_logprob(leaves[0], leaves[1], targets.to(device), 1.3, leaves[2], 6.0)
    (2.0 * logprobs + entropy - 0.5 * lse).sum().backward()
    generator = torch.Generator().manual_seed(9)
    ways = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in leaves]
    step = 1e-5

    def value(sign):
        at = [t.double() + sign * step * w for t, w in zip((hidden, weight, bias), ways, strict=True)]
        logprobs, entropy, lse = linear_logprob_reference(at[0], at[1], targets, 1.3, at[2], 6.0)
        return (2.0 * logprobs + entropy - 0.5 * lse).sum()

    along = sum((leaf.grad.cpu().double() * way).sum() for leaf, way in zip(leaves, ways, strict=True))
    assert_close(along, (value(1) - value(-1)) / (2 * step), 1e-5, 1e-4)


@given(
    rows=st.integers(0, 9),
    vocabulary=st.integers(1, 12),
    hidden_size=st.integers(1, 6),
    tile=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    kept=st.sampled_from([0, 200, 2**20]),
    temperature=st.floats(0.05, 5.0),
    bias=st.booleans(),
    softcap=st.sampled_from([None, 2.0]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60)
def test_any_shape_and_tile(rows, vocabulary, hidden_size, tile, kept, temperature, bias, softcap, seed):
    """All of E kept, some of it, or none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUDUS_KERNELS", "cpu")
        patch.setattr(cpu, "ROWS", tile[0])
        patch.setattr(cpu, "VOCABULARY", tile[1])
        patch.setattr(cpu, "KEPT_BYTES", kept)
        inputs = make(rows, vocabulary, hidden_size, torch.float64, bias, seed)
        compare(inputs, "cpu", temperature, softcap, directions(rows, seed))


@pytest.mark.parametrize("name", ADVERSARIAL)
@pytest.mark.parametrize("kept", [0, 6 * 8 * 8 * 2, 2**20])
def test_adversarial_logits_in_small_tiles(monkeypatch, name, kept):
    """Pieces of the vocabulary in which nothing is possible come first, in the middle and last."""
    monkeypatch.setenv("LUDUS_KERNELS", "cpu")
    monkeypatch.setattr(cpu, "ROWS", 2)
    monkeypatch.setattr(cpu, "VOCABULARY", 8)
    monkeypatch.setattr(cpu, "KEPT_BYTES", kept)
    compare(through_bias(name, 6, 50), "cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": torch.zeros(3, 4)}, "hidden must be"),
        ({"hidden": torch.zeros(3, 5, dtype=torch.int64)}, "int64 is not supported"),
        ({"hidden": torch.zeros(3, 5, dtype=torch.float16)}, "cast one"),
        ({"weight": torch.zeros(0, 5)}, "neither the vocabulary nor"),
        ({"targets": torch.zeros(2, dtype=torch.long)}, "one per row"),
        ({"targets": torch.tensor([0, -100, 1])}, "one is -100"),
        ({"bias": torch.zeros(4)}, "one per vocabulary entry"),
        ({"softcap": 0.0}, "softcap must be positive"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"temperature": float("nan")}, "temperature must be positive"),
        ({"temperature": torch.ones(2)}, "one per row"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {
        "hidden": torch.zeros(3, 5),
        "weight": torch.zeros(7, 5),
        "targets": torch.zeros(3, dtype=torch.long),
        "temperature": 1.0,
        "bias": None,
        "softcap": None,
    } | change
    with pytest.raises(ValueError, match=message):
        linear_logprob(**arguments)
