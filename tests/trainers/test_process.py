"""Process rewards: the value of a step is earned at the token that ends it."""

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ludus.agents.episode import Episode, Turn
from ludus.agents.models import LoadedModel
from ludus.trainers.advantages.arithmetic_steps import arithmetic_steps
from ludus.trainers.advantages.credit import assign_credit
from ludus.trainers.advantages.process import Process, ProcessScorer, process_of
from ludus.trainers.advantages.registry import SCORERS
from ludus.trainers.advantages.trajectory import Trajectory
from ludus.trainers.batches.groups import make_groups
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import ConfigError, RunError
from ludus.trainers.metrics import episode_metrics, read_metrics
from ludus.trainers.run.job import train

from .conftest import changed

Make = Callable[..., Episode]
REPLIES = ("<think>8+7=16 5+6=11</think><answer>125</answer>", "1+1=3")


@pytest.fixture
def said(policy: LoadedModel, episode: Make) -> Callable[..., Episode]:
    def make(*replies: str, reward: float = 1.0, sample: int = 0) -> Episode:
        played = episode(reward, sample=sample)
        turns = [
            turn_of(policy, played.turns[0], text, reward if i == 0 else 0.0)
            for i, text in enumerate(replies)
        ]
        return replace(played, turns=tuple(turns))

    return make


def turn_of(policy: LoadedModel, turn: Turn, text: str, reward: float) -> Turn:
    reply = {"role": "assistant", "content": text}
    ids = policy.format.demonstrate(reply)
    return replace(turn, reply=reply, reward=reward, completion_ids=ids, logprobs=(-1.0,) * len(ids))


def process(policy: LoadedModel, score: ProcessScorer = arithmetic_steps, weight: float = 0.5) -> Process:
    return Process("mine:score", score, weight, policy.format)


def test_a_steps_value_is_at_the_token_that_ends_it(policy: LoadedModel, said: Make) -> None:
    played = said(*REPLIES)
    steps = process(policy).rewards(played)
    assert steps.values == (-1.0, 0.0, -1.0)
    first, second = (turn.completion_ids for turn in played.turns)
    pieces = policy.format.decode([*first, *second])
    earned = {index: value for index, value in enumerate(steps.token_rewards_T.tolist()) if value}
    assert list(earned.values()) == [-0.5, -0.5]
    (index, other) = earned
    assert "".join(pieces[: index + 1]) == "<think>8+7=16"
    assert "".join(pieces[len(first) : other + 1]) == "1+1=3"
    assert len(steps.token_rewards_T) == len(first) + len(second)


def test_steps_that_end_in_one_token_add_up_and_silence_is_not_asked_about(
    policy: LoadedModel, said: Make
) -> None:
    asked = []

    def twice(text: str, episode: Episode, turn: int) -> list[tuple[int, float]]:
        asked.append((text, turn))
        return [(len(text), 1.0), (len(text), np.float32(2)), (np.int64(1), 4)]

    played = said("1", "2")
    silent = replace(
        played, turns=(replace(played.turns[0], completion_ids=(), logprobs=()), played.turns[1])
    )
    steps = process(policy, twice).rewards(silent)
    assert asked == [("2", 1)]
    assert steps.values == (1.0, 2.0, 4.0)
    assert steps.token_rewards_T.tolist() == [3.5, 0.0]


def raising(text: str, episode: Episode, turn: int) -> Any:
    raise ZeroDivisionError("division\nby zero")


@pytest.mark.parametrize(
    ("score", "problem"),
    [
        (raising, "the scorer raised ZeroDivisionError: division by zero"),
        (lambda text, episode, turn: [(1, math.nan)], "the scorer gave (1, nan): a value is a finite number"),
        (lambda text, episode, turn: [(1, "good")], "the scorer gave (1, 'good'): a value is a finite"),
        (lambda text, episode, turn: [(6, 1.0)], "the scorer gave (6, 1.0): the end of a step is a number"),
        (lambda text, episode, turn: [(0, 1.0)], "from 1 to 5, the length of the reply"),
        (lambda text, episode, turn: [(2.0, 1.0)], "from 1 to 5, the length of the reply"),
        (lambda text, episode, turn: [0.5], "the scorer gave 0.5: a step is (end, value)"),
        (lambda text, episode, turn: None, "the scorer raised TypeError"),
    ],
)  # fmt: skip
def test_a_scorer_that_fails_is_named_in_one_line(
    policy: LoadedModel, said: Make, score: Any, problem: str
) -> None:
    with pytest.raises(RunError) as refused:
        process(policy, score).rewards(said("1+1=3"))
    line = str(refused.value)
    about = 'grpo.process = "mine:score", on turn 0 of an episode of ludus/Arithmetic-v0 with seed 0: '
    assert line.startswith(about)
    assert problem in line
    assert "\n" not in line


def test_credit_reads_the_values(policy: LoadedModel, said: Make, tiny: RunConfig) -> None:
    """By episode they add to the return; by turn they count from their turn on."""
    episodes = [said(*REPLIES), said("1+1=2", "1+1=2")]
    config = changed(tiny, "grpo", process="arithmetic", process_weight=0.5)
    (plain,) = make_groups(episodes, config)
    assert plain.is_flat
    (group,) = make_groups(episodes, config, process_of(config.grpo, policy.format))
    assert not group.is_flat
    wrong, right = group.trajectories
    assert (wrong.episode_return, right.episode_return) == (0.0, 1.0)
    assert wrong.turn_rewards_K().tolist() == [0.5, -0.5]
    by_turn = assign_credit(group.trajectories, changed(config, "grpo", credit="turn").grpo)
    first, second = wrong.tokens
    assert by_turn[0].tolist() == [-1.0] * first + [-0.5] * second


