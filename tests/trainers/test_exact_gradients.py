"""The gradient that training follows on average is the true one, or its bias is known.

Everything is enumerated (`processes`): no test here has noise. "Exact" is a difference below 1e-10, up to a
constant factor that is stated. What is not exact is compared with a formula for what it is instead, and
measured: the table in `docs/credit.md` is made here.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path as File
from typing import Any

import pytest
import torch
from torch import Tensor

from ludus.kernels import grpo_loss
from ludus.kernels.grpo_loss.kl import Estimator, kl_value
from ludus.trainers.advantages.credit import assign_credit
from ludus.trainers.advantages.turn import returns_to_go
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.losses.registry import LOSSES

from .processes import (
    EVEN,
    PROCESSES,
    STOP,
    WORDS,
    Batches,
    Path,
    Process,
    batches,
    bias,
    gradient_of,
    true_values,
    weights_N,
    wrong_values,
)

DOCS = File(__file__).parents[2] / "docs"
PLAIN = {"credit": "gae", "gae_whiten": False}
KINDS: dict[str, dict[str, Any]] = {
    "`group`, `rloo`": {"advantage": "rloo"},
    "`group`, `dr_grpo`": {"advantage": "dr_grpo"},
    "`group`, `grpo`": {"advantage": "grpo"},
    "`group`, `reinforce_pp`": {"advantage": "reinforce_pp"},
    "`group`, `reinforce_pp_baseline`": {"advantage": "reinforce_pp_baseline"},
    "`group`, `role`": {"advantage": "role"},
    "`turn`": {"credit": "turn"},
    "`anchor`, `rloo`, `anchor_std = false`": {"credit": "anchor", "advantage": "rloo", "anchor_std": False},
    "`anchor`, `rloo`": {"credit": "anchor", "advantage": "rloo"},
    "`gae`, `gae_whiten = false`": PLAIN,
    "the same, `gae_lambda = 0.5`": {**PLAIN, "gae_lambda": 0.5},
    "the same, `gae_lambda = 0.5`, true values": {**PLAIN, "gae_lambda": 0.5},
    "`gae`, true values": {"credit": "gae"},
}
"""Every kind of credit, as the table calls it, and the settings that choose it. A value model's values are
wrong unless the name says otherwise."""
BY_EPISODE = [KINDS[f"`group`, `{advantage}`"] for advantage in ("rloo", "dr_grpo", "grpo")]
UNBIASED = [KINDS["`group`, `rloo`"], KINDS["`group`, `role`"], KINDS["`turn`"]]
every_process = pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.name)
ESTIMATORS: tuple[Estimator, ...] = ("k1", "k2", "k3")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors of a few numbers gain nothing from a second thread and lose much where a core is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def assert_same(gradient: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-10)


def truth(process: Process, gamma: float = 1.0) -> Tensor:
    return gradient_of(process, process.policy(), lambda path: path.discounted(gamma))


@cache
def advantages_of(name: str, batch: Batches) -> Tensor:
    """The advantages of one of `KINDS`."""
    config = GrpoSection(**KINDS[name])
    values = None
    if config.credit == "gae":
        values = true_values(batch.process, batch.theta) if "true values" in name else wrong_values
    return batch.advantages_N(config, values=values)


def mean(process: Process, value_of: Callable[[Path], float]) -> float:
    """The expectation of a value of paths."""
    probabilities = process.probabilities(process.policy()).tolist()
    return math.fsum(p * value_of(path) for p, path in zip(probabilities, process.paths, strict=True))


@every_process
def test_the_processes_are_what_the_proofs_need(process: Process) -> None:
    assert process.probabilities(process.policy()).sum().item() == pytest.approx(1.0, abs=1e-14)
    lengths = {len(path.choices) for path in process.paths}
    if process is EVEN:
        assert lengths == {2}
    else:
        assert len(lengths) > 1
        assert {path.truncated for path in process.paths} == {False, True}
        assert any(any(path.rewards[:-1]) for path in process.paths)
    assert (process is STOP) == (max(max(path.tokens) for path in process.paths) == 1)


@every_process
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("kind", UNBIASED, ids=["rloo", "role", "turn"])
def test_a_constant_divisor_is_exact(process: Process, size: int, kind: dict[str, Any]) -> None:
    """loss = "dr_grpo", whose only factor is one over the most tokens."""
    gradient = batches(process.name, size).expected_gradient(loss="dr_grpo", **kind)
    assert_same(process.max_tokens * gradient, truth(process))


@every_process
@pytest.mark.parametrize("size", [2, 3])
def test_a_mean_that_includes_the_episode_itself_only_shrinks_the_gradient(
    process: Process, size: int
) -> None:
    """advantage = "dr_grpo": by (G - 1) / G, which a learning rate makes up for."""
    gradient = batches(process.name, size).expected_gradient(loss="dr_grpo", advantage="dr_grpo")
    assert_same(process.max_tokens * gradient, (size - 1) / size * truth(process))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", UNBIASED, ids=["rloo", "role", "turn"])
def test_every_loss_is_exact_where_all_episodes_are_equally_long(loss: str, kind: dict[str, Any]) -> None:
    gradient = batches("even", 3).expected_gradient(loss=loss, **kind)
    assert_same(EVEN.max_tokens * gradient, truth(EVEN))


@every_process
@pytest.mark.parametrize("loss", ["grpo", "gspo"])
def test_a_mean_over_each_episodes_tokens_climbs_reward_per_token(process: Process, loss: str) -> None:
    """The length term: what is climbed is E[(R - J) / |o|], with J = E[R] held fixed, not E[R]: where an
    episode is better than the mean, it also pays to be short, and where it is worse, to be long."""
    expected_return = mean(process, lambda path: path.discounted(1.0))
    per_token = gradient_of(
        process,
        process.policy(),
        lambda path: (path.discounted(1.0) - expected_return) / len(path.choices),
    )
    gradient = batches(process.name, 2).expected_gradient(loss=loss, advantage="rloo")
    assert_same(gradient, per_token)
    assert (bias(gradient, truth(process)) < 1e-10) == (process is EVEN)


@pytest.mark.parametrize("loss", ["dapo", "cispo", "ppo"])
def test_a_mean_over_all_tokens_is_biased_less_the_larger_the_batch(loss: str) -> None:
    """The divisor is random and depends on the episode itself, whose share falls as 1 / G."""
    two, three = (
        bias(batches("words", size).expected_gradient(loss=loss, advantage="rloo"), truth(WORDS))
        for size in (2, 3)
    )
    assert two > 0.1
    assert three / two == pytest.approx(2 / 3, abs=0.1)


@every_process
def test_a_groups_spread_turns_two_returns_into_which_was_greater(process: Process) -> None:
    """The spread term: with two episodes, (R - mean) / std is ±1/√2 whatever lies between them, so what is
    climbed is half of E[sign(R - R')] / √2 against a fixed opponent: how often, not by how much."""
    probabilities = process.probabilities(process.policy()).tolist()
    returns = [path.discounted(1.0) for path in process.paths]

    def wins(path: Path) -> float:
        own = path.discounted(1.0)
        return math.fsum(
            p * math.copysign(not math.isclose(own, other, abs_tol=1e-9), own - other)
            for p, other in zip(probabilities, returns, strict=True)
        )

    gradient = batches(process.name, 2).expected_gradient(loss="dr_grpo", advantage="grpo")
    assert_same(process.max_tokens * gradient, gradient_of(process, process.policy(), wins) / math.sqrt(2))
    assert bias(gradient, truth(process)) > 0.1


def survivors_credit(paths: list[Path], config: GrpoSection, itself: bool) -> list[Tensor]:
    """Returns to go over the mean of the episodes that reached the same turn."""
    returns = [returns_to_go(path.trajectory().turn_rewards_K(), 1.0).tolist() for path in paths]
    advantages = []
    for index, own in enumerate(returns):
        values = []
        for turn, value in enumerate(own):
            reached = [
                other[turn]
                for position, other in enumerate(returns)
                if turn < len(other) and (itself or position != index)
            ]
            values.append(value - (math.fsum(reached) / len(reached) if reached else 0.0))
        advantages.append(paths[index].trajectory().over_tokens(torch.tensor(values, dtype=torch.float64)))
    return advantages


@pytest.mark.parametrize("process", [STOP, WORDS], ids=lambda process: process.name)
def test_the_mean_of_those_that_reached_a_turn_is_biased(process: Process) -> None:
    """What `advantages.turn` says of it: the factor is 1 - 1/n with n episodes that got there, 0 for one that
    goes on alone. Without the episode itself the mean has no bias, but is over few."""
    batch, config = batches(process.name, 3), GrpoSection(loss="dr_grpo", credit="turn")

    def gradient(itself: bool) -> Tensor:
        advantages_N = batch.advantages_N(config, lambda paths, c: survivors_credit(paths, c, itself))
        return process.max_tokens * batch.gradient(config, advantages_N)

    assert bias(gradient(itself=True), truth(process)) > 0.02
    assert_same(gradient(itself=False), truth(process))


@every_process
@pytest.mark.parametrize("advantage", ["grpo", "dr_grpo", "rloo"])
def test_without_its_steps_credit_by_anchor_is_credit_by_group_to_the_bit(
    process: Process, advantage: str
) -> None:
    batch = batches(process.name, 2)
    by_anchor = GrpoSection(credit="anchor", advantage=advantage, omega=0.0)
    by_group = GrpoSection(credit="group", advantage=advantage)
    assert torch.equal(batch.advantages_N(by_anchor), batch.advantages_N(by_group))


def others_in_state(paths: list[Path], config: GrpoSection) -> list[Tensor]:
    """Returns to go over the mean of the other episodes' turns in the same state."""
    turns = [
        (index, state, value)
        for index, path in enumerate(paths)
        for state, value in zip(
            path.states, returns_to_go(path.trajectory().turn_rewards_K(), 1.0).tolist(), strict=True
        )
    ]
    advantages: list[list[float]] = [[] for _ in paths]
    for index, state, value in turns:
        others = [other for i, s, other in turns if s == state and i != index]
        advantages[index].append(value - (math.fsum(others) / len(others) if others else 0.0))
    return [
        path.trajectory().over_tokens(torch.tensor(values, dtype=torch.float64))
        for path, values in zip(paths, advantages, strict=True)
    ]


@every_process
def test_a_state_is_compared_with_itself_too(process: Process) -> None:
    """credit = "anchor": as in the paper, the mean over a state's turns includes the turn itself and the
    others of its episode, so a turn in a state that few reach counts less. Over other episodes' turns alone
    it has no bias. Where all are in one state, there is only the factor (G - 1) / G."""
    batch = batches(process.name, 3)
    config = GrpoSection(loss="dr_grpo", credit="anchor", advantage="rloo", anchor_std=False, omega=0.5)
    gradient = process.max_tokens * batch.expected_gradient(**config.model_dump(exclude_unset=True))
    if process is EVEN:
        assert_same(gradient, (1 + 0.5 * 2 / 3) * truth(process))
    else:
        assert 0.005 < bias(gradient, truth(process)) < 0.3
    assert_same(
        process.max_tokens * batch.gradient(config, batch.advantages_N(config, others_in_state)),
        truth(process),
    )


@every_process
def test_only_whitening_biases_reinforce_pp(process: Process) -> None:
    """The returns of tokens are exact without a baseline; the batch's mean and spread include the episode."""
    batch, config = batches(process.name, 2), GrpoSection(loss="dr_grpo", advantage="reinforce_pp")

    def plain(paths: list[Path], config: GrpoSection) -> list[Tensor]:
        return [returns_to_go(path.trajectory().rewards_T(), 1.0) for path in paths]

    assert_same(
        process.max_tokens * batch.gradient(config, batch.advantages_N(config, plain)), truth(process)
    )
    assert bias(batch.gradient(config, batch.advantages_N(config)), truth(process)) > 0.05


@pytest.mark.parametrize("advantage", ["reinforce_pp", "reinforce_pp_baseline"])
def test_whitening_is_biased_less_the_larger_the_batch(advantage: str) -> None:
    one, two = (
        bias(batches("even", 2, groups).expected_gradient(loss="dr_grpo", advantage=advantage), truth(EVEN))
        for groups in (1, 2)
    )
    assert one > 1.05 * two > 0.1


def bootstrapped_truth(process: Process, gamma: float = 1.0) -> Tensor:
    """Of the expectation of what is earned and, where an episode is truncated, the value of what would
    follow; discounted by token."""
    return gradient_of(process, process.policy(), lambda path: path.to_go(0, gamma))


def gae(gae_lambda: float, gamma: float = 1.0, whiten: bool = False) -> GrpoSection:
    return GrpoSection(loss="dr_grpo", credit="gae", gae_lambda=gae_lambda, gamma=gamma, gae_whiten=whiten)


@every_process
@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 1.0])
def test_a_true_value_model_is_exact_with_any_lambda(process: Process, gae_lambda: float) -> None:
    """credit = "gae", an episode to a batch; the bootstrap stands for what follows a truncation."""
    batch = batches(process.name, 1)
    advantages_N = batch.advantages_N(gae(gae_lambda), values=true_values(process, batch.theta))
    gradient = process.max_tokens * batch.gradient(gae(gae_lambda), advantages_N)
    assert_same(gradient, bootstrapped_truth(process))


