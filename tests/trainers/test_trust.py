"""Each fault is put into a real run, where it would come from; it stops within one step."""

import copy
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from ludus.agents.engines import steps
from ludus.agents.episode import Episode, StopReason, TrainingSequence
from ludus.agents.policy import EnginePolicy
from ludus.agents.rollout import EpisodeStart
from ludus.agents.scorers.base import Score, ScoreFault
from ludus.trainers import scorers
from ludus.trainers.algorithms import grpo
from ludus.trainers.batches import scoring
from ludus.trainers.checks import drift, identity, numerics
from ludus.trainers.checks.finite import SKIPPED
from ludus.trainers.checks.registry import CHECKS
from ludus.trainers.checks.trust import FILE, Reading, Trust
from ludus.trainers.config.reading import parse_config
from ludus.trainers.config.run import RunConfig
from ludus.trainers.config.trust import TrustSection
from ludus.trainers.errors import ConfigError, RunError, TrainingDiverged
from ludus.trainers.metrics import read_metrics
from ludus.trainers.models.checkpoint import checkpoints
from ludus.trainers.models.optimizer import Optimizer
from ludus.trainers.models.value import ValueModel
from ludus.trainers.parallel import member, play
from ludus.trainers.replay.replay import replay
from ludus.trainers.run.job import train
from ludus.trainers.run.reference import Reference
from ludus.trainers.tasks import Task, TaskStream

from .conftest import changed

Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def primed(tiny: RunConfig, tiny_folder: Path) -> RunConfig:
    """Nothing but GRPO: three steps of 2 × 4 episodes."""
    config = tiny.model_dump(exclude={"environments", "critic"})
    config["model"]["path"], config["model"]["small"] = str(tiny_folder), {}
    config["sft"]["steps"] = config["evaluation"]["episodes"] = 0
    config["grpo"] |= {"steps": 3, "groups": 2, "updates_per_batch": 1, "kl_coefficient": 0.0}
    config["rollout"]["max_tokens"] = 12
    return parse_config(config)


def at_call(number: int, function: Callable[..., Any], change: Callable[[Any], Any]) -> Callable[..., Any]:
    """The function, whose result is changed from that call on, counted from 1."""
    calls = count(1)

    def changed_function(*arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named)
        return change(result) if next(calls) >= number else result

    return changed_function


def sampled(change: Callable[[tuple[float, ...]], Sequence[float]]) -> Callable[[Episode], Episode]:
    """An episode whose engine computed other log-probabilities."""

    def of(episode: Episode) -> Episode:
        turns = [replace(turn, logprobs=tuple(change(turn.logprobs))) for turn in episode.turns]
        return replace(episode, turns=tuple(turns))

    return of


def episodes(patch: Patch, change: Callable[[Episode], Episode], step: int = 2) -> None:
    """Other episodes come from the rollout, from that step on."""
    changing = at_call(step, play.rollout_mixed, lambda played: [change(episode) for episode in played])
    patch.setattr(play, "rollout_mixed", changing)


# The faults: each changes what a run is made of.


def infinite_gradient(patch: Patch) -> None:
    def spoil(update: grpo.Update) -> grpo.Update:
        weight = seen[0]
        assert weight.grad is not None
        weight.grad[0] = math.inf
        return update

    seen: list[torch.nn.Parameter] = []
    gradients = at_call(2, grpo.team_gradients, spoil)

    def remembering(team: Any, *arguments: Any) -> grpo.Update:
        seen[:] = [next(iter(team.model.parameters()))]
        return gradients(team, *arguments)

    patch.setattr(grpo, "team_gradients", remembering)


def nan_weight(patch: Patch) -> None:
    def step(optimizer: Optimizer, rate: float) -> None:
        true_step(optimizer, rate)
        with torch.no_grad():
            optimizer.param_groups[0]["params"][-1][0] = math.nan

    true_step = grpo.take_step
    patch.setattr(grpo, "take_step", step)


