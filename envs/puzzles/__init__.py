"""Puzzles that can be checked exactly."""