@every_process
def test_a_wrong_value_model_is_exact_with_lambda_1_alone(process: Process) -> None:
    batch = batches(process.name, 1)
    gradients = [
        process.max_tokens * batch.gradient(gae(lam), batch.advantages_N(gae(lam), values=wrong_values))
        for lam in (1.0, 0.95, 0.5)
    ]
    assert_same(gradients[0], bootstrapped_truth(process))
    biases = [bias(gradient, bootstrapped_truth(process)) for gradient in gradients]
    assert biases[2] > biases[1] > 0.01


@every_process
def test_discounted_by_token_gae_lacks_the_discount_of_the_token_itself(process: Process) -> None:
    batch, config = batches(process.name, 1), gae(0.7, gamma=0.8)
    advantages_N = batch.advantages_N(config, values=true_values(process, batch.theta, 0.8))
    true = bootstrapped_truth(process, 0.8)
    factor_N = 0.8 ** batch.token_N.double()
    assert_same(process.max_tokens * batch.gradient(config, advantages_N * factor_N), true)
    assert 1e-3 < bias(batch.gradient(config, advantages_N), true) < 0.5


@every_process
def test_whitening_biases_gae(process: Process) -> None:
    """gae_whiten: as with REINFORCE++, mean and spread of the batch include the episode itself."""
    batch = batches(process.name, 2)
    values = true_values(process, batch.theta)
    advantages_N = batch.advantages_N(gae(1.0, whiten=True), values=values)
    assert bias(batch.gradient(gae(1.0), advantages_N), bootstrapped_truth(process)) > 0.02


