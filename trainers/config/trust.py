"""`[trust]`: the limits of the checks that every step of GRPO is held to."""

from typing import Annotated

from pydantic import AfterValidator, Field

from ludus.tools.section import Section
from ludus.trainers.config.values import nearest

Most = Annotated[float, Field(ge=0)]
"""What a reading may be at most; `inf` switches the check off."""
Share = Annotated[float, Field(ge=0, le=1)]
Times = Annotated[float, Field(ge=1)]
"""The same for a reading that is 1 where nothing changes."""


IN_BFLOAT16 = {"mismatch_mean": 0.02, "mismatch_max": 2.0, "mismatch_bias": 0.01, "mismatch_slice": 0.1}
"""Limits by default where numbers are that coarse; docs/models.md says how coarse."""


def _known(names: list[str]) -> list[str]:
    known = [name for name in TrustSection.model_fields if name != "warn"]
    for name in names:
        if name not in known:
            raise ValueError(f'there is no check "{name}"{nearest(name, known)}')
    return names


class TrustSection(Section):
    """One limit for each check of a step. A check that fails stops the run, unless it is named in `warn`. A
    resumed run may have other limits."""

    warn: Annotated[list[str], AfterValidator(_known)] = Field(
        default=["faults_by_action", "faults_by_reward", "length_drift", "form_over_success"]
    )
    """Checks that only warn."""

    not_finite: Most = 0
    """Losses, norms of gradients and tensors of weights that are not finite. With a gradient that is not, the
    step is not taken; such norms count once more than `grpo.max_skipped` of them come in a row."""
    first_ratio: Most = 0
    """How far the ratio of new to old policy is off 1 before the first update of a batch."""
    mismatch_mean: Most = 1e-3
    """By how much engine and trainer disagree about the log-probabilities of sampled tokens, in nats, on
    average. This limit and the next three are 20 times as high by default with `model.dtype = "bfloat16"`."""
    mismatch_max: Most = 0.1
    """The same for the worst single token."""
    mismatch_bias: Most = 5e-4
    """The size of the mean of trainer minus engine, in nats: small where they differ in both directions."""
    mismatch_slice: Most = 5e-3
    """The same as `mismatch_mean` for the worst range of positions, the worst turn, and the worst version of
    the weights, of those with at least 32 tokens."""
    ratio_spread: Most = 5.0
    """The 99th percentile of |log ratio| in any update of a batch, before clipping, in nats."""
    effective_samples: Share = 0.5
    """At least this share of the tokens must count, as the ratios weigh them, in every update."""
    clip_share: Share = 0.75
    """The share of an update's tokens that the bounds of the ratio leave without a gradient. Losses with one
    ratio for a sequence clip whole sequences."""
    mask_share: Share = 0.5
    """The share of tokens that the correction for the engine's numbers bounds."""
    entropy: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-4
    """The least entropy of the policy at sampled tokens, in nats."""
    gradient_spike: Times = 50.0
    """The gradient's norm, in medians of the last 32 steps' norms; from the ninth step on."""
    explained_variance: Annotated[float, Field(lt=1)] = -0.2
    """The least explained variance of the value model, each step's bounded below by -1, as a mean over the
    last 32 steps in which it was trained; from the 64th such step on. A little below 0 is usual early on, and
    again where nearly all episodes earn the same: there is little to explain then, and as little harm."""

    engine_weights: Most = 0
    """Engines whose weights have another fingerprint than the trainer's."""
    unchanged_weights: Most = 0
    """Updates with a gradient and a learning rate that changed no weight."""
    frozen_weights: Most = 0
    """Models (the policy's frozen parameters, the reference) that changed though they are not trained."""
    stale_cache: Most = 0
    """Tokens whose keys and values an engine kept over an update."""
    stale_episodes: Most = 0
    """Episodes that were sampled from other weights than those of their step."""
    tokenizer: Most = 0
    """1 if tokenizer or chat template are not those that the run began with."""
    vocabulary: Most = 0
    """By how many ids the vocabularies of policy, reference, value model and tokenizer differ, in that one
    has an id that another has not."""

    untrained_tokens: Most = 0
    """Sampled tokens that are not trained exactly once in a pass."""
    unsampled_tokens: Most = 0
    """Tokens with an advantage that are not the sampled ones."""
    identical_completions: Most = 12.0
    """How improbable the equal completions in the groups are: 12 stands for 1e-12."""
    held_out_tasks: Most = 0
    """Training episodes whose task is held out."""
    truncation: Share = 0.98
    """The share of completions that a token limit cut off, over the last 8 steps."""
    flat_groups: Share = 0.99
    """The share of groups that are flat though not every episode succeeded, over as many of the
    last steps as have at least 128 groups."""
    fault_share: Share = 0.2
    """The share of a step's episodes that faulted."""
    faults_by_action: Most = 3.0
    """How improbable it is that so many faults follow a kind of action: 3 stands for 1e-3."""
    faults_by_reward: Most = 6.0
    """How improbable it is that so many faults are in groups with low, or with high, rewards."""
    length_drift: Times = 8.0
    """How many times longer, or shorter, completions of the last 8 steps are than those of the first 8."""
    form_over_success: Most = 6.0
    """By how many standard errors a form term rose and success fell, whichever is less, over the last 8 steps
    against the best 8 before."""
    planted_answers: Share = 0.25
    """The share of planted bad answers that a scorer scores no lower than good ones, over the last 8 steps,
    once there are 8."""
    score_over_rule: Most = 6.0
    """The same as `form_over_success` for the term of a scorer and what is held beside it."""
    reward_fall: Most = 6.0
    """How far the mean reward of the last two steps lies below that of the best step, in standard errors,
    where it is also more than one standard deviation of an episode's return: the updates then undo what was
    learned."""
    cursor_gap: Most = 0
    """Tasks between the end of a step and the beginning of the next."""
