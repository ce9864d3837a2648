"""swiglu on every path, against its reference in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.kernels import swiglu
from ludus.kernels.swiglu import cpu
from ludus.kernels.swiglu.reference import swiglu_reference

from ..rounding import unit_roundoff
from .conftest import INTERPRETED
from .logits import assert_close

TOLERANCE = {dtype: 32 * unit_roundoff(dtype) for dtype in (torch.float64, torch.float32)} | {
    dtype: 5 * unit_roundoff(dtype) for dtype in (torch.float16, torch.bfloat16)
}
"""Of exp, a quotient and four products; in 16 bits, two roundings, of silu and of the product."""


def inputs(shape, dtype=torch.float32, seed=0, spread=3.0):
    gate, up = torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed)) * spread
    return gate.to(dtype), up.to(dtype)


def compare(gate, up, device, seed=0):
    """The output and both gradients of the operator against those of the reference in float64."""
    # Strides are kept: detach and to() do, clone would not.
    mine = [tensor.detach().to(device).requires_grad_() for tensor in (gate, up)]
    exact = [tensor.detach().double().requires_grad_() for tensor in (gate, up)]
    out, expected = swiglu(*mine), swiglu_reference(*exact)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed)).to(out.dtype)
    got = torch.autograd.grad(out, mine, upstream.to(device))
    wanted = torch.autograd.grad(expected, exact, upstream.double())
    tolerance = TOLERANCE[gate.dtype]
    for value, oracle in zip((out, *got), (expected, *wanted), strict=True):
        assert value.dtype == gate.dtype
        magnitude = 1.0 + (float(oracle.detach().abs().max()) if oracle.numel() else 0.0)
        assert_close(value, oracle, tolerance, tolerance * 0.1 * magnitude)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("hidden_size", [1, 7, 768, 4099])
def test_values_and_gradients(device, dtype, hidden_size):
    compare(*inputs((3, 4, hidden_size), dtype, seed=hidden_size), device)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter is for at most 8,192 elements")
@pytest.mark.parametrize("hidden_size", [4864, 18_944])
def test_widths_of_real_models(device, hidden_size):
    compare(*inputs((3, hidden_size), torch.bfloat16), device)


@pytest.mark.parametrize("shape", [(0, 40), (1, 40), (3, 0), (5,)])
def test_few_elements(device, shape):
    compare(*inputs(shape), device)


@pytest.mark.skipif(INTERPRETED, reason="as many programs take the interpreter minutes")
def test_more_rows_than_a_grid_dimension(device):
    gate, up = inputs((65_537, 24))
    compare(gate[:, :16], up[:, 8:], device)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_far_from_zero(device, dtype):
    """exp overflows on one side, and σ becomes 0 or 1 on the other; neither may give NaN."""
    gate = torch.tensor([-1e4, -200.0, -89.0, -30.0, -1e-30, 0.0, 1e-30, 30.0, 89.0, 200.0, 1e4]).to(dtype)
    compare(gate, torch.linspace(-2, 2, len(gate)).to(dtype), device)


@pytest.mark.parametrize("layout", ["halves", "every second row", "transposed", "an odd offset", "expanded"])
def test_strides(device, layout):
    gate, up = inputs((12, 200), seed=4)
    match layout:
        case "halves":
            gate, up = torch.cat([gate, up], -1).view(3, 4, 400).chunk(2, -1)
        case "every second row":
            gate, up = gate[::2], up[1::2]
        case "transposed":
            gate, up = gate.t(), up.t()
        case "an odd offset":
            gate = torch.cat([torch.zeros(1), gate.flatten()])[1:].view(12, 200)
        case "expanded":
            up = up[:1].expand(12, 200)
    compare(gate, up, device)


def test_gradients_that_are_expanded(device):
    """`.sum()` hands down a gradient of stride 0."""
    gate, up = (tensor.to(device).requires_grad_() for tensor in inputs((5, 60)))
    swiglu(gate, up).sum().backward()
    exact = [tensor.detach().double().cpu().requires_grad_() for tensor in (gate, up)]
    swiglu_reference(*exact).sum().backward()
    assert_close(gate.grad, exact[0].grad, 2e-6, 2e-6)
    assert_close(up.grad, exact[1].grad, 2e-6, 2e-6)


def test_keeps_its_inputs_and_nothing_else(device, fused_path):
    gate, up = (tensor.to(device).requires_grad_() for tensor in inputs((64, 50)))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.data_ptr()) or t, lambda t: t):
        swiglu(gate, up)
    assert sorted(kept) == sorted([gate.data_ptr(), up.data_ptr()])


def test_bitwise_repeatable_and_the_same_without_gradients(device):
    shape = (9, 300) if INTERPRETED else (900, 300)
    gate, up = (tensor.to(device) for tensor in inputs(shape))

    def once():
        leaves = gate.clone().requires_grad_(), up.clone().requires_grad_()
        out = swiglu(*leaves)
        out.square().sum().backward()
        return out, leaves[0].grad, leaves[1].grad

    first = once()
    assert all(torch.equal(a, b) for a, b in zip(first, once(), strict=True))
    assert torch.equal(swiglu(gate, up), first[0])


def test_the_gradient_is_the_slope(device, fused_path):
    """Directional finite differences of the reference, in float64, against the operator's gradient."""
    leaves = [tensor.to(device).requires_grad_() for tensor in inputs((4, 50), spread=1.0)]
    swiglu(*leaves).sin().sum().backward()
    generator = torch.Generator().manual_seed(1)
    directions = [torch.randn(4, 50, generator=generator, dtype=torch.float64) for _ in leaves]

    def value(step):
        at = [t.detach().double().cpu() + step * d for t, d in zip(leaves, directions, strict=True)]
        return swiglu_reference(*at).sin().sum()

    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    got = sum((t.grad.double().cpu() * d).sum() for t, d in zip(leaves, directions, strict=True))
    assert_close(got, slope, 1e-5, 1e-5)