@every_process
@pytest.mark.parametrize("gamma", [0.9, 0.5])
def test_discounted_credit_lacks_the_discount_of_the_turn_itself(process: Process, gamma: float) -> None:
    """∇E[Σ γ^k r_k] weighs turn k by γ^k more. Like everybody else, we leave that factor out, or late turns
    would not learn; with it, the gradient is exact."""
    batch = batches(process.name, 2)
    config = GrpoSection(loss="dr_grpo", credit="turn", gamma=gamma)
    advantages_N = batch.advantages_N(config)
    factor_N = gamma ** batch.turn_N.double()
    true = truth(process, gamma)
    assert_same(process.max_tokens * batch.gradient(config, advantages_N * factor_N), true)
    gap = bias(batch.gradient(config, advantages_N), true)
    assert (gap < 1e-10) == (process is EVEN)
    assert gap < 0.5


@every_process
def test_a_sequences_ratio_gives_all_of_its_tokens_the_mean_of_their_credit(process: Process) -> None:
    """loss = "gspo": credit by episode is the same for all tokens, so before the first update nothing
    changes; of credit by turn, only the mean is left."""
    batch = batches(process.name, 2)
    for name, kind in KINDS.items():
        sequence, token = GrpoSection(loss="gspo", **kind), GrpoSection(loss="grpo", **kind)
        advantages_N = advantages_of(name, batch)
        row_N = batch.micro_batch.row_N
        totals = torch.zeros(len(batch.rows), dtype=torch.float64).index_add(0, row_N, advantages_N)
        mean_N = (totals / torch.bincount(row_N))[row_N]
        assert_same(batch.gradient(sequence, advantages_N), batch.gradient(token, mean_N))
        if kind in BY_EPISODE:
            assert_same(batch.gradient(sequence, advantages_N), batch.gradient(token, advantages_N))