def random_layer(patch: Patch) -> None:
    def noisy(scored: Any) -> Any:
        return replace(scored, logprobs=scored.logprobs + 1e-6 * torch.randn_like(scored.logprobs))

    patch.setattr(grpo, "score", at_call(2, grpo.score, noisy))


def other_temperature(patch: Patch) -> None:
    def player(self: member.Member, temperature: float) -> EnginePolicy:
        return true_player(self, temperature * 1.2)

    true_player = member.Member.player
    patch.setattr(member.Member, "player", player)


def untold_sets(patch: Patch) -> None:
    def untold(episode: Episode) -> Episode:
        return replace(episode, turns=tuple(replace(turn, kept=None) for turn in episode.turns))

    episodes(patch, untold)


def one_token_off(patch: Patch) -> None:
    episodes(patch, sampled(lambda logprobs: [logprobs[0] - 0.05, *logprobs[1:]]))


def one_way(patch: Patch) -> None:
    episodes(patch, sampled(lambda logprobs: [value - 8e-4 for value in logprobs]))


def late_positions(patch: Patch) -> None:
    shifts = [0.0] * 7 + [0.02, -0.02] * 9
    episodes(patch, sampled(lambda logprobs: [p + shift for p, shift in zip(logprobs, shifts, strict=False)]))


def far_engine(patch: Patch) -> None:
    episodes(patch, sampled(lambda logprobs: [value - 1.5 for value in logprobs]))


def stale_engine(patch: Patch) -> None:
    """A copy of the weights that nobody updates."""

    def engine(policy: Any, config: RunConfig) -> Any:
        return true_engine(replace(policy, model=copy.deepcopy(policy.model)), config)

    true_engine = member.run_engine
    patch.setattr(member, "run_engine", engine)


def no_step(patch: Patch) -> None:
    patch.setattr(grpo, "take_step", lambda optimizer, rate: optimizer.zero_grad())


def shared_reference(patch: Patch) -> None:
    def moved(model: torch.nn.Module) -> torch.nn.Module:
        with torch.no_grad():
            next(model.parameters()).mul_(1.01)
        return model

    patch.setattr(Reference, "at", at_call(2, Reference.at, moved))


def thawed(patch: Patch) -> None:
    """Frozen norms that something writes to."""

    def step(optimizer: Optimizer, rate: float) -> None:
        true_step(optimizer, rate)
        with torch.no_grad():
            frozen[0].add_(0.1)

    def load(policy: Any) -> Any:
        frozen[:] = [p for name, p in policy.model.named_parameters() if name.endswith("norm.weight")]
        for parameter in frozen:
            parameter.requires_grad_(False)
        return policy

    from ludus.trainers.run import job

    frozen: list[torch.nn.Parameter] = []
    true_step = grpo.take_step
    patch.setattr(grpo, "take_step", step)
    patch.setattr(job, "load_policy", at_call(1, job.load_policy, load))


def kept_cache(patch: Patch) -> None:
    patch.setattr(steps.Batch, "forget", lambda self: None)
    patch.setattr(steps.Batch, "drop", lambda self: None)
    patch.setattr(steps.Batch, "release", lambda self, sessions: None)


def late_episodes(patch: Patch) -> None:
    episodes(patch, lambda episode: replace(episode, weights_version=episode.weights_version - 1))


def other_words(patch: Patch) -> None:
    def began(self: identity.Unchanging, policy: Any, tokenizer: str) -> None:
        true_init(self, policy, tokenizer)
        policy.tokenizer.chat_template = "{{ messages }}"

    true_init = identity.Unchanging.__init__
    patch.setattr(identity.Unchanging, "__init__", began)


def larger_reference(patch: Patch) -> None:
    def grown(model: Any) -> Any:
        model = copy.deepcopy(model)
        model.resize_token_embeddings(model.get_input_embeddings().num_embeddings + 8, mean_resizing=False)
        return model

    patch.setattr(Reference, "at", at_call(2, Reference.at, grown))


def lost_micro_batch(patch: Patch) -> None:
    patch.setattr(scoring, "pack", at_call(1, scoring.pack, lambda packed: packed[1:]))


