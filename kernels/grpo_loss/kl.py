"""KL(policy || reference) from sampled tokens: estimators, and terms whose gradient is the right one.

For a token drawn from the old policy μ, write d = log π - log ref and ρ = π/μ. The estimators (J. Schulman,
"Approximating KL divergence", 2020) are k1 = d, k2 = d²/2 and k3 = exp(-d) - 1 + d. Where μ = π, the values
of k1 and k3 are unbiased, that of k2 is not.

The gradient that descends the divergence is, since E_π[∇log π] = 0,

    ∇KL(π || ref) = ∇ Σ_v π_v d_v = Σ_v π_v d_v ∇log π_v = E_μ[ρ d ∇log π].

Differentiating the estimators as they stand does not give it (Tang and Munos, arXiv 2506.09477; Liu et al.,
arXiv 2510.01555): k1 gives E[∇log π] = 0, a loss that does nothing; k3 gives E[(1 - exp(-d)) ∇log π], which
is ∇KL(ref || π), another divergence; only k2 gives E[d ∇log π]. They ignore that the distribution under the
expectation moves too. The forms here put it back (sg: stop-gradient):

    k1   ρ · sg(d)      ∇ = ρ d ∇log π                                the score-function form
    k2   sg(ρ) · d²/2   ∇ = ρ d ∇log π                                differentiating ρ would give ∇E[d²/2]
    k3   ρ · k3(d)      ∇ = ρ (k3 + 1 - exp(-d)) ∇log π = ρ d ∇log π  importance-weighted, arXiv 2505.17508

All three have the same gradient at every token; what differs is the value that is reported. The states are
taken as given: this is the divergence of the next-token distributions at the visited states.
"""

from typing import Literal

from torch import Tensor

Estimator = Literal["k1", "k2", "k3"]

LOG_RATIO_LIMIT = 20.0
"""Log-ratios are clamped to this before exp, so that a token to which one side gives a log-probability of
-200 yields a finite loss; beyond it a ratio has no gradient."""

LOWEST_LOGPROB = -1e9
"""Log-probabilities below count as this one, and have no gradient: so differences from -inf are finite."""


def log_ratio(logprobs: Tensor, others: Tensor) -> Tensor:
    """logprobs - others, both bounded below by LOWEST_LOGPROB. Differentiable."""
    return logprobs.clamp(min=LOWEST_LOGPROB) - others.clamp(min=LOWEST_LOGPROB)


def likelihood_ratio(logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    """exp of their log-ratio, which is clamped to ±LOG_RATIO_LIMIT: exactly 1 where both are the same.
    Differentiable."""
    return log_ratio(logprobs, old_logprobs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def kl_value(estimator: Estimator, logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """The estimator at each token, for tokens that the policy itself sampled. Its autograd gradient is not
    that of the divergence: to train on it, take `kl_term`."""
    d = log_ratio(logprobs, reference_logprobs)
    match estimator:
        case "k1":
            return d
        case "k2":
            return 0.5 * d.square()
        case "k3":
            return (-d).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).expm1() + d


def kl_term(
    estimator: Estimator, logprobs: Tensor, reference_logprobs: Tensor, old_logprobs: Tensor
) -> Tensor:
    """At each token, what has ∇KL(policy || reference) as its expected gradient if the old policy sampled the
    token. Its value is the estimate, importance-weighted. Differentiable in logprobs."""
    ratio = likelihood_ratio(logprobs, old_logprobs)
    match estimator:
        case "k1":
            return ratio * kl_value("k1", logprobs, reference_logprobs).detach()
        case "k2":
            return ratio.detach() * kl_value("k2", logprobs, reference_logprobs)
        case "k3":
            return ratio * kl_value("k3", logprobs, reference_logprobs)
