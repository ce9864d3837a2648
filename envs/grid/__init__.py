"""Environments on grids."""
