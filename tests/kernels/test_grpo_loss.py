"""grpo_loss on every path, against its reference in float64."""

import itertools
import math
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ludus.kernels import grpo_loss, grpo_loss_by_token
from ludus.kernels.grpo_loss.batch import METRICS
from ludus.kernels.grpo_loss.reference import grpo_loss_reference

from .conftest import GPU, INTERPRETED
from .logits import assert_close

INF, NAN = math.inf, math.nan
RATIOS, OBJECTIVES = ("token", "sequence"), ("clip", "cispo")
ESTIMATORS = ("k1", "k2", "k3")


@dataclass(frozen=True)
class Case:
    """The tensors of a call; each path's test casts them."""

    logprobs: Tensor
    old: Tensor
    advantages: Tensor
    weights: Tensor
    reference: Tensor
    offsets: Tensor | None = None

    def packed(self, *lengths: int) -> "Case":
        """The same tokens end to end, in sequences of other lengths."""
        offsets = torch.tensor([0, *itertools.accumulate(lengths)])
        flat = (
            t.reshape(-1) for t in (self.logprobs, self.old, self.advantages, self.weights, self.reference)
        )
        return Case(*flat, offsets)


def ordinary(rows: int = 3, length: int = 40, seed: int = 0) -> Case:
    generator = torch.Generator().manual_seed(seed)
    logprobs = -3.0 * torch.rand(rows, length, generator=generator)
    old, reference = (logprobs + 0.3 * torch.randn(rows, length, generator=generator) for _ in range(2))
    advantages = torch.randn(rows, length, generator=generator)
    mask = torch.rand(rows, length, generator=generator) > 0.3
    return Case(logprobs, old, advantages, mask / mask.sum().clamp(min=1), reference)


def choices(**changes):
    return {"clip_low": 0.2, "clip_high": 0.28} | changes


def call(function, case: Case, device="cpu", dtype=torch.float32, **chosen):
    """(loss, metrics, gradient of 1.7 times the loss)."""
    given = (case.old, case.advantages, case.weights, case.reference)
    old, advantages, weights, reference = (
        t.to(device, dtype if t.is_floating_point() else t.dtype) for t in given
    )
    leaf = case.logprobs.to(device, dtype).detach().requires_grad_()
    offsets = None if case.offsets is None else case.offsets.to(device)
    kl = {"reference_logprobs": reference} if chosen.get("kl_coefficient") else {}
    loss, metrics = function(leaf, old, advantages, weights, offsets=offsets, **kl, **chosen)
    (gradient,) = torch.autograd.grad(loss, leaf, torch.full((), 1.7, device=device, dtype=loss.dtype))
    return loss, metrics, gradient


def compare(case: Case, device, dtype=torch.float32, rtol=2e-6, **chosen):
    """Loss, metrics and gradient of the operator against those of the reference in float64, which sees the
    inputs as rounded to `dtype`."""
    rounded = Case(
        *(
            t.to(dtype) if t.is_floating_point() else t
            for t in (case.logprobs, case.old, case.advantages, case.weights, case.reference)
        ),
        case.offsets,
    )
    exact = call(grpo_loss_reference, rounded, dtype=torch.float64, **chosen)
    got = call(grpo_loss, rounded, device, dtype, **chosen)
    if dtype == torch.float16:
        rtol = 2e-3
    magnitude = float(torch.cat([exact[0].detach()[None], exact[2].flatten()]).abs().max())
    assert_close(got[0], exact[0], rtol, rtol * (1.0 + magnitude))
    assert_close(got[1], exact[1], 5e-6, 5e-6)
    assert got[2].dtype == dtype
    assert_close(got[2], exact[2], 5 * rtol, rtol * max(magnitude, 1e-6))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("layout", ["padded", "packed"])
@pytest.mark.parametrize("weights", ["of a mean", "mask", "any"])
def test_values_and_gradients(device, weights, layout, ratio, objective):
    case = ordinary() if layout == "padded" else ordinary().packed(1, 0, 70, 49)
    match weights:
        case "mask":
            case = replace(case, weights=case.weights != 0)
        case "any":
            generator = torch.Generator().manual_seed(1)
            case = replace(case, weights=case.weights * torch.rand(case.weights.shape, generator=generator))
    compare(case, device, **choices(ratio=ratio, objective=objective))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_divergence_from_a_reference(device, ratio, estimator):
    chosen = choices(ratio=ratio, kl_estimator=estimator, kl_coefficient=0.1)
    compare(ordinary(), device, **chosen)
    compare(ordinary().packed(20, 60, 40), device, objective="cispo", **chosen)


