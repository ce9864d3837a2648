"""`ludus/OpenEnv-v0`: the environment that a server of OpenEnv serves."""
