"""GRPO's loop: what is trained on, what stops a run, and what must not change the gradient."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ludus.agents.episode import Episode, StopReason
from ludus.agents.models import LoadedModel
from ludus.trainers.algorithms.grpo import (
    Minibatch,
    Part,
    accumulate_gradients,
    advantages_of,
    check_engine,
    check_loss,
    deal,
    gather,
    measure,
    play_groups,
    prepare,
    rows_of,
    shaped_rewards,
)
from ludus.trainers.config import RunConfig, parse_config
from ludus.trainers.errors import RunError, TrainingDiverged
from ludus.trainers.losses.weights import PolicyMetrics
from ludus.trainers.models.forward import score
from ludus.trainers.models.optimizer import apply_gradients, build_optimizer
from ludus.trainers.run.policy import engine_policy, run_engine

Make = Callable[..., Episode]


def changed(config: RunConfig, section: str, **values: Any) -> RunConfig:
    dump = config.model_dump()
    return parse_config({**dump, section: {**dump[section], **values}})


def played(policy: LoadedModel, config: RunConfig, groups: int = 3) -> list[Episode]:
    """Real episodes, with returns of our own so that no group is flat."""
    player = engine_policy(run_engine(policy, config), policy, config, config.rollout.temperature)
    episodes = play_groups(player, list(range(groups)), 0, config)
    return [with_return(episode, float(index % 3 == 0)) for index, episode in enumerate(episodes)]


def with_return(episode: Episode, reward: float) -> Episode:
    return replace(episode, turns=(replace(episode.turns[0], reward=reward), *episode.turns[1:]))


def prepared(
    policy: LoadedModel, episodes: list[Episode], config: RunConfig, reference: Any = None
) -> Minibatch:
    return prepare(deal(episodes, config)[0], policy.model, reference, config)


def gradients(policy: LoadedModel, minibatch: Minibatch, config: RunConfig) -> list[torch.Tensor]:
    policy.model.zero_grad()
    accumulate_gradients(minibatch, policy.model, config.grpo, config.rollout.temperature)
    return [parameter.grad.clone() for parameter in policy.model.parameters()]


def test_ratio_is_exactly_one_before_the_first_update(policy: LoadedModel, tiny: RunConfig) -> None:
    config = changed(
        changed(tiny, "grpo", updates_per_batch=1, microbatch_tokens=64), "rollout", temperature=0.7
    )
    minibatch = prepared(policy, played(policy, config), config)
    assert len(minibatch.micro_batches) > 2
    _, ratios = accumulate_gradients(minibatch, policy.model, config.grpo, 0.7)
    assert ratios.tokens > 50
    assert ratios.ratio_max_deviation == 0.0
    apply_gradients(build_optimizer(policy.model, config.grpo), 1e-2, 1.0)
    _, ratios = accumulate_gradients(minibatch, policy.model, config.grpo, 0.7)
    assert ratios.ratio_max_deviation > 0.0


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7])
def test_engine_and_trainer_agree_at_every_temperature(
    policy: LoadedModel, tiny: RunConfig, temperature: float
) -> None:
    config = changed(changed(tiny, "grpo", updates_per_batch=1), "rollout", temperature=temperature)
    episodes = played(policy, config)
    measured = measure([prepared(policy, episodes, config)], config)
    assert measured["mismatch_max"] < 1e-4
    check_engine(measured, config.grpo, 0)
    forgotten = changed(config, "rollout", temperature=temperature + 0.5)
    assert measure([prepared(policy, episodes, forgotten)], forgotten)["mismatch_mean"] > 1e-3


def test_an_engine_that_disagrees_stops_the_run(policy: LoadedModel, tiny: RunConfig) -> None:
    config = changed(tiny, "grpo", updates_per_batch=1)
    episodes = [
        replace(e, turns=(replace(e.turns[0], logprobs=tuple(p - 0.01 for p in e.turns[0].logprobs)),))
        for e in played(policy, config)
    ]
    measured = measure([prepared(policy, episodes, config)], config)
    with pytest.raises(
        TrainingDiverged, match=r"step 5: mismatch_mean = 0.01 nats is above grpo.mismatch_mean_limit"
    ):
        check_engine(measured, config.grpo, 4)
    with pytest.raises(TrainingDiverged, match="mismatch_max"):
        check_engine({"mismatch_mean": 0.0, "mismatch_max": float("nan")}, config.grpo, 4)


def test_a_ratio_off_one_and_a_loss_that_is_no_number_stop_the_run(tiny: RunConfig) -> None:
    exact, off = PolicyMetrics(1, 1.0, 0.0, 0, 0, 0.0), PolicyMetrics(1, 1.0, 1e-7, 0, 0, 0.0)
    check_loss(0.0, exact, tiny.grpo, 0, first=True)
    check_loss(0.0, off, tiny.grpo, 0, first=False)
    with pytest.raises(TrainingDiverged, match="off 1 by 1e-07"):
        check_loss(0.0, off, tiny.grpo, 0, first=True)
    with pytest.raises(TrainingDiverged, match="the loss is nan"):
        check_loss(float("nan"), exact, tiny.grpo, 0, first=True)


@pytest.mark.parametrize("loss", ["grpo", "dr_grpo", "dapo", "gspo", "cispo"])
def test_gradients_do_not_depend_on_the_cut(policy: LoadedModel, tiny: RunConfig, loss: str) -> None:
    whole = changed(tiny, "grpo", updates_per_batch=1, loss=loss)
    cut = changed(whole, "grpo", microbatch_tokens=1)  # one row at a time
    episodes = played(policy, whole)
    together, apart = prepared(policy, episodes, whole), prepared(policy, episodes, cut)
    assert len(together.micro_batches) == 1
    assert len(apart.micro_batches) > 4
    pairs = zip(gradients(policy, together, whole), gradients(policy, apart, cut), strict=True)
    assert any(one.abs().max() > 1e-4 for one in gradients(policy, together, whole))
    for one, other in pairs:
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-3)


def moved(policy: LoadedModel, config: RunConfig) -> tuple[Minibatch, torch.Tensor]:
    """A minibatch whose policy has made a step since, and the log-ratios of its tokens, in flat order."""
    minibatch = prepared(policy, played(policy, config), config)
    accumulate_gradients(minibatch, policy.model, config.grpo, 1.0)
    apply_gradients(build_optimizer(policy.model, config.grpo), 1e-2, 1.0)
    new_S = torch.zeros_like(minibatch.old_logprobs_S)
    for micro in minibatch.micro_batches:
        new_S[micro.token_N] = score(policy.model, micro, 1.0).logprobs.detach()
    return minibatch, new_S - minibatch.old_logprobs_S


def test_gspo_has_one_ratio_for_each_row(policy: LoadedModel, tiny: RunConfig) -> None:
    config = changed(tiny, "grpo", updates_per_batch=1, loss="gspo", microbatch_tokens=64, kl_coefficient=0.0)
    minibatch, log_ratio_S = moved(policy, config)
    assert len(minibatch.micro_batches) > 2
    row_of = torch.zeros(len(log_ratio_S), dtype=torch.int64)
    for micro in minibatch.micro_batches:
        row_of[micro.token_N] = micro.row_N
    rows = [log_ratio_S[row_of == row] for row in range(len(minibatch.weights_R))]
    loss, measured = accumulate_gradients(minibatch, policy.model, config.grpo, 1.0)
    ratios = [row.mean().exp().item() for row in rows]
    assert np.std(ratios) > 1e-3
    expected = sum(len(row) * ratio for row, ratio in zip(rows, ratios, strict=True))
    assert measured.ratio_sum == pytest.approx(expected, rel=1e-5)
    terms = [
        -len(row) * weight * min(ratio * A, min(max(ratio, 0.8), 1.2) * A)
        for row, ratio, weight, A in zip(
            rows, ratios, minibatch.weights_R.tolist(), minibatch.advantages_R.tolist(), strict=True
        )
    ]
    assert loss == pytest.approx(sum(terms), rel=1e-4, abs=1e-6)


def test_cispo_keeps_the_gradient_of_clipped_tokens(policy: LoadedModel, tiny: RunConfig) -> None:
    bounds = {"updates_per_batch": 1, "kl_coefficient": 0.0, "clip_low": 1e-6, "clip_high": 1e-6}
    cispo, dapo = (changed(tiny, "grpo", loss=loss, **bounds) for loss in ("cispo", "dapo"))
    minibatch, _ = moved(policy, cispo)
    stopped, kept = gradients(policy, minibatch, dapo), gradients(policy, minibatch, cispo)
    norms = [torch.cat([g.flatten() for g in one]).norm().item() for one in (stopped, kept)]
    assert norms[1] > 1.2 * norms[0]
    _, measured = accumulate_gradients(minibatch, policy.model, cispo.grpo, 1.0)
    assert measured.clip_low + measured.clip_high > 0.9 * measured.tokens


@pytest.mark.parametrize(
    ("loss", "advantage", "expected"),
    [
        ("grpo", "default", [-1.0, 0.0, 1.0]),
        ("dapo", "default", [-1.0, 0.0, 1.0]),
        ("dr_grpo", "default", [-2.0, 0.0, 2.0]),
        ("grpo", "dr_grpo", [-2.0, 0.0, 2.0]),
        ("dr_grpo", "grpo", [-1.0, 0.0, 1.0]),
        ("dapo", "rloo", [-3.0, 0.0, 3.0]),
    ],
)
def test_advantages_go_with_the_loss_or_are_chosen(
    episode: Make, tiny: RunConfig, loss: str, advantage: str, expected: list[float]
) -> None:
    config = changed(tiny, "grpo", loss=loss, advantage=advantage)
    episodes = [episode(reward) for reward in (1.0, 3.0, 5.0)]
    assert advantages_of(episodes, config).values.tolist() == pytest.approx(expected)


def test_rows_left_out_for_their_zero_advantage_change_nothing(policy: LoadedModel, tiny: RunConfig) -> None:
    config = changed(tiny, "grpo", updates_per_batch=1, kl_coefficient=0.0)
    episodes = played(policy, config)
    flat = [with_return(episode, 1.0) if episode.group == 1 else episode for episode in episodes]
    part = deal(flat, config)[0]
    lean = prepare(part, policy.model, None, config)
    assert lean.advantages_R.abs().min() > 0
    rows, _ = rows_of(flat)
    assert len(lean.entropy_A) == sum(sum(row.sampled) for row in rows)  # yet they are measured
    # A reference keeps all rows in; without its weight the gradient is the same.
    full = prepare(part, policy.model, policy.model, config)
    assert len(full.advantages_R) == len(rows) > len(lean.advantages_R)
    for one, other in zip(gradients(policy, lean, config), gradients(policy, full, config), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-3)


def test_a_batch_of_flat_groups_only_is_measured_and_not_trained_on(
    policy: LoadedModel, tiny: RunConfig
) -> None:
    config = changed(tiny, "grpo", updates_per_batch=1, kl_coefficient=0.0)
    episodes = [with_return(episode, 0.3) for episode in played(policy, config)]
    minibatch = prepared(policy, episodes, config)
    assert minibatch.micro_batches == []
    assert measure([minibatch], config)["entropy"] > 0


def test_the_kl_term_pulls_back_to_the_reference(
    policy: LoadedModel, tiny: RunConfig, tiny_folder: Any
) -> None:
    from ludus.trainers.run.policy import load_policy

    config = changed(tiny, "grpo", updates_per_batch=1, kl_coefficient=1.0)
    reference = load_policy(tiny_folder, config).model
    episodes = [with_return(episode, 0.0) for episode in played(policy, config)]  # nothing but the KL term
    at_start = prepared(policy, episodes, config, reference)
    assert measure([at_start], config)["kl"] == 0.0
    assert max(g.abs().max().item() for g in gradients(policy, at_start, config)) < 1e-6
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    optimizer = build_optimizer(policy.model, config.grpo)
    divergences = []
    for _ in range(8):
        episodes = [with_return(episode, 0.0) for episode in played(policy, config, groups=16)]
        minibatch = prepared(policy, episodes, config, reference)
        divergences.append(measure([minibatch], config)["kl"])
        accumulate_gradients(minibatch, policy.model, config.grpo, 1.0)
        apply_gradients(optimizer, 1e-3, 1.0)
    assert divergences[-1] < 0.7 * divergences[0]


def test_a_cut_off_answer_gets_no_end(policy: LoadedModel, tiny: RunConfig) -> None:
    config = changed(tiny, "rollout", max_tokens=3)
    episodes = played(policy, config)
    ends = set(policy.format.stop_ids)
    cut = [episode for episode in episodes if episode.turns[0].finish == "length"]
    assert cut
    for episode in cut:
        (row,) = episode.training_sequences()
        assert sum(row.sampled) == 3
        assert not ends & {id for id, sampled in zip(row.ids, row.sampled, strict=True) if sampled}


def script(*batches: list[Episode]) -> Callable[[int, int], list[Episode]]:
    """Plays prepared batches, whatever is asked for, and says what was."""
    waiting = list(batches)

    def play(count: int, first_group: int) -> list[Episode]:
        play.asked.append((count, first_group))  # type: ignore[attr-defined]
        return [replace(episode, group=first_group + episode.group) for episode in waiting.pop(0)]

    play.asked = []  # type: ignore[attr-defined]
    return play


def test_a_fault_is_never_trained_on_and_never_reward_zero(episode: Make, tiny: RunConfig) -> None:
    fault = episode(0.0, group=0, stop=StopReason.ENVIRONMENT_FAULT)
    batch = [episode(1.0, group=0), episode(0.8, group=0), fault, episode(1.0, group=1), fault]
    everything, taught = gather(script(batch), tiny)
    assert everything == batch
    assert not any(one.is_fault for one in taught)
    values = advantages_of(taught, tiny).values
    assert values[0] == -values[1] > 0  # the mean is 0.9, not 0.6
    assert values[2] == 0.0  # alone in its group


def test_nothing_but_faults_ends_the_run_with_their_cause(episode: Make, tiny: RunConfig) -> None:
    with pytest.raises(RunError, match="all 2 episodes of a step faulted, the first with: the server died"):
        gather(script([episode(0.0, stop=StopReason.ENGINE_FAULT)] * 2), tiny)


def test_prompts_that_leave_no_room_end_the_run(episode: Make, tiny: RunConfig) -> None:
    silent = replace(episode(0.0, stop=StopReason.TOKEN_LIMIT), turns=())
    with pytest.raises(
        RunError, match=r"no token was sampled .* limit:tokens.*raise rollout\.max_episode_tokens"
    ):
        gather(script([silent, silent]), tiny)


def flat_and_lively(episode: Make, flat: int, lively: int) -> list[Episode]:
    groups = [(1.0, 1.0)] * flat + [(0.0, 1.0)] * lively
    return [episode(reward, group=group) for group, rewards in enumerate(groups) for reward in rewards]


def test_dynamic_sampling_replaces_flat_groups_within_bounds(episode: Make, tiny: RunConfig) -> None:
    config = changed(
        tiny, "grpo", loss="dapo", groups=4, group_size=2, dynamic_sampling=True, max_resamples=2
    )
    play = script(
        flat_and_lively(episode, 3, 1), flat_and_lively(episode, 1, 2), flat_and_lively(episode, 0, 1)
    )
    everything, taught = gather(play, config)
    assert play.asked == [(4, 0), (3, 4), (1, 7)]  # type: ignore[attr-defined]
    assert len(everything) == 16
    assert {one.group for one in taught} == {3, 5, 6, 7}
    assert not advantages_of(taught, config).flat.any()

    play = script(*[flat_and_lively(episode, 4, 0)] * 3)
    everything, taught = gather(play, config)
    assert len(everything) == 24
    assert taught == []
    assert [part.episodes for part in deal(taught, config)] == [[], []]


def test_flat_groups_stay_without_dynamic_sampling(episode: Make, tiny: RunConfig) -> None:
    everything, taught = gather(script(flat_and_lively(episode, 3, 1)), tiny)
    assert taught == everything
    assert np.count_nonzero(advantages_of(taught, tiny).values) == 2


def test_minibatches_hold_whole_groups(episode: Make, tiny: RunConfig) -> None:
    episodes = [episode(float(sample), group=group) for sample in range(3) for group in range(4)]
    parts = deal(episodes, tiny)
    assert [sorted({one.group for one in part.episodes}) for part in parts] == [[0, 1], [2, 3]]
    for part in parts:
        assert len(part.episodes) == 6
        assert sum(part.advantages) == pytest.approx(0.0)


def test_soft_overlong_penalty_by_the_longest_completion(episode: Make, tiny: RunConfig) -> None:
    config = changed(changed(tiny, "grpo", loss="dapo", overlong_tokens=4), "rollout", max_tokens=10)
    episodes = [episode(1.0, tokens=tokens) for tokens in (6, 7, 10)]
    assert shaped_rewards(episodes, config) == [1.0, 0.75, 0.0]
    assert shaped_rewards(episodes, tiny) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_return_that_is_not_finite_ends_the_run(episode: Make, tiny: RunConfig, broken: float) -> None:
    with pytest.raises(RunError, match=f"an episode of ludus/Arithmetic-v0 with seed 0 earned {broken}"):
        advantages_of([episode(1.0), episode(broken)], tiny)


def test_an_empty_part_is_skipped(policy: LoadedModel, tiny: RunConfig) -> None:
    minibatch = prepare(Part([], []), policy.model, None, tiny)
    assert minibatch.micro_batches == []
    assert measure([minibatch], tiny) == {}
