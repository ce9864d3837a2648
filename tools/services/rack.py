"""`Rack`: several services at one address, each with any number of worlds."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ludus.tools.services.faults import WAIT, FaultPlan, FaultyApp
from ludus.tools.services.service import Service, Snapshot

WORLD = b"x-ludus-world"
"""The header that names a world; without it, a request uses the nameless world."""
MOST_WORLDS = MOST_SNAPSHOTS = 10_000
"""Of each service."""
MOST_SECONDS = 10 * 366 * 86_400
MOST_BODY = 16 * 2**20
"""Bytes of a request."""
CONTROL = "_control/"
_CROWDED = (
    "no other world has room here: leave the header X-Ludus-World out, name a world there is, or reset one"
)
_TOO_LARGE = f"the body of a request may have {MOST_BODY} bytes, and this one has more"
_NO_CONTROL = (
    "worlds are not steered here: start the server with --control, or make the Rack with control=True"
)


class Rack:
    """An application that serves `/search`, `/calendar`, …, described at `/`, with a check at `/health`.

    A world is a service's state: the initial one, as changed by calls. Each value of the header
    `X-Ludus-World` has its own world in every service, from its first use; requests without it share one.

    Args:
        services: by the name under which they are served. faults: what is injected; a slow call really keeps
            the client waiting. control: whether worlds can be steered, by `POST /NAME/_control/…`: `reset`
            (back to the beginning), `snapshot` (answers `{"snapshot": ID}`), `restore` (`{"snapshot": ID}`,
            also into another world), `advance` (`{"seconds": S}`: the virtual clock, moved by nothing else).
        most_worlds: how many worlds each service may have; `MOST_WORLDS`, if None.
    """

    def __init__(
        self,
        services: Mapping[str, Service],
        faults: FaultPlan | None = None,
        control: bool = False,
        most_worlds: int | None = None,
    ) -> None:
        self._control = control
        plan = faults or FaultPlan()
        self._hosts = {
            name: _Host(service, plan, most_worlds or MOST_WORLDS) for name, service in services.items()
        }
        self._well_known = {
            f"/.well-known/{service.well_known}": name
            for name, service in services.items()
            if service.well_known
        }
        self._about = {
            "services": {
                name: {"url": f"/{name}/", "about": about(service)} for name, service in services.items()
            },
            "worlds": "each value of the header X-Ludus-World is a world of its own",
            "control": [f"/NAME/{CONTROL}{action}" for action in _ACTIONS] if control else [],
        }

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._hosts)

    def service(self, name: str) -> Service:
        """A service, with whatever world it holds now."""
        return self._hosts[name].service

    def enter(self, name: str, world: bytes) -> Service | None:
        """A service with a world put in, for who is not called by HTTP and uses it before the next wait; None
        if there are too many worlds."""
        host = self._hosts[name]
        return host.service if host.enter(world) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", f"a rack answers HTTP, and no {scope['type']}"
        name, _, rest = scope["path"][1:].partition("/")
        host = self._hosts.get(name)
        if host is None:
            await self._tell(scope["path"], send)
        elif rest.startswith(CONTROL):
            if self._control:
                await host.steer(rest.removeprefix(CONTROL), scope, receive, send)
            else:
                await _refuse(send, 404, _NO_CONTROL)
        else:
            await host.serve({**scope, "root_path": f"/{name}"}, receive, send)

    async def _tell(self, path: str, send: Send) -> None:
        if path == "/":
            await _answer(send, 200, self._about)
        elif path == "/health":
            await _answer(send, 200, {"status": "ok"})
        elif (name := self._well_known.get(path.rstrip("/"))) is not None:
            location = [(b"location", f"/{name}/".encode())]
            await _answer(send, 301, {"url": f"/{name}/"}, location)
        else:
            names = ", ".join(f"/{name}" for name in self._hosts)
            reason = f"there is nothing at {path[:100]}; there are: {names}"
            await _refuse(send, 404, reason)


def about(service: Service) -> str:
    """The first line of a service's page."""
    return (type(service).__doc__ or "").strip().partition("\n")[0]


