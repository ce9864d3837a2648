"""GRPO's loop: what is trained on, what stops a run, and what must not change the gradient."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ludus.agents.engines.base import Engine
from ludus.agents.engines.embedded import EmbeddedEngine
from ludus.agents.episode import Episode, StopReason
from ludus.agents.models import LoadedModel
from ludus.agents.rollout import EpisodeStart, rollout
from ludus.trainers.advantages.credit import assign_credit
from ludus.trainers.algorithms.grpo import accumulate_gradients, sample_groups, sampling_metrics
from ludus.trainers.batches.groups import Group, make_groups
from ludus.trainers.batches.minibatch import Minibatch, make_minibatches, minibatch_metrics, split_groups
from ludus.trainers.batches.packing import sampled_counts
from ludus.trainers.checks.finite import SKIPPED, check_loss, norm_metrics
from ludus.trainers.checks.identity import vocabulary_reading
from ludus.trainers.checks.numerics import score_readings
from ludus.trainers.checks.registry import CHECKS
from ludus.trainers.checks.trust import alarm
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import RunError, TrainingDiverged
from ludus.trainers.losses.registry import LOSSES
from ludus.trainers.models.forward import score
from ludus.trainers.models.optimizer import apply_gradients, build_optimizer
from ludus.trainers.run.policy import engine_policy, run_engine

from .conftest import changed

Make = Callable[..., Episode]


def played(
    policy: LoadedModel, config: RunConfig, groups: int = 3, engine: Engine | None = None
) -> list[Episode]:
    """Real episodes, with returns chosen so that no group is flat."""
    engine = engine or run_engine(policy, config)
    player = engine_policy(engine, policy, config, config.rollout.temperature)
    starts = [
        EpisodeStart(seed, seed, sample) for seed in range(groups) for sample in range(config.grpo.group_size)
    ]
    episodes = rollout(
        player, config.environment.spec, starts, config.rollout.limits, config.rollout.concurrency
    )
    return [with_return(episode, float(index % 3 == 0)) for index, episode in enumerate(episodes)]


def with_return(episode: Episode, reward: float) -> Episode:
    return replace(episode, turns=(replace(episode.turns[0], reward=reward), *episode.turns[1:]))


def prepared(
    policy: LoadedModel, episodes: list[Episode], config: RunConfig, reference: Any = None
) -> Minibatch:
    return make_minibatches([make_groups(episodes, config)], policy.model, reference, config)[0]


def returns(group: Group) -> tuple[float, ...]:
    return tuple(trajectory.episode_return for trajectory in group.trajectories)


def advantages(group: Group, config: RunConfig) -> list[float]:
    """Of each episode's first token."""
    return [values[0].item() for values in assign_credit(group.trajectories, config.grpo)]


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
    ratios = accumulate_gradients(minibatch, policy.model, config.grpo, 0.7).ratios
    assert ratios.tokens > 50
    assert ratios.ratio_max_deviation == 0.0
    apply_gradients(build_optimizer(policy.model, config.grpo), 1e-2, 1.0)
    ratios = accumulate_gradients(minibatch, policy.model, config.grpo, 0.7).ratios
    assert ratios.ratio_max_deviation > 0.0


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7])
def test_engine_and_trainer_agree_at_every_temperature(
    policy: LoadedModel, tiny: RunConfig, temperature: float
) -> None:
    config = changed(changed(tiny, "grpo", updates_per_batch=1), "rollout", temperature=temperature)
    episodes = played(policy, config)
    assert minibatch_metrics([prepared(policy, episodes, config)], config)["mismatch_max"] < 1e-4
    forgotten = changed(config, "rollout", temperature=temperature + 0.5)
    assert minibatch_metrics([prepared(policy, episodes, forgotten)], forgotten)["mismatch_mean"] > 1e-3


TRUNCATED = {
    "top-p": {"top_p": 0.8},
    "top-k": {"top_k": 5},
    "min-p": {"min_p": 0.3},
    "all": {"top_p": 0.9, "top_k": 40, "min_p": 0.01, "temperature": 0.7},
}


