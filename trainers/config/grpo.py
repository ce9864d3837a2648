"""`[grpo]`: training on rewards. Its keys about credit, the policy loss and the divergence from a reference
are in modules of their own."""

from typing import Self

from pydantic import model_validator

from ludus.trainers.config.credit import CreditKeys
from ludus.trainers.config.kl import KlKeys
from ludus.trainers.config.optimizer import OptimizerSection
from ludus.trainers.config.policy_loss import PolicyLossKeys
from ludus.trainers.config.process import ProcessKeys
from ludus.trainers.config.values import Count, CountOrNone, Positive


class GrpoSection(KlKeys, PolicyLossKeys, ProcessKeys, CreditKeys, OptimizerSection):
    """Group relative policy optimisation on the returns of episodes."""

    learning_rate: Positive = 3e-5
    """The peak, after warm-up. A small primed model withstands the default without losing what it has
    learned; where rewards have little noise, several times as much learns faster."""

    steps: CountOrNone = 100
    """Batches of rollouts; 0 leaves GRPO out."""
    groups: Count = 16
    """Starts per step; a game of the policy against itself is a start for each of its seats."""
    group_size: Count = 8
    """Episodes played from each start, which are compared with each other."""
    updates_per_batch: Count = 1
    """The batch's groups are split into this many minibatches, with one optimiser step on each."""
    epochs_per_batch: Count = 1
    """Passes over these minibatches, each with one optimiser step on every minibatch. From the second step on
    the policy is no longer the one that played, which the ratio corrects and clipping bounds."""
    dynamic_sampling: bool = False
    """Leave out flat groups, in which a comparison teaches nothing (every episode earned the same or, with
    credit by turn or anchor, no turn has an advantage), and play others in their place (DAPO,
    arXiv:2503.14476)."""
    max_resamples: Count = 2
    """How many times at most a step draws further groups for dynamic sampling."""
    overlong_tokens: CountOrNone = 0
    """The soft overlong penalty falls from 0 to -1 over this many tokens before `rollout.max_tokens`; 0
    leaves it out. An episode's longest completion counts."""
    overlong_filter: bool = False
    """Leave the tokens of an episode that a token limit cut off out of the loss: what it earned says little
    about what it would have said. Its group is still compared with it."""
    store_every: Count = 20
    """Episodes are stored every so many steps, and always at the first and the last step."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.steps == 0:
            return self
        if self.group_size == 1 and self.compares_in_group:
            raise ValueError(
                "group_size = 1: an episode is compared with its group's mean, so alone it has advantage 0 "
                "and nothing is learned; use 2 or more, 8 is usual"
            )
        if self.dynamic_sampling and not self.compares_in_group:
            raise ValueError(
                "dynamic_sampling leaves out groups in which all earned the same, but "
                f"{self.compared_with}, so they teach as much as others; drop it"
            )
        if (
            not self.dynamic_sampling
            and self.max_resamples != type(self).model_fields["max_resamples"].default
        ):
            raise ValueError(
                f"max_resamples = {self.max_resamples} bounds dynamic sampling, but dynamic_sampling = "
                "false; take dynamic_sampling = true, or drop max_resamples"
            )
        if self.groups % self.updates_per_batch:
            raise ValueError(
                f"updates_per_batch = {self.updates_per_batch} does not divide groups = {self.groups}: "
                "minibatches hold whole groups and the same number of them; choose a divisor"
            )
        return self
