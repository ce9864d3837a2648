"""Environments from anybody's data: a file of items, and a grader for the answers."""
