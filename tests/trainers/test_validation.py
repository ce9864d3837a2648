"""Evaluation while training: the best weights kept, an early end, pass@k; and a run that was stopped anywhere
ends in the same bits."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ludus.agents.episode import Episode, StopReason
from ludus.agents.evaluate import summarise
from ludus.agents.statistics import wilson
from ludus.agents.store import read_episodes
from ludus.report import write_report
from ludus.report.run.files import read_run
from ludus.report.run.panels import learning_curves
from ludus.trainers.config.evaluation import ValidationSection
from ludus.trainers.config.reading import parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError
from ludus.trainers.listener import Listener, Phase
from ludus.trainers.metrics import read_metrics
from ludus.trainers.run.job import train
from ludus.trainers.validation import is_due, is_out_of_patience

from .test_run import Killed, StopAt, outcome


def values(*successes: float) -> list[Mapping[str, float | str]]:
    """The history of steps, of which every other one was validated."""
    lines: list[Mapping[str, float | str]] = []
    for success in successes:
        lines += [{"reward": 0.0}, {"validation/success": success}]
    return lines


def test_patience_counts_validations_without_a_new_best() -> None:
    patient = ValidationSection(every=2, patience=2)
    assert not is_out_of_patience([], patient)
    assert not is_out_of_patience(values(0.5), patient)
    assert not is_out_of_patience(values(0.5, 0.4), patient)
    assert is_out_of_patience(values(0.5, 0.4, 0.5), patient)  # as good is no new best
    assert not is_out_of_patience(values(0.5, 0.4, 0.6), patient)
    assert is_out_of_patience(values(0.5, 0.4, 0.6, 0.6, 0.1), patient)
    assert not is_out_of_patience(values(0.5, 0.4, 0.3, 0.2), ValidationSection(every=2))


def test_validations_follow_every_n_steps_and_the_last() -> None:
    section = ValidationSection(every=4)
    assert [step + 1 for step in range(10) if is_due(step, section, 10)] == [4, 8, 10]
    assert not any(is_due(step, ValidationSection(), 10) for step in range(10))


def test_the_metric_that_tells_what_is_best() -> None:
    assert ValidationSection(every=1).best_metric == "validation/success"
    assert ValidationSection(every=1, best="reward").best_metric == "validation/reward"
    assert ValidationSection(every=1, best="pass_at_k", samples=4).best_metric == "validation/pass@4"


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"validation": {"patience": 3}}, "validation: patience = 3 counts validations, but every = 0"),
        ({"validation": {"every": 5, "best": "pass_at_k"}}, "samples = 1 is success itself"),
        ({"validation": {"every": 5, "samples": 4}}, "validation.samples = 4 at evaluation.temperature = 0"),
        ({"validation": {"every": 5, "best": "loss"}}, "is not one of success, reward, pass_at_k"),
        ({"evaluation": {"samples": 4}}, "samples = 4 at temperature = 0 would all be the same"),
        ({"validation": {"every": -1}}, "validation.every = -1"),
    ],
)
def test_validations_that_make_no_sense_are_refused(sections: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config({"environment": {"id": "ludus/Arithmetic-v0"}, **sections})
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_samples_of_a_task_are_not_independent(episode: Any) -> None:
    def played(seed: int, sample: int, success: bool) -> Episode:
        return replace(episode(float(success), sample=sample), seed=seed)

    # Two of four tasks are always solved, the others never: four samples of each say no more than one.
    episodes = [played(seed, sample, seed < 2) for seed in range(4) for sample in range(4)]
    summary = summarise(episodes)
    assert summary.success == wilson(2, 4)
    assert {k: share.estimate.value for k, share in summary.pass_at.items()} == {1: 0.5, 2: 0.5, 4: 0.5}
    # One success of four each: any two samples hold it in half of the cases.
    episodes = [played(seed, sample, sample == 0) for seed in range(4) for sample in range(4)]
    summary = summarise(episodes)
    assert summary.success.value == 0.25
    assert {k: share.estimate.value for k, share in summary.pass_at.items()} == {1: 0.25, 2: 0.5, 4: 1.0}
    assert json.loads(json.dumps(summary.to_dict()))["pass_at"]["4"]["estimate"]["value"] == 1.0
    # A fault leaves its task in: it may have been either.
    broken = replace(episodes[3], stop=StopReason.ENGINE_FAULT, fault="out of memory")
    summary = summarise([*episodes[:3], broken, *episodes[4:]])
    assert summary.pass_at[4].estimate.value == 1.0
    assert summarise(episodes[::4]).pass_at == {}


RUN = {
    "run": {"name": "mixed"},
    "environments": [
        {
            "name": "sums",
            "id": "ludus/Arithmetic-v0",
            "weight": 2.0,
            "arguments": {"operations": ["add"], "phrasing": "bare"},
            "curriculum": {
                "difficulty": {"operands": [[0, 4], [0, 9], [0, 19]]},
                "low": 0.0,
                "high": 0.01,
                "window": 1,
                "evaluate": [0, 2],
            },
        },
        {
            "id": "ludus/Weather-v0",
            "arguments": {"narrow": True, "kinds": ["wind_on"], "milestones": True},
            "curriculum": {"kind": "learnability", "difficulty": {"towns": [2, 8]}},
        },
        {"id": "ludus/ArithmeticChallenge-v0", "arguments": {"digits": 1, "phrasing": "bare", "doubts": 1}},
    ],
    "model": {
        "small": {
            "hidden": 48,
            "layers": 2,
            "heads": 2,
            "kv_heads": 1,
            "head_dim": 24,
            "intermediate": 96,
        }
    },
    "sft": {
        "steps": 40,
        "demonstrations": 256,
        "heldout_demonstrations": 16,
        "batch_episodes": 16,
        "heldout_every": 20,
        "learning_rate": 1e-2,
    },
    "grpo": {
        "steps": 7,
        "groups": 6,
        "group_size": 4,
        "learning_rate": 1e-3,
        "store_every": 3,
        "dynamic_sampling": True,
        "max_resamples": 1,
    },
    "rollout": {"max_tokens": 32, "max_turns": 3},
    "evaluation": {"episodes": 16, "samples": 2, "temperature": 1.0},
    "validation": {"every": 2, "tasks": 12, "samples": 2, "patience": 1, "best": "reward"},
    "checkpoint": {"every": 3},
}


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return parse_config(RUN)


@pytest.fixture(scope="module")
def whole(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a mixture, never stopped."""
    return train(config, tmp_path_factory.mktemp("mixed") / "whole")


