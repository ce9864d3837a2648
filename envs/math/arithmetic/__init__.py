"""Arithmetic: one question, one reply."""
