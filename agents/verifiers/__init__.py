"""Environments in verifiers: a taskset of starts, the harness that plays them, and both as an environment."""

from ludus.agents.verifiers.installed import require_verifiers

try:
    from ludus.agents.verifiers.environment import LudusEnv
    from ludus.agents.verifiers.harness import LudusHarness
    from ludus.agents.verifiers.taskset import LudusTaskset
except ImportError:
    require_verifiers()
    raise
require_verifiers()

__all__ = ["LudusEnv", "LudusHarness", "LudusTaskset"]
