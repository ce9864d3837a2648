"""support_logprob on every path, against its reference in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.kernels import Support, linear_logprob, logprob_entropy, support_logprob
from ludus.kernels.support_logprob import cpu
from ludus.kernels.support_logprob.reference import support_logprob_reference

from ..rounding import likely_gamma, unit_roundoff
from .conftest import INTERPRETED
from .logits import INF, assert_close, far_apart

ROUNDINGS = 32
"""On the way of a logit through temperature, softcap, exp and the statistics' sums, and of a slope back."""


def make(rows, vocabulary, hidden_size, seed=0, dtype=torch.float32, kept=6.0, with_bias=False):
    """The operator's arguments; set sizes from 0 on, `kept` on average, most of them with the target."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, vocabulary, (rows,), generator=generator)
    mask = torch.rand(rows, vocabulary, generator=generator) < min(1.0, kept / vocabulary)
    with_target = torch.rand(rows, generator=generator) < 0.9
    mask[torch.arange(rows), targets] = with_target
    return {
        "hidden": torch.randn(rows, hidden_size, generator=generator).to(dtype),
        "weight": (torch.randn(vocabulary, hidden_size, generator=generator) * (4.0 / hidden_size) ** 0.5).to(
            dtype
        ),
        "targets": targets,
        "support": Support.from_mask(mask),
        "bias": torch.randn(vocabulary, generator=generator).to(dtype) if with_bias else None,
    }


def on(device, arguments):
    return {
        name: value.to(device) if isinstance(value, torch.Tensor | Support) else value
        for name, value in arguments.items()
    }


def run(operator, arguments, upstream):
    """The operator's outputs, and the gradients of (hidden, weight, bias) for upstream [3, M]."""
    leaves = {
        name: arguments[name].detach().requires_grad_()
        for name in ("hidden", "weight", "bias")
        if arguments.get(name) is not None
    }
    outputs = operator(**arguments | leaves)
    gradients = torch.autograd.grad(
        outputs,
        list(leaves.values()),
        [u.to(o.device, o.dtype) for u, o in zip(upstream, outputs, strict=True)],
    )
    return outputs, dict(zip(leaves, gradients, strict=True))


def compare(arguments, device, seed=0):
    """Outputs and gradients of the operator against those of the reference in float64."""
    dtype = arguments["hidden"].dtype
    upstream = torch.randn(
        3, len(arguments["targets"]), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    wide = {
        name: value.double().cpu() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
        for name, value in arguments.items()
    }
    expected, expected_gradients = run(support_logprob_reference, wide, upstream)
    outputs, gradients = run(support_logprob, on(device, arguments), upstream)
    finite = [x[x.isfinite()].detach().abs() for x in expected]
    magnitude = 1.0 + max((float(x.max()) for x in finite if x.numel()), default=0.0)
    (rows, hidden_size), vocabulary = arguments["hidden"].shape, len(arguments["weight"])
    sums = torch.promote_types(dtype, torch.float32)
    # In float64 bounds are looser: a saturated softcap's slope, 1 - tanh², is nearly all rounding.
    rtol = likely_gamma(hidden_size + ROUNDINGS, sums) if sums == torch.float32 else 1e-12
    for got, exact in zip(outputs, expected, strict=True):
        assert got.dtype == sums
        assert_close(got, exact, rtol, rtol * magnitude)
    # Slopes may be rounded to 16 bits before the second product, and gradients are after it.
    rtol += likely_gamma(max(rows, vocabulary), sums) + (4 * unit_roundoff(dtype) if dtype != sums else 0.0)
    rtol = max(rtol, 1e-11)
    for name, exact in expected_gradients.items():
        assert gradients[name].dtype == arguments[name].dtype
        largest = max(1.0, float(exact.abs().max())) if exact.numel() else 1.0
        assert_close(gradients[name], exact, rtol, rtol * 0.1 * magnitude * largest)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("vocabulary", "hidden_size"), [(1, 1), (17, 8), (300, 40), (1000, 256), (513, 272), (90, 77)]
)
def test_values_and_gradients(device, dtype, vocabulary, hidden_size):
    compare(make(11, vocabulary, hidden_size, seed=vocabulary, dtype=dtype), device)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("softcap", [None, 3.0])
