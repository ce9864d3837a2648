"""Learning rates by hand, clipping, and gradients that are not numbers."""

import math

import pytest
import torch
from torch import nn

from ludus.trainers.config.sft import SftSection
from ludus.trainers.models.optimizer import apply_gradients, build_optimizer, learning_rate


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1.0, 1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
    ],
)
def test_warm_up_and_schedule(schedule: str, rates: list[float]) -> None:
    config = SftSection(learning_rate=1.0, warmup_steps=2, schedule=schedule)  # type: ignore[arg-type]
    assert [learning_rate(config, step, 6) for step in range(6)] == pytest.approx(rates)


def test_only_matrices_decay() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    matrices, vectors = build_optimizer(model, SftSection(weight_decay=0.1)).param_groups
    assert [parameter.ndim for parameter in matrices["params"]] == [2]
    assert matrices["weight_decay"] == 0.1
    assert len(vectors["params"]) == 3
    assert vectors["weight_decay"] == 0.0


def test_the_norm_is_that_before_clipping() -> None:
    model = nn.Linear(1, 1, bias=False)
    optimizer = build_optimizer(model, SftSection())
    model.weight.grad = torch.tensor([[30.0]])
    assert apply_gradients(optimizer, 1e-3, max_grad_norm=1.0) == 30.0
    assert model.weight.grad is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gradient_that_is_no_number_changes_nothing(value: float, dtype: torch.dtype) -> None:
    model = nn.Linear(1, 1, bias=False, dtype=dtype)
    before = model.weight.item()
    optimizer = build_optimizer(model, SftSection())
    model.weight.grad = torch.tensor([[value]])
    assert not math.isfinite(apply_gradients(optimizer, 1e-3, max_grad_norm=1.0))
    assert model.weight.item() == before
    assert model.weight.grad is None
    assert not optimizer.state_dict()["state"].get(0, {}).keys() - {"master"}
