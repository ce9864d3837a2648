"""`Connections`: kept open between requests to one server."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from ludus.agents.engines.streams import Backend
from ludus.tools.errors import UserError

Connection = httpcore.AsyncHTTPConnection | httpcore.AsyncHTTPProxy
_KEEPERS: set[asyncio.Future[None]] = set()


@cache  # loading the certificates takes longer than a hundred requests
def tls_context(ca: Path | None = None) -> ssl.SSLContext:
    """Trusts the usual authorities, or those of a file.

    Raises:
        UserError: the file cannot be read, or holds no certificates.
    """
    if ca is None:
        return httpx.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:  # ssl.SSLError is one, too
        raise UserError(f"{ca} holds no certificates in PEM form ({error.strerror or error})") from None


class Connections:
    """The connections of one event loop, at most `concurrency` in use at once.

    They use httpcore, which httpx builds on, without its pool: the pool looks at every connection for every
    request, which with 256 connections takes ten times as long as the request.
    """

    def __init__(self, url: str, concurrency: int, ca: Path | None = None) -> None:
        target = httpx.URL(url)
        self._origin = httpcore.URL(
            scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=b"/"
        ).origin
        self._proxy = None if proxy_bypass(target.host) else getproxies().get(target.scheme)
        self._tls = tls_context(ca) if target.scheme == "https" else None
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
            return httpcore.AsyncHTTPProxy(
                self._proxy, ssl_context=self._tls, max_connections=1, network_backend=Backend()
            )
        return httpcore.AsyncHTTPConnection(self._origin, ssl_context=self._tls, network_backend=Backend())
