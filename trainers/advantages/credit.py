"""`assign_credit`: the advantage of every sampled token, in the way that the configuration names."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ludus.trainers.advantages.anchor import anchor_credit
from ludus.trainers.advantages.gae import gae_credit
from ludus.trainers.advantages.group import group_credit
from ludus.trainers.advantages.reinforce_pp import reinforce_pp_baseline_credit, reinforce_pp_credit
from ludus.trainers.advantages.role import role_credit
from ludus.trainers.advantages.trajectory import Trajectory
from ludus.trainers.advantages.turn import turn_credit
from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.losses.registry import LOSSES


def assign_credit(trajectories: Sequence[Trajectory], config: GrpoSection) -> list[Tensor]:
    """Advantages of the sampled tokens of each trajectory of a whole batch, [T] float64, in the order of its
    turns."""
    kind = LOSSES[config.loss].advantage if config.advantage == "default" else config.advantage
    if kind == "reinforce_pp":
        return reinforce_pp_credit(trajectories, config.gamma)
    if kind == "reinforce_pp_baseline":
        return reinforce_pp_baseline_credit(trajectories)
    if kind == "role":
        return role_credit(trajectories)
    match config.credit:
        case "group":
            return group_credit(trajectories, kind)
        case "turn":
            return turn_credit(trajectories, config.gamma)
        case "anchor":
            return anchor_credit(trajectories, kind, config.gamma, config.omega, config.anchor_std)
        case "gae":
            return gae_credit(trajectories, config.gamma, config.gae_lambda, config.gae_whiten)
        case "teacher":
            return [
                torch.zeros(sum(t.tokens), dtype=torch.float64)
                if t.token_rewards_T is None
                else t.token_rewards_T
                for t in trajectories
            ]


def needs_scores(config: GrpoSection) -> bool:
    """Whether credit depends on log-probabilities or values, so that it can be given only after scoring."""
    return config.credit in ("gae", "teacher") or (config.kl_in == "reward" and config.kl_coefficient > 0)
