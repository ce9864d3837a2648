"""Checks that warn or stop a run when its numbers no longer mean what they should: one check per module."""