def everything(run: Path) -> dict[str, Any]:
    return {**outcome(run), "best": (run / "models" / "best" / "model.safetensors").read_bytes()}


def steps(run: Path) -> list[dict[str, float | str]]:
    return [line for line in read_metrics(run) if line["phase"] == "grpo"]


def test_a_mixture_is_measured_by_environment(whole: Path, config: RunConfig) -> None:
    lines = steps(whole)
    for name in ("sums", "Weather", "ArithmeticChallenge"):
        played = [line for line in lines if f"environments/{name}/share" in line]
        assert played
        assert all(f"environments/{name}/reward" in line for line in played)
    assert {line["environments/sums/level"] for line in lines if "environments/sums/level" in line} > {0.0}
    evaluation = json.loads((whole / "evaluation.json").read_text())
    assert list(evaluation) == ["primed", "best", "final"]
    for summary in evaluation.values():
        assert list(summary["environments"]) == [
            "sums",
            "sums, level 0",
            "sums, level 2",
            "Weather",
            "ArithmeticChallenge",
        ]
        assert summary["episodes"] == 32
        assert sum(summary["environments"][n]["episodes"] for n in ("sums", "Weather")) <= 32
        assert set(summary["pass_at"]) == {"1", "2"}
    assert len(read_episodes(whole / "episodes" / "evaluation-best.parquet")) == 32
    groups: dict[int, set[tuple[str, str, int]]] = {}
    for episode in read_episodes(whole / "episodes" / "train-000001.parquet"):
        key = (episode.environment, str(episode.arguments), episode.seed)
        groups.setdefault(episode.group, set()).add(key)
    assert all(len(starts) == 1 for starts in groups.values())


