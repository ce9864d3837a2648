"""Tool services: small ASGI applications whose state is a pure function of a seed and the calls."""

from ludus.tools.services.faults import Fault, FaultPlan
from ludus.tools.services.service import Service, VirtualClock
from ludus.tools.services.transport import connect

__all__ = ["Fault", "FaultPlan", "Service", "VirtualClock", "connect"]