@pytest.mark.parametrize("length", [1, 2, 17, 513, 2500])
@pytest.mark.parametrize("ratio", RATIOS)
def test_lengths(device, length, ratio):
    compare(ordinary(2, length, seed=length), device, ratio=ratio, **choices())


@pytest.mark.skipif(INTERPRETED, reason="hundreds of programs take the interpreter minutes")
@pytest.mark.parametrize("ratio", RATIOS)
def test_long_and_many_sequences(device, fused_path, ratio):
    compare(ordinary(1, 70_001), device, ratio=ratio, **choices())
    compare(ordinary(1100, 7), device, ratio=ratio, **choices())
    lengths = [70_000, 1] + [3] * 600
    case = ordinary(1, sum(lengths)).packed(*lengths)
    compare(case, device, ratio=ratio, **choices())


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (4, 0)])
@pytest.mark.parametrize("ratio", RATIOS)
def test_no_tokens(device, ratio, shape):
    loss, metrics, gradient = call(grpo_loss, ordinary(*shape), device, **choices(ratio=ratio))
    assert loss.item() == 0.0
    assert metrics.tolist() == [0.0] * len(METRICS)
    assert gradient.shape == shape


@pytest.mark.parametrize("ratio", RATIOS)
def test_all_masked(device, ratio):
    case = ordinary()
    nan = torch.full_like(case.old, NAN)
    masked = Case(nan, nan, nan, torch.zeros_like(case.weights), nan)
    chosen = choices(ratio=ratio, kl_coefficient=0.1)
    loss, metrics, gradient = call(grpo_loss, masked, device, **chosen)
    assert loss.item() == 0.0
    assert metrics.tolist() == [0.0] * len(METRICS)
    assert not gradient.any()


@pytest.mark.parametrize("garbage", [NAN, INF, -INF])
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_has_no_weight_is_not_read(device, objective, ratio, garbage):
    case = ordinary()
    case = replace(case, weights=case.weights * (torch.arange(3) != 1)[:, None])  # a single row
    kept = case.weights != 0
    hidden = Case(
        *(torch.where(kept, t, garbage) for t in (case.logprobs, case.old, case.advantages)),
        case.weights,
        torch.where(kept, case.reference, garbage),
    )
    chosen = choices(objective=objective, ratio=ratio, kl_coefficient=0.1)
    clean, dirty = (call(grpo_loss, each, device, **chosen) for each in (case, hidden))
    for a, b in zip(clean, dirty, strict=True):
        assert torch.equal(a, b)
        assert a.isfinite().all()
    assert not dirty[2][~kept].any()


extremes = [-0.5, -200.0, -INF, -1e30, -1e9, 0.0]


@pytest.mark.parametrize("advantage", [1.0, -1.0])
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_impossible_tokens_are_finite(device, objective, ratio, advantage, estimator):
    """Extremes as new, old and reference log-probabilities, beside an ordinary token or alone."""
    triples = torch.tensor(list(itertools.product(extremes, extremes, (-0.5, -200.0, -INF))))
    new, old, reference = (
        torch.stack([t, torch.full_like(t, -1.0 - 0.1 * i)], 1) for i, t in enumerate(triples.unbind(1))
    )
    mask = torch.ones(new.shape, dtype=torch.bool)
    mask[1::2, 1] = False
    case = Case(new, old, torch.full_like(new, advantage), mask, reference)
    chosen = choices(objective=objective, ratio=ratio, kl_estimator=estimator, kl_coefficient=1e-6)
    for part in range(int(advantage) % 5, len(new), 54 if INTERPRETED else 5):
        one = Case(*(t[part : part + 1] for t in (new, old, case.advantages, mask, reference)))
        loss, metrics, gradient = call(grpo_loss, one, device, **chosen)
        assert loss.isfinite()
        assert gradient.isfinite().all()
        assert metrics.isfinite().all()
        compare(one, device, rtol=1e-5, **chosen)