@pytest.mark.parametrize("name", KINDS)
def test_a_clipped_ratio_changes_nothing_before_the_first_update(name: str) -> None:
    batch = batches("words", 2)
    advantages_N = advantages_of(name, batch)
    cispo, dapo = (GrpoSection(loss=loss, **KINDS[name]) for loss in ("cispo", "dapo"))
    assert_same(batch.gradient(cispo, advantages_N), batch.gradient(dapo, advantages_N))


BETA = 0.3


def reference_of(process: Process) -> Tensor:
    return process.policy(seed=1)


def true_divergence(process: Process) -> Tensor:
    """∇E[Σ_t log π_t - log ref_t] = ∇KL(π || ref) of whole episodes."""
    leaf = process.policy().requires_grad_()
    log_ratios = process.logprobs(leaf) - process.logprobs(reference_of(process))
    sums = torch.stack([log_ratios[list(path.choices)].sum() for path in process.paths])
    (gradient,) = torch.autograd.grad(process.probabilities(leaf) @ sums, leaf)
    return gradient


def divergence_at_states(process: Process, forward: bool = True) -> Tensor:
    """Σ over visited states of the gradient of their own divergence: KL(π || ref), or KL(ref || π)."""
    leaf, other = process.policy().requires_grad_(), process.logprobs(reference_of(process))
    logprobs = process.logprobs(leaf)
    per_choice = logprobs.exp() * (logprobs - other) if forward else other.exp() * (other - logprobs)
    states = [state for state, _ in process.choices]
    probabilities = process.probabilities(process.policy()).tolist()
    total = torch.zeros((), dtype=torch.float64)
    for path, probability in zip(process.paths, probabilities, strict=True):
        for choice in path.choices:
            total = total + probability * sum(
                per_choice[i] for i, state in enumerate(states) if state == states[choice]
            )
    (gradient,) = torch.autograd.grad(total, leaf)
    return gradient


