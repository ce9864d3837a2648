"""Learning rates by hand, clipping, gradients that are not numbers, and the algorithms of a step."""

import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn

from ludus.trainers.config.optimizer import Algorithm
from ludus.trainers.config.reading import parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.config.sft import SftSection
from ludus.trainers.errors import ConfigError
from ludus.trainers.models.checkpoint import Progress, load_checkpoint, save_checkpoint
from ludus.trainers.models.optimizer import (
    Optimizer,
    apply_gradients,
    build_optimizer,
    learning_rate,
    take_step,
)
from ludus.trainers.run.job import train
from ludus.trainers.run.policy import load_policy

from .conftest import changed
from .test_run import Killed, StopAt, outcome

RATE = 1e-2


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


class Words(nn.Module):
    """An embedding, a layer whose matrix is large enough for a state in 8 bits, a norm and a narrow head."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.layer = nn.Embedding(70, 64), nn.Linear(64, 128)
        self.norm, self.head = nn.LayerNorm(128), nn.Linear(128, 1)
        self.to(dtype)


def steps(model: nn.Module, optimizer: Optimizer, count: int, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        take_step(optimizer, RATE)


def stepped(
    algorithm: str, count: int = 1, dtype: torch.dtype = torch.float32, **keys: Any
) -> dict[str, Any]:
    """What steps changed, by name."""
    model = Words(dtype)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    section = SftSection(optimizer=algorithm, **keys)  # type: ignore[arg-type]
    steps(model, build_optimizer(model, section), count)
    return {name: parameter.detach() - before[name] for name, parameter in model.named_parameters()}


def test_muon_turns_the_matrices_of_layers_and_leaves_the_rest_to_adamw() -> None:
    """An update's singular values are brought near 1, within 0.5 and 1.5 of torch's five iterations, and
    scaled by 0.2 sqrt(the larger side), so that its mean square is about AdamW's."""
    muon, adamw = stepped("muon"), stepped("adamw")
    for name in adamw:
        assert torch.equal(muon[name], adamw[name]) == (name != "layer.weight")
    sizes = torch.linalg.svdvals(muon["layer.weight"]) / (RATE * 0.2 * math.sqrt(128))
    assert sizes.min() > 0.4
    assert sizes.max() < 1.6


def test_the_head_of_a_language_model_is_no_matrix_of_a_layer(tiny: RunConfig, tiny_folder: Path) -> None:
    model = load_policy(tiny_folder, tiny).model
    optimizer = build_optimizer(model, SftSection(optimizer="muon"))
    names = {parameter: name for name, parameter in model.named_parameters()}
    turned = [names[p] for group in optimizer.param_groups if "ns_steps" in group for p in group["params"]]
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    assert sorted(turned) == sorted(f"{name}.weight" for name in linear if name != "lm_head")


def test_eight_bits_remember_what_a_step_needs() -> None:
    """A step in a random direction differs by some percent; the embedding's state is whole."""
    short, adamw = stepped("adamw_8bit", 20), stepped("adamw", 20)
    assert torch.equal(short["embedding.weight"], adamw["embedding.weight"])
    off = (short["layer.weight"] - adamw["layer.weight"]).norm() / adamw["layer.weight"].norm()
    assert 0 < off < 0.1
    model = Words()
    optimizer = build_optimizer(model, SftSection(optimizer="adamw_8bit"))
    steps(model, optimizer, 1)
    states = optimizer.state_dict()["state"].values()
    assert [state["state1"].dtype for state in states if "absmax1" in state] == [torch.uint8]


@pytest.mark.parametrize("algorithm", ["muon", "adamw", "adamw_8bit"])
def test_rates_by_name(algorithm: str) -> None:
    """The schedule multiplies them all; of two patterns that fit, the first counts."""
    factors = {"layer.*": 0.25, "*weight": 4.0}
    plain, scaled = stepped(algorithm), stepped(algorithm, rate_factors=factors)
    for name, by in {"layer.weight": 0.25, "layer.bias": 0.25, "embedding.weight": 4, "norm.bias": 1}.items():
        torch.testing.assert_close(scaled[name], by * plain[name], rtol=1e-3, atol=1e-6)


