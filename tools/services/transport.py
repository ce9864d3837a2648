"""How clients reach a service: in this process without a socket, or at a URL."""

from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import httpx
from starlette.types import ASGIApp, Message

from ludus.tools.services.faults import WAIT, FaultPlan, FaultyApp
from ludus.tools.services.service import Service, VirtualClock

TIMEOUT_S = 10.0
_DEFAULT = httpx.USE_CLIENT_DEFAULT


def connect(service: Service | str, faults: FaultPlan | None = None, **options: Any) -> httpx.Client:
    """A client of a service in this process, or of a server at a URL.

    Args:
        service: the service, or a URL (`http://localhost:8000/weather`).
        faults: what to inject, for a service in this process.
        options: of `httpx.Client`, such as `headers` or `auth`.

    Raises:
        ValueError: the URL is invalid.
    """
    kind = httpx.Client if options or isinstance(service, str) else DirectClient
    options = {"timeout": TIMEOUT_S, **options}
    if isinstance(service, str):
        if not service.startswith(("http://", "https://")):
            raise ValueError(f"{service!r} is no URL: it begins with http:// or https://")
        return kind(base_url=service, **options)
    transport = InProcess(FaultyApp(service, faults or FaultPlan()), service.clock)
    # A service without an address has no use for proxies or .netrc.
    return kind(base_url=f"http://{service.name}.invalid", transport=transport, trust_env=False, **options)


class DirectClient(httpx.Client):
    """A client without what matters only between machines (cookies, credentials, redirects, headers that
    describe the client), which is half the cost of a call within a process. A request that asks for any of it
    gets it."""

    def __init__(self, *, transport: httpx.BaseTransport, **options: Any) -> None:
        super().__init__(transport=transport, **options)
        self._direct = transport
        # Addresses repeat, and parsing one takes longer than answering it.
        self._address = lru_cache(maxsize=4096)(self._resolve)

    def build_request(
        self, method: str, url: httpx.URL | str, *, cookies: Any = None, timeout: Any = _DEFAULT, **parts: Any
    ) -> httpx.Request:
        if cookies is not None or parts.get("extensions"):
            return super().build_request(method, url, cookies=cookies, timeout=timeout, **parts)
        patience = self.timeout if timeout is _DEFAULT else httpx.Timeout(timeout)
        parts["extensions"] = {"timeout": patience.as_dict()}
        return httpx.Request(method, self._address(url), **parts)

    def _resolve(self, url: httpx.URL | str) -> httpx.URL:
        if isinstance(url, str) and ":" not in url and "#" not in url and url[:2] != "//":
            # Parsed once: httpx parses the path, joins it to the base, and parses that again.
            return httpx.URL(f"{str(self.base_url).rstrip('/')}/{url.removeprefix('/')}")
        return super().build_request("GET", url).url

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        if self.is_closed or any(option not in (False, _DEFAULT) for option in options.values()):
            return super().send(request, **options)
        response = self._direct.handle_request(request)
        response.request = request
        return response


class InProcess(httpx.BaseTransport):
    """Runs an application whose handlers never wait, in the caller's thread.

    When a fault makes it wait, the virtual clock advances; a wait beyond the request's time-out raises
    `httpx.ReadTimeout`, as on a network.
    """

    def __init__(self, app: ASGIApp, clock: VirtualClock) -> None:
        self._app = app
        self._clock = clock

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        patience = request.extensions.get("timeout", {}).get("read")

        async def wait(seconds: float) -> None:
            if patience is not None and seconds > patience:
                self._clock.advance(patience)
                raise httpx.ReadTimeout(f"no answer within {patience:g} s", request=request)
            self._clock.advance(seconds)

        url = request.url
        path, _, query = url.raw_path.partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": url.scheme,
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "root_path": "",
            "query_string": query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("in-process", 0),
            "server": (url.host, 80),
            WAIT: wait,
        }
        body = request.read()
        status, headers, parts = 500, [], []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], list(message.get("headers", ()))
            else:
                parts.append(message.get("body", b""))

        running = self._app(scope, receive, send)
        try:
            running.send(None)  # type: ignore[attr-defined]
        except StopIteration:
            return httpx.Response(status, headers=headers, content=b"".join(parts))
        running.close()  # type: ignore[attr-defined]
        raise RuntimeError(f"{self._app} waited for something: a service's handlers must not")
