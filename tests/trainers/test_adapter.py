"""Training an adapter: every algorithm runs, the base stays as it is, a stopped run ends in the same bits."""

import asyncio
import hashlib
import json
import os
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from ludus.agents.adapters.lora import adapter_terms
from ludus.agents.engines.base import Completion, Sampling
from ludus.agents.engines.fingerprint import weights_fingerprint
from ludus.agents.models import ModelLoadError
from ludus.cli import main
from ludus.report import write_report
from ludus.trainers.algorithms.sft import team_gradients
from ludus.trainers.batches.packing import pack
from ludus.trainers.checks.numerics import weight_readings
from ludus.trainers.config.reading import parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError
from ludus.trainers.listener import Phase
from ludus.trainers.metrics import read_metrics
from ludus.trainers.models.checkpoint import checkpoints
from ludus.trainers.models.forward import score
from ludus.trainers.models.optimizer import apply_gradients, build_optimizer
from ludus.trainers.parallel.team import Team
from ludus.trainers.run.critic import load_critic
from ludus.trainers.run.job import train
from ludus.trainers.run.policy import initial_model, load_beside, load_policy, run_engine, save_policy

from .conftest import changed
from .test_forward import make_rows
from .test_run import SECONDS, Killed, Leaves, StopAt, left

MATRICES = ("a_RI", "b_OR")
SHORT: dict[str, dict[str, Any]] = {
    "sft": {"steps": 2, "demonstrations": 8, "heldout_demonstrations": 1, "batch_episodes": 4},
    "grpo": {"steps": 3, "groups": 2},
    "evaluation": {"episodes": 2},
    "checkpoint": {"every": 2},
}


def adapted(tiny: RunConfig, folder: Path, **sections: Any) -> RunConfig:
    """A short run that trains an adapter of the tiny model."""
    dump = tiny.model_dump(exclude_none=True)
    del dump["model"]["small"]
    values = {**dump, "adapter": {"rank": 4, **sections.pop("adapter", {})}}
    values["model"] = {**dump["model"], "path": str(folder)}
    for name, keys in (*SHORT.items(), *sections.items()):
        values[name] = {**values.get(name, {}), **keys}
    return parse_config(values)


def outcome(run: Path) -> dict[str, Any]:
    lines = [
        {name: value for name, value in line.items() if not name.startswith(SECONDS)}
        for line in read_metrics(run)
    ]
    models = {
        str(file.relative_to(run)): file.read_bytes()
        for file in sorted((run / "models").rglob("*"))
        if file.is_file()
    }
    return {"models": models, "metrics": lines, "evaluation": (run / "evaluation.json").read_text()}


@pytest.fixture(scope="module")
def wide_folder(tiny: RunConfig) -> Path:
    """A base whose rows are whole blocks of quantised weights."""
    small = {**tiny.model.small.model_dump(), "hidden": 64, "head_dim": 32}
    return Path(initial_model(changed(tiny, "model", small=small), Path("nowhere")))


RESET = {"kl_coefficient": 0.1, "kl_reset_every": 1}
GAE = {"credit": "gae", "loss": "ppo"}
RFT = {"iterations": 1, "tasks": 2, "samples": 2, "steps": 2, "batch_episodes": 2}
PISSA = {"init": "pissa", "rslora": True, "targets": ["q_proj", "down_proj"]}
VARIANTS: dict[str, dict[str, Any]] = {
    "sft, grpo, its reference reset": {"grpo": SHORT["grpo"] | RESET},
    "pissa, rft, ppo with a value model": {
        "adapter": PISSA,
        "rft": RFT | {"only_successes": False, "least_reward": -9.0},
        "grpo": SHORT["grpo"] | GAE,
        "critic": {"kind": "model"},
    },
    "in four bits": {"model": {"quantize": "nf4"}, "grpo": SHORT["grpo"] | RESET},
    "ppo with a value head": {"grpo": SHORT["grpo"] | GAE, "critic": {}},
}


