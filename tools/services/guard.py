"""`guarded`: who may call an application that listens on a port."""

import base64
import binascii
import hmac
import ipaddress
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

METHODS = (
    *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"),
    *("PROPFIND", "PROPPATCH", "REPORT", "MKCALENDAR", "MKCOL"),
)

GUARDED = ("http", "websocket")
"""Connections by which somebody calls. The others are the server's own, as it begins and ends."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call."""

    token: str = ""
    """What every request must carry, as `Authorization: Bearer TOKEN` or as the password of `Basic`; empty if
    nothing."""
    hosts: tuple[str, ...] = ()
    """Names by which the server may be called, besides `localhost` and numeric addresses."""
    origins: tuple[str, ...] = ()
    """Origins of web pages that may call it from a browser, as in `https://rig.example`."""


Told = Callable[[int, str], Any]
"""The body, as JSON, that tells a status and its reason."""


def _reason(status: int, reason: str) -> Any:
    """In the form that the services' own errors have."""
    return {"error": True, "reason": reason}


def guarded(make: Callable[[], ASGIApp], access: Access, told: Told = _reason) -> ASGIApp:
    """An application that answers only those who may call it. A page in a browser is refused unless its
    origin is allowed: its requests name the origin (`Origin`), or at least say that they are cross-site
    (`Sec-Fetch-Site`). A page whose own host name was pointed at this machine (DNS rebinding) still calls it
    by that name, so names must be allowed too.
    """
    app = _WithToken(make(), access.token, told) if access.token else make()
    if access.origins:
        # The token is checked inside: a browser's preflight request carries none.
        app = CORSMiddleware(
            app, allow_origins=access.origins, allow_methods=METHODS, allow_headers=["*"], max_age=600
        )
    return _FromAllowed(app, access, told)


class _FromAllowed:
    def __init__(self, app: ASGIApp, access: Access, told: Told) -> None:
        self._app, self._told = app, told
        self._hosts = {"localhost", *(host.lower() for host in access.hosts)}
        self._origins = {origin.lower().rstrip("/") for origin in access.origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in GUARDED:
            await self._app(scope, receive, send)
            return
        hosts, origins = _all(scope, b"host"), _all(scope, b"origin")
        if len(hosts) != 1 or not self._is_allowed(_name(hosts[0])):
            named = f"{hosts[0][:100]!r}" if hosts else "no host"
            reason = f"{named} is no name of this server: start it with --allow-host"
            await _refuse(scope, send, 421, self._told(421, reason))
        elif any(origin.lower() not in self._origins for origin in origins):
            reason = f"pages of {origins[0][:100]!r} may not call: see --allow-origin"
            await _refuse(scope, send, 403, self._told(403, reason))
        elif not origins and set(_all(scope, b"sec-fetch-site")) - {"same-origin", "none"}:
            reason = "pages from elsewhere may not call: see --allow-origin"
            await _refuse(scope, send, 403, self._told(403, reason))
        else:
            await self._app(scope, receive, send)

    def _is_allowed(self, name: str) -> bool:
        if name in self._hosts:
            return True
        try:
            # A numeric address has no name that could be pointed elsewhere.
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class _WithToken:
    def __init__(self, app: ASGIApp, token: str, told: Told) -> None:
        self._app, self._told = app, told
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in GUARDED or self._is_shown(_all(scope, b"authorization")):
            await self._app(scope, receive, send)
        else:
            challenge = [(b"www-authenticate", b'Bearer, Basic realm="ludus", charset="UTF-8"')]
            reason = "this server wants its token: Authorization: Bearer TOKEN"
            await _refuse(scope, send, 401, self._told(401, reason), challenge)

    def _is_shown(self, given: Sequence[str]) -> bool:
        if len(given) != 1:
            return False
        scheme, _, said = given[0].partition(" ")
        shown = said.strip().encode("latin-1")
        if scheme.lower() == "basic":
            try:
                shown = base64.b64decode(shown, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(shown, self._token)


def _all(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _name(host: str) -> str:
    """A `Host` without its port, and without the brackets of an IPv6 address."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


async def _refuse(
    scope: Scope, send: Send, status: int, told: Any, more: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    # A WebSocket that is not accepted is answered as a request is.
    kind = "websocket.http" if scope["type"] == "websocket" else "http"
    body = json.dumps(told).encode() + b"\n"
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *more]
    await send({"type": f"{kind}.response.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": body})
