"""Groups: the episodes that share one start, and their advantages, computed once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ludus.agents.episode import Episode
from ludus.kernels import group_advantage
from ludus.trainers.advantages.shaping import soft_overlong_penalty
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import RunError
from ludus.trainers.losses.registry import LOSSES


@dataclass(frozen=True)
class Group:
    """The scored episodes of one start, each with its return and its advantage."""

    episodes: tuple[Episode, ...]
    rewards: tuple[float, ...]
    """Returns, with the shaping that the configuration adds."""
    advantages: tuple[float, ...]
    """Relative to the group: see `group_advantage`."""
    is_flat: bool
    """Every episode earned the same, so nothing can be learned from the comparison."""


def make_groups(episodes: Sequence[Episode], config: RunConfig) -> list[Group]:
    """The groups of `episodes`, in the order of their first episode.

    An episode that is not scored (a fault, a refusal) is left out: it says nothing about the policy. So is a
    group without a scored episode.

    Raises:
        RunError: if a return is not finite.
    """
    grpo = config.grpo
    scored = [episode for episode in episodes if episode.is_scored]
    rewards = [shaped_reward(episode, config) for episode in scored]
    kind = LOSSES[grpo.loss].advantage if grpo.advantage == "default" else grpo.advantage
    values, flat = group_advantage(
        torch.tensor(rewards, dtype=torch.float64, device=config.model.device),
        torch.tensor([episode.group for episode in scored], dtype=torch.int64, device=config.model.device),
        kind,
    )
    advantages, is_flat = values.tolist(), flat.tolist()
    members: dict[int, list[int]] = {}
    for index, episode in enumerate(scored):
        members.setdefault(episode.group, []).append(index)
    return [
        Group(
            tuple(scored[i] for i in indices),
            tuple(rewards[i] for i in indices),
            tuple(advantages[i] for i in indices),
            is_flat[indices[0]],
        )
        for indices in members.values()
    ]


def shaped_reward(episode: Episode, config: RunConfig) -> float:
    """The return, plus the soft overlong penalty of the longest completion where that is switched on.

    Raises:
        RunError: if the return is not finite.
    """
    reward = episode.episode_return
    if not math.isfinite(reward):
        raise RunError(
            f"an episode of {episode.environment} with seed {episode.seed} earned {reward}: a reward term "
            "divided by 0 or overflowed. Fix it and continue with --resume"
        )
    if not config.grpo.overlong_tokens:
        return reward
    length = max((len(turn.completion_ids) for turn in episode.turns), default=0)
    return reward + soft_overlong_penalty(length, config.rollout.max_tokens, config.grpo.overlong_tokens)