def test_a_pattern_that_fits_nothing_is_refused(tiny: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'"leyer\.\*" fits no weight .* such as norm') as refused:
        stepped("adamw", rate_factors={"leyer.*": 2.0})
    assert "\n" not in str(refused.value)
    by_critic = {**tiny.model_dump(), "grpo": {"credit": "gae"}, "critic": {"rate_factors": {"wte": 0.1}}}
    for config in (changed(tiny, "grpo", rate_factors={"wte": 0.1}), parse_config(by_critic)):
        with pytest.raises(ConfigError, match='"wte" fits no weight'):
            train(config, tmp_path / "run")
        assert not (tmp_path / "run" / "models" / "primed").exists()


@pytest.mark.parametrize("algorithm", [name for name in get_args(Algorithm) if not name.startswith("paged")])
@pytest.mark.parametrize("keeps_masters", [True, False])
def test_a_checkpoint_holds_the_state_of_every_algorithm(
    algorithm: Any, keeps_masters: bool, tmp_path: Path
) -> None:
    section = SftSection(optimizer=algorithm, weight_decay=0.1, rate_factors={"layer.*": 0.5})
    model, again = Words(torch.bfloat16), Words(torch.bfloat16)
    optimizer, restored = (build_optimizer(each, section, keeps_masters) for each in (model, again))
    steps(model, optimizer, 3)
    path = save_checkpoint(tmp_path, 1, Progress("sft", 1, 0), model, optimizer, 2)
    steps(model, optimizer, 3, seed=1)
    steps(again, restored, 1, seed=2)
    load_checkpoint(path, again, restored)
    steps(again, restored, 3, seed=1)
    assert all(map(torch.equal, model.parameters(), again.parameters()))
    mine, theirs = (one.state_dict()["state"] for one in (optimizer, restored))
    assert mine.keys() == theirs.keys()
    for index, slots in mine.items():
        assert slots.keys() == theirs[index].keys()
        assert all(torch.equal(tensor, theirs[index][name]) for name, tensor in slots.items())


@pytest.mark.slow
def test_a_run_stopped_anywhere_ends_in_the_same_bits(tiny: RunConfig, tmp_path: Path) -> None:
    factors = {"*.mlp.*": 0.5}
    sft = {"steps": 3, "demonstrations": 8, "heldout_demonstrations": 1, "batch_episodes": 4}
    config = changed(tiny, "sft", **sft, optimizer="adamw_8bit", rate_factors=factors)
    config = changed(config, "grpo", steps=3, groups=2, optimizer="muon", rate_factors=factors)
    config = changed(changed(config, "model", train_embeddings=False), "checkpoint", every=2)
    config = changed(config, "evaluation", episodes=2)
    whole = train(config, tmp_path / "whole")
    for phase in ("sft", "grpo"):
        with pytest.raises(Killed):
            train(config, tmp_path / phase, listener=StopAt(phase, 3))
        train(config, tmp_path / phase, resume=True)
        assert outcome(tmp_path / phase) == outcome(whole)
    initial, final = (load_policy(whole / "models" / stage, tiny).model for stage in ("initial", "final"))
    changes = {
        name: not torch.equal(parameter, dict(final.named_parameters())[name])
        for name, parameter in initial.named_parameters()
    }
    assert [name for name, is_changed in changes.items() if not is_changed] == ["model.embed_tokens.weight"]


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"grpo": {"optimizer": "adamw8bit"}}, "did you mean adamw_8bit"),
        ({"sft": {"optimizer": "paged_adamw"}}, 'model.device = "cpu" is no GPU; take "adamw"'),
        ({"grpo": {"optimizer": "paged_adamw_8bit"}}, 'take "adamw_8bit"'),
        ({"grpo": {"rate_factors": {"*": 0.0}}}, "grpo.rate_factors.*"),
        ({"model": {"offload_activations": True}}, 'device = "cpu" is none; take device = "cuda"'),
        ({"model": {"recompute": "selective"}}, "take recompute_every = 1"),
        (
            {"model": {"path": "base", "train_embeddings": False}, "adapter": {}},
            "is for training without [adapter]",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(sections: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config({"environment": {"id": "ludus/Arithmetic-v0"}, **sections})
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
