"""Connections to servers and proxies, against raw bytes on loopback."""

import asyncio
import json
import ssl
from base64 import b64encode
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ludus.agents.engines.base import EngineFault
from ludus.agents.engines.options import ServerOptions
from ludus.agents.engines.server import OpenAIServer
from ludus.tools.errors import UserError
from tests.agents.test_server_options import certificate  # noqa: F401 (a fixture)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
    return head, await reader.readexactly(int(lines[0].partition(":")[2]) if lines else 0)


def with_server(
    serve: Serve, use: Callable[[int], Awaitable[Any]], context: ssl.SSLContext | None = None
) -> Any:
    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def main() -> Any:
        async with await asyncio.start_server(closing, "127.0.0.1", 0, ssl=context) as listening:
            return await use(listening.sockets[0].getsockname()[1])

    return asyncio.run(main())


def ask(port: int, **options: Any) -> Awaitable[Any]:
    server = OpenAIServer(f"http://127.0.0.1:{port}/v1", "m", options=ServerOptions(retries=0, **options))
    return server.post("chat/completions", {}, lambda answer: answer)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
ANSWERS = {
    "by length": HEAD + b'content-length: 9\r\n\r\n{"a": 12}',
    "in chunks": HEAD + b'transfer-encoding: chunked\r\n\r\n4\r\n{"a"\r\n5\r\n: 12}\r\n0\r\n\r\n',
    "until the connection ends": HEAD + b'\r\n{"a": 12}',
    "after a promise": b"HTTP/1.1 103 Early Hints\r\n\r\n" + HEAD + b'content-length: 9\r\n\r\n{"a": 12}',
    "of an old server": b'HTTP/1.0 200 OK\r\n\r\n{"a": 12}',
}


