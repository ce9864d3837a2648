"""Tensor operators. They know nothing of the floors above."""

from ludus.kernels.linear_logprob.op import linear_logprob
from ludus.kernels.logprob_entropy.op import logprob_entropy
from ludus.kernels.support_logprob.op import support_logprob
from ludus.kernels.support_logprob.support import Support

__all__ = ["Support", "linear_logprob", "logprob_entropy", "support_logprob"]
