"""Training with vLLM in the process, for real: run by `tests/agents/test_vllm_engine.py` in an interpreter
that has vLLM."""

import json
from pathlib import Path
from typing import Any

import pytest

from ludus.agents.engines.vllm import engine as engine_module
from ludus.trainers.config.reading import load_config, parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import TrainingDiverged
from ludus.trainers.metrics import read_metrics
from ludus.trainers.run.job import train
from ludus.trainers.run.policy import initial_model

CONFIG = Path(__file__).parents[2] / "configs" / "tiny.toml"
SHORT: dict[str, dict[str, Any]] = {
    "sft": {"steps": 2, "demonstrations": 8, "heldout_demonstrations": 2, "batch_episodes": 4},
    "grpo": {"steps": 3, "groups": 2, "entropy_coefficient": 0.01},  # a gradient also where all earn the same
    "evaluation": {"episodes": 4},
    "engine": {"kind": "vllm", "vllm": {"cache_gib": 0.05}},
}


def short(**sections: dict[str, Any]) -> RunConfig:
    dump = load_config(CONFIG).model_dump(exclude_none=True)
    dump["model"]["small"].update({"head_dim": 32, "max_positions": 512})  # the narrowest head that vLLM has
    dump["rollout"]["max_episode_tokens"] = 512
    dump["environment"]["arguments"]["digits"] = 9  # prompts of more than a block of the cache
    for name, keys in (*SHORT.items(), *sections.items()):
        dump[name] = {**dump.get(name, {}), **keys}
    return parse_config(dump)


def steps_of(run: Path) -> list[dict[str, Any]]:
    return [line for line in read_metrics(run) if line["phase"] == "grpo"]


@pytest.mark.parametrize("trained", ["weights", "adapter"])
def test_a_run_trains_with_it_and_every_check_holds(tmp_path: Path, trained: str) -> None:
    config = short()
    if trained == "adapter":
        dump = config.model_dump(exclude_none=True)
        dump["model"] = {"path": str(initial_model(config, tmp_path))}
        config = parse_config({**dump, "adapter": {"rank": 4}})
    run = train(config, tmp_path / "run")
    steps = steps_of(run)
    assert len(steps) == 3
    for step in steps:
        assert step["mismatch_max"] < 1e-4
        assert step["grad_norm"] > 0
        assert 0 < step["prefix_hits"] < 1
    assert json.loads((run / "evaluation.json").read_text()).keys() == {"primed", "final"}


def test_a_run_with_weights_that_were_not_pushed_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "share", lambda *_: None)
    monkeypatch.setattr(engine_module, "push", lambda *_: None)
    with pytest.raises(TrainingDiverged, match="engine_weights"):
        train(short(), tmp_path / "run")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_is_the_same_when_it_is_repeated(tmp_path: Path, workers: int) -> None:
    config = short(run={"workers": workers}, sft={"steps": 0}, evaluation={"episodes": 0})
    runs = [train(config, tmp_path / name) for name in ("one", "other")]
    one, other = ((run / "models/final/model.safetensors").read_bytes() for run in runs)
    assert one == other
