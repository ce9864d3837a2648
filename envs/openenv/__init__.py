"""Ludus's environments as OpenEnv's: its server, around any chat environment."""