def among_all(episode: Episode) -> Episode:
    """The episode, as an engine records it that does not tell what it drew among."""
    return replace(episode, turns=tuple(replace(turn, kept=None) for turn in episode.turns))


@pytest.mark.parametrize("sampling", TRUNCATED.values(), ids=TRUNCATED)
def test_tokens_drawn_among_some_ids_are_trained_over_these(
    policy: LoadedModel, tiny: RunConfig, sampling: dict[str, Any]
) -> None:
    """The ratio is 1 and engine and trainer agree; they do not where what was drawn among is not told."""
    config = changed(
        changed(tiny, "grpo", updates_per_batch=1, microbatch_tokens=64, kl_coefficient=0.1),
        "rollout",
        **sampling,
    )
    episodes = played(policy, config)
    minibatch = prepared(policy, episodes, config, policy.model)
    measured = minibatch_metrics([minibatch], config)
    assert measured["mismatch_max"] < 1e-4
    assert measured["kl"] == 0.0
    largest = max(len(among) for e in episodes for row in e.training_sequences() for among in row.kept)
    assert 0 < minibatch.entropy_A.max() < np.log(largest) + 1e-5
    update = accumulate_gradients(minibatch, policy.model, config.grpo, config.rollout.temperature)
    assert len(minibatch.micro_batches) > 2
    assert update.ratios.ratio_max_deviation == 0.0

    untold = [among_all(episode) for episode in episodes]
    without = prepared(policy, untold, config, policy.model)
    metrics = minibatch_metrics([without], config)
    assert metrics["mismatch_mean"] > 0.1
    assert metrics["mismatch_bias"] == pytest.approx(-metrics["mismatch_mean"])  # likelier among fewer
    readings = score_readings(metrics, [make_groups(untold, config)], [without])
    assert alarm(CHECKS["mismatch_mean"], readings["mismatch_mean"], config.trust, "GRPO step 1")


def test_sampling_that_leaves_nothing_out_changes_no_bit(policy: LoadedModel, tiny: RunConfig) -> None:
    config = changed(tiny, "grpo", updates_per_batch=1)
    words = policy.model.get_input_embeddings().num_embeddings
    everything = changed(config, "rollout", top_p=1.0, top_k=words, min_p=0.0)
    plain, whole = played(policy, config), played(policy, everything)
    assert [e.training_sequences() for e in plain] == [e.training_sequences() for e in whole]
    pairs = zip(
        gradients(policy, prepared(policy, plain, config), config),
        gradients(policy, prepared(policy, whole, everything), everything),
        strict=True,
    )
    assert all(torch.equal(one, other) for one, other in pairs)


def test_padding_of_the_vocabulary_is_never_sampled(policy: LoadedModel, tiny: RunConfig) -> None:
    words = len(policy.tokenizer)
    policy.model.resize_token_embeddings(words + 64, mean_resizing=False)

    def beyond(engine: Engine | None) -> float:
        episodes = played(policy, tiny, engine=engine)
        return vocabulary_reading(policy, None, None, episodes)["vocabulary"].value

    assert beyond(None) == 0
    assert beyond(EmbeddedEngine(policy.model)) > 0


def test_an_engine_that_disagrees_stops_the_run(policy: LoadedModel, tiny: RunConfig) -> None:
    config = changed(tiny, "grpo", updates_per_batch=1)
    episodes = [
        replace(e, turns=(replace(e.turns[0], logprobs=tuple(p - 0.01 for p in e.turns[0].logprobs)),))
        for e in played(policy, config)
    ]
    minibatch = prepared(policy, episodes, config)
    parts = [make_groups(episodes, config)]
    readings = score_readings(minibatch_metrics([minibatch], config), parts, [minibatch])
    told = alarm(CHECKS["mismatch_mean"], readings["mismatch_mean"], config.trust, "GRPO step 5")
    assert told.startswith("GRPO step 5: mismatch_mean = 0.01 nats is above trust.mismatch_mean = 0.001: ")
    assert readings["mismatch_bias"].value == pytest.approx(0.01, rel=1e-3)
    assert readings["mismatch_slice"].value == pytest.approx(0.01, rel=1e-3)