def doubled_micro_batch(patch: Patch) -> None:
    patch.setattr(scoring, "pack", at_call(1, scoring.pack, lambda packed: [*packed, *packed[:1]]))


def shifted_mask(patch: Patch) -> None:
    """The first sampled token of each row is left out; one of the prompt counts instead."""

    def shifted(rows: list[TrainingSequence]) -> list[TrainingSequence]:
        return [
            replace(row, sampled=(*row.sampled[1:], False), logprobs=(*row.logprobs[1:], 0.0)) for row in rows
        ]

    patch.setattr(Episode, "training_sequences", at_call(1, Episode.training_sequences, shifted))


def equal_seeds(patch: Patch) -> None:
    def same(team: Any, jobs: Sequence[tuple[Any, EpisodeStart]], temperature: float) -> Any:
        alike = [(spec, replace(start, sample=0)) for spec, start in jobs]
        return true_play(team, alike, temperature)

    true_play = grpo.play_jobs
    patch.setattr(grpo, "play_jobs", same)


def held_out_task(patch: Patch) -> None:
    def draw(self: TaskStream, count: int, *arguments: Any, **named: Any) -> list[Task]:
        drawn = true_take(self, count, *arguments, **named)
        held_out = [task for tasks in self._held_out.values() for task in tasks]
        assert held_out
        return [replace(drawn[0], seed=2**32), *drawn[1:]]  # the first seed that tasks are held out from

    true_take = TaskStream.take
    patch.setattr(TaskStream, "take", draw)


def skipped_task(patch: Patch) -> None:
    def finish(self: Any, *arguments: Any) -> None:
        true_finish(self, *arguments)
        self._tasks.position += 1

    true_finish = grpo.TrainingPhase.finish
    patch.setattr(grpo.TrainingPhase, "finish", finish)


def broken_environment(patch: Patch) -> None:
    def broken(episode: Episode) -> Episode:
        return (
            replace(episode, stop=StopReason.ENVIRONMENT_FAULT, fault="boom") if next(calls) % 2 else episode
        )

    calls = count()
    episodes(patch, broken)


def faults_of_one_kind(patch: Patch) -> None:
    def broken(episode: Episode) -> Episode:
        stop = StopReason.ENVIRONMENT_FAULT
        text = "a\u0000" if next(calls) % 2 else "a"
        turn = replace(episode.turns[-1], reply={"role": "assistant", "content": text})
        made = replace(episode, turns=(turn,))
        return replace(made, stop=stop, fault="boom") if text != "a" else made

    calls = count()
    episodes(patch, broken)


def faults_of_hard_tasks(patch: Patch) -> None:
    def graded(episode: Episode) -> Episode:
        turn = replace(episode.turns[-1], reward=float(episode.group))
        made = replace(episode, turns=(turn,))
        is_hard = episode.group == 0 and episode.sample
        return replace(made, stop=StopReason.ENVIRONMENT_FAULT, fault="boom") if is_hard else made

    episodes(patch, graded)


def random_values(patch: Patch) -> None:
    def noise(values_N: torch.Tensor) -> torch.Tensor:
        return values_N + 10 * torch.linspace(-1, 1, len(values_N))

    patch.setattr(numerics, "VALUE_STEPS", (1, 1))
    patch.setattr(ValueModel, "values", at_call(1, ValueModel.values, noise))


def great_gradient(patch: Patch) -> None:
    def hundredfold(norm: float) -> float:
        return norm * 100

    patch.setattr(numerics, "SPIKE_STEPS", (1, 32))
    patch.setattr(grpo, "clip_gradients", at_call(2, grpo.clip_gradients, hundredfold))


def nothing_earned(patch: Patch) -> None:
    patch.setattr(drift, "LEAST_GROUPS", 2)
    episodes(patch, lambda episode: replace(episode, turns=(replace(episode.turns[0], reward=0.0),)))


def endless_replies(patch: Patch) -> None:
    """A model that was never primed does not know its end of turn."""
    patch.setattr(drift, "WINDOW", 1)


