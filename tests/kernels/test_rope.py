"""rope on every path, against its reference in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.kernels import rope
from ludus.kernels.rope.reference import rope_reference

from ..rounding import unit_roundoff
from .conftest import INTERPRETED
from .logits import assert_close

TOLERANCE = {dtype: 16 * unit_roundoff(dtype) for dtype in (torch.float64, torch.float32)} | {
    dtype: 2.1 * unit_roundoff(dtype) for dtype in (torch.float16, torch.bfloat16)
}
"""Of two products and a sum; in 16 bits, of the result and of what is rounded in between."""


def inputs(tokens=7, heads=(4, 2), size=64, dtype=torch.float32, seed=0, batch=None):
    """query, key, cos, sin; the angles are those of packed rows, whose positions restart."""
    generator = torch.Generator().manual_seed(seed)
    lead = (tokens,) if batch is None else (batch, tokens)
    query, key = (torch.randn(*lead, count, size, generator=generator).to(dtype) for count in heads)
    positions = torch.arange(tokens) % 5 * 100.0
    frequency = 10_000.0 ** -(torch.arange(0, size, 2) / size)
    angle = (positions[:, None] * frequency).repeat(1, 2)
    angle = angle if batch is None else angle[None]
    return query, key, angle.cos().to(dtype), angle.sin().to(dtype)


def compare(query, key, cos, sin, device, seed=0):
    """Both outputs and both gradients against those of the reference in float64."""
    leaves = [tensor.detach().to(device).requires_grad_() for tensor in (query, key)]
    exact = [tensor.detach().double().requires_grad_() for tensor in (query, key)]
    # The product with 1 is a tensor that autograd can do without, of the same strides.
    outputs = rope(leaves[0] * 1, leaves[1] * 1, cos.to(device), sin.to(device))
    expected = rope_reference(*exact, cos.double(), sin.double())
    generator = torch.Generator().manual_seed(seed)
    upstream = [torch.randn(o.shape, generator=generator).to(o.dtype) for o in outputs]
    got = torch.autograd.grad(outputs, leaves, [u.to(device) for u in upstream])
    wanted = torch.autograd.grad(expected, exact, [u.double() for u in upstream])
    tolerance = TOLERANCE[query.dtype]
    for value, oracle in zip((*outputs, *got), (*expected, *wanted), strict=True):
        assert value.dtype == query.dtype
        magnitude = 1.0 + (float(oracle.detach().abs().max()) if oracle.numel() else 0.0)
        assert_close(value, oracle, tolerance, tolerance * magnitude)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("heads", "size"), [((14, 2), 64), ((8, 8), 128), ((9, 1), 96), ((3, 2), 2), ((1, 1), 6)]
)
def test_values_and_gradients(device, dtype, heads, size):
    compare(*inputs(heads=heads, size=size, dtype=dtype), device)


@pytest.mark.parametrize("own_angles", [True, False])
def test_batches(device, own_angles):
    query, key, cos, sin = inputs(batch=3)
    if own_angles:
        cos, sin = (torch.stack([angle[0], angle[0].flip(0), angle[0] * 0.5]) for angle in (cos, sin))
    compare(query, key, cos, sin, device)


def test_halves_with_angles_of_their_own(device):
    """The formula does not need them equal, and the gradient is that of the transposed matrix."""
    query, key, _, _ = inputs()
    cos, sin = torch.randn(2, 7, 64, generator=torch.Generator().manual_seed(5))
    compare(query, key, cos, sin, device)


@pytest.mark.parametrize("tokens", [0, 1])
def test_few_tokens(device, tokens):
    compare(*inputs(tokens), device)


@pytest.mark.skipif(INTERPRETED, reason="as many programs take the interpreter minutes")
def test_more_tokens_than_a_grid_dimension(device):
    compare(*inputs(65_537, (1, 1), 4), device)


def test_turning_back_gives_what_was_there(device):
    query, key, cos, sin = (tensor.to(device) for tensor in inputs())
    turned = rope(query.clone(), key.clone(), cos, sin)
    assert not torch.allclose(turned[0], query)
    back = rope(*turned, cos, -sin)
    torch.testing.assert_close(back[0], query, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(back[1], key, rtol=1e-5, atol=1e-5)


def test_scores_depend_on_distance_alone(device):
    """What rotary embedding is for: the product of a query at 7 and a key at 3 is that of 104 and 100."""
    query, key, _, _ = inputs(2, (1, 1))
    angle = torch.outer(
        torch.tensor([7.0, 3.0, 104.0, 100.0]), 10_000.0 ** -(torch.arange(0, 64, 2) / 64)
    ).repeat(1, 2)
    q, k = query[:1].expand(4, 1, 64).clone(), key[:1].expand(4, 1, 64).clone()
    q, k = rope(q.to(device), k.to(device), angle.cos().to(device), angle.sin().to(device))
    torch.testing.assert_close((q[0] * k[1]).sum(), (q[2] * k[3]).sum(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "layout", ["heads first", "part of a projection", "every second token", "size not last"]
)
def test_strides(device, layout):
    query, key, cos, sin = inputs(batch=2)
    match layout:
        case "heads first":  # as transformers' attention has them
            query, key = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (query, key))
        case "part of a projection":
            query, key = torch.cat([query, key, key], 2).split([4, 2, 2], 2)[:2]
        case "every second token":
            query, key, cos, sin = query[:, ::2], key[:, ::2], cos[:, ::2], sin[:, ::2]
        case "size not last":
            query, key = (x.transpose(-1, -2).contiguous().transpose(-1, -2) for x in (query, key))
    compare(query, key, cos, sin, device)
    with torch.no_grad():
        mine = query.to(device), key.to(device)
        expected = rope_reference(*mine, cos.to(device), sin.to(device))
        got = rope(*mine, cos.to(device), sin.to(device))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_gradients_that_are_expanded(device):
    """`.sum()` hands down a gradient of stride 0."""
    query, key, cos, sin = (tensor.to(device) for tensor in inputs())
    leaves = query.requires_grad_(), key.requires_grad_()
    q, k = rope(query * 1, key * 1, cos, sin)
    (q.sum() + k.mean()).backward()
    exact = [x.detach().double().cpu().requires_grad_() for x in leaves]
    q, k = rope_reference(*exact, cos.double().cpu(), sin.double().cpu())
    (q.sum() + k.mean()).backward()
    for a, b in zip(leaves, exact, strict=True):
        assert_close(a.grad, b.grad, 1e-6, 2e-6)


def test_in_place(device, fused_path):
    query, key, cos, sin = (tensor.to(device) for tensor in inputs())
    with torch.no_grad():
        q, k = rope(query, key, cos, sin)
    assert (q.data_ptr(), k.data_ptr()) == (query.data_ptr(), key.data_ptr())
    followed = query.clone().requires_grad_() * 1, key.clone().requires_grad_() * 1
    q, k = rope(*followed, cos, sin)
    assert q is followed[0]
    assert k is followed[1]


def test_a_view_that_autograd_follows_is_left_alone(device, fused_path):
    query, key, cos, sin = (tensor.to(device) for tensor in inputs())
    flat = query.flatten(1).requires_grad_() * 1
    before = flat.detach().clone()
    q, _ = rope(flat.view(7, 4, 64), key, cos, sin)
    assert torch.equal(flat, before)
    assert not torch.equal(q.flatten(1), before)


def test_what_cannot_be_written_to_is_left_alone(device):
    query, key, cos, sin = (tensor.to(device) for tensor in inputs())
    shared = key[:, :1].expand(7, 4, 64)
    before = shared.clone()
    _, k = rope(query, shared, cos, sin)
    assert torch.equal(shared, before)
    assert_close(k, rope_reference(query, before, cos, sin)[1], 1e-6, 1e-6)


def test_autograd_raises_where_it_needed_the_old_numbers(device, fused_path):
    query, key, cos, sin = (tensor.to(device) for tensor in inputs())
    query = query.requires_grad_().exp()  # keeps its output for the backward
    q, _ = rope(query, key, cos, sin)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        q.sum().backward()
    leaf = key.detach().clone().requires_grad_()
    with pytest.raises(RuntimeError, match="leaf Variable"):
        rope(query.detach(), leaf, cos, sin)


def test_bitwise_repeatable(device):
    query, key, cos, sin = (tensor.to(device) for tensor in inputs())
    first, second = (rope(query.clone(), key.clone(), cos, sin) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_gradient_is_the_slope(device, fused_path):
    """Directional finite differences of the reference, in float64, against the operator's gradient."""
    query, key, cos, sin = inputs(3, (2, 1), 16)
    leaves = [x.to(device).requires_grad_() for x in (query, key)]
    q, k = rope(leaves[0] * 1, leaves[1] * 1, cos.to(device), sin.to(device))
    (q.sin().sum() + k.sin().sum()).backward()
    generator = torch.Generator().manual_seed(1)
    directions = [torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in leaves]

    def value(step):
        at = [x.detach().double().cpu() + step * d for x, d in zip(leaves, directions, strict=True)]
        q, k = rope_reference(*at, cos.double(), sin.double())
        return q.sin().sum() + k.sin().sum()

    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    got = sum((x.grad.double().cpu() * d).sum() for x, d in zip(leaves, directions, strict=True))
    assert_close(got, slope, 1e-5, 1e-5)