def test_the_best_weights_are_those_of_the_best_validation(whole: Path, config: RunConfig) -> None:
    validated = {
        int(line["step"]): line["validation/reward"] for line in steps(whole) if "validation/reward" in line
    }
    best = max(validated, key=lambda step: (validated[step], -step))
    assert len(validated) - 1 - list(validated).index(best) <= config.validation.patience
    last = max(int(line["step"]) for line in steps(whole))
    same = (whole / "models/best/model.safetensors").read_bytes() == (
        whole / "models/final/model.safetensors"
    ).read_bytes()
    assert same == (best == last)


def test_the_report_shows_environments_levels_and_validations(whole: Path) -> None:
    page = write_report(whole).read_text(encoding="utf-8")
    for text in (
        "Success by environment",
        "Level of difficulty",
        "Levels drawn, Weather",
        "Return in validation",
        "One of k samples succeeds",
        "pass@2",
        "Success, sums, level 2",
        "Environment sums",
        "best in validation by reward",
    ):
        assert text in page, text
    (flat,) = (
        panel
        for group in learning_curves(read_run(whole))
        for panel in group.panels
        if panel.title == "Flat groups by environment"
    )
    assert {line.label for line in flat.lines} == {"sums", "Weather", "ArithmeticChallenge"}
    for file in ("report.html", "curves.png"):
        (whole / file).unlink()


@pytest.mark.slow  # runs of ten seconds; one that ended is resumed below
@pytest.mark.parametrize(
    ("phase", "completed"),
    [("sft", 21), ("grpo", 1), ("grpo", 2), ("grpo", 3), ("grpo", 4), ("evaluation-best", 9)],
)
def test_a_mixture_that_was_killed_resumes_to_the_same_bits(
    whole: Path, config: RunConfig, tmp_path: Path, phase: Phase, completed: int
) -> None:
    with pytest.raises(Killed):
        train(config, tmp_path / "run", listener=StopAt(phase, completed))
    train(config, tmp_path / "run", resume=True)
    assert everything(tmp_path / "run") == everything(whole)


class Notes(Listener):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_run_out_of_patience_ends_early_and_resumes_to_the_same_end(
    whole: Path, config: RunConfig, tmp_path: Path
) -> None:
    """Killed after the decision, before the final weights are written."""
    shutil.copytree(whole, tmp_path / "run")
    run = tmp_path / "run"
    values = [line for line in steps(whole) if "validation/reward" in line]
    ended = int(steps(whole)[-1]["step"]) < config.grpo.steps
    assert ended, values
    shutil.rmtree(run / "models" / "final")
    (run / "evaluation.json").unlink()
    listener = Notes()
    train(config, run, resume=True, listener=listener)
    assert any("validation/reward rises no more" in note for note in listener.notes)
    assert everything(run) == everything(whole)


def test_changes_to_a_mixture_are_refused(whole: Path, config: RunConfig) -> None:
    dump = config.model_dump(exclude_none=True)
    other = parse_config({**dump, "environments": dump["environments"][:2]})
    with pytest.raises(ConfigError, match=r"environments = .*, but the run began with"):
        train(other, whole, resume=True)
    one = {key: value for key, value in dump.items() if key != "environments"}
    one["environment"] = {"id": "ludus/Arithmetic-v0"}
    with pytest.raises(ConfigError, match=r"but the run began with"):
        train(parse_config(one), whole, resume=True)