def test_temperatures_bias_and_softcap(device, with_bias, softcap):
    arguments = make(8, 60, 32, with_bias=with_bias)
    temperature = torch.tensor([0.3, 0.5, 1.0, 1.0, 1.7, 4.0, 1.0, 0.9])
    compare(arguments | {"temperature": temperature, "softcap": softcap}, device)
    compare(arguments | {"temperature": 0.7, "softcap": softcap}, device)


def test_it_is_logprob_entropy_where_all_other_words_are_masked(device):
    """The definition, in the operators themselves."""
    arguments = on(device, make(16, 200, 24, seed=1))
    support = arguments["support"]
    outputs = support_logprob(**arguments, temperature=0.8)
    logits = torch.full((16, 200), -INF, device=device)
    place = support.rows, support.ids
    logits[place] = (arguments["hidden"] @ arguments["weight"].t())[place]
    for got, expected in zip(outputs, logprob_entropy(logits, arguments["targets"], 0.8), strict=False):
        assert_close(got, expected, 1e-5, 1e-5)


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_the_full_set_gives_linear_logprob(device, softcap):
    arguments = make(6, 130, 32, seed=2, with_bias=True)
    arguments = on(device, arguments | {"support": Support.from_mask(torch.ones(6, 130, dtype=torch.bool))})
    outputs = support_logprob(**arguments, softcap=softcap)
    del arguments["support"]
    for got, expected in zip(outputs, linear_logprob(**arguments, softcap=softcap), strict=True):
        assert_close(got, expected, 1e-5, 1e-5)


def test_a_target_outside_its_set(device):
    """Log-probability -inf; the gradient is that of the limit: -p for the kept ids, nothing for the
    target."""
    arguments = make(1, 9, 4) | {"support": Support.from_rows([[2, 7]]), "targets": torch.tensor([4])}
    upstream = torch.tensor([[1.0], [0.0], [0.0]])
    (logprobs, _, lse), gradients = run(support_logprob, on(device, arguments), upstream)
    assert logprobs.tolist() == [-INF]
    z = arguments["hidden"][0] @ arguments["weight"][[2, 7]].t()
    assert_close(lse, z.logsumexp(0)[None], 1e-5, 1e-5)
    expected = torch.zeros(9, 4)
    expected[[2, 7]] = -z.softmax(0)[:, None] * arguments["hidden"]
    assert_close(gradients["weight"], expected, 1e-5, 1e-6)


def test_an_empty_set(device):
    arguments = make(3, 9, 4) | {
        "support": Support.from_rows([[], [1, 3], []]),
        "targets": torch.tensor([4, 3, 0]),
    }
    outputs, gradients = run(support_logprob, on(device, arguments), torch.ones(3, 3))
    assert [x[0].item() for x in outputs] == [x[2].item() for x in outputs] == [-INF, 0.0, -INF]
    assert gradients["hidden"][[0, 2]].count_nonzero() == 0
    compare(arguments, device)


def test_a_set_of_one(device):
    arguments = make(2, 9, 4) | {"support": Support.from_rows([[5], [5]]), "targets": torch.tensor([5, 6])}
    outputs, _ = run(support_logprob, on(device, arguments), torch.ones(3, 2))
    assert outputs.logprobs.tolist() == [0.0, -INF]
    assert outputs.entropy.tolist() == [0.0, 0.0]
    compare(arguments, device)


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("kept", [0.0, 4.0])
def test_few_rows(device, rows, kept):
    arguments = make(rows, 40, 16, kept=kept)
    if kept == 0:
        arguments["support"] = Support.from_rows([[]] * rows)
    compare(arguments, device)


@pytest.mark.parametrize("shift", [200.0, -200.0, 1e4, -1e4])
def test_shifted_logits(device, shift):
    """By the bias, in numbers that float32 holds exactly: the shift itself may not cost a digit."""
    arguments = make(6, 50, 16, seed=3)
    for name in ("hidden", "weight"):
        arguments[name] = (arguments[name] * 4).round() / 4
    arguments["bias"] = torch.full((50,), shift)
    plain = support_logprob(**on(device, arguments | {"bias": None}))
    shifted = support_logprob(**on(device, arguments))
    assert torch.equal(plain.logprobs, shifted.logprobs)
    assert torch.equal(plain.entropy, shifted.entropy)
    compare(arguments, device)


