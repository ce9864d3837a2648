"""The loss of preference pairs, from the log-probabilities of whole sides."""

import statistics

from torch import Tensor
from torch.nn import functional

from ludus.trainers.config.preferences import PreferencesSection


def log_ratios(
    config: PreferencesSection, logprobs_P2: Tensor, reference_P2: Tensor, tokens_P2: Tensor
) -> Tensor:
    """log π/π_ref of each side, [P, 2]; per token with `length_normalised`.

    Args:
        logprobs_P2: Of pairs' chosen and rejected side under the policy, summed over the agent's tokens.
        reference_P2: The same under the reference.
        tokens_P2: How many tokens that are.
    """
    ratios_P2 = logprobs_P2 - reference_P2
    return ratios_P2 / tokens_P2 if config.length_normalised else ratios_P2


def preference_loss(config: PreferencesSection, ratios_P2: Tensor) -> Tensor:
    """Of each pair, [P]. With d the chosen side's log-ratio minus the rejected side's:

    - `dpo`: -(1 - ε) log σ(βd) - ε log σ(-βd) (arXiv:2305.18290, eq. 7; ε: label smoothing, Mitchell's cDPO),
      which is ln 2 at d = 0;
    - `ipo`: (d - 1 / 2β)² (arXiv:2310.12036, eq. 17), which is 1 / 4β² there.

    Args:
        ratios_P2: See `log_ratios`.
    """
    d_P = ratios_P2[:, 0] - ratios_P2[:, 1]
    if config.loss == "ipo":
        return (d_P - 1 / (2 * config.beta)).square()
    x_P = config.beta * d_P
    # log σ(-x) = log σ(x) - x
    return config.label_smoothing * x_P - functional.logsigmoid(x_P)


def batch_loss(
    config: PreferencesSection,
    logprobs_P2: Tensor,
    reference_P2: Tensor,
    tokens_P2: Tensor,
    pairs: int,
    chosen_tokens: int,
) -> Tensor:
    """What some pairs add to their batch's loss, []: the mean over the batch's pairs, and `sft_coefficient`
    times the chosen sides' negative log-likelihood, as a mean over the batch's tokens of them.

    Args:
        pairs: Of the whole batch.
        chosen_tokens: Of the whole batch.
    """
    loss_P = preference_loss(config, log_ratios(config, logprobs_P2, reference_P2, tokens_P2))
    loss = loss_P.sum() / pairs
    if config.sft_coefficient:
        loss = loss - config.sft_coefficient * logprobs_P2[:, 0].sum() / chosen_tokens
    return loss


def preference_metrics(
    config: PreferencesSection, logprobs_P2: Tensor, reference_P2: Tensor, tokens_P2: Tensor
) -> dict[str, float]:
    """Of a batch. `loss` is its whole loss; `implicit_reward/…` β times the log-ratio of either side,
    `margin` their difference, and `accuracy` the share of pairs where it is above 0; `logprob/…` the
    log-probability of a side, in nats; `sft_loss` in nats per token.

    Means are of exact sums, so that what is the same for all pairs is its own mean.
    """
    ratios_P2 = log_ratios(config, logprobs_P2, reference_P2, tokens_P2)
    rewards_P2 = config.beta * ratios_P2
    margin_P = rewards_P2[:, 0] - rewards_P2[:, 1]
    loss = _mean(preference_loss(config, ratios_P2))
    metrics = {
        "loss": loss,
        "accuracy": _mean((margin_P > 0).double()),
        "margin": _mean(margin_P),
        "implicit_reward/chosen": _mean(rewards_P2[:, 0]),
        "implicit_reward/rejected": _mean(rewards_P2[:, 1]),
        "logprob/chosen": _mean(logprobs_P2[:, 0]),
        "logprob/rejected": _mean(logprobs_P2[:, 1]),
    }
    if config.sft_coefficient:
        metrics["sft_loss"] = -(logprobs_P2[:, 0].sum() / tokens_P2[:, 0].sum()).item()
        metrics["loss"] += config.sft_coefficient * metrics["sft_loss"]
    return metrics


def _mean(values_P: Tensor) -> float:
    mean: float = statistics.mean(values_P.tolist())
    return mean