def short_replies(patch: Patch) -> None:
    def shortened(episode: Episode) -> Episode:
        turn = episode.turns[0]
        return replace(
            episode,
            turns=(replace(turn, completion_ids=turn.completion_ids[:1], logprobs=turn.logprobs[:1]),),
        )

    patch.setattr(drift, "WINDOW", 2)
    episodes(patch, shortened, 3)


def form_for_success(patch: Patch) -> None:
    def of(metrics: dict[str, float], step: int) -> dict[str, float]:
        return metrics | {"success": 0.9 - 0.5 * (step > 2), "form/tags": 0.1 + 0.5 * (step > 2)}

    patch.setattr(drift, "WINDOW", 2)
    calls = count(1)
    true = grpo.episode_metrics
    patch.setattr(grpo, "episode_metrics", lambda *arguments: of(true(*arguments), next(calls)))


class Pleased:
    """A judge that likes everything."""

    async def score(self, episodes: Sequence[Episode]) -> list[Score | ScoreFault]:
        return [Score(1.0) for _ in episodes]

    def close(self) -> None:
        pass


def taken_in(patch: Patch) -> None:
    patch.setattr(scorers, "make_scorer", lambda section: Pleased())


def gamed(patch: Patch) -> None:
    def of(metrics: dict[str, float], step: int) -> dict[str, float]:
        return metrics | {"success": 0.9 - 0.5 * (step > 2), "terms/judge": 0.1 + 0.5 * (step > 2)}

    taken_in(patch)
    patch.setattr(drift, "WINDOW", 2)
    calls = count(1)
    true = grpo.episode_metrics
    patch.setattr(grpo, "episode_metrics", lambda *arguments: of(true(*arguments), next(calls)))


def collapse(patch: Patch) -> None:
    def worse(episode: Episode) -> Episode:
        reward = 0.01 * episode.sample + 0.001 * episode.group - next(calls) // 8
        return replace(episode, turns=(replace(episode.turns[0], reward=reward),))

    calls = count(8)
    episodes(patch, worse)


@dataclass(frozen=True)
class Fault:
    """What is done to a run, and which check notices."""

    inject: Callable[[Patch], None]
    check: str
    step: int = 2
    """In which step."""
    grpo: dict[str, Any] = field(default_factory=dict)
    """Keys of `[grpo]` that it takes."""
    more: dict[str, Any] = field(default_factory=dict)
    """Keys of other tables, or lists of tables."""


def nothing(patch: Patch) -> None:
    """The configuration is the fault."""