@pytest.mark.parametrize("impossible", ["others", "target", "all"])
def test_a_bias_of_minus_infinity(device, impossible):
    """Kept ids with probability 0 count as not kept."""
    arguments = make(5, 30, 16, seed=4, kept=12.0, with_bias=True)
    arguments["targets"] = torch.full((5,), 3)
    arguments["support"] = Support.from_rows([range(i, i + 10) for i in (0, 1, 2, 3, 0)])
    match impossible:
        case "others":
            arguments["bias"][4:] = -INF
        case "target":
            arguments["bias"][3] = -INF
        case "all":
            arguments["bias"][:] = -INF
    compare(arguments, device)


def test_a_nan_is_not_hidden(device):
    """A diverged model must not look healthy; tokens that do not keep the entry are unchanged."""
    arguments = make(3, 30, 16, seed=18) | {"targets": torch.tensor([3, 4, 5])}
    arguments["support"] = Support.from_rows([[3, 9], [4, 7, 1], [5, 9, 2]])
    arguments["weight"][7, 2] = float("nan")
    outputs, gradients = run(support_logprob, on(device, arguments), torch.ones(3, 3))
    for x in outputs:
        assert x.isnan().tolist() == [False, True, False]
    assert gradients["weight"].isnan().any(1).nonzero().flatten().tolist() == [1, 4, 7]


@pytest.mark.parametrize("by", [17.0, 40.0])
def test_a_target_far_above_keeps_its_digits(device, by):
    arguments = make(4, 30, 16, seed=5, with_bias=True) | {"targets": torch.tensor([3, 3, 3, 3])}
    arguments["support"] = Support.from_rows([range(10)] * 4)
    arguments["weight"] *= 0.01
    arguments["bias"] = torch.zeros(30)
    arguments["bias"][3] = by
    exact = support_logprob_reference(
        **arguments | {n: arguments[n].double() for n in ("hidden", "weight", "bias")}
    )
    outputs = support_logprob(**on(device, arguments))
    assert_close(outputs.logprobs, exact.logprobs, 1e-4, 0.0)
    assert (outputs.logprobs < 0).all()
    assert (outputs.entropy > 0).all()


