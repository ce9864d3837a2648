"""Worlds of words."""
