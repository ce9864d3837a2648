"""The losses of reward models."""

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid


def bradley_terry(chosen_B: Tensor, rejected_B: Tensor, margins_B: Tensor, centring: float) -> Tensor:
    """The loss of each pair, [B], in nats: −log σ(r₊ − r₋ − m) + c (r₊ + r₋)².

    The first term is the negative log-likelihood of the preferences under R. Bradley and M. Terry, "Rank
    analysis of incomplete block designs" (1952), with Llama 2's margin m (arXiv:2307.09288, equation 2). It
    does not change where all rewards are shifted, which the second one settles (arXiv:2312.09244, section 2).

    Args:
        margins_B: By how much the chosen one's reward is to be higher.
    """
    return -logsigmoid(chosen_B - rejected_B - margins_B) + centring * (chosen_B + rejected_B).square()


def step_loss(logits_S: Tensor, labels_S: Tensor) -> Tensor:
    """The cross-entropy of each step, [S], in nats, between the label, a probability of success, and the
    logit's (arXiv:2312.08935, equation 2)."""
    return binary_cross_entropy_with_logits(logits_S, labels_S, reduction="none")
