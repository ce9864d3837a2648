"""Environments in which the agent writes programs, which run in a sandbox."""
