"""`Connections`: kept open between requests to one server."""

import asyncio
import ssl
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import h11
import httpx

from ludus.agents.engines.http1 import HttpConnection, Response, Route, connect
from ludus.tools.errors import UserError

CONNECT_S = 10.0
"""Time limit for a new connection."""
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
    """The connections of one event loop, at most `concurrency` in use at once."""

    def __init__(self, url: str, concurrency: int, ca: Path | None = None) -> None:
        """
        Raises:
            UserError: `ca` holds no certificates, or the environment names a proxy of an unknown kind.
        """
        self.route = _route(httpx.URL(url), ca)
        self._turn = asyncio.Semaphore(concurrency)
        self._free: list[HttpConnection] = []

    def keep(self, when_done: Callable[[], object]) -> None:
        """Keep the connections until the event loop ends: `asyncio.run` then cancels whatever still waits."""

        async def wait() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                when_done()
                for connection in self._free:
                    connection.close()

        keeper = asyncio.ensure_future(wait())
        _KEEPERS.add(keeper)  # an event loop itself holds its tasks weakly
        keeper.add_done_callback(_KEEPERS.discard)

    async def exchange(self, request: h11.Request, content: bytes, seconds: float, most: int) -> Response:
        """Wait for a turn, send the request and wait for its whole answer.

        Args:
            seconds: for the answer, without the wait for the turn.
            most: bytes of the answer's body.

        Raises:
            Broken: see `HttpConnection.exchange`.
            TimeoutError: no answer in time.
        """
        async with self._turn, asyncio.timeout(seconds):
            connection = self._idle() or await connect(self.route, CONNECT_S)
            try:
                return await connection.exchange(request, content, most)
            finally:
                if connection.is_idle:
                    self._free.append(connection)
                else:
                    connection.close()

    def _idle(self) -> HttpConnection | None:
        """A free connection: the most recently used one, so that the others may be closed."""
        while self._free:
            connection = self._free.pop()
            if connection.is_idle:
                return connection
        return None


def _route(server: httpx.URL, ca: Path | None) -> Route:
    """
    Raises:
        UserError: see `Connections`.
    """
    tls = tls_context(ca) if server.scheme == "https" else None
    named = None if proxy_bypass(server.host) else getproxies().get(server.scheme)
    if not named:
        return Route(server, tls=tls)
    proxy = httpx.URL(named if "://" in named else f"http://{named}")
    if proxy.scheme not in ("http", "https"):
        raise UserError(
            f"the proxy {proxy.host} speaks {proxy.scheme}: set {server.scheme}_proxy to an HTTP one"
        )
    return Route(server, proxy, tls, tls_context() if proxy.scheme == "https" else None)
