"""Environments about numbers."""
