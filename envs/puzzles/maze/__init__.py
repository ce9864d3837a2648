"""Maze: find the way to a goal, by a map, by what is near, or by coordinates."""