@pytest.mark.parametrize(
    ("name", "moments"),
    [
        ("sft, grpo, its reference reset", [("grpo", 3)]),
        ("in four bits", [("grpo", 3)]),
        *(
            pytest.param(name, moments, marks=pytest.mark.slow)
            for name, moments in (
                ("sft, grpo, its reference reset", [("sft", 1)]),
                ("in four bits", [("sft", 1)]),
                ("pissa, rft, ppo with a value model", [("rft", 1), ("grpo", 3)]),
                ("ppo with a value head", []),
            )
        ),
    ],
)
def test_a_killed_run_ends_in_the_same_bits(
    tmp_path: Path,
    tiny: RunConfig,
    tiny_folder: Path,
    wide_folder: Path,
    name: str,
    moments: list[tuple[Phase, int]],
) -> None:
    sections = VARIANTS[name]
    folder = wide_folder if "four bits" in name else tiny_folder
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    config = adapted(tiny, folder, **sections)
    whole = tmp_path / "whole"
    train(config, whole, listener=Leaves(whole, *moments))
    for moment in moments:
        assert outcome(train(config, left(whole, *moment), resume=True)) == outcome(whole)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    lines = read_metrics(whole)
    assert max(line.get("trust/frozen_weights", 0.0) for line in lines) == 0.0
    assert max(line.get("mismatch_max", 0.0) for line in lines) < 1e-4
    for stage in ("initial", "primed", "final"):
        names = {file.name for file in (whole / "models" / stage).iterdir()}
        assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    assert not list((whole / "models").rglob("model.safetensors"))
    if "reset" in name:
        assert [line["kl"] for line in lines if "kl" in line] == [0.0] * 3
    saved = safetensors.torch.load_file(checkpoints(whole / "checkpoints")[-1] / "model.safetensors")
    assert {name.split(".lora.")[-1] for name in saved} <= {"a_RI", "b_OR", "start_a_RI", "start_b_OR"}


def test_what_is_trained_leaves_the_base_and_the_reference_as_they_are(
    tiny: RunConfig, tiny_folder: Path, tmp_path: Path
) -> None:
    config = adapted(tiny, tiny_folder)
    policy, plain = load_policy(tiny_folder, config), load_policy(tiny_folder, tiny)
    save_policy(policy, tmp_path / "start")
    rows = make_rows()
    with Team(config) as team, team.computing_with(policy):
        (micro,) = pack(rows, 1000)
        before = score(policy.model, micro, 1.0).logprobs
        assert torch.equal(before, score(plain.model, micro, 1.0).logprobs)  # B is 0
        reference = load_beside(policy, tmp_path / "start", config)
        base, optimizer = frozen(policy.model), build_optimizer(policy.model, config.sft)
        for _ in range(3):
            team_gradients(team, rows, 40)
            apply_gradients(optimizer, 1e-2, 1.0)
        assert frozen(policy.model) == base
        assert not torch.equal(score(policy.model, micro, 1.0).logprobs, before)
        assert torch.equal(score(reference, micro, 1.0).logprobs, before)
    weights = [p for p in policy.model.parameters() if not p.requires_grad]
    for own, other in zip(weights, plain.model.parameters(), strict=True):
        assert torch.equal(own, other)
    shared = {parameter.data_ptr() for parameter in reference.parameters()}
    assert {parameter.data_ptr() for parameter in weights} <= shared


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("sections", [{}, {"model": {"quantize": "nf4"}}], ids=["whole", "in four bits"])
def test_a_thousand_syncs_leave_the_base_as_it_was(
    tiny: RunConfig, wide_folder: Path, sections: dict[str, Any]
) -> None:
    """Each after a step, and before a token; by a hash of all that the base consists of."""
    config = adapted(tiny, wide_folder, **sections)
    policy, rows = load_policy(wide_folder, config), make_rows()[:1]
    optimizer = build_optimizer(policy.model, config.sft)
    weights: set[int | None] = set()
    before = base_hash(policy.model)
    with Team(config) as team, team.computing_with(policy), closing(run_engine(policy, config)) as engine:

        async def sample() -> Completion:
            with closing(engine.session()) as session:
                return await session.generate(rows[0].ids[:4], Sampling(1, temperature=1.0), 0)

        for sync in range(1, 1001):
            engine.sleep()
            team_gradients(team, rows, 40)
            apply_gradients(optimizer, 1e-3, 1.0)
            engine.weights_changed()
            engine.wake()
            assert engine.weights_version == sync
            assert len(asyncio.run(sample()).ids) == 1
            weights.add(engine.weights_fingerprint())
        assert engine.weights_fingerprint() == weights_fingerprint(policy.model.named_parameters())
    assert len(weights) == 1000
    assert base_hash(policy.model) == before


