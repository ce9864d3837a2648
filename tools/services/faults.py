"""Injected faults, drawn from a seed: a service is slow, times out, refuses, breaks, or uses old data."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from hashlib import blake2b

from starlette.types import ASGIApp, Receive, Scope, Send

from ludus.tools.services.service import Service

SLOW_S, TIMEOUT_S, RETRY_AFTER_S = 3.0, 3600.0, 5
WAIT = "ludus.wait"
"""Key of the scope under which the caller says how to wait; without it, the application sleeps in real
time."""


class Fault(StrEnum):
    SLOW = "slow"
    """The answer takes `SLOW_S`."""
    TIMEOUT = "timeout"
    """No answer before any client gives up."""
    REFUSED = "refused"
    """429 with `Retry-After`."""
    BROKEN = "broken"
    """500."""
    STALE = "stale"
    """An answer from outdated data."""


@dataclass(frozen=True)
class FaultPlan:
    """How often each fault happens, as a share of the calls; together at most 1.

    Raises:
        ValueError: for a share outside [0, 1], or a sum of shares above 1.
    """

    seed: int = 0
    slow: float = 0.0
    timeout: float = 0.0
    refused: float = 0.0
    broken: float = 0.0
    stale: float = 0.0

    def __post_init__(self) -> None:
        shares = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "seed"}
        for name, share in shares.items():
            if not 0.0 <= share <= 1.0:
                raise ValueError(
                    f"faults: {name} = {share} is no share of the calls: give a number from 0 to 1"
                )
        if sum(shares.values()) > 1.0 + 1e-9:
            raise ValueError(f"faults: the shares add up to {sum(shares.values()):g}, which is more than 1")

    def draw(self, service: str, call: int) -> Fault | None:
        """The fault of a call: a pure function of the seed, the service's name and the call's number."""
        if not (self.slow or self.timeout or self.refused or self.broken or self.stale):
            return None
        digest = blake2b(f"{self.seed}/{service}/{call}".encode(), digest_size=8).digest()
        place = int.from_bytes(digest, "little") / 2**64
        for fault in Fault:
            share: float = getattr(self, fault.value)
            if place < share:
                return fault
            place -= share
        return None


class FaultyApp:
    """A service's application, with the faults of a plan; it counts its calls."""

    def __init__(self, service: Service, plan: FaultPlan) -> None:
        self._service = service
        self._app: ASGIApp = service.app
        self._plan = plan

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service = self._service
        number, service.calls = service.calls, service.calls + 1
        fault = self._plan.draw(service.name, number)
        wait: Callable[[float], Awaitable[None]] = scope.get(WAIT, asyncio.sleep)
        if fault is Fault.SLOW:
            await wait(SLOW_S)
        elif fault is Fault.TIMEOUT:
            await wait(TIMEOUT_S)
        elif fault is Fault.REFUSED:
            await _answer(send, 429, "too many requests", ((b"retry-after", b"%d" % RETRY_AFTER_S),))
            return
        elif fault is Fault.BROKEN:
            await _answer(send, 500, "internal error")
            return
        service.is_stale = fault is Fault.STALE
        try:
            await self._app(scope, receive, send)
        finally:
            service.is_stale = False


async def _answer(
    send: Send, status: int, reason: str, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    body = json.dumps({"error": True, "reason": reason}).encode()
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
