"""add_rmsnorm on every path, against its reference in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.kernels import add_rmsnorm
from ludus.kernels.add_rmsnorm import cpu
from ludus.kernels.add_rmsnorm.reference import add_rmsnorm_reference

from ..rounding import unit_roundoff
from .conftest import INTERPRETED
from .logits import assert_close

EPS = 1e-6
TOLERANCE = {dtype: 48 * unit_roundoff(dtype) for dtype in (torch.float64, torch.float32)} | {
    dtype: 5 * unit_roundoff(dtype) for dtype in (torch.float16, torch.bfloat16)
}
"""Of a mean in chunks, a root and a quotient; in 16 bits, two roundings, of the row and of its product with
the weight."""


def inputs(shape, dtype=torch.float32, seed=0, residual=True):
    generator = torch.Generator().manual_seed(seed)
    x, further = torch.randn(2, *shape, generator=generator)
    weight = 1 + 0.3 * torch.randn(shape[-1], generator=generator)
    return x.to(dtype), weight.to(dtype), further.to(dtype) if residual else None


def compare(x, weight, residual, device, eps=EPS, seed=0):
    """Outputs and all gradients of the operator against those of the reference in float64."""
    given = [tensor for tensor in (x, weight, residual) if tensor is not None]
    mine = [tensor.detach().to(device).requires_grad_() for tensor in given]
    if residual is None:
        # The normalised row is rounded to x's dtype in between; the exact one is not.
        exact = [tensor.detach().double().requires_grad_() for tensor in given]
    else:
        # The stream is rounded, too: the oracle starts from the rounded one.
        s = (x + residual).double()
        exact = [s.requires_grad_(), weight.detach().double().requires_grad_()]
    outputs = add_rmsnorm(mine[0], mine[1], eps, *mine[2:])
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    expected = [add_rmsnorm_reference(exact[0], exact[1], eps)]
    if residual is not None:
        expected.append(exact[0] * 1)
    generator = torch.Generator().manual_seed(seed)
    upstream = [torch.randn(o.shape, generator=generator).to(o.dtype) for o in outputs]
    got = torch.autograd.grad(outputs, mine, [u.to(device) for u in upstream])
    wanted = torch.autograd.grad(expected, exact, [u.double() for u in upstream])
    tolerance = TOLERANCE[x.dtype]
    # Cancelling terms in a gradient are up to the weight times 1 / rms.
    steepest = float(exact[0].detach().square().mean(-1).add(eps).rsqrt().amax()) if x.numel() else 0.0
    for value, oracle in zip(outputs, expected, strict=True):
        assert value.dtype == x.dtype
        assert_close(value, oracle, tolerance, tolerance * 0.1)
    for gradient, source, oracle in zip(got, mine, [*wanted, *wanted[:1]][: len(got)], strict=True):
        assert gradient.dtype == source.dtype
        magnitude = 1.0 + steepest + (float(oracle.abs().max()) if oracle.numel() else 0.0)
        assert_close(gradient, oracle, tolerance, tolerance * magnitude)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("hidden_size", [1, 7, 64, 896, 899, 4096])
@pytest.mark.parametrize("residual", [True, False])
def test_values_and_gradients(device, dtype, hidden_size, residual):
    compare(*inputs((5, hidden_size), dtype, seed=hidden_size, residual=residual), device)


def test_the_stream_is_rounded_before_it_is_normalised(device):
    """As where the addition is an operator of its own: what is normalised is what is handed on."""
    x, weight, residual = inputs((6, 64), torch.float16, seed=3)
    out, s = add_rmsnorm(x.to(device), weight.to(device), EPS, residual.to(device))
    assert torch.equal(s.cpu(), x + residual)
    torch.testing.assert_close(out, add_rmsnorm(s, weight.to(device), EPS), rtol=0, atol=0)


@pytest.mark.parametrize("size", [64, 128])
def test_each_head(device, size):
    compare(*inputs((2, 9, 4, size), residual=False), device)


def test_many_tiles_for_each_program(device):
    """In the interpreter two processors stand for the GPU's, so its backward sums several tiles per
    program."""
    compare(*inputs((64, 512)), device)


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(device, rows):
    compare(*inputs((rows, 40)), device)


@pytest.mark.skipif(INTERPRETED, reason="as many programs take the interpreter minutes")
def test_more_rows_than_a_grid_dimension(device):
    compare(*inputs((65_537, 16)), device)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter is for at most 8,192 elements")
def test_rows_wider_than_the_fused_kernel(device):
    compare(*inputs((2, 20_000)), device)


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e-4, 1e4, 1e15])
def test_scales(device, scale):
    x, weight, residual = inputs((4, 100), seed=4)
    x, residual = x * scale, residual * scale
    exact = add_rmsnorm_reference((x + residual).double(), weight.double(), EPS)
    out, _ = add_rmsnorm(x.to(device), weight.to(device), EPS, residual.to(device))
    assert_close(out, exact, 3e-6, 3e-7)


@pytest.mark.parametrize(
    "layout", ["every second row", "a slice", "transposed", "an odd offset", "heads of wider"]
)
@pytest.mark.parametrize("residual", [True, False])
def test_strides(device, layout, residual):
    x, weight, further = inputs((12, 200), seed=5)
    match layout:
        case "every second row":
            x, further = x[::2], further[::2]
        case "a slice":
            x, further, weight = x[:, 3:180], further[:, 3:180], weight[3:180]
        case "transposed":
            x, further, weight = x.t(), further.t(), weight[:12]
        case "an odd offset":
            x = torch.cat([torch.zeros(1), x.flatten()])[1:].view(12, 200)
        case "heads of wider":
            x, further = (tensor[:, 40:120].unflatten(1, (4, 20)) for tensor in (x, further))
            weight = weight[::10]
    compare(x, weight, further if residual else None, device)


def test_gradients_that_are_expanded_or_missing(device):
    x, weight, residual = inputs((5, 48), seed=6)
    for loss in (lambda o, s: o.sum() + s.mean(), lambda o, s: o.sum(), lambda o, s: s.sum()):
        mine = [t.clone().to(device).requires_grad_() for t in (x, weight, residual)]
        exact = [t.double().requires_grad_() for t in (x, weight, residual)]
        loss(*add_rmsnorm(mine[0], mine[1], EPS, mine[2])).backward()
        loss(*add_rmsnorm_reference(exact[0], exact[1], EPS, exact[2])).backward()
        for a, b in zip(mine, exact, strict=True):
            assert (a.grad is None) == (b.grad is None)
            if b.grad is not None:
                assert_close(a.grad, b.grad, 3e-6, 3e-5)


def test_a_frozen_weight_and_mixed_dtypes(device):
    """A LoRA run freezes the norms; mixed precision keeps the stream, or the weight, in float32."""
    x, weight, residual = inputs((5, 48), torch.bfloat16, seed=7)
    x, residual = x.to(device).requires_grad_(), residual.float().to(device).requires_grad_()
    out, s = add_rmsnorm(x, weight.float().to(device), EPS, residual)
    assert (out.dtype, s.dtype) == (torch.float32, torch.float32)
    (out.sum() + s.sum()).backward()
    assert (x.grad.dtype, residual.grad.dtype) == (torch.bfloat16, torch.float32)
    exact = add_rmsnorm_reference((x.float() + residual).detach().double().cpu(), weight.double(), EPS)
    assert_close(out, exact, 3e-6, 3e-6)
    wide = add_rmsnorm(x.detach(), weight.float().to(device), EPS)
    assert wide.dtype == torch.float32


def test_bitwise_repeatable(device):
    x, weight, residual = (t.to(device) for t in inputs((40, 300), seed=8))

    def once():
        leaves = [t.clone().requires_grad_() for t in (x, weight, residual)]
        out, s = add_rmsnorm(leaves[0], leaves[1], EPS, leaves[2])
        (out.square().sum() + s.sum()).backward()
        return out, s, *(leaf.grad for leaf in leaves)

    assert all(torch.equal(a, b) for a, b in zip(once(), once(), strict=True))


def test_the_same_bits_without_gradients(device):
    x, weight, residual = (t.to(device) for t in inputs((900, 300) if not INTERPRETED else (9, 300)))
    with torch.no_grad():
        plain = add_rmsnorm(x, weight, EPS, residual)
    followed = add_rmsnorm(x.requires_grad_(), weight, EPS, residual)
    assert all(torch.equal(a, b) for a, b in zip(plain, followed, strict=True))


def test_the_gradient_is_the_slope(device, fused_path):
    """Directional finite differences of the reference, in float64, against the operator's gradient."""
    leaves = [t.to(device).requires_grad_() for t in inputs((4, 50), seed=9)]
    out, s = add_rmsnorm(leaves[0], leaves[1], EPS, leaves[2])
    (out.sin().sum() + s.square().sum()).backward()
    generator = torch.Generator().manual_seed(10)
    directions = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in leaves]

    def value(step):
        x, weight, residual = (
            t.detach().double().cpu() + step * d for t, d in zip(leaves, directions, strict=True)
        )
        out, s = add_rmsnorm_reference(x, weight, EPS, residual)
        return out.sin().sum() + s.square().sum()

    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    got = sum((t.grad.double().cpu() * d).sum() for t, d in zip(leaves, directions, strict=True))
    assert_close(got, slope, 1e-5, 1e-4)