def test_a_loss_that_is_no_number_stops_the_run(tiny: RunConfig) -> None:
    check_loss(0.0, tiny.sft, "sft", 0)
    for broken in (float("nan"), float("inf")):
        with pytest.raises(TrainingDiverged, match=f"SFT step 3: the loss is {broken}.*sft.learning_rate"):
            check_loss(broken, tiny.sft, "sft", 2)


def test_norms_that_are_no_numbers_are_counted_in_a_row(tiny: RunConfig) -> None:
    config, history = tiny.sft.model_copy(update={"max_skipped": 2}), [{"loss": 1.0}]
    assert norm_metrics(0.5, history, config, "sft", 1) == {"grad_norm": 0.5}
    for count in (1.0, 2.0):
        history.append(norm_metrics(float("inf"), history, config, "sft", 2))
        assert history[-1] == {SKIPPED: count}
    with pytest.raises(TrainingDiverged, match=r"SFT step 4: .* is inf, and 3 steps in a row were skipped"):
        norm_metrics(float("inf"), history, config, "sft", 3)
    assert norm_metrics(0.5, history, config, "sft", 3) == {"grad_norm": 0.5}


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_do_not_depend_on_the_cut(policy: LoadedModel, tiny: RunConfig, loss: str) -> None:
    whole = changed(tiny, "grpo", updates_per_batch=1, loss=loss)
    cut = changed(whole, "grpo", microbatch_tokens=1)  # one row at a time
    episodes = played(policy, whole)
    together, apart = prepared(policy, episodes, whole), prepared(policy, episodes, cut)
    assert len(together.micro_batches) == 1
    assert len(apart.micro_batches) > 4
    pairs = zip(gradients(policy, together, whole), gradients(policy, apart, cut), strict=True)
    assert any(gradient.abs().max() > 1e-4 for gradient in gradients(policy, together, whole))
    for gradient, other in pairs:
        torch.testing.assert_close(gradient, other, atol=1e-6, rtol=1e-3)


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
    rows = [log_ratio_S[row_of == row] for row in range(int(row_of.max()) + 1)]
    weights, advantages = (
        [values_S[row_of == row][0].item() for row in range(len(rows))]
        for values_S in (minibatch.weights_S, minibatch.advantages_S)
    )
    update = accumulate_gradients(minibatch, policy.model, config.grpo, 1.0)
    loss, measured = update.loss, update.ratios
    ratios = [row.mean().exp().item() for row in rows]
    assert np.std(ratios) > 1e-3
    expected = sum(len(row) * ratio for row, ratio in zip(rows, ratios, strict=True))
    assert measured.ratio_sum == pytest.approx(expected, rel=1e-5)
    terms = [
        -len(row) * weight * min(ratio * A, min(max(ratio, 0.8), 1.2) * A)
        for row, ratio, weight, A in zip(rows, ratios, weights, advantages, strict=True)
    ]
    assert loss == pytest.approx(sum(terms), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(("loss", "ratio", "same"), [("grpo", "sequence", "gspo"), ("gspo", "token", "grpo")])
def test_any_loss_takes_either_ratio(
    policy: LoadedModel, tiny: RunConfig, loss: str, ratio: str, same: str
) -> None:
    config = changed(tiny, "grpo", updates_per_batch=1, loss=loss, ratio=ratio, kl_coefficient=0.0)
    minibatch, _ = moved(policy, config)
    chosen = gradients(policy, minibatch, config)
    for gradient, other in zip(
        chosen, gradients(policy, minibatch, changed(tiny, "grpo", loss=same)), strict=True
    ):
        assert torch.equal(gradient, other)


def test_a_dual_bound_stops_large_ratios_of_what_was_bad(policy: LoadedModel, tiny: RunConfig) -> None:
    free = changed(tiny, "grpo", updates_per_batch=1, kl_coefficient=0.0)
    minibatch, log_ratio_S = moved(policy, free)
    ratio = 1.0 + 0.5 * (log_ratio_S[minibatch.advantages_S < 0].exp().max().item() - 1.0)
    assert ratio > 1.0
    for config, stopped in ((free, False), (changed(free, "grpo", dual_clip=ratio), True)):
        measured = accumulate_gradients(minibatch, policy.model, config.grpo, 1.0).ratios
        assert (measured.means()["clip_dual"] > 0) == stopped


def test_cispo_keeps_the_gradient_of_clipped_tokens(policy: LoadedModel, tiny: RunConfig) -> None:
    bounds = {"updates_per_batch": 1, "kl_coefficient": 0.0, "clip_low": 1e-6, "clip_high": 1e-6}
    cispo, dapo = (changed(tiny, "grpo", loss=loss, **bounds) for loss in ("cispo", "dapo"))
    minibatch, _ = moved(policy, cispo)
    stopped, kept = gradients(policy, minibatch, dapo), gradients(policy, minibatch, cispo)
    norms = [torch.cat([g.flatten() for g in gradient]).norm().item() for gradient in (stopped, kept)]
    assert norms[1] > 1.2 * norms[0]
    measured = accumulate_gradients(minibatch, policy.model, cispo.grpo, 1.0).ratios
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
        ("ppo", "reinforce_pp", [-((4 / 3) ** 0.5), 0.0, (4 / 3) ** 0.5]),  # the variance of 9 tokens is 3
        ("grpo", "reinforce_pp_baseline", [-((4 / 3) ** 0.5), 0.0, (4 / 3) ** 0.5]),
    ],
)
def test_advantages_go_with_the_loss_or_are_chosen(
    episode: Make, tiny: RunConfig, loss: str, advantage: str, expected: list[float]
) -> None:
    config = changed(tiny, "grpo", loss=loss, advantage=advantage)
    episodes = [episode(reward) for reward in (1.0, 3.0, 5.0)]
    (group,) = make_groups(episodes, config)
    assert advantages(group, config) == pytest.approx(expected)


