"""Environments in which the agent writes programs that are run in a sandbox."""
