"""Ludus: Gymnasium environments for language-model agents, and the trainer that improves policies in them.

Importing `ludus` registers the environments with Gymnasium and loads nothing heavy.
"""

from ludus.registration import environment_ids, register_environments

__version__ = "0.1.0"
__all__ = ["__version__", "environment_ids", "register_environments"]

register_environments()
