"""`HttpConnection`: HTTP/1.1 by h11 on asyncio's own transports, one request after the other.

httpx and httpcore stand on h11, too, but their layers for pools, streams and several kinds of event loop take
longer than all else about an answer, which with hundreds of requests in flight keeps the others waiting.
"""

import asyncio
import ssl
import time
from base64 import b64encode
from dataclasses import dataclass

import h11
import httpx

_LONGEST_HEAD = 100 * 1024
"""The most bytes of a response's head."""


class Broken(Exception):
    """There is no connection, or it ended before the answer did; the message says why."""


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: dict[str, str]
    """With names in lower case."""
    content: bytes
    seconds: float
    """From the request to the whole answer."""


@dataclass(frozen=True, slots=True)
class Route:
    """How a server is reached."""

    server: httpx.URL
    proxy: httpx.URL | None = None
    tls: ssl.SSLContext | None = None
    """Of the server; None: without."""
    proxy_tls: ssl.SSLContext | None = None

    @property
    def is_tunnel(self) -> bool:
        """Whether the proxy only passes bytes on."""
        return self.proxy is not None and self.tls is not None

    @property
    def is_forward(self) -> bool:
        """Whether the proxy reads the requests, which name the server then."""
        return self.proxy is not None and self.tls is None

    @property
    def proxy_headers(self) -> list[tuple[str, str]]:
        """The name and password of the proxy's URL, if it has any."""
        if self.proxy is None or not self.proxy.userinfo:
            return []
        user = f"{self.proxy.username}:{self.proxy.password}".encode()
        return [("proxy-authorization", f"Basic {b64encode(user).decode()}")]


async def connect(route: Route, seconds: float) -> "HttpConnection":
    """
    Raises:
        Broken: there is no connection within `seconds`.
    """
    first = route.server if route.proxy is None else route.proxy
    tls = route.tls if route.proxy is None else route.proxy_tls
    loop = asyncio.get_running_loop()
    connection = HttpConnection()
    try:
        async with asyncio.timeout(seconds):
            port = first.port or (443 if first.scheme == "https" else 80)
            await loop.create_connection(lambda: connection, first.raw_host.decode(), port, ssl=tls)
            if route.is_tunnel:
                await connection.tunnel(route)
    except TimeoutError:
        connection.close()
        raise Broken(f"no connection within {seconds:g} s") from None
    except (OSError, UnicodeError) as error:  # ssl.SSLError is an OSError; a host's name may be none
        connection.close()
        raise Broken(f"no connection: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


class HttpConnection(asyncio.Protocol):
    """A connection to a server or a proxy; made by `connect`."""

    def __init__(self) -> None:
        self._transport: asyncio.BaseTransport | None = None
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)
        self._answer: asyncio.Future[None] | None = None
        """Done when the whole answer to the present request has come."""
        self._head: h11.Response | None = None
        self._parts: list[bytes] = []
        self._most = self._length = 0

    async def exchange(self, request: h11.Request, content: bytes, most: int) -> Response:
        """Send a request and wait for its whole answer.

        Args:
            most: bytes of the answer's body.

        Raises:
            Broken: the connection ended too early, what came is not HTTP, or the body is longer than `most`.
        """
        transport, http = self._transport, self._http
        if not isinstance(transport, asyncio.WriteTransport) or not self.is_idle:
            raise Broken("the server closed the connection")
        self._answer = asyncio.get_running_loop().create_future()
        self._head, self._parts, self._most, self._length = None, [], most, 0
        began = time.perf_counter()
        # At once, so that it is one packet for the kernel and one visit for the server.
        sent = [http.send(request), http.send(h11.Data(content)), http.send(h11.EndOfMessage())]
        transport.write(b"".join(part for part in sent if part))
        try:
            await self._answer
        except BaseException:
            self.close()
            raise
        finally:
            self._answer = None
        seconds = time.perf_counter() - began
        head: h11.Response | None = self._head
        assert head is not None
        if http.our_state is http.their_state is h11.DONE and not http.trailing_data[0]:
            http.start_next_cycle()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        return Response(head.status_code, headers, b"".join(self._parts), seconds)

    async def tunnel(self, route: Route) -> None:
        """Have the proxy pass on everything to the route's server, and speak TLS with that.

        Raises:
            Broken: the proxy will not.
            OSError: there is no TLS.
        """
        host = f"{route.server.netloc.decode()}{'' if route.server.port else ':443'}"
        asked = h11.Request(method="CONNECT", target=host, headers=[("host", host), *route.proxy_headers])
        response = await self.exchange(asked, b"", 2**20)
        if response.status >= 300:
            raise Broken(f"the proxy refuses with status {response.status}")
        assert route.tls is not None
        assert isinstance(self._transport, asyncio.Transport)
        loop, name = asyncio.get_running_loop(), route.server.raw_host.decode()
        self._transport = await loop.start_tls(self._transport, self, route.tls, server_hostname=name)
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)

    @property
    def is_idle(self) -> bool:
        """Whether it can take a request."""
        is_open = self._transport is not None and not self._transport.is_closing()
        return is_open and self._http.our_state is h11.IDLE

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # nobody asked: most likely the server's farewell
            self.close()
        else:
            self._take(data)

    def eof_received(self) -> None:
        if self._answer is not None:
            self._take(b"")

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(Broken(f"the connection broke: {error or 'the server closed it'}"))

    def _take(self, data: bytes) -> None:
        try:
            self._http.receive_data(data)
            while True:
                event = self._http.next_event()
                match event:
                    case h11.Data():
                        self._length += len(event.data)
                        if self._length > self._most:
                            self._fail(Broken(f"an answer of more than {self._most >> 20} MiB"))
                            return
                        self._parts.append(bytes(event.data))
                    case h11.Response():
                        self._head = event
                    case h11.InformationalResponse():
                        pass
                    case h11.NEED_DATA:
                        return
                    case _:  # EndOfMessage, or PAUSED at the end of a proxy's answer to CONNECT
                        self._finish()
                        return
        except h11.RemoteProtocolError as error:
            ended = "the server closed the connection before it had answered"
            self._fail(Broken(f"this is not HTTP: {error}" if data else ended))

    def _finish(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
