"""Environments in TRL's GRPOTrainer: whole replies by `rollout_func`, tools by `environment_factory`."""

from ludus.agents.trl.rewards import reward
from ludus.agents.trl.rollouts import rollout_func
from ludus.agents.trl.starts import dataset
from ludus.agents.trl.tools import environment_factory

__all__ = ["dataset", "environment_factory", "reward", "rollout_func"]
