"""`Server` and `Connection`: OpenEnv's protocol as a client speaks it, whatever goes wrong being a fault.

Written against the wire and not with OpenEnv's own client, whose package does not go together with most of
what trains.
"""

import json
import os
import weakref
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect

from ludus.envs.faults import EnvironmentFault
from ludus.envs.openenv.words import FAULT
from ludus.tools.errors import UserError

SPOKEN = "OpenEnv 0.10"
CLOSING_S = 1.0
_MOST_SHOWN = 300


class ServerFault(EnvironmentFault, UserError):
    """The server, or the way to it, broke. Nobody's reply is to blame, and on a command line it is one
    line."""


class Refused(Exception):
    """The server found a step to be of the wrong form; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server, and how it is talked to."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    """Sent with each connection, such as one with a token."""
    timeout_s: float
    """Seconds that it has for an answer."""

    def schema(self) -> dict[str, Any]:
        """The JSON schemas of what it takes and says: `action`, `observation`, and others.

        Raises:
            ServerFault: it cannot be reached, or does not say.
        """
        url = f"{self.url}/schema"
        try:
            answer = httpx.get(
                url,
                headers=dict(self.headers),
                timeout=self.timeout_s,
                trust_env=not _is_here(url),
                verify=url.startswith("https:"),  # reading certificates takes longer than the answer
            )
        except httpx.HTTPError as error:
            raise self.fault(f"cannot be reached ({_named(error)}): is it running there?") from error
        if answer.status_code in (401, 403):
            raise self.fault(f"refuses this client ({answer.status_code}): {_TOKEN}")
        try:
            schema = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            schema = None
        if not isinstance(schema, dict) or not {"action", "observation"} <= schema.keys():
            told = f"GET /schema was answered with {answer.status_code} and no schemas"
            raise self.fault(f"does not speak the protocol of {SPOKEN}: {told}")
        return schema

    def connect(self) -> "Connection":
        """A new session.

        Raises:
            ServerFault: it cannot be had.
        """
        url = f"{self.url}/ws".replace("http", "ws", 1)
        closing = ExitStack()
        try:
            socket = closing.enter_context(
                connect(
                    url,
                    additional_headers=dict(self.headers),
                    open_timeout=self.timeout_s,
                    close_timeout=CLOSING_S,
                    # The server pings, and is answered also while a model thinks.
                    ping_interval=None,
                    max_size=None,
                    compression=None,
                    proxy=None if _is_here(url) else True,
                )
            )
        except (OSError, WebSocketException) as error:
            raise self.fault(f"gives no session at /ws ({_named(error)})") from error
        return Connection(self, socket, closing)

    def fault(self, what: str) -> ServerFault:
        return ServerFault(f"OpenEnv's server at {self.url} {what}")


_TOKEN = "give its token by headers={'Authorization': 'Bearer …'}"


class Connection:
    """A session: a WebSocket, which the server gives an instance of the environment. It belongs to the
    process that opened it: a fork has to open its own."""

    def __init__(self, server: Server, socket: ClientConnection, closing: ExitStack) -> None:
        self._server, self._socket, self._owner = server, socket, os.getpid()
        # The server keeps a session for as long as its connection lasts.
        self.close = weakref.finalize(self, _close, closing, self._owner)

    @property
    def usable(self) -> bool:
        return self._owner == os.getpid() and self._socket.state is State.OPEN

    def ask(self, request: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """What the server answers to a request: `reset`, `step` or `mcp`.

        Raises:
            Refused: it does not take a step of this form; the episode stands where it stood.
            ServerFault: anything else but an answer. The session is of no use any more.
        """
        with suppress(ConnectionClosed):  # why may be the last thing that it said
            self._socket.send(json.dumps({"type": request, "data": data}))
        try:
            said = self._socket.recv(timeout=self._server.timeout_s)
        except TimeoutError as error:
            waited = f"did not answer {request} within {self._server.timeout_s:g} s"
            raise self._server.fault(f"{waited}: give it longer by timeout_s") from error
        except ConnectionClosed as error:
            raise self._server.fault(f"is gone, or has closed the connection ({_named(error)})") from error
        try:
            answer = json.loads(said)
            kind, told = answer["type"], answer["data"]
        except (ValueError, TypeError, KeyError) as error:
            raise self._strange(said) from error
        if kind == "error" and isinstance(told, dict):
            raise self._error(request, told)
        if kind != _ANSWERS[request] or not isinstance(told, dict):
            raise self._strange(said)
        if kind == "observation":
            reward = told.get("reward")
            if "observation" not in told or not (reward is None or isinstance(reward, int | float)):
                raise self._strange(said)
        return told

    def _error(self, request: str, told: Mapping[str, Any]) -> Exception:
        message, code = str(told.get("message")), told.get("code")
        if code == "CAPACITY_REACHED":
            return self._server.fault(
                f"has no session left ({message}): close some, or start it with more (ludus serve openenv "
                "--sessions)"
            )
        if code == "VALIDATION_ERROR" and request == "step":
            problems = told.get("errors") or [message]
            return Refused("; ".join(map(_problem, problems)))
        return self._server.fault(f"broke: {message.removeprefix(FAULT)} ({code})")

    def _strange(self, said: Any) -> ServerFault:
        return self._server.fault(
            f"does not speak the protocol of {SPOKEN}: it said {str(said)[:_MOST_SHOWN]!r}"
        )


_ANSWERS = {"reset": "observation", "step": "observation", "mcp": "mcp"}
"""The type of the answer to each type of request."""


def _close(closing: ExitStack, owner: int) -> None:
    if os.getpid() == owner:  # a fork would close its parent's
        closing.close()


def _problem(problem: Any) -> str:
    """One of pydantic's problems: where, and what."""
    if not isinstance(problem, Mapping):
        return str(problem)
    place = ".".join(map(str, problem.get("loc", ())))
    return f"{place}: {problem.get('msg')}" if place else str(problem.get("msg"))


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _is_here(url: str) -> bool:
    """Whether it is an address of this machine, which no proxy knows."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
