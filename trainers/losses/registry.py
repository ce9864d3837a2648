"""Every policy loss: its entry here is the only place that defines it.

Configuration, trainer and documentation read `LOSSES`. To add a loss, add a reference and an entry. Nothing
here imports torch, since a configuration is checked before anything heavy loads.

The references state the papers' formulas, episode by episode: `tokens`, `ratios` and so on are lists with a
tensor for each episode, and a ratio is π/μ of one token. The tests compare the operator `grpo_loss` with
`token_weights` against them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ludus.kernels.grpo_loss.batch import Objective, Ratio
    from ludus.kernels.grpo_loss.weights import Normaliser
    from ludus.trainers.advantages.registry import AdvantageName


@dataclass(frozen=True)
class ReferenceBatch:
    """A batch of E episodes with sampled tokens, as the references read it."""

    logprobs: Sequence[Tensor]
    """[T] for each episode; differentiable."""
    old_logprobs: Sequence[Tensor]
    advantages: Sequence[Tensor]
    clip_low: float
    clip_high: float
    max_tokens: int
    """The most tokens that an episode can sample."""

    def ratios(self) -> list[Tensor]:
        return [(new - old).exp() for new, old in zip(self.logprobs, self.old_logprobs, strict=True)]

    def clipped(self, ratio: Tensor) -> Tensor:
        return ratio.clamp(1 - self.clip_low, 1 + self.clip_high)

    def surrogates(self, ratios: Sequence[Tensor]) -> list[Tensor]:
        """min(r A, clip(r) A) of each token: PPO, arXiv:1707.06347, eq. 7."""
        return [
            (ratio * advantage).minimum(self.clipped(ratio) * advantage)
            for ratio, advantage in zip(ratios, self.advantages, strict=True)
        ]


@dataclass(frozen=True)
class LossSpec:
    """What a policy loss is made of."""

    name: str
    about: str
    """A phrase, for the configuration and the documentation."""
    paper: str
    ratio: Ratio
    """One for each token, or one for each of an episode's sequences; unless `grpo.ratio` names another."""
    objective: Objective
    normaliser: Normaliser
    """How the terms of a batch's tokens become one number."""
    advantage: AdvantageName
    """Unless `grpo.advantage` names another."""
    reference: Callable[[ReferenceBatch], Tensor]
    """The formula as the paper writes it, slowly."""


def _mean_of_means(terms: Sequence[Tensor]) -> Tensor:
    return sum(term.mean() for term in terms) / len(terms)  # type: ignore[return-value]


def _mean_of_tokens(terms: Sequence[Tensor]) -> Tensor:
    return sum(term.sum() for term in terms) / sum(len(term) for term in terms)  # type: ignore[return-value]


def _grpo(batch: ReferenceBatch) -> Tensor:
    return -_mean_of_means(batch.surrogates(batch.ratios()))


def _dr_grpo(batch: ReferenceBatch) -> Tensor:
    terms = batch.surrogates(batch.ratios())
    return -sum(term.sum() for term in terms) / (len(terms) * batch.max_tokens)  # type: ignore[return-value]


def _token_mean(batch: ReferenceBatch) -> Tensor:
    return -_mean_of_tokens(batch.surrogates(batch.ratios()))


def _gspo(batch: ReferenceBatch) -> Tensor:
    means = [ratio.log().mean().exp().expand(ratio.shape) for ratio in batch.ratios()]
    return -_mean_of_means(batch.surrogates(means))


def _cispo(batch: ReferenceBatch) -> Tensor:
    terms = [
        batch.clipped(ratio).detach() * advantage * new
        for ratio, advantage, new in zip(batch.ratios(), batch.advantages, batch.logprobs, strict=True)
    ]
    return -_mean_of_tokens(terms)


LOSSES = {
    spec.name: spec
    for spec in (
        LossSpec(
            name="grpo",
            about="the mean over each episode's tokens, then over episodes",
            paper="arXiv:2402.03300, eq. 3",
            ratio="token",
            objective="clip",
            normaliser="sequence_mean",
            advantage="grpo",
            reference=_grpo,
        ),
        LossSpec(
            name="dr_grpo",
            about="a constant divisor, so that a wrong answer does not get cheaper by being long",
            paper="arXiv:2503.20783, section 3.1",
            ratio="token",
            objective="clip",
            normaliser="constant",
            advantage="dr_grpo",
            reference=_dr_grpo,
        ),
        LossSpec(
            name="dapo",
            about="the mean over all tokens",
            paper="arXiv:2503.14476, eq. 8 and 10",
            ratio="token",
            objective="clip",
            normaliser="token_mean",
            advantage="grpo",
            reference=_token_mean,
        ),
        LossSpec(
            name="gspo",
            about="as `grpo`, with one ratio for each sequence, the geometric mean of its tokens', which "
            "moves far less than a token's: set clip_low and clip_high, whose default of 0.2 would never "
            "clip it (3e-4 and 4e-4 in the paper)",
            paper="arXiv:2507.18071",
            ratio="sequence",
            objective="clip",
            normaliser="sequence_mean",
            advantage="grpo",
            reference=_gspo,
        ),
        LossSpec(
            name="cispo",
            about="as `dapo`, with the clipped ratio as a constant factor, so that no token loses its "
            "gradient",
            paper="arXiv:2506.13585",
            ratio="token",
            objective="cispo",
            normaliser="token_mean",
            advantage="grpo",
            reference=_cispo,
        ),
        LossSpec(
            name="ppo",
            about="the clipped surrogate, averaged over all tokens as in `dapo`; the loss that goes with a "
            "value model or with advantages whitened over the batch",
            paper="arXiv:1707.06347, eq. 7",
            ratio="token",
            objective="clip",
            normaliser="token_mean",
            advantage="grpo",
            reference=_token_mean,
        ),
    )
}


def described() -> str:
    """A phrase about each loss, for the configuration's help."""
    return "; ".join(f"`{spec.name}`: {spec.about} ({spec.paper})" for spec in LOSSES.values()) + "."


def table() -> str:
    """The losses as a Markdown table, for `docs/losses.md`."""
    rows = [
        "| `grpo.loss` | what it is | ratio | mean over | advantage | paper |",
        "|---|---|---|---|---|---|",
    ]
    over = {"sequence_mean": "episodes", "token_mean": "tokens", "constant": "episodes, divisor constant"}
    for spec in LOSSES.values():
        rows.append(
            f"| `{spec.name}` | {spec.about} | {spec.ratio} | {over[spec.normaliser]} | `{spec.advantage}` | "
            f"{spec.paper} |"
        )
    return "\n".join(rows)