def test_credit_by_token_counts_a_step_up_to_the_token_that_ends_it(
    policy: LoadedModel, said: Make, tiny: RunConfig
) -> None:
    config = changed(tiny, "grpo", process="arithmetic")
    by_token = GrpoSection(credit="gae", gae_whiten=False)
    played = said("1+1=3 so 2", reward=0.0)
    (group,) = make_groups([played], config, process_of(config.grpo, policy.format))
    (trajectory,) = group.trajectories
    expecting_nothing = replace(trajectory, values_T=torch.zeros(sum(trajectory.tokens)).double())
    (credit,) = assign_credit([expecting_nothing], by_token)
    pieces = policy.format.decode(played.turns[0].completion_ids)
    charged = "".join(piece for piece, value in zip(pieces, credit.tolist(), strict=True) if value == -1.0)
    assert charged == "1+1=3"
    assert credit.tolist()[len("1+1=3") :] == [0.0] * (len(pieces) - len("1+1=3"))


def test_the_divergence_is_charged_besides() -> None:
    trajectory = Trajectory(0, (1.0,), (2,), token_rewards_T=torch.tensor([0.5, -1.0]).double())
    assert trajectory.charged(torch.tensor([0.25, 0.25]).double()).token_rewards_T.tolist() == [0.25, -1.25]
    plain = Trajectory(0, (1.0,), (2,)).charged(torch.tensor([0.25, 0.0]).double())
    assert plain.token_rewards_T.tolist() == [-0.25, 0.0]


def test_metrics_of_steps(policy: LoadedModel, said: Make, tiny: RunConfig) -> None:
    episodes = [said(*REPLIES), said("none", sample=1)]
    metrics = episode_metrics(episodes, make_groups(episodes, tiny, process(policy)))
    assert metrics["process/value"] == pytest.approx(-2 / 3)
    assert metrics["process/steps"] == pytest.approx(1.0)
    assert metrics["reward"] == 1.0, "the environment's"
    assert not any(
        name.startswith("process/") for name in episode_metrics(episodes, make_groups(episodes, tiny))
    )
    found_none = [said("none")]
    metrics = episode_metrics(found_none, make_groups(found_none, tiny, process(policy)))
    assert metrics["process/steps"] == 0.0
    assert "process/value" not in metrics


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"process": "arithmetics"}, 'no scorer "arithmetics" is registered'),
        ({"process": "arithmetics"}, "did you mean arithmetic?"),
        ({"process": "my scorer:f"}, "one of your own is written"),
        ({"process_weight": 0.5}, "nothing scores them"),
        ({"process": "arithmetic", "process_weight": 0.0}, "greater than 0"),
    ],
)
def test_what_makes_no_sense_is_refused(tiny: RunConfig, values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        changed(tiny, "grpo", **values)
    assert problem in str(refused.value)


@pytest.mark.parametrize("name", SCORERS)
def test_every_registered_scorer_is_there(policy: LoadedModel, tiny: RunConfig, name: str) -> None:
    made = process_of(changed(tiny, "grpo", process=name).grpo, policy.format)
    assert made is not None
    assert made.score("none", None, 0) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nowhere_at_all:f", "cannot be imported (ModuleNotFoundError: No module named 'nowhere_at_all')"),
        ("math:f", "cannot be imported (AttributeError: module 'math' has no attribute 'f')"),
        ("math:pi", "is of type float"),
        ("broken_scorer:f", "cannot be imported (ZeroDivisionError"),
    ],
)
def test_a_scorer_that_is_not_there_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: RunConfig, name: str, problem: str
) -> None:
    (tmp_path / "broken_scorer.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as refused:
        train(changed(tiny, "grpo", process=name), tmp_path / "run")
    assert problem in str(refused.value)
    assert not (tmp_path / "run" / "models").exists()


def test_a_run_with_a_scorer_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: RunConfig
) -> None:
    (tmp_path / "short_scorer.py").write_text(
        "def short(text, episode, turn):\n    return [(end, -0.1) for end in range(1, len(text) + 1)]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    config = changed(
        changed(tiny, "grpo", steps=2, process="short_scorer:short", credit="turn"), "sft", steps=0
    )
    run = train(changed(config, "evaluation", episodes=0), tmp_path / "run")
    steps = [line for line in read_metrics(run) if line["phase"] == "grpo"]
    assert len(steps) == 2
    assert all(step["process/value"] == pytest.approx(-0.1) for step in steps)
    assert all(step["process/steps"] > 1 for step in steps)


def test_the_example_in_the_documentation(policy: LoadedModel, said: Make) -> None:
    page = (Path(__file__).parents[2] / "docs" / "credit.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], names)
    played = said("One. Two! One.", "Three? Two!")
    steps = process(policy, names["repeated"], weight=1.0).rewards(played)
    assert steps.values == (0.0, 0.0, -1.0, 0.0, -1.0)
    pieces = policy.format.decode([id for turn in played.turns for id in turn.completion_ids])
    assert [pieces[i] for i, reward in enumerate(steps.token_rewards_T.tolist()) if reward] == [".", "!"]
