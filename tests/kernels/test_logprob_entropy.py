"""logprob_entropy on every path, against its reference in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.kernels import logprob_entropy
from ludus.kernels.logprob_entropy import cpu
from ludus.kernels.logprob_entropy.reference import logprob_entropy_reference

from ..rounding import unit_roundoff
from .conftest import INTERPRETED
from .logits import ADVERSARIAL, adversarial, assert_close, far_apart, ordinary

TOLERANCE = dict.fromkeys((torch.float32, torch.float16, torch.bfloat16), 32 * unit_roundoff()) | {
    torch.float64: 1e-12
}
"""Of the outputs: of exp, log and sums in chunks, in float32 or better whatever the logits are."""

GRADIENT_TOLERANCE = TOLERANCE | {
    dtype: 2.1 * unit_roundoff(dtype) for dtype in (torch.float16, torch.bfloat16)
}
"""Of the gradient, which is rounded to the logits' dtype."""


def compare(logits, targets, temperature, device, seed=0):
    """Outputs and gradients of the operator against those of the reference in float64."""
    generator = torch.Generator().manual_seed(seed)
    upstream = torch.randn(2, len(targets), generator=generator, dtype=torch.float64)
    exact_logits = logits.detach().double().cpu().requires_grad_()
    exact_temperature = temperature.double() if isinstance(temperature, torch.Tensor) else temperature
    exact = logprob_entropy_reference(exact_logits, targets, exact_temperature)
    finite = [torch.where(u.isfinite(), u, 0.0).detach() for u in exact]
    (exact_gradient,) = torch.autograd.grad(
        sum((u * v).sum() for u, v in zip(exact, upstream, strict=True)), exact_logits
    )
    mine = logits.detach().to(device).requires_grad_()
    on_device = temperature.to(device) if isinstance(temperature, torch.Tensor) else temperature
    outputs = logprob_entropy(mine, targets.to(device), on_device)
    magnitude = 1.0 + max((float(x.abs().max()) for x in finite if x.numel()), default=0.0)
    for got, expected in zip(outputs, exact, strict=True):
        assert_close(got, expected, TOLERANCE[logits.dtype], TOLERANCE[logits.dtype] * magnitude)
    gradient = torch.autograd.grad(
        outputs, mine, [u.to(device, o.dtype) for u, o in zip(upstream, outputs, strict=True)]
    )[0]
    assert gradient.dtype == logits.dtype
    rtol = GRADIENT_TOLERANCE[logits.dtype]
    assert_close(gradient, exact_gradient, rtol, rtol * 0.1 * magnitude)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("vocabulary", [1, 2, 17, 1000, 4099, 8192])
def test_values_and_gradients(device, dtype, vocabulary):
    logits, targets = ordinary(5, vocabulary, seed=vocabulary)
    compare(logits.to(dtype), targets, 0.7, device)


@pytest.mark.parametrize("name", ADVERSARIAL)
@pytest.mark.parametrize("vocabulary", [17, 4099])
def test_adversarial_logits(device, name, vocabulary):
    logits, targets = adversarial(name, 6, vocabulary, seed=3)
    compare(logits, targets, 1.0, device)


def test_a_target_far_above_keeps_its_digits(device):
    """1 - p is 1e-17 there: the log-probability is -1e-17, not 0, and its gradient is as small."""
    logits, targets = adversarial("target above by 40", 4, 1000, seed=0)
    exact, _ = logprob_entropy_reference(logits.double(), targets)
    leaf = logits.clone().to(device).requires_grad_()
    logprobs, entropy = logprob_entropy(leaf, targets.to(device))
    assert_close(logprobs, exact, rtol=1e-4, atol=0.0)
    assert (logprobs < 0).all()
    assert (entropy > 0).all()


def test_temperatures_of_each_row(device):
    logits, targets = ordinary(6, 300, seed=1)
    compare(logits, targets, torch.tensor([0.3, 0.5, 1.0, 1.0, 1.7, 4.0]), device)


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(device, rows):
    logits, targets = ordinary(rows, 40, seed=2)
    compare(logits, targets, 1.0, device)


@pytest.mark.skipif(INTERPRETED, reason="65,537 programs take the interpreter minutes")
def test_more_rows_than_a_grid_dimension(device):
    logits, targets = ordinary(65_537, 17, seed=2)
    compare(logits, targets, 1.0, device)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter is for at most 8,192 words")
@pytest.mark.parametrize("vocabulary", [151_936, 151_669, 129_920])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_vocabularies_of_real_models(device, vocabulary, dtype):
    logits, targets = ordinary(3, vocabulary, seed=5)
    compare(logits.to(dtype), targets, 1.0, device)


def test_more_than_two_to_the_31_elements(device):
    logits, targets = ordinary(3, 40, seed=10)
    compare(far_apart(logits.half(), device), targets, 1.0, device)


