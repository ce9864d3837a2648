"""`Connections`: kept open between requests to one server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

Connection = httpcore.AsyncHTTPConnection | httpcore.AsyncHTTPProxy
_KEEPERS: set[asyncio.Future[None]] = set()


class Connections:
    """The connections of one event loop, at most `concurrency` in use at once.

    They use httpcore, which httpx builds on, without its pool: the pool looks at every connection for every
    request, which with 256 connections takes ten times as long as the request.
    """

    def __init__(self, url: str, concurrency: int) -> None:
        target = httpx.URL(url)
        self._origin = httpcore.URL(
            scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=b"/"
        ).origin
        self._proxy = None if proxy_bypass(target.host) else getproxies().get(target.scheme)
        # Shared by all: loading the CA certificates takes longer than a hundred requests.
        self._tls = httpx.create_ssl_context() if target.scheme == "https" else None
        self._turn = asyncio.Semaphore(concurrency)
        self._free: list[Connection] = []

    def keep(self, when_done: Callable[[], object]) -> None:
        """Keep the connections until the event loop ends: `asyncio.run` then cancels whatever still waits."""

        async def wait() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                when_done()
                for connection in self._free:
                    await connection.aclose()

        keeper = asyncio.ensure_future(wait())
        _KEEPERS.add(keeper)  # an event loop itself holds its tasks weakly
        keeper.add_done_callback(_KEEPERS.discard)

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[Connection]:
        """A free connection: the most recently used one, so that the others may be closed."""
        async with self._turn:
            connection = self._free.pop() if self._free else self._new()
            if isinstance(connection, httpcore.AsyncHTTPConnection) and connection.has_expired():
                await connection.aclose()
                connection = self._new()
            try:
                yield connection
            finally:
                if isinstance(connection, httpcore.AsyncHTTPProxy) or connection.is_idle():
                    self._free.append(connection)
                else:
                    await connection.aclose()

    def _new(self) -> Connection:
        if self._proxy is not None:
            return httpcore.AsyncHTTPProxy(self._proxy, ssl_context=self._tls, max_connections=1)
        return httpcore.AsyncHTTPConnection(self._origin, ssl_context=self._tls)