@pytest.mark.parametrize("ratio", RATIOS)
def test_an_old_log_probability_of_minus_200(device, ratio):
    """Neither an infinite loss nor a gradient from it; the other tokens' gradients stay what they were."""
    case = ordinary(2, 8)
    case.old[0, 3] = -200.0
    loss, _, gradient = call(grpo_loss, case, device, **choices(ratio=ratio))
    assert loss.isfinite()
    assert gradient.isfinite().all()
    compare(case, device, **choices(ratio=ratio))
    if ratio == "token":
        assert gradient[0, 3] == 0.0


@pytest.mark.parametrize("where", ["logprobs", "old", "advantages"])
@pytest.mark.parametrize("ratio", RATIOS)
def test_nan_in_a_kept_token_shows(device, ratio, where):
    case = ordinary(4, 600)
    getattr(case, where)[2, 550] = NAN
    case.weights[2, 550] = 1.0
    loss, metrics, _ = call(grpo_loss, case, device, **choices(ratio=ratio))
    assert loss.isnan()
    if where != "advantages":
        assert metrics[METRICS.index("ratio_max_deviation")].isnan()


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_ratio_of_the_same_bits_is_exactly_one(device, ratio, dtype):
    case = ordinary()
    case = replace(case, old=case.logprobs)
    _, metrics, _ = call(grpo_loss, case, device, dtype, **choices(ratio=ratio))
    values = dict(zip(METRICS, metrics.tolist(), strict=True))
    assert values["ratio_sum"] == values["tokens"] == (case.weights != 0).sum()
    assert values["ratio_max_deviation"] == values["kl_sum"] == 0.0
    assert values["clip_low"] == values["clip_high"] == 0.0


def test_metrics_by_hand(device):
    ratio = torch.tensor([0.5, 0.5, 1.0, 2.0, 2.0, 7.0])
    advantages = torch.tensor([-1.0, 1.0, 1.0, 1.0, -1.0, 1.0])
    mask = torch.tensor([True] * 5 + [False])
    case = Case(ratio.log(), torch.zeros(6), advantages, mask, torch.zeros(6))  # a mask is a weight, too
    kl = sum(r - 1 - math.log(r) for r in ratio[:5].tolist())
    for objective, clipped in (("clip", 1), ("cispo", 2)):
        _, metrics, _ = call(grpo_loss, case, device, **choices(objective=objective))
        assert metrics.tolist() == pytest.approx([5, 6, 1, clipped, clipped, 0, kl], rel=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        # In the middle the gradient is -A ratio; a bound stops it only on the side the objective runs to.
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.56, 0.0),
        (0.5, 2.0, -1.0, -1.0),
        (0.5, -2.0, 1.6, 0.0),
        (1.5, -2.0, 3.0, 3.0),
    ],
)
def test_clipping_by_hand(device, ratio, advantage, loss, gradient):
    one = torch.ones(1, 1)
    case = Case(math.log(ratio) * one, 0 * one, advantage * one, one, one)
    for kind in RATIOS:  # the same in a sequence of one token
        value, _, slope = call(grpo_loss, case, device, **choices(ratio=kind))
        assert value.item() == pytest.approx(loss)
        assert slope.item() == pytest.approx(1.7 * gradient)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "stopped"),
    [
        (2.9, -2.0, 5.8, 5.8, 0),
        (3.1, -2.0, 6.0, 0.0, 1),
        (0.5, -2.0, 1.6, 0.0, 0),
        (3.1, 2.0, -2.56, 0.0, 0),
        (3.1, 0.0, 0.0, 0.0, 0),
    ],
)
def test_dual_clipping_by_hand(device, ratio, advantage, loss, gradient, stopped):
    """At a negative advantage, and nowhere else, the ratio counts as dual_clip at most."""
    one = torch.ones(1, 1)
    case = Case(math.log(ratio) * one, 0 * one, advantage * one, one, one)
    for kind in RATIOS:
        value, metrics, slope = call(grpo_loss, case, device, **choices(ratio=kind, dual_clip=3.0))
        assert value.item() == pytest.approx(loss)
        assert slope.item() == pytest.approx(1.7 * gradient)
        assert metrics[METRICS.index("clip_dual")].item() == stopped


