"""Tensor operators. They know nothing of the floors above."""

from ludus.kernels.linear_logprob.op import linear_logprob

__all__ = ["linear_logprob"]