def test_a_refused_episode_is_not_trained_on(tiny: RunConfig, episode: Any) -> None:
    refused = episode(0.0, stop=StopReason.REFUSED)
    (group,) = make_groups([episode(1.0), refused, episode(3.0)], tiny)
    assert returns(group) == (1.0, 3.0)


def test_rows_left_out_for_their_zero_advantage_change_nothing(policy: LoadedModel, tiny: RunConfig) -> None:
    config = changed(tiny, "grpo", updates_per_batch=1, kl_coefficient=0.0)
    episodes = played(policy, config)
    flat = [with_return(episode, 1.0) if episode.group == 1 else episode for episode in episodes]
    lean = prepared(policy, flat, config)
    assert lean.advantages_S.abs().min() > 0
    tokens = int(sampled_counts([row for episode in flat for row in episode.training_sequences()]).sum())
    assert len(lean.entropy_A) == tokens > len(lean.advantages_S)  # yet they are measured
    # A reference keeps all rows in; without its weight the gradient is the same.
    full = prepared(policy, flat, config, policy.model)
    assert len(full.advantages_S) == tokens
    pairs = zip(gradients(policy, lean, config), gradients(policy, full, config), strict=True)
    for gradient, other in pairs:
        torch.testing.assert_close(gradient, other, atol=1e-6, rtol=1e-3)


def test_a_batch_of_flat_groups_only_is_measured_and_not_trained_on(
    policy: LoadedModel, tiny: RunConfig
) -> None:
    config = changed(tiny, "grpo", updates_per_batch=1, kl_coefficient=0.0)
    episodes = [with_return(episode, 0.3) for episode in played(policy, config)]
    minibatch = prepared(policy, episodes, config)
    assert minibatch.micro_batches == []
    assert minibatch_metrics([minibatch], config)["entropy"] > 0


