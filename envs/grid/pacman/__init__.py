"""Pac-Man: rules, environments and scripted agents."""
