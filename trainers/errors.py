"""What a run can fail with, split by who must react. Each message names the thing, the likely cause and the fix."""


class TrainerError(Exception):
    """Base class: everything here ends a run with one clear line and a non-zero exit."""


class ConfigError(TrainerError):
    """The configuration is wrong: an unknown key, a bad value, settings that contradict each other."""


class RunError(TrainerError):
    """The run's folder or its surroundings are in the way: it exists already, or the disk is full."""


class CheckpointError(TrainerError):
    """A checkpoint is missing, corrupt, or belongs to another run."""


class TrainingDiverged(TrainerError):
    """The numbers no longer mean what they should: a loss that is not finite, or an engine and a trainer that
    disagree about the policy. Training on would spoil the weights, so the run stops."""
