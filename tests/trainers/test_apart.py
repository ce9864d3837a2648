"""Rows that are not packed score, and give gradients, as each row does alone."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from ludus.agents.episode import TrainingSequence
from ludus.trainers.batches.packing import pack, sampled_counts
from ludus.trainers.models.activations import keep_activations
from ludus.trainers.models.forward import packs, score

from .test_forward import make_forest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TEMPERATURE = 0.7
APART = ["mamba2", "lfm2", "qwen3_5_text", "minimax", "falcon_h1", "bloom", "doge"]


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a tiny model of any architecture, of 96 words."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("families").build


def rows_of_many_lengths() -> list[TrainingSequence]:
    """Some begin others, some are there twice; no special ids."""
    return [
        TrainingSequence(tuple(id + 10 for id in row.ids), row.sampled, row.logprobs)
        for row in make_forest(1, 9)
    ]


def alone(model: Any, rows: list[TrainingSequence]) -> torch.Tensor:
    """Log-probabilities of the sampled tokens in flat order, from each row's own logits."""
    logprobs = []
    for row in rows:
        logits = model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0] / TEMPERATURE
        places = [t for t, sampled in enumerate(row.sampled) if sampled]
        logprobs += [logits[t - 1].log_softmax(-1)[row.ids[t]] for t in places]
    return torch.stack(logprobs)


def gradients(model: Any, parts: list[Any]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Log-probabilities in flat order, and the gradients of a weighted sum of them."""
    model.zero_grad()
    rows = rows_of_many_lengths()
    logprobs = torch.zeros(int(sampled_counts(rows).sum()))
    weights = torch.linspace(-1, 1, len(logprobs))
    for part in parts:
        scored = score(model, part, TEMPERATURE)
        logprobs[part.token_N] = scored.logprobs.detach()
        (scored.logprobs * weights[part.token_N]).sum().backward()
    return logprobs, [p.grad.clone() for p in model.parameters() if p.grad is not None]


def relative(mine: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    """The difference of two gradients as a whole, in float32 norms."""
    away = sum(float((a - b).double().square().sum()) for a, b in zip(mine, theirs, strict=True))
    return (away / sum(float(b.double().square().sum()) for b in theirs)) ** 0.5


@pytest.mark.parametrize("kind", APART)
def test_scores_and_gradients_are_those_of_each_row_alone(build: Any, kind: str) -> None:
    model, rows = build(kind), rows_of_many_lengths()
    assert not packs(model)
    expected = alone(model, rows)
    model.zero_grad()
    (torch.linspace(-1, 1, len(expected)) * expected).sum().backward()
    exact = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    for shares, budget in [(False, 1), (False, 60), (True, 60)]:
        logprobs, found = gradients(model, pack(rows, budget, shares))
        torch.testing.assert_close(logprobs, expected.detach(), rtol=0, atol=1e-4)
        assert relative(found, exact) < 1e-4


def test_activations_that_are_computed_again_give_the_same_gradients(build: Any) -> None:
    model, parts = build("lfm2"), pack(rows_of_many_lengths(), 60, False)
    _, kept = gradients(model, parts)
    keep_activations(model, 1)
    _, again = gradients(model, parts)
    assert all(map(torch.equal, kept, again))


def test_rows_that_share_nothing_stay_within_the_budget(build: Any) -> None:
    rows = [
        TrainingSequence((*range(10, 40), 50 + i, 5), (False,) * 31 + (True,), (0.0,) * 32) for i in range(8)
    ]
    assert [part.tokens for part in pack(rows, 64)] == [38]
    assert [part.tokens for part in pack(rows, 64, shares=False)] == [62] * 4


def test_a_model_that_scales_its_last_hidden_states_is_packed(build: Any) -> None:
    model, rows = build("minicpm3"), rows_of_many_lengths()
    assert packs(model)
    expected = alone(model, rows)
    logprobs, _ = gradients(model, pack(rows, 60))
    torch.testing.assert_close(logprobs, expected.detach(), rtol=0, atol=1e-4)