@every_process
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_divergence_in_the_loss_is_that_of_the_visited_states(
    process: Process, estimator: Estimator
) -> None:
    """kl_in = "loss": each state's own divergence falls, by any estimator; that an action leads to states
    with more of it does not count."""
    batch = batches(process.name, 2)
    config = GrpoSection(
        loss="dr_grpo", advantage="rloo", kl_coefficient=BETA, kl_estimator=estimator, kl_in="loss"
    )
    gradient = batch.gradient(config, batch.advantages_N(config), reference_of(process))
    at_states = divergence_at_states(process)
    assert_same(process.max_tokens * gradient, truth(process) - BETA * at_states)
    assert bias(at_states, true_divergence(process)) > 0.05


def charged_gradient(process: Process, estimator: Estimator, **kind: str) -> Tensor:
    theta = process.policy()
    log_ratios = kl_value(estimator, process.logprobs(theta), process.logprobs(reference_of(process)))

    def credit(paths: list[Path], config: GrpoSection) -> list[Tensor]:
        charges = [(-BETA * log_ratios[list(path.choices)]).tolist() for path in paths]
        return assign_credit(
            [path.trajectory(token_rewards=charge) for path, charge in zip(paths, charges, strict=True)],
            config,
        )

    batch, config = batches(process.name, 2), GrpoSection(loss="dr_grpo", **kind)
    return process.max_tokens * batch.gradient(config, batch.advantages_N(config, credit))


