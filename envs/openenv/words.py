"""How the errors begin that `ludus serve openenv` tells: OpenEnv carries no more than their messages."""

FAULT = "EnvironmentFault: "
"""Where the environment's own side broke."""
NO_EPISODE = "NoEpisode: "
"""Where a reply belongs to no episode."""
