"""A load generator for HTTP and WebSocket servers: the minimum that can check answers."""

import asyncio
import base64
import json
import os
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import uvloop

Check = Callable[[bytes], bool]


@dataclass(frozen=True)
class Load:
    """The answers within the window."""

    answers_per_s: float
    answers: int
    total: int
    """All answers, including those before and after the window."""
    wrong: int
    """Answers with a status other than 200, or refused by the check."""
    median_ms: float
    p99_ms: float


class Client(asyncio.Protocol):
    """One connection, one request at a time, over and over."""

    def __init__(self, requests: Sequence[bytes], first: int, stride: int, check: Check) -> None:
        self.requests, self.at, self.stride, self.check = requests, first, stride, check
        self.buffer = b""
        self.taken: list[tuple[float, float]] = []
        self.wrong = 0
        self.sent = 0.0
        self.stopped = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.ask()

    def ask(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.requests[self.at % len(self.requests)])
        self.at += self.stride

    def took(self, good: bool) -> None:
        now = time.perf_counter()
        self.wrong += not good
        self.taken.append((now, now - self.sent))
        if self.stopped:
            self.transport.close()
        else:
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.stopped:
            raise SystemExit(f"the server closed a connection: {exc}")


class HttpClient(Client):
    """Requests are complete HTTP/1.1 requests; answers have a Content-Length."""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        place = head.lower().find(b"content-length:")
        if place < 0:
            raise SystemExit(f"an answer without a length: {head!r}")
        length = int(head[place + 15 :].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self.buffer = b""
        self.took(head.startswith(b"HTTP/1.1 200 ") and self.check(body))


class WebSocketClient(Client):
    """Requests are texts, answers are unmasked frames; the first request starts the episode."""

    path = "/ws"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.is_open = False
        key = base64.b64encode(os.urandom(16))
        self.transport.write(
            b"GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n" % (self.path.encode(), key)
        )

    def ask(self) -> None:
        text = self.requests[self.at % len(self.requests)]
        self.at += self.stride
        mask = b"\0\0\0\0"  # a mask is required; this one leaves the text as it is
        size = len(text)
        head = bytes([0x81, 0x80 | size]) if size < 126 else b"\x81\xfe" + struct.pack("!H", size)
        self.sent = time.perf_counter()
        self.transport.write(head + mask + text)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.is_open:
            head, found, self.buffer = self.buffer.partition(b"\r\n\r\n")
            if not found:
                self.buffer = head
                return
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                raise SystemExit(f"no WebSocket: {head!r}")
            self.is_open = True
            self.ask()
            return
        if len(self.buffer) < 4:
            return
        size, start = self.buffer[1], 2
        if size == 126:
            size, start = struct.unpack("!H", self.buffer[2:4])[0], 4
        if len(self.buffer) < start + size:
            return
        body, self.buffer = self.buffer[start : start + size], self.buffer[start + size :]
        self.took(self.check(body))


def load(
    host: str,
    port: int,
    requests: Sequence[bytes],
    check: Check,
    *,
    seconds: float,
    warm_up_s: float = 1.0,
    clients: int = 32,
    kind: type[Client] = HttpClient,
) -> Load:
    """Ask from this many clients at once, each with one request in flight."""

    async def run() -> Load:
        loop = asyncio.get_running_loop()
        made: list[Client] = []
        for number in range(clients):
            _, client = await loop.create_connection(
                lambda number=number: kind(requests, number, clients, check),
                host,
                port,  # type: ignore[misc]
            )
            made.append(client)
        await asyncio.sleep(warm_up_s)
        begun = time.perf_counter()
        await asyncio.sleep(seconds)
        ended = time.perf_counter()
        for client in made:
            client.stopped = True
        taken = sorted(took for client in made for moment, took in client.taken if begun <= moment < ended)
        if not taken:
            raise SystemExit("no answer came")
        return Load(
            answers_per_s=len(taken) / (ended - begun),
            answers=len(taken),
            total=sum(len(client.taken) for client in made),
            wrong=sum(client.wrong for client in made),
            median_ms=taken[len(taken) // 2] * 1000,
            p99_ms=taken[len(taken) * 99 // 100] * 1000,
        )

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def is_json(body: bytes) -> bool:
    """Whether a body is a JSON object that reports no error."""
    answer: Any = json.loads(body)
    return isinstance(answer, dict) and not answer.get("error")
