"""A log of the calls that services on a port answer: one JSON object a line.

| field | what |
|---|---|
| time | when the request came, UTC, ISO 8601 |
| world | the value of the header `X-Ludus-World`; empty for the shared world |
| service | the first part of the path, such as `calendar` |
| method, path | of the request, with its query |
| status | of the answer; 0 if none was given |
| seconds | from request to answer |
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ludus.tools.errors import UserError
from ludus.tools.services.rack import WORLD


@dataclass(frozen=True, slots=True)
class Call:
    """A line of the log."""

    time: str
    world: str
    service: str
    method: str
    path: str
    status: int
    seconds: float


class CallLogError(UserError):
    """A file is no log of calls."""


def logged(make: Callable[[], ASGIApp], path: Path) -> ASGIApp:
    """An application that appends a line for every request. Several processes may append to one file.

    Raises:
        OSError: the file cannot be written.
    """
    app = make()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    async def logging(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        status, began, at = 0, time.perf_counter(), datetime.now(UTC)

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, note)
        finally:
            world = next((value for name, value in scope["headers"] if name == WORLD), b"")
            query = scope.get("query_string", b"").decode("latin-1")
            call = Call(
                time=at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                world=world.decode("latin-1"),
                service=scope["path"][1:].partition("/")[0],
                method=scope["method"],
                path=scope["path"] + (f"?{query}" if query else ""),
                status=status,
                seconds=round(time.perf_counter() - began, 6),
            )
            # One write for each line, so that lines of several processes do not mix.
            os.write(file, json.dumps(asdict(call)).encode() + b"\n")

    return logging


def read_calls(path: Path) -> Iterator[Call]:
    """
    Raises:
        CallLogError: a line is no call; a torn last one is skipped.
        OSError: the file cannot be read.
    """
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return
            try:
                yield Call(**json.loads(line))
            except (ValueError, TypeError):
                raise CallLogError(
                    f"{path}, line {number} is no call: give a log that `ludus serve tools --log FILE` wrote"
                ) from None
