"""KL(policy || reference) from sampled tokens: estimators, and losses whose gradient is the right one.

For a token drawn from the old policy μ, write d = log π - log ref and ρ = π/μ. The estimators (J. Schulman,
"Approximating KL divergence", 2020) are k1 = d, k2 = d²/2 and k3 = exp(-d) - 1 + d. Where μ = π, the values
of k1 and k3 are unbiased, that of k2 is not.

The gradient that descends the divergence is, since E_π[∇log π] = 0,

    ∇KL(π || ref) = ∇ Σ_v π_v d_v = Σ_v π_v d_v ∇log π_v = E_μ[ρ d ∇log π].

Differentiating the estimators as they stand does not give it (Tang and Munos, arXiv 2506.09477; Liu et al.,
arXiv 2510.01555): k1 gives E[∇log π] = 0, a loss that does nothing; k3 gives E[(1 - exp(-d)) ∇log π], which
is ∇KL(ref || π), another divergence; only k2 gives E[d ∇log π]. What was forgotten is that the distribution
under the expectation moves too. The forms here put it back (sg: stop-gradient):

    k1   ρ · sg(d)      ∇ = ρ d ∇log π                                the score-function form
    k2   sg(ρ) · d²/2   ∇ = ρ d ∇log π                                differentiating ρ would give ∇E[d²/2]
    k3   ρ · k3(d)      ∇ = ρ (k3 + 1 - exp(-d)) ∇log π = ρ d ∇log π  importance-weighted, arXiv 2505.17508

All three have the same gradient at every token; what differs is the value that is reported. The states are
taken as given: this is the divergence of the next-token distributions at the states that were visited.
"""

from typing import Literal

from torch import Tensor

from ludus.trainers.losses import LOG_RATIO_LIMIT, likelihood_ratio

Estimator = Literal["k1", "k2", "k3"]


def kl_value(estimator: Estimator, logprobs_N: Tensor, reference_logprobs_N: Tensor) -> Tensor:
    """The estimator at each token, [N], for tokens that the policy itself sampled. Its autograd gradient is
    not that of the divergence: to train on it, take `kl_loss`."""
    d_N = logprobs_N - reference_logprobs_N
    match estimator:
        case "k1":
            return d_N
        case "k2":
            return 0.5 * d_N.square()
        case "k3":
            return (-d_N).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp() - 1.0 + d_N


def kl_loss(
    estimator: Estimator, logprobs_N: Tensor, reference_logprobs_N: Tensor, old_logprobs_N: Tensor
) -> Tensor:
    """A term per token, [N], whose gradient has the expectation ∇KL(policy || reference) for tokens that the
    old policy sampled. Its value is the estimate, importance-weighted. Differentiable in logprobs."""
    ratio_N = likelihood_ratio(logprobs_N, old_logprobs_N)
    match estimator:
        case "k1":
            return ratio_N * kl_value("k1", logprobs_N, reference_logprobs_N).detach()
        case "k2":
            return ratio_N.detach() * kl_value("k2", logprobs_N, reference_logprobs_N)
        case "k3":
            return ratio_N * kl_value("k3", logprobs_N, reference_logprobs_N)