@pytest.mark.parametrize("form", ANSWERS)
@settings(max_examples=5)
@given(cuts=st.lists(st.integers(0, 150), max_size=4))
def test_an_answer_is_read_however_it_is_sent(form: str, cuts: list[int]) -> None:
    content = ANSWERS[form]
    places = [0, *sorted(cuts), len(content)]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for begin, end in pairwise(places):
            writer.write(content[begin:end])
            await writer.drain()
            await asyncio.sleep(0)

    assert with_server(serve, ask) == {"a": 12}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "closed the connection before it had answered"),
        (HEAD + b'content-length: 90\r\n\r\n{"a"', "closed the connection before it had answered"),
        (b"220 smtp ready\r\n\r\n", "not HTTP"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nwhat?\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 2**18, "not HTTP"),
    ],
)
def test_what_is_no_answer_is_a_fault_that_says_why(content: bytes, says: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(content)
        await writer.drain()

    with pytest.raises(EngineFault, match=says):
        with_server(serve, ask)


@pytest.mark.parametrize("header", [{"content-length": "1"}, {"transfer-encoding": "gzip"}])
def test_a_header_that_contradicts_the_request_is_a_fault(header: dict[str, str]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    with pytest.raises(EngineFault, match=r"Content-Length|Transfer-Encoding"):
        with_server(serve, lambda port: ask(port, headers=header))


def test_what_follows_an_answer_is_not_the_next_one() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        while True:
            await read_request(reader)
            writer.write(
                ANSWERS["by length"] + (ANSWERS["by length"].replace(b"12", b"99") if number == 0 else b"")
            )
            number += 1

    async def use(port: int) -> list[Any]:
        server = OpenAIServer(f"http://127.0.0.1:{port}/v1", "m", options=ServerOptions(retries=0))
        return [await server.post("chat/completions", {}, lambda answer: answer) for _ in range(2)]

    assert with_server(serve, use) == [{"a": 12}] * 2


@pytest.mark.parametrize("farewell", [b"", b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n"])
def test_a_connection_that_the_server_gave_up_is_not_used_again(farewell: bytes) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await read_request(reader)
        writer.write(ANSWERS["by length"])
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(farewell)

    async def use(port: int) -> None:
        server = OpenAIServer(f"http://127.0.0.1:{port}/v1", "m", options=ServerOptions(retries=0))
        for _ in range(3):
            assert await server.post("chat/completions", {}, lambda answer: answer) == {"a": 12}
            await asyncio.sleep(0.05)

    with_server(serve, use)
    assert connections == 3


def test_a_request_that_is_given_up_takes_its_connection_along() -> None:
    seen = list[bytes]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            body = (await read_request(reader))[1]
            seen.append(body)
            if len(seen) == 1:
                assert await reader.read() == b""
                return
            writer.write(ANSWERS["by length"])

    async def use(port: int) -> Any:
        server = OpenAIServer(
            f"http://127.0.0.1:{port}/v1", "m", options=ServerOptions(retries=0, concurrency=1)
        )
        first = asyncio.ensure_future(server.post("chat/completions", {}, lambda answer: answer))
        while not seen:
            await asyncio.sleep(0.001)
        first.cancel()
        return await server.post("chat/completions", {}, lambda answer: answer)

    assert with_server(serve, use) == {"a": 12}


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv


def test_a_proxy_forwards_with_its_own_password(proxied: Callable[[str, str], None]) -> None:
    heads = list[str]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await read_request(reader))[0])
        writer.write(ANSWERS["by length"])

    async def use(port: int) -> Any:
        proxied("http_proxy", f"http://me:p%40ss@127.0.0.1:{port}")
        return await OpenAIServer("http://model.invalid/v1", "m").post(
            "chat/completions", {}, lambda answer: answer
        )

    assert with_server(serve, use) == {"a": 12}
    assert heads[0].startswith("POST http://model.invalid/v1/chat/completions HTTP/1.1\r\n")
    assert f"basic {b64encode(b'me:p@ss').decode()}".lower() in heads[0].lower()


def test_a_proxy_tunnels_to_a_server_with_tls(
    proxied: Callable[[str, str], None],
    certificate: tuple[Path, Path],  # noqa: F811
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    asked, inside = list[str](), list[str]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            inside.append((await read_request(reader))[0])
            writer.write(ANSWERS["by length"])

    async def use(port: int) -> list[Any]:
        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            there, on = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

            async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                while data := await source.read(2**16):
                    sink.write(data)
                sink.close()

            await asyncio.gather(pump(reader, on), pump(there, writer))

        async with await asyncio.start_server(proxy, "127.0.0.1", 0) as listening:
            proxied("https_proxy", f"127.0.0.1:{listening.sockets[0].getsockname()[1]}")
            options = ServerOptions(retries=0, ca=certificate[0])
            server = OpenAIServer(f"https://127.0.0.1:{port}/v1", "m", options=options)
            return [await server.post("chat/completions", {}, lambda answer: answer) for _ in range(2)]

    assert with_server(serve, use, context) == [{"a": 12}] * 2
    assert len(asked) == 1
    assert asked[0].startswith("CONNECT 127.0.0.1:")
    assert all(head.startswith("POST /v1/chat/completions HTTP/1.1\r\n") for head in inside)


def test_a_proxy_that_refuses_is_named(proxied: Callable[[str, str], None]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")

    async def use(port: int) -> Any:
        proxied("https_proxy", f"http://127.0.0.1:{port}")
        server = OpenAIServer("https://model.invalid/v1", "m", options=ServerOptions(retries=0))
        return await server.post("chat/completions", {}, lambda answer: answer)

    with pytest.raises(EngineFault, match="the proxy refuses with status 407"):
        with_server(serve, use)


def test_a_proxy_of_another_kind_gets_one_line(proxied: Callable[[str, str], None]) -> None:
    proxied("http_proxy", "socks5://127.0.0.1:9")
    with pytest.raises(UserError, match="speaks socks5: set http_proxy"):
        asyncio.run(OpenAIServer("http://model.invalid/v1", "m").post("chat/completions", {}, json.dumps))
