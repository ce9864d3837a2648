"""A server with OpenAI's interface that takes a fixed time per answer, for measuring its clients.

    python benchmarks/answering_server.py [--seconds 0.2] [--log FILE]

Prints its port, on loopback. Only the other half of the load, it reads no more of HTTP/1.1 than a client
with kept connections sends, and the processor time that it takes is missing from a client on the same cores.
Its answers follow from the request alone, so that a repeated run gets the same ones. The log gets a line per
request, its `request_key`, as soon as it has been read.
"""

import argparse
import asyncio
import hashlib
import json
import sys
from pathlib import Path
from typing import Any, TextIO

import uvloop

MODEL = "answering"
MOVES = ("left", "right", "up", "down")


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """The completion: an answer in the tags of Arithmetic and moves in those of PacManChat, by the request's
    hash."""
    content = json.dumps([body["messages"], body.get("seed")], sort_keys=True)
    draw = int.from_bytes(hashlib.sha256(content.encode()).digest()[:4], "big")
    moves = " ".join(MOVES[draw >> shift & 3] for shift in (0, 2, 4))
    text = f"<answer>{draw % 100}</answer><action>{moves}</action>"
    message = {"role": "assistant", "content": text}
    return {
        "id": f"chatcmpl-{draw}",
        "object": "chat.completion",
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": len(content) // 4, "completion_tokens": len(text) // 4},
    }


def request_key(body: dict[str, Any]) -> str:
    """The request's seed and a hash of the conversation's first message, which identify a turn of an
    episode."""
    first = hashlib.sha256(body["messages"][0]["content"].encode()).hexdigest()[:16]
    return f"{body['seed']} {first}"


class Connection(asyncio.Protocol):
    def __init__(self, seconds: float, log: TextIO | None) -> None:
        self.seconds, self.log, self.unread = seconds, log, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.unread += data
        while (end := self.unread.find(b"\r\n\r\n")) >= 0:
            head = self.unread[:end].lower()
            mark = head.find(b"content-length:")
            length = int(head[mark + 15 :].split(b"\r\n", 1)[0]) if mark >= 0 else 0
            if len(self.unread) < end + 4 + length:
                return
            content = self.unread[end + 4 : end + 4 + length]
            self.unread = self.unread[end + 4 + length :]
            if head.startswith(b"post"):
                body = json.loads(content)
                if self.log is not None:
                    self.log.write(request_key(body) + "\n")
                    self.log.flush()
                asyncio.get_running_loop().call_later(self.seconds, self.send, answer(body))
            else:
                self.send({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    def send(self, value: dict[str, Any]) -> None:
        content = json.dumps(value).encode()
        if not self.transport.is_closing():
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(
                content
            )
            self.transport.write(head + content)


async def serve(seconds: float, log: TextIO | None) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(seconds, log), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    # The process that started us holds the other end of stdin: when it is gone, so are we.
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--log", type=Path)
    arguments = parser.parse_args()
    if arguments.log is None:
        uvloop.run(serve(arguments.seconds, None))
    else:
        with open(arguments.log, "a", encoding="utf-8") as log:
            uvloop.run(serve(arguments.seconds, log))


if __name__ == "__main__":
    main()
