"""Credit by anchor: beside its whole episode, a turn is compared with the group's turns in the same state."""

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

import torch
from torch import Tensor

from ludus.agents.episode import Episode, Turn
from ludus.kernels import group_advantage
from ludus.kernels.group_advantage.reference import AdvantageKind
from ludus.trainers.advantages.group import group_credit
from ludus.trainers.advantages.trajectory import Trajectory
from ludus.trainers.advantages.turn import returns_to_go

OBSERVED = "anchor/observed"
"""The metric that says how many turns have no anchor from their environment."""
_OBSERVATION = "observation "
"""Begins an anchor that was made from an observation."""


def anchor_credit(
    trajectories: Sequence[Trajectory], kind: AdvantageKind, gamma: float, omega: float, std: bool
) -> list[Tensor]:
    """Advantages of the sampled tokens of each trajectory, [T] float64: GiGPO (arXiv:2505.10978, eq. 9).

        A_ik = A_episode(i) + omega · A_step(i, k)

    A_episode is credit by group, with advantages of this kind; A_step is `step_advantages`.
    """
    steps = step_advantages(trajectories, gamma, std)
    return [
        episode_T + omega * trajectory.over_tokens(step_K)
        for trajectory, episode_T, step_K in zip(
            trajectories, group_credit(trajectories, kind), steps, strict=True
        )
    ]


def step_advantages(trajectories: Sequence[Trajectory], gamma: float, std: bool) -> list[Tensor]:
    """Advantages of the turns of each trajectory, [K] float64, over the turns of the group that were taken in
    the same state (GiGPO, arXiv:2505.10978, eqs. 6 to 8).

    With G_ik what episode i earned from its turn k on, discounted, and the mean over all turns (j, l) of the
    group whose anchor is that of (i, k), those of the same episode included:

        A_ik = G_ik - mean of G_jl, divided by their standard deviation if `std`

    A turn that is alone in its state has advantage 0, and so have turns that all earned the same.
    """
    number: dict[tuple[int, str], int] = {}
    states = [
        number.setdefault((trajectory.group, anchor), len(number))
        for trajectory in trajectories
        for anchor in trajectory.anchors
    ]
    returns = [returns_to_go(trajectory.turn_rewards_K(), gamma) for trajectory in trajectories]
    values = group_advantage(
        torch.cat([torch.zeros(0, dtype=torch.float64), *returns]),
        torch.tensor(states, dtype=torch.int64),
        "grpo" if std else "dr_grpo",
    ).values
    return list(values.split([len(returns_K) for returns_K in returns]))


def anchor_of(turn: Turn) -> str:
    """The key of the state that a turn was taken in; that of its observation where the environment gives
    none."""
    if turn.anchor:
        return turn.anchor
    seen = json.dumps(turn.observation, sort_keys=True).encode()
    return _OBSERVATION + blake2b(seen, digest_size=8).hexdigest()


def anchor_metrics(trajectories: Iterable[Trajectory]) -> dict[str, float]:
    """`anchor/company`: the share of turns that are not alone in their state; `anchor/size`: the mean number
    of turns in a state; `anchor/observed`: the share of turns whose anchor is their observation's key. Empty
    if the trajectories have no anchors."""
    turns = [(trajectory.group, anchor) for trajectory in trajectories for anchor in trajectory.anchors]
    if not turns:
        return {}
    sizes: dict[tuple[int, str], int] = {}
    for turn in turns:
        sizes[turn] = sizes.get(turn, 0) + 1
    return {
        "anchor/company": sum(size for size in sizes.values() if size > 1) / len(turns),
        "anchor/size": len(turns) / len(sizes),
        OBSERVED: sum(anchor.startswith(_OBSERVATION) for _, anchor in turns) / len(turns),
    }


def anchor_note(
    episodes: Iterable[Episode],
    metrics: Mapping[str, float | str],
    history: Iterable[Mapping[str, float | str]],
) -> str:
    """What to tell about environments without anchors at the first step that meets one; empty at others.

    Args:
        metrics: of the step.
        history: those of the steps before it.
    """
    if not metrics.get(OBSERVED) or any(line.get(OBSERVED) for line in history):
        return ""
    lacking = {e.environment for e in episodes if any(not turn.anchor for turn in e.turns)}
    return (
        f'no info["anchor"] from {", ".join(sorted(lacking))}: turns that answer equal messages count as '
        "taken in the same state, which need not be so"
    )