def test_the_kl_term_pulls_back_to_the_reference(
    policy: LoadedModel, tiny: RunConfig, tiny_folder: Any
) -> None:
    from ludus.trainers.run.policy import load_policy

    config = changed(tiny, "grpo", updates_per_batch=1, kl_coefficient=1.0)
    reference = load_policy(tiny_folder, config).model
    episodes = [with_return(episode, 0.0) for episode in played(policy, config)]  # nothing but the KL term
    at_start = prepared(policy, episodes, config, reference)
    assert minibatch_metrics([at_start], config)["kl"] == 0.0
    assert max(g.abs().max().item() for g in gradients(policy, at_start, config)) < 1e-6
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    optimizer = build_optimizer(policy.model, config.grpo)
    divergences = []
    for _ in range(8):
        episodes = [with_return(episode, 0.0) for episode in played(policy, config, groups=16)]
        minibatch = prepared(policy, episodes, config, reference)
        divergences.append(minibatch_metrics([minibatch], config)["kl"])
        accumulate_gradients(minibatch, policy.model, config.grpo, 1.0)
        apply_gradients(optimizer, 1e-3, 1.0)
    assert divergences[-1] < 0.7 * divergences[0]


def test_an_entropy_bonus_has_the_gradient_of_the_entropy(policy: LoadedModel, tiny: RunConfig) -> None:
    """Of what the weights say: the mean over each episode's tokens, then over episodes. A batch that earned
    nothing is trained on, too."""
    config = changed(tiny, "grpo", updates_per_batch=1, kl_coefficient=0.0, entropy_coefficient=0.3)
    episodes = [with_return(episode, 0.0) for episode in played(policy, config)]
    minibatch = prepared(policy, episodes, config)
    assert len(minibatch.micro_batches) == 1
    bonus = gradients(policy, minibatch, config)
    policy.model.zero_grad()
    (micro,) = minibatch.micro_batches
    entropy_N = score(policy.model, micro, config.rollout.temperature, entropy_gradient=True).entropy
    counts = torch.bincount(micro.row_N)
    rows = torch.zeros(len(counts)).index_add(0, micro.row_N, entropy_N) / counts
    (-0.3 * rows.mean()).backward()
    for parameter, gradient in zip(policy.model.parameters(), bonus, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-6, rtol=1e-3)
    assert not score(policy.model, micro, 1.0).entropy.requires_grad


def test_an_entropy_bonus_makes_the_policy_less_certain(policy: LoadedModel, tiny: RunConfig) -> None:
    config = changed(tiny, "grpo", updates_per_batch=1, kl_coefficient=0.0, entropy_coefficient=1.0)
    with torch.no_grad():  # a policy that is surer than a new one
        policy.model.get_output_embeddings().weight.mul_(4.0)
    optimizer, entropies = build_optimizer(policy.model, config.grpo), []
    for _ in range(4):
        episodes = [with_return(episode, 0.0) for episode in played(policy, config)]
        minibatch = prepared(policy, episodes, config)
        entropies.append(minibatch_metrics([minibatch], config)["entropy"])
        accumulate_gradients(minibatch, policy.model, config.grpo, 1.0)
        apply_gradients(optimizer, 5e-3, 1.0)
    assert entropies[-1] > entropies[0] + 0.05


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
    """Plays prepared batches, whatever is requested, and records the requests."""
    waiting = list(batches)

    def play(count: int, first_group: int) -> list[Episode]:
        play.asked.append((count, first_group))  # type: ignore[attr-defined]
        return [replace(episode, group=first_group + episode.group) for episode in waiting.pop(0)]

    play.asked = []  # type: ignore[attr-defined]
    return play


