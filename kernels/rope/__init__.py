"""Rotary position embedding of query and key, in place."""
