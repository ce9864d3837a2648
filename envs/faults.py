"""The one exception that says "this broke on our side"."""


class EnvironmentFault(RuntimeError):
    """Something on the environment's side broke: a dead server, a process that would not start.

    A rollout marks the episode as a fault and leaves it out of training: it never counts as reward 0.
    What a model did wrong is never a fault: it is answered with a message and a reward term.
    """