def test_a_fault_is_never_trained_on_and_never_reward_zero(episode: Make, tiny: RunConfig) -> None:
    fault = episode(0.0, group=0, stop=StopReason.ENVIRONMENT_FAULT)
    batch = [episode(1.0, group=0), episode(0.8, group=0), fault, episode(1.0, group=1), fault]
    episodes, (first, second) = sample_groups(script(batch), tiny)
    assert episodes == batch
    assert not any(episode.is_fault for episode in (*first.episodes, *second.episodes))
    assert advantages(first, tiny)[0] == -advantages(first, tiny)[1] > 0  # the mean is 0.9, not 0.6
    assert advantages(second, tiny) == [0.0]  # alone in its group


def test_nothing_but_faults_ends_the_run_with_their_cause(episode: Make, tiny: RunConfig) -> None:
    with pytest.raises(RunError, match="all 2 episodes of a step faulted, the first with: the server died"):
        sample_groups(script([episode(0.0, stop=StopReason.ENGINE_FAULT)] * 2), tiny)


def test_prompts_that_leave_no_room_end_the_run(episode: Make, tiny: RunConfig) -> None:
    silent = replace(episode(0.0, stop=StopReason.TOKEN_LIMIT), turns=())
    with pytest.raises(
        RunError, match=r"no token was sampled .* limit:tokens.*raise rollout\.max_episode_tokens"
    ):
        sample_groups(script([silent, silent]), tiny)


def flat_and_lively(episode: Make, flat: int, lively: int) -> list[Episode]:
    groups = [(1.0, 1.0)] * flat + [(0.0, 1.0)] * lively
    return [episode(reward, group=group) for group, rewards in enumerate(groups) for reward in rewards]


@pytest.mark.parametrize("loss", LOSSES)
def test_dynamic_sampling_replaces_flat_groups_within_bounds(
    episode: Make, tiny: RunConfig, loss: str
) -> None:
    config = changed(tiny, "grpo", loss=loss, groups=4, group_size=2, dynamic_sampling=True, max_resamples=2)
    play = script(
        flat_and_lively(episode, 3, 1), flat_and_lively(episode, 1, 2), flat_and_lively(episode, 0, 1)
    )
    episodes, groups = sample_groups(play, config)
    assert play.asked == [(4, 0), (3, 4), (1, 7)]  # type: ignore[attr-defined]
    assert len(episodes) == 16
    lively = [group for group in groups if not group.is_flat]
    assert [group.episodes[0].group for group in lively] == [3, 5, 6, 7]
    counts = sampling_metrics(episodes, lively, config.grpo)
    assert counts == {"resampled_groups": 4.0, "missing_groups": 0.0}
    assert sampling_metrics(episodes, groups, tiny.grpo) == {}

    play = script(*[flat_and_lively(episode, 4, 0)] * 3)
    episodes, groups = sample_groups(play, config)
    assert len(episodes) == 24
    assert all(group.is_flat for group in groups)
    assert sampling_metrics(episodes, [], config.grpo) == {"resampled_groups": 8.0, "missing_groups": 4.0}


def test_dynamic_sampling_compares_shaped_rewards(episode: Make, tiny: RunConfig) -> None:
    """Equal returns are not flat once length is penalised, so nothing is replayed."""
    config = changed(tiny, "grpo", groups=2, dynamic_sampling=True, overlong_tokens=4)
    config = changed(config, "rollout", max_tokens=10)
    batch = [episode(1.0, group=group, tokens=tokens) for group in range(2) for tokens in (5, 9)]
    play = script(batch)
    _, groups = sample_groups(play, config)
    assert play.asked == [(2, 0)]  # type: ignore[attr-defined]
    assert not any(group.is_flat for group in groups)


