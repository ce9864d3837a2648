"""Coefficients that change during training: pure functions of step and history."""

import math

import pytest

from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.config.run import RunConfig
from ludus.trainers.schedules import annealed, at_step, coefficient_metrics

from .conftest import changed


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [2.0, 2.0, 2.0, 2.0, 2.0]),
        ("linear", [2.0, 1.5, 1.0, 0.5, 0.0]),
        ("cosine", [2.0, 1.0 + math.cos(math.pi / 4), 1.0, 1.0 + math.cos(3 * math.pi / 4), 0.0]),
    ],
)
def test_a_falling_coefficient_reaches_zero_at_its_end_and_stays_there(schedule, expected) -> None:
    assert [annealed(2.0, schedule, step, 4) for step in range(5)] == pytest.approx(expected)
    assert annealed(2.0, schedule, 9, 4) == expected[-1]


def adaptive(**keys) -> GrpoSection:
    return GrpoSection(kl_coefficient=0.1, kl_schedule="adaptive", kl_target=0.05, **keys)


def coefficient(tiny: RunConfig, grpo: GrpoSection, divergences: list) -> float:
    history = [{"reward": 0.0} if kl is None else {"kl": kl} for kl in divergences]
    return at_step(tiny.model_copy(update={"grpo": grpo}), len(history), history).grpo.kl_coefficient


def test_an_adaptive_coefficient_by_hand(tiny: RunConfig) -> None:
    """Twice the target counts as 20% above; 10% below counts as it is; a step without updates not at all."""
    assert coefficient(tiny, adaptive(), []) == 0.1
    assert coefficient(tiny, adaptive(), [0.1]) == pytest.approx(0.1 * 1.02)
    assert coefficient(tiny, adaptive(), [0.1, None, 0.045]) == pytest.approx(0.1 * 1.02 * 0.99)
    assert coefficient(tiny, adaptive(kl_horizon=2.0), [0.0]) == pytest.approx(0.1 * 0.9)


def test_an_adaptive_coefficient_holds_a_divergence_at_its_target(tiny: RunConfig) -> None:
    """A policy whose divergence is inversely proportional to the coefficient."""
    divergences: list[float] = []
    for _ in range(200):
        divergences.append(0.001 / coefficient(tiny, adaptive(), divergences))
    assert divergences[0] == pytest.approx(0.01)
    assert divergences[-1] == pytest.approx(0.05, rel=0.01)


def test_coefficients_at_a_step(tiny: RunConfig) -> None:
    config = changed(
        tiny,
        "grpo",
        steps=10,
        kl_coefficient=0.4,
        kl_schedule="linear",
        kl_steps=4,
        entropy_coefficient=0.02,
        entropy_schedule="cosine",
    )
    now = at_step(config, 1, []).grpo
    assert now.kl_coefficient == pytest.approx(0.3)
    assert at_step(config, 4, []).grpo.kl_coefficient == 0.0
    assert at_step(config, 5, []).grpo.entropy_coefficient == pytest.approx(0.01)
    assert coefficient_metrics(config.grpo, now) == {
        "kl_coefficient": now.kl_coefficient,
        "entropy_coefficient": now.entropy_coefficient,
    }
    assert at_step(tiny, 3, [{"kl": 5.0}]) == tiny
    assert coefficient_metrics(tiny.grpo, tiny.grpo) == {}
