"""Weights in bfloat16: steps are float32 steps, small ones count, and a resumed run goes on with the same
bits."""

import math
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ludus.agents.models import LoadedModel
from ludus.trainers.algorithms.sft import team_gradients
from ludus.trainers.config.reading import parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.config.sft import SftSection
from ludus.trainers.errors import CheckpointError, ConfigError
from ludus.trainers.models.checkpoint import Progress, load_checkpoint, save_checkpoint
from ludus.trainers.models.optimizer import Optimizer, apply_gradients, build_optimizer, take_step
from ludus.trainers.models.precision import rounded_at_random
from ludus.trainers.parallel.team import Team
from ludus.trainers.run.job import train

from .conftest import changed
from .test_forward import make_rows
from .test_resuming import variant
from .test_run import Leaves, left, outcome

STEPS, RATE = 100, 1e-4


def model(dtype: torch.dtype = torch.bfloat16) -> nn.Sequential:
    """All weights near 1, where two neighbours in bfloat16 are 2**-7 apart, or 2**-8 below 1."""
    made = nn.Sequential(nn.Linear(40, 50, bias=False), nn.LayerNorm(40))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(1 + 0.5 * torch.rand(parameter.shape, generator=torch.Generator().manual_seed(0)))
            parameter.copy_(parameter.bfloat16())
    return made.to(dtype)


def steps(made: nn.Module, optimizer: Optimizer, count: int = STEPS) -> None:
    """Constant gradients, by which Adam moves every weight by the rate in each step."""
    for _ in range(count):
        for parameter in made.parameters():
            parameter.grad = torch.full(parameter.shape, 0.01)
        take_step(optimizer, RATE)


def test_a_step_is_that_of_float32_weights() -> None:
    short, long = model(), model(torch.float32)
    for made in (short, long):
        steps(made, build_optimizer(made, SftSection(weight_decay=0.1)))
    for parameter, other in zip(short.parameters(), long.parameters(), strict=True):
        assert torch.equal(parameter, other.bfloat16())


@pytest.mark.parametrize("keeps_masters", [True, False])
def test_steps_smaller_than_half_the_distance_of_two_numbers_count(keeps_masters: bool) -> None:
    """The mean of 2,000 weights moves by all steps together: rounding to the nearest number, at random or
    not, adds at most a standard deviation of 2**-8 a step (at random), whose mean over the weights is less
    than 2**-8 * sqrt(steps / weights), five of which are the bound."""
    torch.manual_seed(0)
    made = model()
    before = made[0].weight.double().mean()
    steps(made, build_optimizer(made, SftSection(), keeps_masters))
    moved = (before - made[0].weight.double().mean()).item()
    assert moved == pytest.approx(STEPS * RATE, abs=5 * 2**-8 * math.sqrt(STEPS / 2000))
    assert moved > 0.3 * STEPS * RATE


@given(st.floats(min_value=-(2.0**100), max_value=2.0**100, width=32))
def test_rounding_at_random_takes_one_of_the_two_neighbours(value: float) -> None:
    exact = torch.tensor(value)
    rounded = rounded_at_random(exact.expand(64)).float()
    towards_zero = (exact.view(torch.int32) & -(1 << 16)).view(torch.float32)
    away = ((exact.view(torch.int32) & -(1 << 16)) + (1 << 16)).view(torch.float32)
    assert set(rounded.tolist()) <= {towards_zero.item(), away.item()}
    if exact.bfloat16().float() == exact:
        assert (rounded == exact).all()


def test_rounding_at_random_is_right_on_average() -> None:
    """Of n roundings that go up with probability p, the share that does is within 5 standard deviations."""
    torch.manual_seed(0)
    n, distance = 100_000, 2.0**-7
    for p in (0.1, 0.5, 0.9):
        rounded = rounded_at_random(torch.full((n,), 1 + p * distance)).double()
        share = ((rounded - 1) / distance).mean().item()
        assert share == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / n))


