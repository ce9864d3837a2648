"""The problem that the paths of `support_logprob` solve."""

from dataclasses import dataclass

from ludus.kernels.linear_logprob.problem import Problem
from ludus.kernels.support_logprob.support import Support


@dataclass(frozen=True)
class SupportProblem(Problem):
    """The same as for `linear_logprob`, over the ids that each row keeps."""

    support: Support