JUDGE = {"gate": "", "judge": {"model": "http://localhost:1/v1", "rubric": "Is it right?"}}
NO_LIMIT = dict.fromkeys(("mismatch_mean", "mismatch_max", "mismatch_bias", "mismatch_slice"), math.inf)
FAULTS = [
    Fault(infinite_gradient, "not_finite", grpo={"max_skipped": 0}),
    Fault(nan_weight, "not_finite", 1),
    Fault(random_layer, "first_ratio", 1),
    Fault(other_temperature, "mismatch_mean", 1),
    Fault(untold_sets, "mismatch_mean", more={"rollout": {"top_p": 0.8}}),
    Fault(one_token_off, "mismatch_max", more={"trust": {"mismatch_mean": 1.0, "mismatch_max": 0.01}}),
    Fault(one_way, "mismatch_bias"),
    Fault(late_positions, "mismatch_slice", more={"trust": {"mismatch_mean": 1.0, "mismatch_bias": 1.0}}),
    Fault(nothing, "ratio_spread", 1, {"learning_rate": 0.3, "epochs_per_batch": 2, "warmup_steps": 0}),
    Fault(
        nothing,
        "effective_samples",
        1,
        {"learning_rate": 0.3, "epochs_per_batch": 2, "warmup_steps": 0},
        {"trust": {"ratio_spread": math.inf}},
    ),
    Fault(
        nothing,
        "clip_share",
        1,
        {"learning_rate": 0.01, "epochs_per_batch": 4, "clip_low": 1e-6, "clip_high": 1e-6},
        {"trust": {"ratio_spread": math.inf, "effective_samples": 0, "clip_share": 0.2}},
    ),
    Fault(
        far_engine,
        "mask_share",
        2,
        {"correction": "token", "correction_mode": "mask", "correction_bound": 2.0},
        {"trust": NO_LIMIT},
    ),
    Fault(nothing, "entropy", 1, more={"rollout": {"temperature": 1e-3}, "trust": NO_LIMIT}),
    Fault(great_gradient, "gradient_spike"),
    Fault(random_values, "explained_variance", 1, {"loss": "ppo", "credit": "gae"}, {"critic": {}}),
    Fault(stale_engine, "engine_weights"),
    Fault(no_step, "unchanged_weights", 1),
    Fault(shared_reference, "frozen_weights", 2, {"kl_coefficient": 0.01}),
    Fault(thawed, "frozen_weights"),
    Fault(kept_cache, "stale_cache"),
    Fault(late_episodes, "stale_episodes"),
    Fault(other_words, "tokenizer", 1),
    Fault(larger_reference, "vocabulary", 2, {"kl_coefficient": 0.01}),
    Fault(lost_micro_batch, "untrained_tokens", 1, {"correction": "token"}),
    Fault(doubled_micro_batch, "untrained_tokens", 1, {"correction": "token"}),
    Fault(shifted_mask, "unsampled_tokens", 1),
    Fault(equal_seeds, "identical_completions", 1),
    Fault(held_out_task, "held_out_tasks", 1, more={"evaluation": {"episodes": 4}}),
    Fault(endless_replies, "truncation", 1),
    Fault(nothing_earned, "flat_groups"),
    Fault(broken_environment, "fault_share"),
    Fault(
        faults_of_one_kind,
        "faults_by_action",
        2,
        {"groups": 8},
        {"trust": {"warn": [], "fault_share": 1.0}},
    ),
    Fault(
        faults_of_hard_tasks,
        "faults_by_reward",
        2,
        {"groups": 3, "group_size": 16},
        {"trust": {"warn": [], "fault_share": 1.0}},
    ),
    Fault(short_replies, "length_drift", 4, {"steps": 4}, {"trust": {"warn": [], "truncation": 1.0}}),
    Fault(form_for_success, "form_over_success", 4, {"steps": 4}, {"trust": {"warn": [], "truncation": 1.0}}),
    Fault(taken_in, "planted_answers", 1, {"groups": 8}, {"scorers": [{**JUDGE, "planted": 8}]}),
    Fault(
        gamed,
        "score_over_rule",
        4,
        {"steps": 4},
        {"scorers": [{**JUDGE, "planted": 0}], "trust": {"truncation": 1.0}},
    ),
    Fault(collapse, "reward_fall", 3),
    Fault(skipped_task, "cursor_gap"),
]


def run_of(fault: Fault, primed: RunConfig) -> RunConfig:
    values = primed.model_dump(exclude={"environments", "critic"})
    values["grpo"] |= fault.grpo
    for table, keys in fault.more.items():
        values[table] = keys if isinstance(keys, list) else values.get(table, {}) | keys
    return parse_config(values)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.inject.__name__}-{fault.check}")
def test_a_fault_stops_the_run_within_one_step(
    fault: Fault, tmp_path: Path, primed: RunConfig, monkeypatch: Patch
) -> None:
    fault.inject(monkeypatch)
    with pytest.raises(TrainingDiverged, match=f"^GRPO step {fault.step}: {fault.check} = ") as stopped:
        train(run_of(fault, primed), tmp_path / "run")
    assert f"trust.{fault.check} = " in str(stopped.value)
    assert "\n" not in str(stopped.value)
    record = json.loads((tmp_path / "run" / FILE).read_text())
    assert record["alarm"] == fault.check
    (check,) = [check for check in record["checks"] if check["name"] == fault.check]
    assert check["message"] == str(stopped.value)
    assert check["worst_step"] == fault.step
    assert sum(check["alarms"] for check in record["checks"]) >= 1


