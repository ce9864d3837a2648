"""Scorers in training: what a judge adds to the reward, under which guards, and which alarm rings when."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ludus.agents.episode import Episode, StopReason
from ludus.agents.scorers.base import Score, ScoreFault
from ludus.agents.store import read_episodes
from ludus.trainers.checks.drift import scorer_readings
from ludus.trainers.config.reading import parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.config.scorers import ScorerSection
from ludus.trainers.errors import ConfigError, TrainingDiverged
from ludus.trainers.listener import Listener
from ludus.trainers.metrics import read_metrics
from ludus.trainers.run.directory import step_file
from ludus.trainers.run.job import train
from ludus.trainers.scorers import Term, make_scorer, refuse_unusable

from ..judge_server import JudgeServer, candidates

Make = Callable[..., Episode]
RUBRIC = "Is the sum right?"


class Given:
    """Gives what it was made with, in order."""

    def __init__(self, *scores: Score | ScoreFault) -> None:
        self.scores, self.asked = scores, 0

    async def score(self, episodes: Any) -> list[Score | ScoreFault]:
        self.asked += len(episodes)
        return [*self.scores[: len(episodes)]]

    def close(self) -> None:
        pass


def section(**values: Any) -> ScorerSection:
    judge = {"model": "http://localhost:1/v1", "rubric": RUBRIC}
    return ScorerSection.model_validate({"judge": judge, **values})


def test_a_score_is_a_weighted_term_of_the_reward(episode: Make) -> None:
    scorer = Given(Score(0.5), Score(1.0))
    term = Term(section(weight=2.0, gate=""), scorer)
    first, second = term.score([episode(1.0), episode(0.0)])
    assert first.reward_terms() == {"correct": 1.0, "format": 1.0, "judge": 0.5}
    assert (first.episode_return, second.episode_return) == (2.0, 2.0)
    assert term.metrics()["scorers/judge/score"] == 0.75


def test_the_rule_gates_the_score_and_spares_the_question(episode: Make) -> None:
    scorer = Given(Score(0.5), Score(0.5))
    right, wrong = Term(section(), scorer).score([episode(1.0), episode(0.0)])
    assert (right.reward_terms()["judge"], wrong.reward_terms()["judge"]) == (0.5, 0.0)
    assert scorer.asked == 1
    half = replace(episode(0.0).turns[0], reward_terms={"correct": 0.5})
    (gated,) = Term(section(gate="correct"), Given(Score(0.5))).score([replace(episode(0.0), turns=(half,))])
    assert gated.reward_terms()["judge"] == 0.25


@pytest.mark.parametrize("score", [ScoreFault("the judge is down"), Score(float("nan"))])
def test_no_score_is_a_fault_and_never_0(episode: Make, score: Score | ScoreFault) -> None:
    term = Term(section(gate=""), Given(score, Score(1.0)))
    broken, whole = term.score([episode(1.0), episode(1.0)])
    assert (broken.stop, broken.is_scored, broken.success) == (StopReason.SCORER_FAULT, False, False)
    assert broken.fault
    assert "judge" not in broken.reward_terms()
    assert whole.is_scored
    assert term.metrics()["scorers/judge/faults"] == 0.5


def test_a_fault_is_not_judged(episode: Make) -> None:
    scorer = Given()
    fault = episode(0.0, stop=StopReason.ENGINE_FAULT)
    assert Term(section(gate=""), scorer).score([fault]) == [fault]
    assert scorer.asked == 0


def course(steps: int, drift_at: int) -> list[dict[str, float]]:
    """Success falls and the score rises from a step on."""
    lines = []
    for step in range(steps):
        moved = min(1.0, max(0.0, (step - drift_at) / 5))
        wobble = 0.01 * (step % 3)
        lines.append({"success": 0.5 - 0.4 * moved + wobble, "terms/judge": 0.4 + 0.5 * moved - wobble})
    return lines


def test_a_score_that_rises_while_the_rule_falls_rings_within_20_steps() -> None:
    readings = [
        scorer_readings(course(step, 20), [section()]).get("score_over_rule") for step in range(1, 41)
    ]
    rung = [step for step, reading in enumerate(readings, 1) if reading is not None and reading.value > 6]
    assert 20 < rung[0] <= 40
    assert "judge rose while success fell" in readings[rung[0] - 1].detail  # type: ignore[union-attr]
    both_rise = [{**line, "success": line["terms/judge"]} for line in course(40, 20)]
    assert scorer_readings(both_rise, [section()])["score_over_rule"].value == 0
    assert "score_over_rule" not in scorer_readings(course(40, 20), [section(beside="")])
    second = [{**line, "success": 0.5, "terms/second": line["success"]} for line in course(40, 20)]
    assert scorer_readings(second, [section(beside="second")])["score_over_rule"].value > 6


def test_planted_answers_are_counted_over_steps() -> None:
    lines = [{"scorers/judge/misjudged": share} for share in (0.0, 0.5, 1.0, 0.5)]
    assert "planted_answers" not in scorer_readings(lines[:3], [section()])
    assert scorer_readings(lines, [section()])["planted_answers"].value == 0.5


# Real runs, with a judge behind a real socket.


@pytest.fixture
def primed(tiny: RunConfig, tiny_folder: Path) -> dict[str, Any]:
    config = tiny.model_dump(exclude={"environments", "critic", "scorers"}, exclude_none=True)
    config["model"]["path"], config["model"]["small"] = str(tiny_folder), {}
    config["sft"]["steps"] = config["evaluation"]["episodes"] = 0
    config["grpo"] |= {"steps": 5, "groups": 2, "updates_per_batch": 1, "kl_coefficient": 0.0}
    config["grpo"]["store_every"] = 1
    config["rollout"]["max_tokens"] = 12
    return config


def by_length(content: str) -> str:
    """A judge that can be gamed: longer is better."""
    return json.dumps({"verdict": min(10, len(candidates(content)[0]))})


@pytest.fixture
def url() -> Iterator[str]:
    server = JudgeServer(by_length)
    yield server.url
    server.close()


def judged(config: dict[str, Any], url: str, **values: Any) -> RunConfig:
    scorer = {"judge": {"model": url, "rubric": RUBRIC}, **values}
    return parse_config({**config, "scorers": [scorer]})


def test_a_judge_that_planted_answers_take_in_stops_the_run(
    primed: dict[str, Any], url: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingDiverged, match="planted_answers") as stopped:
        train(judged(primed, url, gate=""), tmp_path / "run")
    assert "step 4" in str(stopped.value), "eight plants are enough"
    lines = [line for line in read_metrics(tmp_path / "run") if line["phase"] == "grpo"]
    assert all(float(line["terms/judge"]) > 0 and "seconds/scorers/judge" in line for line in lines)
    for stored in read_episodes(step_file(tmp_path / "run", 1)):
        if stored.is_scored:
            text = str(stored.turns[0].reply["content"])
            assert stored.reward_terms()["judge"] == min(10, len(text)) / 10


def test_a_run_whose_judge_is_down_stops_at_once_and_says_so(primed: dict[str, Any], tmp_path: Path) -> None:
    server = JudgeServer(lambda content: "I would rather not say.")
    with pytest.raises(Exception, match="gave no verdict"):
        train(judged(primed, server.url, gate="", planted=0), tmp_path / "run")
    server.close()
    with pytest.raises(Exception, match=server.url):
        train(judged(primed, server.url), tmp_path / "other")


class Killed(Exception):
    pass


class Kills(Listener):
    def progressed(self, phase: str, completed: int, metrics: Mapping[str, float]) -> None:
        if (phase, completed) == ("grpo", 2):
            raise Killed


@pytest.mark.slow  # three runs
def test_a_killed_run_goes_on_to_the_same_bits(primed: dict[str, Any], url: str, tmp_path: Path) -> None:
    primed["grpo"] |= {"steps": 3}
    primed["checkpoint"] = {"every": 1}
    config = judged(primed, url, gate="", planted=2)
    with pytest.raises(Killed):
        train(config, tmp_path / "killed", listener=Kills())
    runs = [train(config, tmp_path / "killed", resume=True), train(config, tmp_path / "whole")]
    timed = ("seconds", "tokens_per_second")
    lines = [
        [{k: v for k, v in line.items() if not k.startswith(timed)} for line in read_metrics(run)]
        for run in runs
    ]
    assert lines[0] == lines[1]
    weights = [(run / "models" / "final" / "model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"name": "correct"}, "is a reward term"),
        ({"gate": "corect"}, "did you mean correct"),
        ({"beside": "succes"}, "did you mean success"),
    ],
)
def test_a_scorer_that_does_not_fit_its_environment_is_refused(
    primed: dict[str, Any], values: dict[str, Any], told: str
) -> None:
    config = judged(primed, "http://localhost:1/v1", **values)
    assert config.environment is not None
    with pytest.raises(ConfigError, match=told):
        refuse_unusable(config, [config.environment.spec])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"scorers": [{"name": "judge"}]}, r"\[scorers.judge\]"),
        ({"scorers": [{"judge": {"model": "m", "rubric": "r"}}] * 2}, '"judge" is taken'),
        ({"grpo": {"steps": 0}, "scorers": [{"judge": {"model": "m", "rubric": "r"}}]}, "reward of GRPO"),
        (
            {
                "scorers": [{"judge": {"model": "m", "rubric": "r"}}],
                "grpo": {"steps": 1, "credit": "teacher"},
                "distillation": {"teacher": "t"},
            },
            "take weight = 0",
        ),
        ({"scorers": [{"beside": "judge", "judge": {"model": "m", "rubric": "r"}}]}, "is the scorer itself"),
    ],
)
def test_scorers_that_make_no_sense_are_refused(
    primed: dict[str, Any], change: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        parse_config({**primed, **change})
    assert "\n" not in str(refused.value)


def test_a_model_in_this_process_judges_too(primed: dict[str, Any], episode: Make) -> None:
    """Tiny and untrained, it has no verdict to give, twice the same."""
    judge = {"model": primed["model"]["path"], "rubric": RUBRIC, "max_tokens": 8}
    scorer = make_scorer(section(judge=judge))
    both = [asyncio.run(scorer.score([episode(1.0), episode(0.0, tokens=2)])) for _ in range(2)]
    scorer.close()
    assert both[0] == both[1]
    assert all(isinstance(score, ScoreFault) for score in both[0])