@pytest.mark.skipif(not INTERPRETED, reason="looks at the fused kernel's addresses")
def test_rows_further_apart_than_32_bits(path, device, monkeypatch):
    """Two rows, 2³¹ + 64 elements apart: the address of the second does not fit into 32 bits."""
    # The memory between them is never touched, so it is never allocated.
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
    stride = 2**31 + 64
    x = torch.empty(stride + 32, dtype=torch.float16).as_strided((2, 32), (stride, 1))
    x[0], x[1] = 1.0, torch.arange(32)
    out = add_rmsnorm(x, torch.ones(32, dtype=torch.float16), EPS)
    assert_close(out, add_rmsnorm_reference(x.double(), torch.ones(32).double(), EPS), 2e-3, 2e-3)


@given(
    rows=st.integers(0, 6),
    hidden_size=st.integers(1, 40),
    eps=st.floats(1e-8, 1.0),
    residual=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60)
def test_any_rows(rows, hidden_size, eps, residual, seed):
    x, weight, further = inputs((rows, hidden_size), torch.float64, seed, residual)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUDUS_KERNELS", "cpu")
        patch.setattr(cpu, "CHUNK_BYTES", 2 * hidden_size * 8)
        compare(x, weight, further, "cpu", eps, seed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.ones(4)}, r"x must be \[..., H\]"),
        ({"x": torch.tensor(1.0)}, r"x must be \[..., H\]"),
        ({"x": torch.zeros(3, 5, dtype=torch.int64)}, "int64 is not supported"),
        ({"residual": torch.zeros(3, 4)}, "residual must have x's shape"),
        ({"eps": -1.0}, "eps must not be negative"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {"x": torch.zeros(3, 5), "weight": torch.ones(5), "eps": EPS, "residual": None} | change
    with pytest.raises(ValueError, match=message):
        add_rmsnorm(**arguments)