def test_sets_of_very_different_sizes(device):
    """One token keeps thousands of ids, and one id is kept by every token."""
    rows, vocabulary = (20, 400) if INTERPRETED else (60, 5000)
    arguments = make(rows, vocabulary, 40, seed=6)
    generator = torch.Generator().manual_seed(6)
    sets = [
        [7, *(torch.randperm(vocabulary - 8, generator=generator)[: i % 5] + 8).tolist()] for i in range(rows)
    ]
    sets[rows // 2] = torch.randperm(vocabulary, generator=generator).tolist()
    compare(arguments | {"support": Support.from_rows(sets)}, device)


@pytest.mark.skipif(INTERPRETED, reason="65,537 programs take the interpreter minutes")
def test_more_rows_than_a_grid_dimension(device):
    generator = torch.Generator().manual_seed(7)
    arguments = make(1, 33, 8) | {
        "hidden": torch.randn(65_537, 8, generator=generator),
        "targets": torch.randint(0, 33, (65_537,), generator=generator),
        "support": Support.from_mask(torch.rand(65_537, 33, generator=generator) < 0.1),
    }
    compare(arguments, device)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter is for at most 8,192 words")
@pytest.mark.parametrize("vocabulary", [151_936, 151_669, 129_920])
def test_vocabularies_of_real_models(device, vocabulary):
    generator = torch.Generator().manual_seed(8)
    arguments = make(20, vocabulary, 16, kept=1000.0, seed=8)
    arguments["targets"] = torch.randint(vocabulary - 5, vocabulary, (20,), generator=generator)
    compare(arguments, device)


def test_more_than_two_to_the_31_elements(device):
    arguments = make(3, 3, 32, seed=17, dtype=torch.float16, kept=3.0)
    arguments |= {name: far_apart(arguments[name], device) for name in ("hidden", "weight")}
    compare(arguments, device)


@pytest.mark.parametrize(
    "layout", ["every second row", "a slice of columns", "transposed", "an odd offset", "expanded"]
)
def test_strides(device, layout):
    arguments = make(12, 50, 32, seed=9)
    match layout:
        case "every second row":
            bend = lambda x: x.repeat_interleave(2, 0)[::2]  # noqa: E731
        case "a slice of columns":
            bend = lambda x: torch.nn.functional.pad(x, (3, 5))[:, 3:-5]  # noqa: E731
        case "transposed":
            bend = lambda x: x.t().contiguous().t()  # noqa: E731
        case "an odd offset":
            bend = lambda x: torch.cat([torch.zeros(1), x.flatten()])[1:].view(x.shape)  # noqa: E731
        case "expanded":
            bend = lambda x: x[:1].expand(x.shape)  # noqa: E731
    compare(arguments | {name: bend(arguments[name]) for name in ("hidden", "weight")}, device)


def test_strided_and_expanded_vectors(device):
    """Targets of stride 2, a temperature of stride 0, ids of 32 bits, gradients of stride 0."""
    arguments = make(6, 50, 32, seed=10)
    support = arguments["support"]
    arguments["support"] = Support(support.ids.int(), support.offsets.int())
    arguments["targets"] = arguments["targets"].int().repeat_interleave(2)[::2]
    arguments["temperature"] = torch.tensor([1.3]).expand(6)
    compare(arguments, device)
    leaf = arguments["hidden"].clone().to(device).requires_grad_()
    outputs = support_logprob(**on(device, arguments) | {"hidden": leaf})
    (outputs.entropy.sum() + outputs.lse.mean()).backward()
    exact = arguments["hidden"].double().requires_grad_()
    outputs = support_logprob_reference(
        **arguments | {"hidden": exact, "weight": arguments["weight"].double()}
    )
    (outputs.entropy.sum() + outputs.lse.mean()).backward()
    assert_close(leaf.grad, exact.grad, 1e-5, 1e-5)


def test_only_what_requires_a_gradient_gets_one(device, fused_path):
    arguments = on(device, make(6, 50, 32, seed=11, with_bias=True))
    for name in ("hidden", "weight", "bias"):
        leaf = arguments[name].clone().requires_grad_()
        support_logprob(**arguments | {name: leaf}).logprobs[:1].sum().backward()
        assert leaf.grad is not None


def test_tied_weights_get_both_gradients(device):
    arguments = make(6, 50, 32, seed=12)
    ids = torch.tensor([1, 1, 4, 0, 10, 7])

    def gradient(operator, arguments):
        weight = arguments["weight"].clone().requires_grad_()
        hidden = weight[ids.to(weight.device)].tanh()
        loss = operator(**arguments | {"hidden": hidden, "weight": weight}).entropy.sum()
        return torch.autograd.grad(loss, weight)[0]

    expected = gradient(support_logprob_reference, arguments | {"weight": arguments["weight"].double()})
    assert_close(gradient(support_logprob, on(device, arguments)), expected, 1e-5, 1e-5)


def test_bitwise_repeatable_and_the_same_without_gradients(device):
    arguments = on(device, make(9, 40, 64, seed=13, kept=20.0, with_bias=True))
    upstream = torch.linspace(-1, 2, 27).view(3, 9)
    (outputs, gradients), (again, gradients_again) = (
        run(support_logprob, arguments, upstream) for _ in range(2)
    )
    with torch.no_grad():
        plain = support_logprob(**arguments)
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(outputs, again, plain, strict=True))
    assert all(torch.equal(gradients[name], gradients_again[name]) for name in gradients)


def test_ids_of_four_bytes_give_the_same_bits(device):
    """As engines record them, with offsets of eight."""
    wide = make(9, 40, 64, seed=13, kept=20.0, with_bias=True)
    support = wide["support"]
    narrow = wide | {"support": Support(support.ids.int(), support.offsets)}
    upstream = torch.linspace(-1, 2, 27).view(3, 9)
    (outputs, gradients), (same, same_gradients) = (
        run(support_logprob, on(device, arguments), upstream) for arguments in (wide, narrow)
    )
    assert all(torch.equal(a, b) for a, b in zip(outputs, same, strict=True))
    assert all(torch.equal(gradients[name], same_gradients[name]) for name in gradients)


def test_sets_that_are_there_already_are_not_copied():
    support = Support.from_rows([[3, 1], [2]])
    assert support.to("cpu") is support


def test_the_order_of_words_within_a_set_does_not_matter(device):
    arguments = make(9, 90, 32, seed=14)
    support = arguments["support"]
    sets = [row.flip(0).tolist() for row in support.ids.tensor_split(support.offsets[1:-1])]
    outputs = support_logprob(**on(device, arguments))
    flipped = support_logprob(**on(device, arguments | {"support": Support.from_rows(sets)}))
    for a, b in zip(outputs, flipped, strict=True):
        assert_close(a, b, 1e-6, 1e-6)