@every_process
def test_a_divergence_in_the_reward_is_exact_with_k1(process: Process) -> None:
    """kl_in = "reward" climbs E[R] - β KL of whole episodes; k3 and k2 leave out part of it."""
    true = truth(process) - BETA * true_divergence(process)
    assert_same(charged_gradient(process, "k1", advantage="rloo"), true)
    # The gradient of E[k3] has a part of its own beside the score function's: that of KL(ref || π).
    reverse = divergence_at_states(process, forward=False)
    assert_same(charged_gradient(process, "k3", advantage="rloo"), true + BETA * reverse)
    # E[k2] is another quantity; in its gradient that of KL(π || ref) at the states is missing.
    theta, other = process.policy(), process.logprobs(reference_of(process))
    squares = 0.5 * (process.logprobs(theta) - other).square()
    k2 = gradient_of(process, theta, lambda path: float(squares[list(path.choices)].sum()))
    assert_same(charged_gradient(process, "k2", advantage="rloo"), truth(process) - BETA * k2)


@every_process
def test_by_turn_a_divergence_in_the_reward_is_exact_too(process: Process) -> None:
    true = truth(process) - BETA * true_divergence(process)
    assert_same(charged_gradient(process, "k1", credit="turn"), true)


@pytest.mark.parametrize("loss", LOSSES)
def test_padded_packed_and_cut_batches_have_the_same_gradient(loss: str) -> None:
    """All pairs of episodes of `words`: packed end to end, padded on the right with rubbish, and every
    token (with a ratio for each sequence: every sequence) a micro-batch of its own."""
    batch, spec = batches("words", 2), LOSSES[loss]
    config = GrpoSection(loss=loss, credit="turn")
    expected = batch.gradient(config, advantages_N := batch.advantages_N(config))
    settings = {"clip_low": config.clip_low, "clip_high": config.clip_high}
    settings |= {"ratio": spec.ratio, "objective": spec.objective}
    weights, row_N = weights_N(batch, spec.normaliser), batch.micro_batch.row_N
    lengths = torch.bincount(row_N)
    mask = torch.arange(int(lengths.max())) < lengths[:, None]

    def padded(values_N: Tensor, filler: float) -> Tensor:
        return torch.full(mask.shape, filler, dtype=values_N.dtype).masked_scatter(mask, values_N)

    leaf = batch.theta.clone().requires_grad_()
    new = batch.process.logprobs(leaf)[batch.choices_N]
    given = [padded(values, torch.nan) for values in (new, new.detach(), advantages_N)]
    grpo_loss(*given, padded(weights, 0.0), **settings).loss.neg().backward()
    assert_same(leaf.grad, expected)

    parts = torch.arange(len(row_N)).split(lengths.tolist() if spec.ratio == "sequence" else 1)
    leaf = batch.theta.clone().requires_grad_()
    for part in parts:
        new = batch.process.logprobs(leaf)[batch.choices_N[part]]
        grpo_loss(new, new.detach(), advantages_N[part], weights[part], **settings).loss.neg().backward()
    assert_same(leaf.grad, expected)


def table() -> str:
    """The table of `docs/credit.md`: how far the direction of the expected gradient is from the true one."""
    losses = list(LOSSES)
    lines = [
        f"| credit | {' | '.join(f'`{loss}`' for loss in losses)} |",
        "|---" * (1 + len(losses)) + "|",
    ]
    for name, kind in KINDS.items():
        truth_of = bootstrapped_truth if kind.get("credit") == "gae" else truth
        cells = []
        advantages = {p: advantages_of(name, batches(p.name, 2)) for p in PROCESSES}
        for loss in losses:
            config = GrpoSection(loss=loss, **kind)
            worst = max(
                bias(batches(p.name, 2).gradient(config, advantages[p]), truth_of(p)) for p in PROCESSES
            )
            cells.append("exact" if worst < 1e-10 else f"{worst:.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_the_documentation_has_the_measured_table() -> None:
    assert table() in (DOCS / "credit.md").read_text(encoding="utf-8")
