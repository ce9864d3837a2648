"""Correction for what the engine computed differently: values, bias, and where it enters."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from ludus.agents.models import LoadedModel
from ludus.trainers.batches.groups import make_groups
from ludus.trainers.batches.minibatch import make_minibatches, minibatch_metrics
from ludus.trainers.config.run import RunConfig
from ludus.trainers.losses.correction import Level, Mode, bounded, engine_ratio

from .conftest import changed

LOG_RATIOS = [[0.5, 1.0], [-0.3]]
"""Of two rows."""


def ratio(level: Level, log_ratios: list[list[float]] = LOG_RATIOS) -> torch.Tensor:
    flat = torch.tensor([value for row in log_ratios for value in row])
    engine = torch.linspace(-2.0, -1.0, len(flat))
    return engine_ratio(level, engine + flat, engine, torch.tensor([len(row) for row in log_ratios]))


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("token", [0.5, 1.0, -0.3]),
        ("sequence", [1.5, 1.5, -0.3]),
        ("geometric", [0.75, 0.75, -0.3]),
    ],
)
def test_ratios_by_hand(level: Level, expected: list[float]) -> None:
    assert ratio(level).tolist() == pytest.approx([math.exp(value) for value in expected], rel=1e-6)


def test_bounds_by_hand() -> None:
    ratios = torch.tensor([0.5, 1.0, 2.0, 3.0])
    assert bounded("truncate", 2.0, ratios).tolist() == [0.5, 1.0, 2.0, 2.0]
    assert bounded("mask", 2.0, ratios).tolist() == [0.5, 1.0, 2.0, 0.0]


def test_what_the_engine_found_impossible_stays_finite() -> None:
    for level in ("token", "sequence", "geometric"):
        assert ratio(level, [[math.inf, -math.inf], [200.0]]).isfinite().all()


def test_rows_without_a_token_and_no_rows_at_all() -> None:
    nothing = torch.zeros(0)
    for level in ("token", "sequence", "geometric"):
        assert engine_ratio(level, nothing, nothing, torch.zeros(2, dtype=torch.int64)).shape == (0,)


SYMBOLS, LENGTH = 3, 2
SEQUENCES = list(itertools.product(range(SYMBOLS), repeat=LENGTH))
GENERATOR = torch.Generator().manual_seed(0)
LOGITS, NOISE = torch.randn(2, 1 + SYMBOLS, SYMBOLS, generator=GENERATOR, dtype=torch.float64)
"""The trainer's, of the first symbol and of the second after each first, and how the engine's differ."""
RETURNS = torch.randn(len(SEQUENCES), generator=GENERATOR, dtype=torch.float64)


def logprobs(logits: torch.Tensor) -> torch.Tensor:
    """Of each symbol of each sequence, [sequences, 2]."""
    table = logits.log_softmax(1)
    return torch.stack([torch.stack([table[0, a], table[1 + a, b]]) for a, b in SEQUENCES])


def bias(level: Level, mode: Mode, bound: float, symbols: int = LENGTH) -> float:
    """The largest error of the expected gradient of rows that the engine samples, where only the first
    `symbols` of two are a policy's."""
    logits = LOGITS.clone().requires_grad_()
    new, engine = logprobs(logits)[:, :symbols], logprobs(LOGITS + 0.5 * NOISE)[:, :symbols]
    last = logprobs(LOGITS)[:, symbols:].sum(1)  # what is not the policy's is the same for both
    true = ((new.sum(1) + last).exp() * RETURNS).sum()
    (expected,) = torch.autograd.grad(true, logits, retain_graph=True)
    counts = torch.full((len(SEQUENCES),), symbols)
    weight = bounded(
        mode, bound, engine_ratio(level, new.detach().flatten(), engine.flatten(), counts)
    ).view_as(new)
    probability = (engine.sum(1) + last).exp()
    surrogate = (probability[:, None] * weight * RETURNS[:, None] * new).sum()
    (gradient,) = torch.autograd.grad(surrogate, logits)
    return (gradient - expected).abs().max().item()


def test_a_sequences_product_has_no_bias_and_a_bound_brings_some() -> None:
    assert bias("sequence", "truncate", math.inf) < 1e-14
    assert bias("sequence", "truncate", 1.5) > 1e-3
    assert bias("sequence", "mask", 1.5) > 1e-3


def test_a_tokens_ratio_has_no_bias_for_one_token_and_some_for_more() -> None:
    assert bias("token", "truncate", math.inf, symbols=1) < 1e-14
    assert bias("token", "truncate", math.inf) > 1e-3


@pytest.mark.parametrize("mode", ["truncate", "mask"])
@pytest.mark.parametrize("level", ["token", "sequence", "geometric"])
def test_advantages_are_weighted_and_what_was_bounded_is_counted(
    policy: LoadedModel, tiny: RunConfig, episode, level: Level, mode: Mode
) -> None:
    """The first episode's engine is off by a third of a nat at each of 3 tokens, the second's by nothing."""
    plain = changed(tiny, "grpo", updates_per_batch=1, kl_coefficient=0.0)
    config = changed(plain, "grpo", correction=level, correction_mode=mode, correction_bound=1.3)
    episodes = [episode(1.0), episode(0.0, tokens=4)]
    right = make_minibatches([make_groups(episodes, plain)], policy.model, None, plain)[0]
    episodes = [
        replace(played, turns=(replace(played.turns[0], logprobs=tuple((values - shift).tolist())),))
        for played, values, shift in zip(
            episodes, right.old_logprobs_S.split([3, 4]), (1 / 3, 0), strict=True
        )
    ]
    minibatch = make_minibatches([make_groups(episodes, config)], policy.model, None, config)[0]
    over = math.exp(1.0 if level == "sequence" else 1 / 3)
    factor = {"truncate": min(over, 1.3), "mask": 0.0 if over > 1.3 else over}[mode]
    expected = right.advantages_S * torch.tensor([factor] * 3 + [1.0] * 4)
    torch.testing.assert_close(minibatch.advantages_S, expected)
    assert torch.equal(minibatch.weights_S, right.weights_S)
    measured = minibatch_metrics([minibatch], config)
    assert measured["correction_mean"] == pytest.approx((3 * factor + 4) / 7)
    assert measured["correction_bounded"] == pytest.approx(3 / 7)
    assert "correction_mean" not in minibatch_metrics([right], plain)
