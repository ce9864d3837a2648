"""Losses: operator and weights agree with the papers' formulas, for every entry in the registry."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.episode import Episode
from ludus.kernels import grpo_loss, token_weights
from ludus.kernels.group_advantage.reference import AdvantageKind
from ludus.trainers.advantages.registry import ADVANTAGES, AdvantageName
from ludus.trainers.advantages.shaping import soft_overlong_penalty
from ludus.trainers.batches.groups import make_groups
from ludus.trainers.batches.minibatch import make_minibatches
from ludus.trainers.config.run import RunConfig
from ludus.trainers.losses.policy import PolicyMetrics
from ludus.trainers.losses.registry import LOSSES, LossSpec, ReferenceBatch, table

from .conftest import changed

DOCS = Path(__file__).parents[2] / "docs"
BOUNDS = {"clip_low": 0.2, "clip_high": 0.28}
MAX_TOKENS = 10
token = st.tuples(st.floats(-9, 0), st.floats(-9, 0), st.floats(-3, 3))
episodes = st.lists(st.lists(token, min_size=1, max_size=6), min_size=1, max_size=5)


def weights_of(spec: LossSpec, tokens_E: torch.Tensor) -> torch.Tensor:
    return token_weights(spec.normaliser, tokens_E, MAX_TOKENS if spec.normaliser == "constant" else None)


@pytest.mark.parametrize("name", LOSSES)
@given(rows=episodes)
@settings(max_examples=60)
def test_every_loss_and_its_gradient_are_those_of_its_reference(name: str, rows: list) -> None:
    spec = LOSSES[name]
    columns = [[torch.tensor([t[i] for t in row], dtype=torch.float64) for row in rows] for i in range(3)]
    leaf = torch.cat(columns[0]).requires_grad_()
    lengths = torch.tensor([len(row) for row in rows])
    loss, _ = grpo_loss(
        leaf,
        torch.cat(columns[1]),
        torch.cat(columns[2]),
        weights_of(spec, lengths).repeat_interleave(lengths),
        offsets=torch.tensor([0, *lengths.cumsum(0)]),
        ratio=spec.ratio,
        objective=spec.objective,
        **BOUNDS,
    )
    (gradient,) = torch.autograd.grad(loss, leaf)
    other = leaf.detach().clone().requires_grad_()
    batch = ReferenceBatch(
        other.split(lengths.tolist()), columns[1], columns[2], max_tokens=MAX_TOKENS, **BOUNDS
    )
    expected = spec.reference(batch)
    (expected_gradient,) = torch.autograd.grad(expected, other)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-9)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Two episodes, of 1 and of 4 tokens, ratio 1, advantages +1 and -1.
        ("grpo", -(1 / 2) * (1 - 4 / 4)),
        ("dr_grpo", -(1 / 2) * (1 / 10 - 4 / 10)),
        ("dapo", -(1 - 4) / 5),
        ("gspo", -(1 / 2) * (1 - 4 / 4)),
        ("cispo", -(1 * -2 - 4 * -2) / 5),
        ("ppo", -(1 - 4) / 5),
    ],
)
def test_references_by_hand(name: str, expected: float) -> None:
    logprobs = [torch.full((1,), -2.0), torch.full((4,), -2.0)]
    advantages = [torch.ones(1), -torch.ones(4)]
    batch = ReferenceBatch(logprobs, logprobs, advantages, max_tokens=MAX_TOKENS, **BOUNDS)
    assert LOSSES[name].reference(batch).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@given(data=st.data())
@settings(max_examples=30)
def test_loss_and_gradients_do_not_depend_on_the_cut(name: str, data: st.DataObject) -> None:
    """Whole episodes may go into any micro-batch, in any order."""
    spec = LOSSES[name]
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=8))
    generator = torch.Generator().manual_seed(sum(lengths))
    tokens = sum(lengths)
    logprobs = -3 * torch.rand(tokens, generator=generator, dtype=torch.float64)
    old = logprobs + 0.3 * torch.randn(tokens, generator=generator, dtype=torch.float64)
    advantages = torch.randn(tokens, generator=generator, dtype=torch.float64)
    weights = weights_of(spec, torch.tensor(lengths)).repeat_interleave(torch.tensor(lengths))
    places = torch.arange(tokens).split(lengths)
    order = data.draw(st.permutations(range(len(lengths))))
    cut = data.draw(st.integers(0, len(lengths)))

    def run(parts: list[list[int]]) -> tuple[float, torch.Tensor, PolicyMetrics]:
        leaf = logprobs.clone().requires_grad_()
        total, metrics = 0.0, PolicyMetrics()
        for part in (part for part in parts if part):
            chosen = torch.cat([places[episode] for episode in part])
            offsets = torch.tensor([0, *(lengths[episode] for episode in part)]).cumsum(0)
            given = (leaf[chosen], old[chosen], advantages[chosen], weights[chosen])
            loss, m = grpo_loss(*given, offsets=offsets, ratio=spec.ratio, objective=spec.objective, **BOUNDS)
            loss.backward()
            total, metrics = total + loss.item(), metrics + PolicyMetrics.read(m)
        assert leaf.grad is not None
        return total, leaf.grad, metrics

    whole, whole_gradient, whole_metrics = run([list(range(len(lengths)))])
    cut_loss, cut_gradient, cut_metrics = run([order[:cut], order[cut:]])
    assert cut_loss == pytest.approx(whole, rel=1e-12, abs=1e-12)
    torch.testing.assert_close(cut_gradient, whole_gradient, rtol=1e-12, atol=1e-15)
    assert cut_metrics.tokens == whole_metrics.tokens == tokens
    assert cut_metrics.means() == pytest.approx(whole_metrics.means())


def test_what_a_token_counts_in_its_minibatch(policy, tiny: RunConfig, episode) -> None:
    """An episode that forked is one episode; one without a sampled token counts as an episode."""
    long, short = episode(1.0, tokens=3), episode(0.0, tokens=1)
    forked = Episode(**{name: getattr(long, name) for name in long.__slots__} | {"turns": _fork(long)})
    silent = Episode(**{name: getattr(short, name) for name in short.__slots__} | {"turns": ()})
    for name, expected in (
        ("grpo", [1 / 18] * 6 + [1 / 3]),
        ("dr_grpo", [1 / (3 * tiny.rollout.max_sampled_tokens)] * 7),
        ("dapo", [1 / 7] * 7),
    ):
        config = changed(tiny, "grpo", loss=name)
        (minibatch,) = make_minibatches(
            [make_groups([forked, short, silent], config)], policy.model, policy.model, config
        )
        assert minibatch.weights_S.tolist() == pytest.approx(expected)


def _fork(episode: Episode):
    from dataclasses import replace

    (turn,) = episode.turns
    return (turn, replace(turn, fork=True))


def test_metrics_by_hand() -> None:
    ratio = torch.tensor([0.5, 0.5, 1.0, 2.0, 2.0], dtype=torch.float64)
    advantages = torch.tensor([-1.0, 1.0, 1.0, 1.0, -1.0])
    _, metrics = grpo_loss(ratio.log(), torch.zeros(5), advantages, torch.ones(5), **BOUNDS)
    means = PolicyMetrics.read(metrics).means()
    assert means["ratio_mean"] == pytest.approx(6 / 5)
    assert means["ratio_max_deviation"] == pytest.approx(1.0)
    assert means["clip_low"] == pytest.approx(1 / 5)
    assert means["clip_high"] == pytest.approx(1 / 5)
    assert means["policy_kl"] == pytest.approx(sum(r - 1 - math.log(r) for r in ratio.tolist()) / 5)


def test_soft_overlong_penalty_by_hand() -> None:
    lengths = [0, 80, 81, 90, 99, 100, 101, 500]
    penalties = [soft_overlong_penalty(length, limit=100, margin=20) for length in lengths]
    assert penalties == pytest.approx([0.0, 0.0, -0.05, -0.5, -0.95, -1.0, -1.0, -1.0])
    assert all(a >= b for a, b in pairwise(penalties))


@pytest.mark.parametrize("margin", [0, -1, 101])
def test_an_impossible_margin_is_refused(margin: int) -> None:
    with pytest.raises(ValueError, match="margin must be between"):
        soft_overlong_penalty(1, 100, margin)


def test_the_documentation_has_the_registrys_table() -> None:
    assert table() in (DOCS / "losses.md").read_text(encoding="utf-8")


def test_every_advantage_has_a_description() -> None:
    assert set(AdvantageKind.__args__) < set(AdvantageName.__args__)
    assert tuple(ADVANTAGES) == AdvantageName.__args__