def test_gradients_are_added_up_in_float32() -> None:
    """In bfloat16, 1 + 2**-9 is 1."""
    made = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    build_optimizer(made, SftSection())
    for size in (1.0, *[2.0**-9] * 64):
        (made(torch.ones(1, dtype=torch.bfloat16)) * size).sum().backward()
    assert made.weight.grad is not None
    assert made.weight.grad.item() == 1 + 64 * 2**-9


@pytest.mark.parametrize("keeps_masters", [True, False])
def test_a_checkpoint_holds_all_that_a_step_depends_on(keeps_masters: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = model()
    optimizer = build_optimizer(made, SftSection(), keeps_masters)
    steps(made, optimizer, 10)
    path = save_checkpoint(tmp_path, 1, Progress("sft", 1, 0), made, optimizer, 2)
    steps(made, optimizer, 10)
    again = model()
    restored = build_optimizer(again, SftSection(), keeps_masters)
    load_checkpoint(path, again, restored)
    steps(again, restored, 10)
    assert all(map(torch.equal, made.parameters(), again.parameters()))
    mine, theirs = (one.state_dict()["state"] for one in (optimizer, restored))
    assert mine.keys() == theirs.keys()
    for index, slots in mine.items():
        assert slots.keys() == theirs[index].keys()
        assert all(torch.equal(tensor, theirs[index][name]) for name, tensor in slots.items())


def test_a_checkpoint_without_masters_is_refused(tmp_path: Path) -> None:
    made = model()
    path = save_checkpoint(
        tmp_path, 1, Progress("sft", 1, 0), made, build_optimizer(made, SftSection(), False), 2
    )
    with pytest.raises(
        CheckpointError, match=r"no float32 copy of the weights, which model.masters asks for"
    ):
        load_checkpoint(path, made, build_optimizer(made, SftSection()))


@pytest.mark.parametrize("masters", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_run_stopped_anywhere_ends_in_the_same_bits(tiny: RunConfig, tmp_path: Path, masters: bool) -> None:
    config = changed(variant(tiny, {}), "model", dtype="bfloat16", masters=masters)
    limits = dict.fromkeys(("mismatch_mean", "mismatch_max", "mismatch_bias", "mismatch_slice"), 1.0)
    config = changed(config, "trust", **limits)
    whole = tmp_path / "whole"
    train(config, whole, listener=Leaves(whole, ("grpo", 5)))
    assert outcome(train(config, left(whole, "grpo", 5), resume=True)) == outcome(whole)
    assert {tensor.dtype for tensor in final(whole).values()} == {torch.bfloat16}


def final(run: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run / "models" / "final" / "model.safetensors")


@pytest.mark.slow
def test_two_workers_add_up_in_float32(
    tiny: RunConfig, policy: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Micro-batches of one row, dealt out or not: the sums differ by their order alone, so by n roundings of
    float32 at most, n the number of micro-batches."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    policy.model.bfloat16()
    optimizer = build_optimizer(policy.model, tiny.sft)
    rows, gradients = make_rows(), []
    for workers in (1, 2):
        config = changed(tiny, "run", workers=workers)
        with Team(config) as team, team.computing_with(policy):
            team_gradients(team, rows, 1)
        gradients.append([parameter.grad.clone() for parameter in policy.model.parameters()])
        optimizer.zero_grad()
    for one, other in zip(*gradients, strict=True):
        assert one.dtype == torch.float32
        bound = len(rows) * torch.finfo(torch.float32).eps * 10 * one.abs().max().item()
        torch.testing.assert_close(one, other, rtol=0, atol=bound)
    assert apply_gradients(optimizer, 1e-3, 1.0) == 0.0


def test_masters_without_a_use_are_refused(tiny: RunConfig) -> None:
    values = tiny.model_dump()
    values["model"]["masters"] = False
    with pytest.raises(ConfigError, match='masters = false has a use with dtype = "bfloat16" only'):
        parse_config(values)
