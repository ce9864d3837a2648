"""Countdown: reach a number with numbers."""
