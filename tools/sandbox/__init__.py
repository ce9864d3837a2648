"""Sandboxes: run untrusted programs."""

from ludus.tools.sandbox.limits import Limits
from ludus.tools.sandbox.pool import SandboxPool, shared_pool
from ludus.tools.sandbox.result import CallResult, Result, SandboxFault, Value, Verdict
from ludus.tools.sandbox.sandbox import Sandbox
from ludus.tools.sandbox.session import Session

__all__ = [
    "CallResult",
    "Limits",
    "Result",
    "Sandbox",
    "SandboxFault",
    "SandboxPool",
    "Session",
    "Value",
    "Verdict",
    "shared_pool",
]
