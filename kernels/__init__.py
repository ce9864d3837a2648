"""Tensor operators. They know nothing of the floors above."""

from ludus.kernels.linear_logprob.op import linear_logprob
from ludus.kernels.logprob_entropy.op import logprob_entropy

__all__ = ["linear_logprob", "logprob_entropy"]