@pytest.mark.parametrize("vocabulary", [40, 4099])
@pytest.mark.parametrize("place", [0, 17, -1])
def test_a_nan_is_not_hidden(device, vocabulary, place):
    """A diverged model must not look healthy."""
    logits, targets = ordinary(3, vocabulary, seed=11)
    logits[1, place] = float("nan")
    leaf = logits.to(device).requires_grad_()
    logprobs, entropy = logprob_entropy(leaf, targets.to(device))
    (logprobs + entropy).sum().backward()
    for x in (logprobs, entropy, leaf.grad.sum(1)):
        assert x.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("target", [0, 1, 7, 8, 4095, 4096, 8190, 8191])
@pytest.mark.parametrize("first", [0, 3])
def test_targets_at_the_ends_of_blocks(device, target, first):
    """First and last entries of rows, of 16-byte pieces and of the kernels' blocks."""
    logits, _ = ordinary(2, 8192, seed=12)
    targets = torch.tensor([max(target - first, 0), 8191 - first])
    compare(logits[:, first:].bfloat16(), targets, 1.0, device)


@pytest.mark.parametrize("layout", ["every second row", "a slice of words", "transposed", "an odd offset"])
def test_strides(device, layout):
    logits, targets = ordinary(12, 200, seed=4)
    match layout:
        case "every second row":
            logits, targets = logits[::2], targets[::2]
        case "a slice of words":
            logits, targets = logits[:, 3:180], targets.clamp(max=176)
        case "transposed":
            logits, targets = logits[:, :12].t().contiguous().t(), targets.clamp(max=11)
        case "an odd offset":
            logits = torch.cat([torch.zeros(1), logits.flatten()])[1:].view(12, 200)
    compare(logits, targets, 1.0, device)


def test_gradients_that_are_expanded(device):
    """`.sum()` and `.mean()` hand down gradients of stride 0."""
    logits, targets = ordinary(5, 60, seed=6)
    leaf = logits.clone().to(device).requires_grad_()
    logprobs, entropy = logprob_entropy(leaf, targets.to(device))
    (logprobs.sum() + entropy.mean()).backward()
    exact = logits.double().requires_grad_()
    logprobs, entropy = logprob_entropy_reference(exact, targets)
    (logprobs.sum() + entropy.mean()).backward()
    assert_close(leaf.grad, exact.grad, 2e-6, 2e-6)


def test_bitwise_repeatable(device):
    logits, targets = ordinary(7, 4099, seed=7)

    def once():
        leaf = logits.clone().to(device).requires_grad_()
        logprobs, entropy = logprob_entropy(leaf, targets.to(device), 0.9)
        (logprobs - 0.01 * entropy).sum().backward()
        return logprobs, entropy, leaf.grad

    assert all(torch.equal(a, b) for a, b in zip(once(), once(), strict=True))


def test_the_gradient_is_the_slope(device, fused_path):
    """Directional finite differences of the reference, in float64, against the operator's gradient."""
    logits, targets = ordinary(4, 50, seed=8)
    leaf = logits.clone().to(device).requires_grad_()
    logprobs, entropy = logprob_entropy(leaf, targets.to(device), 1.3)
    (2.0 * logprobs + entropy).sum().backward()
    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    step = 1e-5

    def value(at):
        logprobs, entropy = logprob_entropy_reference(at, targets, 1.3)
        return (2.0 * logprobs + entropy).sum()

    exact = logits.double()
    slope = (value(exact + step * direction) - value(exact - step * direction)) / (2 * step)
    assert_close((leaf.grad.cpu().double() * direction).sum(), slope, 1e-5, 1e-5)


@given(
    rows=st.integers(0, 5),
    vocabulary=st.integers(1, 40),
    temperature=st.floats(0.05, 5.0),
    spread=st.floats(0.0, 30.0),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60)
def test_any_distribution(rows, vocabulary, temperature, spread, seed):
    logits, targets = ordinary(rows, vocabulary, seed, spread)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "CHUNK_BYTES", 2 * vocabulary * 8)
        compare(logits.double(), targets, temperature, "cpu", seed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": torch.zeros(3)}, r"logits must be \[M, V\]"),
        ({"logits": torch.zeros(3, 5, dtype=torch.int64)}, "int64 is not supported"),
        ({"targets": torch.zeros(2, dtype=torch.int64)}, "one per row"),
        ({"targets": torch.zeros(3)}, "targets must be integers"),
        ({"targets": torch.tensor([0, -100, 1])}, "one is -100"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"temperature": torch.tensor([1.0, 0.0, 1.0])}, "every temperature must be positive"),
        ({"temperature": torch.ones(2)}, "one per row"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {
        "logits": torch.zeros(3, 5),
        "targets": torch.zeros(3, dtype=torch.int64),
        "temperature": 1.0,
    } | change
    with pytest.raises(ValueError, match=message):
        logprob_entropy(**arguments)