class _Host:
    """A service, which holds one world at a time; the rest are snapshots.

    Requests are served in turn: nothing waits between putting a world into the service and the end of the
    answer, except an injected fault, after which the world is put in again.
    """

    def __init__(self, service: Service, faults: FaultPlan, most_worlds: int) -> None:
        self.service = service
        self._most_worlds = most_worlds
        self._app: ASGIApp = FaultyApp(service, faults)
        self._begun = service.snapshot()
        self._worlds: dict[bytes, Snapshot] = {}
        self._held: bytes | None = None
        self._snapshots: dict[int, Snapshot] = {}
        self._taken = 0

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        world = _world(scope)
        body = await _body(receive)
        if body is None:
            await _refuse(send, 413, _TOO_LARGE)
            return
        if not self.enter(world):
            await _refuse(send, 503, _CROWDED)
            return
        answer: list[Message] = []

        async def wait(seconds: float) -> None:
            if await _leaves(receive, seconds) or not self.enter(world):
                raise _Left

        async def collect(message: Message) -> None:
            answer.append(message)

        async def read() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        try:
            await self._app({**scope, WAIT: wait}, read, collect)
        except _Left:
            return
        for message in answer:
            await send(message)

    async def steer(self, action: str, scope: Scope, receive: Receive, send: Send) -> None:
        if action not in _ACTIONS:
            await _refuse(send, 404, f"there is no control {action[:40]!r}; there are: {', '.join(_ACTIONS)}")
            return
        if scope["method"] != "POST":
            await _refuse(send, 405, f"{action} is a POST")
            return
        body = await _body(receive)
        if body is None:
            await _refuse(send, 413, _TOO_LARGE)
            return
        if not self.enter(_world(scope)):
            await _refuse(send, 503, _CROWDED)
            return
        try:
            given = json.loads(body or b"{}")
            done = _ACTIONS[action](self, given if isinstance(given, dict) else {})
        except RecursionError:
            await _refuse(send, 400, f"{action}: the body is nested too deeply")
            return
        except (ValueError, OverflowError) as error:
            await _refuse(send, 400, f"{action}: {error}")
            return
        await _answer(send, 200, done)

    def reset(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if self._held is not None:
            self._worlds.pop(self._held, None)
        self._held = None
        return {}

    def snapshot(self, given: Mapping[str, Any]) -> dict[str, Any]:
        self._taken += 1
        self._snapshots[self._taken] = self.service.snapshot()
        self._snapshots.pop(self._taken - MOST_SNAPSHOTS, None)
        return {"snapshot": self._taken}

    def restore(self, given: Mapping[str, Any]) -> dict[str, Any]:
        number = given.get("snapshot")
        if not isinstance(number, int) or number not in self._snapshots:
            last = f"; the last {MOST_SNAPSHOTS} are kept" if self._snapshots else ""
            raise ValueError(
                f'send {{"snapshot": ID}} with an ID that `snapshot` answered, not {number!r}{last}'
            )
        self.service.restore(self._snapshots[number])
        return {}

    def advance(self, given: Mapping[str, Any]) -> dict[str, Any]:
        seconds = given.get("seconds")
        if not isinstance(seconds, int | float) or not 0 <= seconds <= MOST_SECONDS:
            raise ValueError(f'send {{"seconds": S}} with a number from 0 to {MOST_SECONDS}, not {seconds!r}')
        self.service.clock.advance(seconds)
        return {"now": self.service.clock.now.isoformat()}

    def enter(self, world: bytes) -> bool:
        """Put a world into the service; False if there are too many."""
        if world == self._held:
            return True
        if world not in self._worlds and len(self._worlds) >= self._most_worlds:
            return False
        if self._held is not None:
            self._worlds[self._held] = self.service.snapshot()
        self.service.restore(self._worlds.setdefault(world, self._begun))
        self._held = world
        return True


_ACTIONS: Mapping[str, Callable[[_Host, Mapping[str, Any]], dict[str, Any]]] = {
    "reset": _Host.reset,
    "snapshot": _Host.snapshot,
    "restore": _Host.restore,
    "advance": _Host.advance,
}


class _Left(Exception):
    """The client did not wait for the answer: like a call that timed out, this one has no effect."""


async def _leaves(receive: Receive, seconds: float) -> bool:
    """Wait; return True as soon as the client leaves."""
    waiting = asyncio.ensure_future(receive())
    try:
        message = await asyncio.wait_for(waiting, seconds)
    except TimeoutError:
        return False
    return message["type"] == "http.disconnect"


async def _body(receive: Receive) -> bytes | None:
    """The body; None if it is too large. It is read to its end anyway, so that the client sees the answer."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size <= MOST_BODY:
            parts.append(part)
        else:
            parts.clear()
        if not message.get("more_body", False):
            return b"".join(parts) if size <= MOST_BODY else None


def _world(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == WORLD:
            return bytes(value)
    return b""


async def _refuse(send: Send, status: int, reason: str) -> None:
    await _answer(send, status, {"error": True, "reason": reason})


async def _answer(
    send: Send, status: int, answer: Mapping[str, Any], more: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    body = json.dumps(answer, ensure_ascii=False, indent=2).encode() + b"\n"
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
