"""Sandboxes: run programs that nobody has read."""

from ludus.tools.sandbox.limits import Limits
from ludus.tools.sandbox.result import CallResult, Result, SandboxFault, Value, Verdict

__all__ = ["CallResult", "Limits", "Result", "SandboxFault", "Value", "Verdict"]
