"""Pac-Man in words."""