def weights(run: Path) -> bytes:
    return (run / "models" / "final" / "model.safetensors").read_bytes()


def read_timeless(run: Path) -> list[dict[str, float | str]]:
    timed = ("seconds", "tokens_per_second")
    return [{k: v for k, v in line.items() if not k.startswith(timed)} for line in read_metrics(run)]


def test_every_check_has_a_limit_and_a_fault() -> None:
    assert TrustSection.model_fields.keys() == {"warn", *CHECKS}
    assert {fault.check for fault in FAULTS} == CHECKS.keys()


def test_without_a_fault_nothing_rings(tmp_path: Path, primed: RunConfig) -> None:
    run = train(changed(primed, "grpo", steps=6, kl_coefficient=0.01), tmp_path / "run")
    record = json.loads((run / FILE).read_text())
    assert record["alarm"] == ""
    assert record["step"] == "GRPO step 6"
    assert not any(check["alarms"] for check in record["checks"])
    measured = {check["name"] for check in record["checks"] if check["steps"] == 6}
    assert CHECKS.keys() - measured == {
        "mask_share",
        "gradient_spike",
        "explained_variance",
        "truncation",
        "flat_groups",
        "length_drift",
        "form_over_success",
        "planted_answers",
        "score_over_rule",
        "reward_fall",
    }