@pytest.mark.parametrize(
    ("credit", "gamma", "flat"),
    [
        ("group", 1.0, True),
        # What was earned counts from turn to turn, and the second episode earned it a turn later.
        ("turn", 1.0, False),
        # Both were in one state, and from there on one way is shorter.
        ("anchor", 0.9, False),
        ("anchor", 1.0, True),
    ],
)
def test_equal_returns_are_flat_only_where_credit_sees_no_difference(
    episode: Make, tiny: RunConfig, credit: str, gamma: float, flat: bool
) -> None:
    config = changed(tiny, "grpo", credit=credit, gamma=gamma)
    quick, slow = episode(1.0), episode(1.0)
    slow = replace(slow, turns=(replace(slow.turns[0], reward=0.0, anchor="s"), *slow.turns))
    quick = replace(quick, turns=(replace(quick.turns[0], anchor="s"),))
    for batch, alike in (([quick, slow], flat), ([quick, quick], True), ([slow, slow], True)):
        (group,) = make_groups(batch, config)
        assert group.is_flat is alike


def test_flat_groups_are_not_replaced_without_dynamic_sampling(episode: Make, tiny: RunConfig) -> None:
    _, groups = sample_groups(script(flat_and_lively(episode, 3, 1)), tiny)
    assert [group.is_flat for group in groups] == [True, True, True, False]
    assert [np.count_nonzero(advantages(group, tiny)) for group in groups] == [0, 0, 0, 2]


def test_minibatches_hold_whole_groups(episode: Make, tiny: RunConfig) -> None:
    episodes = [episode(float(sample), group=group) for sample in range(3) for group in range(4)]
    parts = split_groups(make_groups(episodes, tiny), 2)
    assert [[group.episodes[0].group for group in part] for part in parts] == [[0, 1], [2, 3]]
    for group in (group for part in parts for group in part):
        assert returns(group) == (0.0, 1.0, 2.0)
        assert sum(advantages(group, tiny)) == pytest.approx(0.0)
    assert split_groups([], 2) == [[], []]


def test_soft_overlong_penalty_by_the_longest_completion(episode: Make, tiny: RunConfig) -> None:
    config = changed(changed(tiny, "grpo", overlong_tokens=4), "rollout", max_tokens=10)
    episodes = [episode(1.0, tokens=tokens) for tokens in (6, 7, 10)]
    assert returns(make_groups(episodes, config)[0]) == (1.0, 0.75, 0.0)
    assert returns(make_groups(episodes, tiny)[0]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("kl_coefficient", [0.0, 0.1])
def test_an_episode_that_was_cut_off_can_be_left_out_of_the_loss(
    policy: LoadedModel, episode: Make, tiny: RunConfig, kl_coefficient: float
) -> None:
    """Its tokens weigh nothing and do not count in a mean over tokens; others are compared with it."""
    config = changed(tiny, "grpo", loss="dapo", advantage="dr_grpo", kl_coefficient=kl_coefficient)
    filtered = changed(config, "grpo", overlong_filter=True)
    limit = episode(4.0, tokens=2, stop=StopReason.TOKEN_LIMIT)
    episodes = [episode(1.0, tokens=3), episode(1.0, tokens=5, finish="length"), limit]
    reference = policy.model if kl_coefficient else None
    minibatch = prepared(policy, episodes, filtered, reference)
    assert minibatch.weights_S.tolist() == pytest.approx([1 / 3] * 3)
    assert minibatch.advantages_S.tolist() == pytest.approx([-1.0] * 3)  # the mean of all three is 2
    assert len(minibatch.entropy_A) == 10
    assert len(prepared(policy, episodes, config, reference).weights_S) == 10


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_return_that_is_not_finite_ends_the_run(episode: Make, tiny: RunConfig, broken: float) -> None:
    with pytest.raises(RunError, match=f"an episode of ludus/Arithmetic-v0 with seed 0 earned {broken}"):
        make_groups([episode(1.0), episode(broken)], tiny)


def test_a_minibatch_of_no_groups_has_nothing_to_train_on(policy: LoadedModel, tiny: RunConfig) -> None:
    (minibatch,) = make_minibatches([[]], policy.model, None, tiny)
    assert minibatch.micro_batches == []
    assert minibatch_metrics([minibatch], tiny) == {}
