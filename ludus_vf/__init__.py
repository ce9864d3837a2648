"""The name by which verifiers finds Ludus's environments: `vf-eval ludus-vf`."""

from ludus.agents.verifiers import LudusEnv, LudusHarness, LudusTaskset

__all__ = ["LudusEnv", "LudusHarness", "LudusTaskset"]