def test_a_step_that_was_not_taken_loses_nothing(
    tmp_path: Path, primed: RunConfig, monkeypatch: Patch
) -> None:
    """The alarm comes in step 2, and no checkpoint was due; a resumed run ends as if nothing had been."""
    config = changed(changed(primed, "checkpoint", every=100), "grpo", max_skipped=0)
    whole = train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        infinite_gradient(patch)
        with pytest.raises(TrainingDiverged, match="the step was not taken"):
            train(config, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000001"]
    assert (tmp_path / "run" / "episodes" / "train-000002.parquet").exists()
    run = train(config, tmp_path / "run", resume=True)
    assert weights(run) == weights(whole)
    assert read_timeless(run) == read_timeless(whole)
    assert json.loads((run / FILE).read_text()) == json.loads((whole / FILE).read_text())
    # What the alarm stored of the step has become the whole step.
    assert all(figure.is_equal for figure in replay(run, 2).figures())


def test_an_alarm_about_the_course_keeps_what_the_step_computed(
    tmp_path: Path, primed: RunConfig, monkeypatch: Patch
) -> None:
    collapse(monkeypatch)
    with pytest.raises(TrainingDiverged, match=r"^GRPO step 3: reward_fall"):
        train(changed(primed, "grpo", steps=5, store_every=100), tmp_path / "run")
    assert all(figure.is_equal for figure in replay(tmp_path / "run", 3).figures())


def test_a_false_alarm_is_resumed_with_another_limit(
    tmp_path: Path, primed: RunConfig, monkeypatch: Patch
) -> None:
    great_gradient(monkeypatch)
    with pytest.raises(TrainingDiverged, match=r"^GRPO step 2: gradient_spike .* and a higher limit$"):
        train(primed, tmp_path / "run")
    run = train(changed(primed, "trust", gradient_spike=1e6), tmp_path / "run", resume=True)
    assert json.loads((run / FILE).read_text())["alarm"] == ""
    assert len(read_metrics(run)) == 3


def test_a_gradient_that_is_not_finite_skips_steps_and_a_few_stop_the_run(
    tmp_path: Path, primed: RunConfig, monkeypatch: Patch
) -> None:
    """From step 2 on; the count goes on after a resume."""
    config = changed(changed(primed, "checkpoint", every=1), "grpo", steps=6, max_skipped=2)
    infinite_gradient(monkeypatch)
    with pytest.raises(TrainingDiverged, match=r"^GRPO step 4: not_finite = 1 numbers .*the norm is inf"):
        train(config, tmp_path / "run")
    lines = read_metrics(tmp_path / "run")
    assert [line.get(SKIPPED) for line in lines] == [None, 1.0, 2.0]
    assert ["grad_norm" in line for line in lines] == [True, False, False]
    saved = [path / "model.safetensors" for path in checkpoints(tmp_path / "run" / "checkpoints")]
    assert len(saved) > 1
    assert len({path.read_bytes() for path in saved}) == 1
    with pytest.raises(TrainingDiverged, match=r"^GRPO step 4: "):
        train(config, tmp_path / "run", resume=True)


def test_another_tokenizer_in_a_resumed_run_rings(tmp_path: Path, primed: RunConfig) -> None:
    record = {"tokenizer": "another"}
    config = changed(primed, "grpo", steps=1)
    train(config, tmp_path / "run")
    (tmp_path / "run" / FILE).write_text(json.dumps(record))
    (tmp_path / "run" / "evaluation.json").unlink(missing_ok=True)
    trust = Trust(tmp_path / "run", config.trust, [], lambda message: None, "this one", 100)
    assert trust.tokenizer == "another"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    for content in ("", "[]", '{"tokenizer": "a", "checksum": "0"}'):
        (tmp_path / FILE).write_text(content)
        with pytest.raises(RunError, match=r"trust\.json is not what was written"):
            Trust(tmp_path, TrustSection(), [], lambda message: None, "a", 100)


def test_a_warning_goes_on(tmp_path: Path) -> None:
    told: list[str] = []
    trust = Trust(tmp_path, TrustSection(warn=["entropy"]), [], told.append, "a", 100)
    trust.begin(0)
    trust.check({"entropy": Reading(0.0), "mismatch_mean": Reading(1e-6)})
    assert trust.warned
    assert told == [told[0]]
    assert "entropy = 0 nats is below trust.entropy = 0.0001" in told[0]
    with pytest.raises(TrainingDiverged):
        trust.check({"mismatch_mean": Reading(math.nan)})


def test_standings_follow_from_the_metrics(tmp_path: Path) -> None:
    values = [(0.5, 1e-6), (0.2, 3e-6), (0.4, 2e-6)]
    trust = Trust(tmp_path, TrustSection(), [], lambda message: None, "a", 100)
    history: list[dict[str, float | str]] = []
    for step, (entropy, mismatch) in enumerate(values):
        trust.begin(step)
        trust.check({"entropy": Reading(entropy), "mismatch_bias": Reading(mismatch)})
        history.append({"step": step + 1, "entropy": entropy, **trust.taken})
    trust.write()
    written = (tmp_path / FILE).read_text()
    again = Trust(tmp_path, TrustSection(), history, lambda message: None, "a", 100)
    again.write()
    assert (tmp_path / FILE).read_text() == written
    worst = {check["name"]: (check["worst"], check["worst_step"]) for check in json.loads(written)["checks"]}
    assert worst["entropy"] == (0.2, 2)
    assert worst["mismatch_bias"] == (3e-6, 2)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"mismatch_mean": -1.0}, "trust.mismatch_mean"),
        ({"fault_share": -0.1}, "trust.fault_share"),
        ({"effective_samples": 1.5}, "trust.effective_samples"),
        ({"explained_variance": 1.0}, "trust.explained_variance"),
        ({"entropy": math.inf}, "trust.entropy"),
        ({"mismatch_max": math.nan}, "trust.mismatch_max"),
        ({"gradient_spike": 0.9}, "trust.gradient_spike"),
        ({"length_drift": 0.0}, "trust.length_drift"),
        ({"warn": ["entrpy"]}, 'there is no check "entrpy"; did you mean entropy?'),
    ],
)
def test_limits_that_can_never_hold_are_refused(limits: dict[str, Any], told: str, primed: RunConfig) -> None:
    with pytest.raises(ConfigError, match=told.replace(".", r"\.")):
        changed(primed, "trust", **limits)


def test_more_entropy_than_a_vocabulary_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"with a vocabulary of 100 ids the largest entropy is 4\.61"):
        Trust(tmp_path, TrustSection(entropy=5.0), [], lambda message: None, "a", 100)
