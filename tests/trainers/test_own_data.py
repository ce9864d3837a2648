"""Runs on data of one's own: the bits of demonstrations, after a kill too, and only from the same data."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ludus.agents.policy import ScriptedPolicy
from ludus.agents.rollout import EpisodeStart, rollout
from ludus.agents.store import read_episodes, write_episodes
from ludus.report import write_report
from ludus.trainers.config.reading import load_config, parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError, RunError
from ludus.trainers.listener import Listener
from ludus.trainers.metrics import read_metrics
from ludus.trainers.run.job import train
from ludus.trainers.tasks import training_seed


class Killed(Exception):
    pass


class Notes(Listener):
    """Keeps what it is told; raises at a step of priming."""

    def __init__(self, kill_at: int = 0) -> None:
        self.texts: list[str] = []
        self._kill_at = kill_at

    def note(self, text: str) -> None:
        self.texts.append(text)

    def progressed(self, phase: str, completed: int, metrics: Mapping[str, float]) -> None:
        if phase == "sft" and completed == self._kill_at:
            raise Killed


def primed(run: Path) -> bytes:
    return (run / "models" / "primed" / "model.safetensors").read_bytes()


def short(tiny: RunConfig, **sft: Any) -> RunConfig:
    values = tiny.model_dump(exclude_none=True)
    values["grpo"]["steps"] = 0
    values["evaluation"]["episodes"] = 8
    values["sft"] |= {"steps": 4, "demonstrations": 24, "heldout_demonstrations": 4, **sft}
    return parse_config(values)


@pytest.fixture
def demonstrated(tiny: RunConfig, tmp_path: Path) -> Path:
    """The oracle's episodes on the tasks that the run would have it demonstrate."""
    spec = tiny.played[0].spec
    seeds = [training_seed(tiny.run.seed, "sft", position) for position in range(24)]
    episodes = rollout(ScriptedPolicy("oracle"), spec, [EpisodeStart(seed) for seed in seeds])
    return write_episodes(tmp_path / "oracle.parquet", episodes)


def test_the_oracles_episodes_as_data_prime_to_the_bits_of_demonstrations(
    tiny: RunConfig, demonstrated: Path, tmp_path: Path
) -> None:
    shown = train(short(tiny), tmp_path / "shown")
    read = train(short(tiny, data=[str(demonstrated)], heldout_share=0.0), tmp_path / "read")
    assert primed(read) == primed(shown)
    losses = [[line["loss"] for line in read_metrics(run)] for run in (shown, read)]
    assert losses[0] == losses[1]


def test_a_run_on_data_counts_passes_and_ends_in_the_same_bits_after_a_kill(
    tiny: RunConfig, demonstrated: Path, tmp_path: Path
) -> None:
    config = short(tiny, data=[str(demonstrated)], epochs=2.5, batch_episodes=8, heldout_share=0.2)
    listener = Notes()
    whole = train(config, tmp_path / "whole", listener=listener)
    record = json.loads((whole / "data.json").read_text())
    assert (record["read"], record["trained"] + record["held_out"]) == (24, 24)
    steps = -(-5 * record["trained"] // 16)
    assert [line["step"] for line in read_metrics(whole)] == [*range(1, steps + 1)]
    assert "heldout_loss" in read_metrics(whole)[-1]
    assert any(text.startswith("data: 24 conversations read, 1") for text in listener.texts)
    run = tmp_path / "killed"
    with pytest.raises(Killed):
        train(config, run, listener=Notes(kill_at=3))
    train(config, run, resume=True)
    assert primed(run) == primed(whole)
    assert (run / "data.json").read_bytes() == (whole / "data.json").read_bytes()


def test_a_run_is_resumed_only_with_the_data_it_began_with(
    tiny: RunConfig, demonstrated: Path, tmp_path: Path
) -> None:
    config = short(tiny, data=[str(demonstrated)])
    with pytest.raises(Killed):
        train(config, tmp_path / "run", listener=Notes(kill_at=3))
    episodes = read_episodes(demonstrated)
    write_episodes(demonstrated, episodes[:-1])
    with pytest.raises(RunError, match=r"the data is not what it was .*24 read then.*23"):
        train(config, tmp_path / "run", resume=True)
    write_episodes(demonstrated, episodes)
    train(config, tmp_path / "run", resume=True)


def test_held_out_tasks_in_the_data_are_dropped(tiny: RunConfig, tmp_path: Path) -> None:
    starts = [EpisodeStart(seed) for seed in [*range(2**32, 2**32 + 8), *range(16)]]
    path = write_episodes(
        tmp_path / "leaky.parquet", rollout(ScriptedPolicy("oracle"), tiny.played[0].spec, starts)
    )
    listener = Notes()
    train(short(tiny, data=[str(path)]), tmp_path / "run", listener=listener)
    (told,) = [text for text in listener.texts if text.startswith("data: ")]
    assert "8 on tasks held out for evaluation" in told


@pytest.mark.parametrize(
    ("sft", "problem"),
    [
        ({"only_successes": True}, "only_successes is for data, but there is none"),
        ({"train_on": "last"}, "train_on is for data"),
        ({"least_reward": 0.5}, "least_reward is for data"),
        ({"data": ["a"], "least_reward": float("nan")}, "least_reward = nan"),
        ({"data": ["a"], "steps": 0}, "steps = 0 leaves priming out, and data with it"),
        ({"epochs": 1.0, "steps": 0}, "steps = 0 leaves priming out, and epochs with it"),
        ({"data": [""]}, "data.0"),
        ({"data": ["a"], "train_on": "first"}, "train_on"),
        ({"data": ["a"], "heldout_share": 1.0}, "heldout_share"),
    ],
)
def test_senseless_settings_are_refused_at_load(tiny: RunConfig, sft: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        short(tiny, **sft)


def test_a_model_is_fine_tuned_on_data_alone(
    tiny: RunConfig, tiny_folder: Path, demonstrated: Path, tmp_path: Path
) -> None:
    values = {
        "model": {"path": str(tiny_folder)},
        "sft": {"data": [str(demonstrated)], "steps": 3, "batch_episodes": 8, "heldout_share": 0.2},
        "grpo": {"steps": 0},
    }
    config = parse_config(values)
    with pytest.raises(Killed):
        train(config, tmp_path / "run", listener=Notes(kill_at=2))
    run = train(config, tmp_path / "run", resume=True)
    assert not (run / "evaluation.json").exists()
    assert {path.name for path in (run / "models").iterdir()} == {"primed"}
    page = write_report(run).read_text()
    (losses,) = page.split("<h1>Held-out loss, in nats per token: ")[1:]
    assert losses.partition(".</h1>")[0].endswith(" after 3 steps"), "one measurement is told once"
    assert "," not in losses.partition("</h1>")[0]
    assert load_config(run / "config.toml") == config
    for changes, problem in (
        ({"sft": {"steps": 3}}, "Add .environment. with an id, .* or sft.data"),
        ({"model": {}}, 'model.path = "small" builds a tokenizer from an environment'),
        ({"grpo": {"steps": 1}}, "no .environment. whose rewards .* with grpo.steps = 0"),
        ({"rft": {"iterations": 1}}, "no .environment. whose rewards .* with rft.iterations = 0"),
    ):
        with pytest.raises(ConfigError, match=problem):
            parse_config({**values, **changes})