@pytest.mark.skipif(not INTERPRETED, reason="looks at the fused kernel's addresses")
def test_rows_further_apart_than_32_bits(path, device, monkeypatch):
    """Two rows, 2³¹ + 64 elements apart: the address of the second does not fit into 32 bits."""
    # The memory between them is never touched, so it is never allocated.
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
    stride = 2**31 + 64
    gate = torch.empty(stride + 32, dtype=torch.float16).as_strided((2, 32), (stride, 1))
    gate[0], gate[1] = 1.0, torch.linspace(-3, 3, 32)
    up = torch.full((2, 32), 2.0, dtype=torch.float16)
    assert_close(swiglu(gate, up), swiglu_reference(gate.double(), up.double()), 2e-3, 2e-3)


@given(
    rows=st.integers(0, 6),
    hidden_size=st.integers(0, 40),
    spread=st.floats(0.0, 50.0),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60)
def test_any_rows(rows, hidden_size, spread, seed):
    gate, up = (tensor.double() for tensor in inputs((rows, hidden_size), seed=seed, spread=spread))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUDUS_KERNELS", "cpu")
        patch.setattr(cpu, "CHUNK_BYTES", 2 * max(1, hidden_size) * 8)
        compare(gate, up, "cpu", seed)


@pytest.mark.parametrize(
    ("gate", "up", "message"),
    [
        (torch.zeros(3, 5), torch.zeros(3, 4), "one shape and dtype"),
        (torch.zeros(3, 5), torch.zeros(3, 5, dtype=torch.float64), "one shape and dtype"),
        (torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), "int64 is not supported"),
        (torch.tensor(1.0), torch.tensor(1.0), "no dimension"),
    ],
)
def test_wrong_arguments_are_named(gate, up, message):
    with pytest.raises(ValueError, match=message):
        swiglu(gate, up)