def base_hash(model: Any) -> str:
    """SHA-256 of the bytes of every weight that is not trained and of every buffer."""
    digest = hashlib.sha256()
    kept = [(name, p) for name, p in model.named_parameters() if not p.requires_grad]
    for name, tensor in (*kept, *model.named_buffers()):
        digest.update(name.encode() + tensor.detach().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def frozen(model: Any) -> int:
    return weights_fingerprint((name, p) for name, p in model.named_parameters() if not p.requires_grad)


def test_beside_half_precision_small_steps_are_not_lost(tiny: RunConfig, tiny_folder: Path) -> None:
    config = adapted(tiny, tiny_folder, model={"dtype": "bfloat16"})
    model = (policy := load_policy(tiny_folder, config)).model
    before = [term.a_RI.detach().clone() for term in adapter_terms(model).values()]
    optimizer = build_optimizer(model, config.sft)
    with Team(config) as team, team.computing_with(policy):
        for _ in range(2):
            team_gradients(team, make_rows(), 100)
            apply_gradients(optimizer, 1e-6, 1.0)
    after = [term.a_RI.detach() for term in adapter_terms(model).values()]
    moved = torch.cat([(one != other).flatten() for one, other in zip(before, after, strict=True)])
    assert moved.float().mean() > 0.5
    assert weight_readings(model)["not_finite"].value == 0


def test_a_value_model_of_its_own_shares_the_base(tiny: RunConfig, tiny_folder: Path, tmp_path: Path) -> None:
    config = adapted(tiny, tiny_folder, grpo=GAE, critic={"kind": "model"})
    policy = load_policy(tiny_folder, config)
    save_policy(policy, tmp_path / "start")
    critic = load_critic(policy, config, tmp_path / "start")
    assert critic is not None
    own = {name for name, parameter in critic.model.named_parameters() if parameter.requires_grad}
    terms = {f"model.{layer}.lora.{matrix}" for layer in adapter_terms(policy.model) for matrix in MATRICES}
    assert own == {"head.weight", "head.bias", *terms}
    base = {p.data_ptr() for p in policy.model.parameters() if not p.requires_grad}
    assert base <= {p.data_ptr() for p in critic.model.parameters()}


@pytest.mark.slow
def test_two_workers_share_the_gradients_of_the_adapter_alone(
    tiny: RunConfig, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    two = adapted(tiny, tiny_folder, run={"workers": 2})
    gradients = []
    for config in (changed(two, "run", workers=1), two):
        policy = load_policy(tiny_folder, config)
        with torch.no_grad():
            for term in adapter_terms(policy.model).values():
                term.b_OR.add_(0.1)
        policy.model.double()
        with Team(config) as team, team.computing_with(policy):
            team_gradients(team, make_rows(), 20)
        assert all((p.grad is not None) == p.requires_grad for p in policy.model.parameters())
        gradients.append([p.grad for p in policy.model.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def run(tiny: RunConfig, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    base = shutil.copytree(tiny_folder, folder / "base")
    return train(adapted(tiny, base, grpo={"steps": 1, "groups": 2}), folder / "run")


def test_an_adapter_is_evaluated_trained_further_merged_and_reported(
    run: Path, tiny: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    final = run / "models" / "final"
    options = ["--episodes", "4", "--arg", 'operations=["add"]', "--arg", "digits=2"]
    assert main(["eval", "ludus/Arithmetic-v0", "--model", str(final), *options]) == 0
    assert main(["merge", str(run), "--out", str(tmp_path / "whole")]) == 0
    assert (tmp_path / "whole" / "config.json").exists()
    settings = adapted(tiny, final, grpo={"steps": 1, "groups": 2}).model_dump(exclude_none=True)
    del settings["adapter"], settings["model"]["small"]
    further = train(parse_config(settings), tmp_path / "further")
    config = json.loads((further / "models" / "final" / "adapter_config.json").read_text())
    assert (config["r"], config["base_model_name_or_path"]) == (4, str((run.parent / "base").resolve()))
    assert "LoRA adapter of rank 4" in write_report(further).read_text()


@pytest.mark.parametrize(
    ("adapter", "told"),
    [
        ({"rank": 8}, r"rank 8 and scale 4, but .*final is an adapter with rank 4 and scale 8 there: drop"),
        ({"targets": ["q_proj"]}, r"down_proj no term, but .*final is an adapter with rank 4"),
    ],
)
def test_an_adapter_of_another_shape_is_not_trained_further(
    run: Path, tiny: RunConfig, adapter: dict[str, Any], told: str
) -> None:
    final = run / "models" / "final"
    with pytest.raises(ConfigError, match=told) as refused:
        load_policy(final, adapted(tiny, final, adapter=adapter))
    assert "\n" not in str(refused.value)


def test_a_base_that_was_replaced_stops_a_resumed_run(
    tiny: RunConfig, tiny_folder: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(tiny_folder, tmp_path / "base")
    config = adapted(tiny, base)
    with pytest.raises(Killed):
        train(config, tmp_path / "run", listener=StopAt("sft", 1))
    policy = load_policy(base, tiny)
    with torch.no_grad():
        policy.model.model.layers[0].self_attn.q_proj.weight.add_(1e-3)
    policy.model.save_pretrained(base)
    with pytest.raises(ModelLoadError, match=r"was trained on other weights than .*base has now"):
        train(config, tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"adapter": {"rank": 0}}, "adapter.rank = 0"),
        ({"adapter": {"alpha": 0.0}}, "adapter.alpha"),
        ({"adapter": {"targets": []}}, "adapter.targets"),
        ({"adapter": {"targets": "all-linear"}}, 'write ["all-linear"]'),
        ({"adapter": {"kind": "lra"}}, "did you mean lora"),
        ({"adapter": {"init": "pisa"}}, "did you mean pissa"),
        ({"adapter": {"ranks": 4}}, "did you mean rank"),
        ({"model": {"path": "small"}}, 'model.path = "small" makes random ones'),
        ({"sft": {"steps": 0}, "grpo": {"steps": 0}}, "[adapter] is trained by nothing"),
    ],
)
def test_what_makes_no_sense_is_refused(sections: dict[str, Any], told: str) -> None:
    environment = {"environment": {"id": "ludus/Arithmetic-v0"}}
    with pytest.raises(ConfigError) as refused:
        parse_config({**environment, "adapter": {}, "model": {"path": "base"}, **sections})
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_target_is_named_before_anything_is_played(
    tiny: RunConfig, tiny_folder: Path, tmp_path: Path
) -> None:
    config = adapted(tiny, tiny_folder, adapter={"targets": ["q_prjo"]})
    with pytest.raises(ModelLoadError, match="did you mean q_proj"):
        train(config, tmp_path / "run")


def test_four_bits_without_an_adapter_are_refused(tiny: RunConfig, tiny_folder: Path, tmp_path: Path) -> None:
    config = changed(tiny, "model", quantize="nf4")
    with pytest.raises(ConfigError, match=r"there is no \[adapter\] that could be trained") as refused:
        train(config, tmp_path / "run")
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_two_workers_share_a_base_in_four_bits(
    tiny: RunConfig, wide_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Micro-batches of one row, dealt out or not: the sums differ by their order alone."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    two = adapted(tiny, wide_folder, run={"workers": 2}, model={"quantize": "nf4"})
    gradients, rows = [], make_rows()
    for config in (changed(two, "run", workers=1), two):
        policy = load_policy(wide_folder, config)
        with torch.no_grad():
            for term in adapter_terms(policy.model).values():
                term.b_OR.add_(0.1)
        before = frozen(policy.model)
        with Team(config) as team, team.computing_with(policy):
            team_gradients(team, rows, 1)
        assert frozen(policy.model) == before
        gradients.append([p.grad for p in policy.model.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        bound = len(rows) * torch.finfo(torch.float32).eps * 10 * one.abs().max().item()
        torch.testing.assert_close(one, other, rtol=0, atol=bound)
