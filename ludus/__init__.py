"""Ludus: Gymnasium environments for language-model agents, and the trainer that improves policies in them.

Importing `ludus` registers the environments with Gymnasium and loads nothing heavy.
"""

from ludus.registration import register_environments

__version__ = "0.1.0"

register_environments()