def test_the_gradient_is_the_slope(device, fused_path):
    """Directional finite differences of the reference, in float64, against the operator's gradients."""
    arguments = make(5, 40, 16, seed=15, with_bias=True, kept=12.0) | {"temperature": 1.3, "softcap": 4.0}
    arguments["support"] = Support.from_mask(
        torch.zeros(5, 40, dtype=torch.bool)
        .scatter(1, arguments["targets"][:, None], True)
        .logical_or(torch.rand(5, 40, generator=torch.Generator().manual_seed(0)) < 0.3)
    )
    upstream = torch.tensor([2.0, 1.0, -0.5])[:, None].expand(3, 5)
    _, gradients = run(support_logprob, on(device, arguments), upstream)
    generator = torch.Generator().manual_seed(16)
    exact = {name: arguments[name].double() for name in gradients}
    direction = {n: torch.randn(x.shape, generator=generator, dtype=x.dtype) for n, x in exact.items()}

    def value(step):
        moved = {name: exact[name] + step * direction[name] for name in exact}
        outputs = support_logprob_reference(**arguments | moved)
        return (2.0 * outputs.logprobs + outputs.entropy - 0.5 * outputs.lse).sum()

    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    mine = sum((gradients[name].cpu().double() * direction[name]).sum() for name in exact)
    assert_close(mine, slope, 1e-5, 1e-4)


@given(
    rows=st.integers(0, 6),
    vocabulary=st.integers(1, 30),
    hidden_size=st.integers(1, 12),
    kept=st.floats(0.0, 30.0),
    temperature=st.floats(0.05, 5.0),
    softcap=st.none() | st.floats(0.5, 50.0),
    with_bias=st.booleans(),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
    chunk=st.integers(1, 400),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60)
def test_any_sets_in_any_chunks(
    rows, vocabulary, hidden_size, kept, temperature, softcap, with_bias, dtype, chunk, seed
):
    arguments = make(rows, vocabulary, hidden_size, seed, dtype, kept, with_bias)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUDUS_KERNELS", "cpu")
        patch.setattr(cpu, "CHUNK_BYTES", chunk)
        compare(arguments | {"temperature": temperature, "softcap": softcap}, "cpu", seed)


def test_supports_from_masks_and_from_rows_are_the_same():
    mask = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
    a, b = Support.from_mask(mask), Support.from_rows([[0, 2], [], [1]])
    assert a.ids.tolist() == b.ids.tolist() == [0, 2, 1]
    assert a.offsets.tolist() == b.offsets.tolist() == [0, 2, 2, 3]
    assert a.rows.tolist() == [0, 0, 2]
    assert len(a) == 3
    assert len(Support.from_rows([])) == 0


@pytest.mark.parametrize(
    ("ids", "offsets", "message"),
    [
        ([1, 2, 1], [0, 3], "id 1 occurs twice in the set of token 0"),
        ([1, 2, 5, 5], [0, 2, 4], "id 5 occurs twice in the set of token 1"),
        ([1, 2], [0, 1], "offsets must rise from 0 to the number of ids, 2; they go from 0 to 1"),
        ([1, 2], [0, 2, 1, 2], "falling in between"),
        ([1, -2], [0, 2], "one is -2"),
        ([1, 2], [], "last one that closes"),
        ([[1, 2]], [0, 2], r"ids must be a vector of int32 or int64, not \[1, 2\]"),
    ],
)
def test_wrong_supports_are_named(ids, offsets, message):
    with pytest.raises(ValueError, match=message):
        Support(torch.tensor(ids), torch.tensor(offsets, dtype=torch.int64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": torch.zeros(3, 4)}, "hidden must be"),
        ({"hidden": torch.zeros(3, 5, dtype=torch.int64)}, "int64 is not supported"),
        ({"targets": torch.zeros(2, dtype=torch.int64)}, "one per row"),
        ({"targets": torch.tensor([0, 7, 1])}, "one is 7"),
        ({"support": Support.from_rows([[1], [2]])}, "a set for each of the 3 rows of hidden, but it has 2"),
        ({"support": Support.from_rows([[1], [2], [7]])}, "keeps id 7, but the weight has only 7 rows"),
        ({"bias": torch.zeros(4)}, "one per vocabulary entry"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"softcap": 0.0}, "softcap must be positive"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {
        "hidden": torch.zeros(3, 5),
        "weight": torch.zeros(7, 5),
        "targets": torch.zeros(3, dtype=torch.int64),
        "support": Support.from_rows([[1], [2], [0, 1]]),
    } | change
    with pytest.raises(ValueError, match=message):
        support_logprob(**arguments)
