"""`Backend`: httpcore's network on asyncio's own streams.

httpcore's usual backend stands on anyio, which serves several event loops and asks the kernel more often than
an answer needs: a request's head and body are sent apart, and every connection is polled before it is used
again. With hundreds of requests in flight that is half of what a request costs.
"""

import asyncio
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore

_LIMIT = 2**18
"""Bytes that are read ahead."""


class Backend(httpcore.AsyncNetworkBackend):
    """Connects by TCP."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """
        Raises:
            httpcore.ConnectTimeout, httpcore.ConnectError: there is no connection.
        """
        try:
            async with asyncio.timeout(timeout):
                local = None if local_address is None else (local_address, 0)
                opened = await asyncio.open_connection(host, port, limit=_LIMIT, local_addr=local)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except (OSError, UnicodeError) as error:  # a host's name may be none
            raise httpcore.ConnectError(str(error)) from error
        return _Stream(*opened)


class _Stream(httpcore.AsyncNetworkStream):
    """What is written is sent when an answer is waited for, so that a request is sent whole."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._unsent: list[bytes] = []

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """
        Raises:
            httpcore.ReadTimeout, httpcore.ReadError, httpcore.WriteError: nothing came.
        """
        await self._send()
        try:
            if timeout is None:
                return await self._reader.read(max_bytes)
            async with asyncio.timeout(timeout):
                return await self._reader.read(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer:
            self._unsent.append(buffer)

    async def aclose(self) -> None:
        self._writer.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """
        Raises:
            httpcore.ConnectTimeout, httpcore.ConnectError: the two sides do not agree.
        """
        await self._send()
        try:
            async with asyncio.timeout(timeout):
                await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:  # ssl.SSLError is one, too
            raise httpcore.ConnectError(str(error)) from error
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            # What httpcore asks before it uses a connection again: whether the other side closed it.
            return self._reader.at_eof() or self._writer.is_closing()
        names = {"ssl_object": "ssl_object", "client_addr": "sockname", "server_addr": "peername"}
        return self._writer.get_extra_info(names.get(info, info))

    async def _send(self) -> None:
        if not self._unsent:
            return
        content, self._unsent = b"".join(self._unsent), []
        try:
            self._writer.write(content)
            await self._writer.drain()
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error
