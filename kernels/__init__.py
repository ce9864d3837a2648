"""Tensor operators. They know nothing of the floors above."""

try:
    import torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "ludus.kernels needs torch, which is not installed: pip install 'ludus[train]'", name="torch"
    ) from None

from ludus.kernels.add_rmsnorm.op import add_rmsnorm
from ludus.kernels.apply import AppliedKernels, apply_kernels, kernels_problem
from ludus.kernels.group_advantage.op import GroupAdvantage, group_advantage
from ludus.kernels.grpo_loss.op import GrpoLoss, TokenLosses, grpo_loss, grpo_loss_by_token
from ludus.kernels.grpo_loss.weights import token_weights
from ludus.kernels.linear_logprob.op import linear_logprob
from ludus.kernels.logprob_entropy.op import logprob_entropy
from ludus.kernels.rope.op import rope
from ludus.kernels.support_logprob.op import support_logprob
from ludus.kernels.support_logprob.support import Support
from ludus.kernels.swiglu.op import swiglu

__all__ = [
    "AppliedKernels",
    "GroupAdvantage",
    "GrpoLoss",
    "Support",
    "TokenLosses",
    "add_rmsnorm",
    "apply_kernels",
    "group_advantage",
    "grpo_loss",
    "grpo_loss_by_token",
    "kernels_problem",
    "linear_logprob",
    "logprob_entropy",
    "rope",
    "support_logprob",
    "swiglu",
    "token_weights",
]
