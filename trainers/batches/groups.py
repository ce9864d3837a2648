"""Groups: the episodes that share one start."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ludus.agents.episode import Episode, StopReason
from ludus.kernels import group_advantage
from ludus.trainers.advantages.anchor import anchor_of
from ludus.trainers.advantages.credit import assign_credit
from ludus.trainers.advantages.process import Process, StepRewards
from ludus.trainers.advantages.role import role_of
from ludus.trainers.advantages.shaping import soft_overlong_penalty
from ludus.trainers.advantages.trajectory import Trajectory
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.config.run import RunConfig
from ludus.trainers.errors import RunError


@dataclass(frozen=True)
class Group:
    """The scored episodes of one start."""

    episodes: tuple[Episode, ...]
    trajectories: tuple[Trajectory, ...]
    """The same, as credit is given in them; with the shaping that the configuration adds."""
    is_flat: bool
    """Nothing can be learned from a comparison of its episodes: they all earned the same or, with credit by
    turn or anchor, no turn has an advantage."""


def make_groups(
    episodes: Sequence[Episode],
    config: RunConfig,
    process: Process | None = None,
    baselines: Mapping[str, float] = {},
) -> list[Group]:
    """The groups of `episodes`, in the order of their first episode.

    An episode that is not scored (a fault, a refusal) is left out: it says nothing about the policy. So is a
    group without a scored episode.

    Args:
        process: What scores the steps of replies, if anything does.
        baselines: What roles earned before; see `trajectory_of`.

    Raises:
        RunError: if a return is not finite, or the scorer failed.
    """
    scored = [episode for episode in episodes if episode.is_scored]
    trajectories = [
        trajectory_of(episode, config, process.rewards(episode) if process else None, baselines)
        for episode in scored
    ]
    return [
        Group(tuple(scored[i] for i in members), tuple(trajectories[i] for i in members), is_flat)
        for members, is_flat in group_up(trajectories, config.grpo)
    ]


def group_up(trajectories: Sequence[Trajectory], config: GrpoSection) -> list[tuple[list[int], bool]]:
    """The indices of the trajectories that share a start, and whether they are flat (see `Group`), in the
    order of their first."""
    returns_E = torch.tensor([t.episode_return for t in trajectories], dtype=torch.float64)
    group_E = torch.tensor([t.group for t in trajectories], dtype=torch.int64)
    is_flat = group_advantage(returns_E, group_E).flat.tolist()
    members: dict[int, list[int]] = {}
    for index, trajectory in enumerate(trajectories):
        members.setdefault(trajectory.group, []).append(index)
    if config.credit not in ("turn", "anchor"):
        return [(indices, is_flat[indices[0]]) for indices in members.values()]
    # Equal returns can still have been earned in other turns, or in fewer of them.
    return [
        (indices, not _is_credited([trajectories[i] for i in indices], config))
        for indices in members.values()
    ]


def _is_credited(trajectories: Sequence[Trajectory], config: GrpoSection) -> bool:
    return any(bool(advantages_T.any()) for advantages_T in assign_credit(trajectories, config))


def trajectory_of(
    episode: Episode,
    config: RunConfig,
    steps: StepRewards | None = None,
    baselines: Mapping[str, float] = {},
) -> Trajectory:
    """The episode's rewards and tokens, with the soft overlong penalty of its longest completion where that
    is switched on; not trained on where the overlong filter is switched on and a token limit cut it off.

    Args:
        steps: What the steps of its replies earn, where something scores them.
        baselines: What each role earned before, 0 where it is missing; see `advantages.role`.

    Raises:
        RunError: if the return is not finite.
    """
    if not math.isfinite(episode.episode_return):
        raise RunError(
            f"an episode of {episode.environment} with seed {episode.seed} earned {episode.episode_return}: "
            "a reward term divided by 0 or overflowed. Fix it and continue with --resume"
        )
    tokens = tuple(len(turn.completion_ids) for turn in episode.turns)
    margin = config.grpo.overlong_tokens
    cut = episode.stop is StopReason.TOKEN_LIMIT or any(turn.finish == "length" for turn in episode.turns)
    return Trajectory(
        group=episode.group,
        rewards=tuple(turn.reward for turn in episode.turns),
        tokens=tokens,
        shaping=(
            soft_overlong_penalty(max(tokens, default=0), config.rollout.max_tokens, margin)
            if margin
            else 0.0
        ),
        anchors=tuple(map(anchor_of, episode.turns)) if config.grpo.credit == "anchor" else (),
        is_trained_on=not (config.grpo.overlong_filter and cut),
        token_rewards_T=steps.token_rewards_T if steps else None,
        step_values=steps.values if steps else None,
        baseline=baselines.get(role_of(episode), 0.0),
    )