@pytest.mark.parametrize("dual_clip", [1.1, 1.4])
@pytest.mark.parametrize("ratio", RATIOS)
def test_dual_clipping(device, ratio, dual_clip):
    """Below 1 + clip_high, too, where it must not touch positive advantages."""
    chosen = choices(ratio=ratio, dual_clip=dual_clip)
    compare(ordinary(), device, **chosen)
    compare(ordinary().packed(20, 60, 40), device, kl_coefficient=0.1, **chosen)


def test_sequence_ratio_by_hand(device):
    """Log-ratios 0.3 and -0.1: the ratio of both tokens is exp(0.1), and each gets half of its gradient."""
    case = Case(
        torch.tensor([[-0.7, -1.1]]),
        torch.full((1, 2), -1.0),
        torch.full((1, 2), 2.0),
        torch.full((1, 2), 0.5),
        torch.zeros(1, 2),
    )
    leaf = case.logprobs.to(device).requires_grad_()
    on_device = [t.to(device) for t in (case.old, case.advantages, case.weights)]
    loss, metrics = grpo_loss(leaf, *on_device, ratio="sequence", **choices())
    loss.backward()
    assert loss.item() == pytest.approx(-2 * math.exp(0.1), rel=1e-6)
    assert leaf.grad.tolist()[0] == pytest.approx([-math.exp(0.1)] * 2, rel=1e-6)
    assert metrics[1].item() == pytest.approx(2 * math.exp(0.1), rel=1e-6)