@pytest.mark.skipif(not INTERPRETED, reason="looks at the fused kernel's addresses")
def test_tokens_further_apart_than_32_bits(path, device, monkeypatch):
    """Two tokens, 2³¹ + 64 elements apart: the address of the second does not fit into 32 bits."""
    # The memory between them is never touched, so it is never allocated.
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
    stride = 2**31 + 64
    query = torch.empty(stride + 16, dtype=torch.float16).as_strided((2, 1, 16), (stride, 16, 1))
    numbers, key, cos, sin = inputs(2, (1, 1), 16, torch.float16)
    query.copy_(numbers)
    q, _ = rope(query, key, cos, sin)
    assert_close(q, rope_reference(numbers.double(), key.double(), cos.double(), sin.double())[0], 1e-3, 1e-3)


@given(
    tokens=st.integers(0, 5),
    heads=st.tuples(st.integers(1, 5), st.integers(1, 3)),
    half=st.integers(1, 9),
    seed=st.integers(0, 999),
)
@settings(max_examples=50)
def test_any_heads(tokens, heads, half, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUDUS_KERNELS", "cpu")
        query, key, cos, sin = inputs(tokens, heads, 2 * half, torch.float64, seed)
        compare(query, key, cos, sin, "cpu", seed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": torch.zeros(3, 8)}, r"must be \[T, heads, D\]"),
        ({"key": torch.zeros(4, 1, 8)}, r"must be \[T, heads, D\]"),
        ({"key": torch.zeros(3, 1, 8, dtype=torch.float64)}, "one dtype"),
        ({"cos": torch.zeros(3, 4)}, "only a part of each head is rotated"),
        ({"sin": torch.zeros(2, 8)}, r"sin must be \[3, 8\]"),
        ({"cos": torch.zeros(1, 3, 8)}, r"cos must be \[3, 8\]"),
        ({"sin": torch.zeros(3, 8, requires_grad=True)}, "sin has no gradient here"),
        ({"query": torch.zeros(3, 2, 8, dtype=torch.int64)}, "int64 is not supported"),
        ({"query": torch.zeros(3, 2, 7), "key": torch.zeros(3, 1, 7)}, "even size"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {
        "query": torch.zeros(3, 2, 8),
        "key": torch.zeros(3, 1, 8),
        "cos": torch.ones(3, 8),
        "sin": torch.zeros(3, 8),
    } | change
    with pytest.raises(ValueError, match=message):
        rope(**arguments)
