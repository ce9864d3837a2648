"""Environments in which the agent writes programs, and in which programs are run."""