def test_cispo_by_hand(device):
    """The clipped ratio is a weight: where PPO's gradient stops, this one does not."""
    one = torch.ones(1)
    case = Case(-0.5 * one, (-0.5 - math.log(3.0)) * one, 2 * one, one, one)
    loss, _, gradient = call(grpo_loss, case, device, **choices(objective="cispo"))
    assert loss.item() == pytest.approx(1.28 * 2 * 0.5)
    assert gradient.item() == pytest.approx(1.7 * -1.28 * 2)
    unbounded = choices(objective="cispo") | {"clip_high": INF, "clip_low": 1.0}
    assert call(grpo_loss, case, device, **unbounded)[2].item() == pytest.approx(1.7 * -3.0 * 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(device, dtype):
    case = ordinary()
    loss, metrics, gradient = call(grpo_loss, case, device, dtype, **choices())
    rounded = (t.to(dtype) for t in (case.logprobs, case.old, case.advantages, case.weights))
    same = Case(*rounded, case.reference)
    exact = call(grpo_loss_reference, same, dtype=torch.float64, **choices())
    assert loss.dtype == metrics.dtype == torch.float32
    assert gradient.dtype == dtype
    assert_close(loss, exact[0], 1e-6, 1e-6)
    assert_close(gradient, exact[2], 8e-3, 1e-6)


@pytest.mark.parametrize("layout", ["transposed", "every second", "expanded"])
def test_strides(device, layout):
    case = ordinary(6, 30)

    def bent(t):
        match layout:
            case "transposed":
                return t.t()
            case "every second":
                return t[::2, 1::2]
            case "expanded":
                return t[:1].expand(4, 30)

    tensors = (case.logprobs, case.old, case.advantages, case.weights, case.reference)
    compare(Case(*map(bent, tensors)), device, ratio="sequence", **choices(kl_coefficient=0.1))
    compare(Case(*map(bent, tensors)), device, **choices())


def test_gradients_flow_through_what_comes_before_and_after(device):
    """The leaf is not the log-probabilities, and the loss is one term of several."""
    case = ordinary()
    leaf = torch.tensor(0.9, device=device, requires_grad=True)
    inputs = [t.to(device) for t in (case.old, case.advantages, case.weights)]
    loss, _ = grpo_loss(leaf * case.logprobs.to(device), *inputs, **choices())
    (3.0 * loss + leaf).backward()
    exact = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    inputs = [t.double() if t.is_floating_point() else t for t in (case.old, case.advantages, case.weights)]
    loss, _ = grpo_loss_reference(exact * case.logprobs.double(), *inputs, **choices())
    (3.0 * loss + exact).backward()
    assert_close(leaf.grad, exact.grad, 1e-5, 1e-6)


@pytest.mark.parametrize("ratio", RATIOS)
def test_bitwise_repeatable(device, ratio):
    case = ordinary(4, 1100).packed(1500, 1, 2899)
    chosen = choices(ratio=ratio, kl_coefficient=0.1)
    first, second = (call(grpo_loss, case, device, **chosen) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_offsets_of_32_bits(device):
    case = ordinary().packed(20, 60, 40)
    wide = call(grpo_loss, case, device, **choices(ratio="sequence"))
    narrow = call(grpo_loss, replace(case, offsets=case.offsets.int()), device, **choices(ratio="sequence"))
    assert all(torch.equal(a, b) for a, b in zip(wide, narrow, strict=True))


@pytest.mark.skipif(INTERPRETED or not GPU, reason="needs a GPU: for CUDA graphs")
@pytest.mark.parametrize("ratio", RATIOS)
def test_captured_in_a_graph_and_replayed_on_other_inputs(monkeypatch, ratio):
    """Nothing waits for the GPU, and a replay leaves nothing behind that would break the next."""
    monkeypatch.setenv("LUDUS_KERNELS", "triton")
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
    first, second = (ordinary(9, 2000, seed) for seed in (1, 2))
    inputs = [t.cuda() for t in (first.logprobs, first.old, first.advantages, first.weights)]
    leaf = inputs[0].requires_grad_()

    def step():
        loss, metrics = grpo_loss(leaf, *inputs[1:], ratio=ratio, **choices())
        return loss, metrics, torch.autograd.grad(loss, leaf)[0]

    step()  # compiles
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    for case in (second, first, second):
        for tensor, value in zip(
            inputs, (case.logprobs, case.old, case.advantages, case.weights), strict=True
        ):
            tensor.detach().copy_(value)
        graph.replay()
        assert all(torch.equal(a, b) for a, b in zip(captured, step(), strict=True))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("ratio", RATIOS)
def test_token_by_token(ratio, objective):
    """The tokens' losses add up to the loss; each is what the loss loses when its weight becomes 0, where no
    ratio follows from it."""
    case = ordinary().packed(1, 0, 70, 49)
    chosen = choices(ratio=ratio, objective=objective, kl_estimator="k3", kl_coefficient=0.1)
    by_token = grpo_loss_by_token(
        case.logprobs,
        case.old,
        case.advantages,
        case.weights,
        offsets=case.offsets,
        reference_logprobs=case.reference,
        dual_clip=None,
        **chosen,
    )
    loss, metrics, gradient = call(grpo_loss, case, dtype=torch.float64, **chosen)
    assert by_token.losses.double().sum().item() == pytest.approx(loss.item(), rel=1e-5, abs=1e-7)
    assert_close(1.7 * by_token.gradient, gradient, 1e-5, 1e-7)
    assert_close(by_token.metrics, metrics, 5e-6, 5e-6)
    if ratio == "token":
        without = case.weights.clone()
        without[5] = 0.0
        rest = call(grpo_loss, replace(case, weights=without), dtype=torch.float64, **chosen)[0]
        assert by_token.losses[5].item() == pytest.approx((loss - rest).item(), rel=1e-4, abs=1e-7)


def test_parts_of_a_batch_add_up(device):
    """Loss and gradients do not depend on how the batch is cut; metrics add up."""
    case = ordinary(6, 50)
    whole = call(grpo_loss, case, device, **choices())
    tensors = (case.logprobs, case.old, case.advantages, case.weights, case.reference)
    parts = [
        call(grpo_loss, Case(*(t[rows] for t in tensors)), device, **choices())
        for rows in (slice(0, 1), slice(1, 4), slice(4, 6))
    ]
    assert sum(part[0].item() for part in parts) == pytest.approx(whole[0].item(), rel=1e-5)
    assert torch.equal(torch.cat([part[2] for part in parts]), whole[2])
    metrics = torch.stack([part[1] for part in parts])
    added = metrics.sum(0)
    added[2] = metrics[:, 2].max()
    assert_close(added, whole[1], 1e-5, 1e-5)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_gradient_is_the_slope(device, fused_path, ratio, estimator):
    """Directional finite differences of the value, in float64, where it has no stop-gradient: without a KL
    term, and with the k3 of a token ratio, whose gradient is that of its value."""
    case = ordinary(3, 20)
    kl = 0.1 if estimator == "k3" else 0.0
    chosen = choices(ratio=ratio, kl_estimator=estimator, kl_coefficient=kl)
    gradient = call(grpo_loss, case, device, **chosen)[2].cpu().double() / 1.7
    direction = torch.randn(case.old.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    step = 1e-6

    def value(sign):
        moved = replace(case, logprobs=case.logprobs.double() + sign * step * direction)
        return call(grpo_loss_reference, moved, dtype=torch.float64, **chosen)[0].item()

    slope = (value(1) - value(-1)) / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(slope, rel=2e-4, abs=1e-5)


@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=6),
    ratio=st.sampled_from(RATIOS),
    objective=st.sampled_from(OBJECTIVES),
    estimator=st.sampled_from((None, *ESTIMATORS)),
    low=st.floats(0.0, 0.9),
    high=st.floats(0.0, 2.0),
    dual=st.one_of(st.none(), st.floats(1.01, 4.0)),
    spread=st.floats(0.0, 30.0),
    seed=st.integers(0, 1000),
)
@settings(max_examples=150)
def test_any_batch(lengths, ratio, objective, estimator, low, high, dual, spread, seed):
    """The written-down gradient against autograd's, in float64."""
    case = ordinary(1, sum(lengths), seed)
    case = replace(case, old=case.logprobs + spread * (case.old - case.logprobs)).packed(*lengths)
    kl = {"kl_estimator": estimator, "kl_coefficient": 0.3} if estimator else {}
    chosen = choices(ratio=ratio, objective=objective, **kl)
    chosen |= {"clip_low": low, "clip_high": high, "dual_clip": dual if objective == "clip" else None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUDUS_KERNELS", "cpu")
        compare(case, "cpu", torch.float64, 1e-12, **chosen)


def test_float64_goes_to_the_torch_path(device):
    compare(ordinary(), device, torch.float64, 1e-12, **choices(ratio="sequence"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logprobs": torch.zeros(2, 2, 2)}, r"logprobs must be \[S, T\], or packed \[N\]"),
        ({"logprobs": torch.zeros(2, 3, dtype=torch.int64)}, "int64 is not supported"),
        ({"old_logprobs": torch.zeros(2, 1)}, r"old_logprobs must be \[2, 3\]"),
        ({"weights": torch.ones(3)}, r"weights must be \[2, 3\]"),
        ({"weights": -torch.ones(2, 3)}, "negative or nan"),
        ({"weights": torch.full((2, 3), NAN)}, "negative or nan"),
        ({"advantages": torch.zeros(2)}, r"advantages must be \[2, 3\], one per token"),
        ({"old_logprobs": torch.zeros(2, 3, requires_grad=True)}, r"pass old_logprobs\.detach\(\)"),
        ({"advantages": torch.zeros(2, 3, requires_grad=True)}, r"pass advantages\.detach\(\)"),
        ({"kl_coefficient": 0.1}, "no reference_logprobs"),
        ({"kl_coefficient": -0.1}, "kl_coefficient must be 0 or more"),
        ({"clip_low": -0.1}, "clip_low must be 0 or more"),
        ({"clip_high": NAN}, "clip_high must be 0 or more"),
        ({"dual_clip": 1.0}, "dual_clip must be above 1, not 1.0"),
        ({"dual_clip": NAN}, "dual_clip must be above 1, not nan"),
        ({"dual_clip": 3.0, "objective": "cispo"}, 'dual_clip bounds the objective "clip"'),
        ({"ratio": "tokens"}, "ratio must be one of token, sequence"),
        ({"objective": "ppo"}, "objective must be one of clip, cispo"),
        ({"kl_estimator": "k4"}, "kl_estimator must be one of k1, k2, k3"),
        ({"offsets": torch.tensor([0, 6])}, r"offsets belong to packed logprobs \[N\]"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    zeros = torch.zeros(2, 3)
    arguments = {"logprobs": zeros, "old_logprobs": zeros, "advantages": zeros, "weights": zeros}
    with pytest.raises(ValueError, match=message):
        grpo_loss(**arguments | {"clip_low": 0.2, "clip_high": 0.2} | change)


@pytest.mark.parametrize("offsets", [[0, 4], [1, 5], [0, 3, 2, 5], []])
def test_wrong_offsets_are_named(offsets):
    zeros = torch.zeros(5)
    with pytest.raises(ValueError, match="offsets must"):
        grpo_loss(
            zeros,
            zeros,
            zeros,
            zeros,
            clip_low=0.2,
            clip_high=0.2,
            offsets=torch.tensor(offsets, dtype=torch.int64),
        )
