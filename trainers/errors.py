"""The errors of a run. Each message names the thing, the likely cause and the fix in one line."""

from ludus.tools.errors import UserError


class ConfigError(UserError):
    """The configuration is wrong: an unknown key, a bad value, settings that contradict each other."""

    exit_code = 2


class RunError(UserError):
    """The run's folder or its surroundings are in the way: it exists already, it is not a run, the disk is
    full."""


class CheckpointError(UserError):
    """A checkpoint is missing, corrupt, or belongs to another run."""


class TrainingDiverged(UserError):
    """The numbers no longer mean what they should: a loss that is not finite, or an engine and a trainer that
    disagree about the policy. Training on would spoil the weights, so the run stops."""
