"""What an algorithm adds to a run survives a kill: each ends in the bits of a run that was not killed."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from ludus.agents.models import ModelLoadError
from ludus.tools.files import remove_folder
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import RunError
from ludus.trainers.metrics import read_metrics
from ludus.trainers.run.job import train

from .conftest import changed
from .test_run import Killed, Leaves, StopAt, left, outcome

RESET = {"kl_coefficient": 0.1, "kl_reset_every": 2, "kl_schedule": "adaptive", "kl_target": 0.01}
VARIANTS: dict[str, dict[str, Any]] = {
    "reference reset, adaptive": RESET,
    "reinforce_pp, kl in reward": {
        "loss": "ppo",
        "advantage": "reinforce_pp",
        "gamma": 0.99,
        "kl_in": "reward",
        "kl_estimator": "k1",
        "kl_schedule": "linear",
        "kl_steps": 4,
    },
    "dapo, dynamic sampling": {
        "loss": "dapo",
        "dynamic_sampling": True,
        "max_resamples": 1,
        "overlong_tokens": 8,
        "overlong_filter": True,
        "kl_coefficient": 0.0,
    },
    "bonus, bounds, correction": {
        "entropy_coefficient": 0.01,
        "entropy_schedule": "cosine",
        "dual_clip": 3.0,
        "ratio": "sequence",
        "correction": "geometric",
        "correction_mode": "mask",
    },
}


def variant(tiny: RunConfig, grpo: dict[str, Any]) -> RunConfig:
    """Checkpoints after steps 3 and 6."""
    config = changed(changed(tiny, "grpo", steps=6, **grpo), "checkpoint", every=3)
    config = changed(config, "sft", steps=2, demonstrations=16, heldout_demonstrations=4)
    return changed(config, "evaluation", episodes=8)


@pytest.mark.parametrize(
    "name",
    [
        "reference reset, adaptive",
        "dapo, dynamic sampling",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("reinforce_pp, kl in reward", "bonus, bounds, correction")
        ),
    ],
)
def test_a_killed_run_ends_in_the_same_bits(tmp_path: Path, tiny: RunConfig, name: str) -> None:
    config, whole = variant(tiny, VARIANTS[name]), tmp_path / "whole"
    train(config, whole, listener=Leaves(whole, ("grpo", 5)))
    killed = train(config, left(whole, "grpo", 5), resume=True)
    assert outcome(killed) == outcome(whole)
    coefficients = [line["kl_coefficient"] for line in read_metrics(whole) if "kl_coefficient" in line]
    if name == "reference reset, adaptive":
        divergence = {line["step"]: line["kl"] for line in read_metrics(whole) if line["phase"] == "grpo"}
        assert [step for step, kl in divergence.items() if kl == 0.0] == [1, 3, 5]
        assert len(set(coefficients)) > 3
        assert {folder.name for folder in (whole / "models").glob("reference-*")} == {
            "reference-000002",
            "reference-000004",
        }
    if name == "reinforce_pp, kl in reward":
        assert coefficients == pytest.approx([0.01, 0.0075, 0.005, 0.0025, 0.0, 0.0])


@pytest.fixture(scope="module")
def validated(tiny: RunConfig) -> RunConfig:
    """Its run keeps models of every kind."""
    return changed(variant(tiny, RESET), "validation", every=1, tasks=4, best="reward")


@pytest.fixture(scope="module")
def stopped(validated: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.raises(Killed):
        train(validated, run, listener=StopAt("grpo", 5))
    return run


@pytest.fixture
def killed(stopped: Path, tmp_path: Path) -> Path:
    """A copy of a run that was killed after GRPO step 5, to be damaged."""
    return shutil.copytree(stopped, tmp_path / "run")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("primed", r"models/primed is gone: the model from which training .*Copy it back"),
        ("best", r"models/best is gone: the weights that did best .*copy them back"),
        ("reference-000002", r"reference-000002 is gone: the policy after step 2.*copy it back"),
    ],
)
def test_a_model_that_is_gone_is_named(killed: Path, validated: RunConfig, model: str, told: str) -> None:
    remove_folder(killed / "models" / model)
    with pytest.raises(RunError, match=told):
        train(validated, killed, resume=True)


def test_a_flipped_bit_in_a_saved_model_is_reported(killed: Path, validated: RunConfig) -> None:
    for weights in (killed / "models").glob("reference-*/model.safetensors"):
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    with pytest.raises(
        ModelLoadError, match=r"model.safetensors is not what was written there .*copy it back"
    ):
        train(validated, killed, resume=True)


def test_references_that_no_checkpoint_needs_are_removed(tmp_path: Path, tiny: RunConfig) -> None:
    config = changed(variant(tiny, RESET | {"kl_reset_every": 1}), "checkpoint", every=1, keep=1)
    run = train(config, tmp_path / "run")
    left = [folder.name for folder in sorted((run / "models").glob("reference-*"))]
    assert left == [f"reference-{step:06d}" for step in (3, 4, 5)]
