"""`MailPorts`: the mail service by IMAP and SMTP, on ports beside the rack that holds it."""

import asyncio
import hmac
import logging
import socket
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from ludus.tools.errors import UserError
from ludus.tools.services.mail.imap.session import GREETING, Session
from ludus.tools.services.mail.imap.syntax import announced
from ludus.tools.services.mail.service import MailService, Refused
from ludus.tools.services.rack import MOST_BODY, Rack

try:
    from aiosmtpd.smtp import SMTP, AuthResult
except ModuleNotFoundError as error:
    raise UserError(
        f"mail ports need {error.name}, which is not installed: pip install 'ludus[serve]'"
    ) from error

MOST_LINE = 64 * 1024
MOST_PARTS = 200
"""Lines and literals of one command."""
MOST_CLIENTS = 200
"""Connections to the IMAP port at once."""
IDLE_S = 30 * 60.0
NEWS_S = 1.0
"""How often a client that waits for news is told."""
GO_ON = b"+ go on\r\n"


@dataclass(eq=False)
class MailPorts:
    """An application, and its mail by IMAP and SMTP while it runs.

    A login's name is the name of a world, as in the header `X-Ludus-World`; the address of the mailbox's
    owner stands for the world of requests without that header, and so does sending without a login. The
    password is the server's token; without a token, any will do.

    Args:
        app: what is served by HTTP.
        rack: holds the service `mail`.
        imap, smtp: listening sockets.
        token: empty if whoever reaches the ports may use them.
    """

    app: ASGIApp
    rack: Rack
    imap: socket.socket
    smtp: socket.socket
    token: str = ""
    _servers: list[asyncio.Server] = field(default_factory=list)
    _clients: set[asyncio.Task[Any]] = field(default_factory=set)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def start(self) -> None:
        logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd tells of every connection
        loop = asyncio.get_running_loop()
        self._servers = [
            await asyncio.start_server(self._talk, sock=self.imap, limit=MOST_LINE),
            await loop.create_server(self._outbox, sock=self.smtp),
        ]

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def enter(self, name: str) -> MailService:
        """The mail of a world, by a login's name; see `ludus.tools.services.mail.imap.session.Enter`."""
        owner = self.rack.service("mail")
        assert isinstance(owner, MailService)
        world = "" if name.casefold() == owner.mailbox.owner.address.casefold() else name
        service = self.rack.enter("mail", world.encode("utf-8", "replace"))
        if not isinstance(service, MailService):
            raise Refused("there are too many worlds: reset one that is no longer needed")
        return service

    def admits(self, password: str) -> bool:
        return not self.token or hmac.compare_digest(password.encode("utf-8", "replace"), self.token.encode())

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One IMAP connection."""
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            if len(self._clients) > MOST_CLIENTS:
                writer.write(b"* BYE too many connections\r\n")
                return
            writer.write(GREETING)
            session = Session(self.enter, self.admits)
            while not session.ended:
                parts = await self._command(session, reader, writer)
                writer.write(session.respond(parts))
                await asyncio.wait_for(writer.drain(), IDLE_S)
        except _TooLong as problem:
            writer.write(b"* BYE %s\r\n" % str(problem).encode())
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._clients.discard(task)
            writer.close()

    async def _command(
        self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> list[bytes]:
        """The lines and literals of the next command.

        Raises:
            _TooLong: a line, a literal or the whole has more than is read.
            TimeoutError: none came in time.
        """
        parts = [await self._line(session, reader, writer)]
        size = 0
        while (expected := announced(parts[-1])) is not None:
            length, waits = expected
            size += length
            if size > MOST_BODY or len(parts) > MOST_PARTS:
                raise _TooLong("that is longer than this server reads")
            if waits:
                writer.write(GO_ON)
            parts.append(await asyncio.wait_for(reader.readexactly(length), IDLE_S))
            parts.append(await self._line(session, reader, writer))
        return parts

    async def _line(
        self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        waited = 0.0
        while True:
            patience = NEWS_S if session.is_idle else IDLE_S
            try:
                line = await asyncio.wait_for(reader.readuntil(b"\n"), patience)
            except asyncio.LimitOverrunError:
                raise _TooLong(f"a line has at most {MOST_LINE} bytes") from None
            except TimeoutError:
                waited += patience
                if waited >= IDLE_S:
                    raise
                writer.write(session.news())
            else:
                return line.rstrip(b"\r\n")

    def _outbox(self) -> SMTP:
        with warnings.catch_warnings():
            # It warns of a token without TLS: the port is for this machine, as the one for HTTP is.
            warnings.simplefilter("ignore", UserWarning)
            return SMTP(
                _Outbox(self.enter),
                data_size_limit=MOST_BODY,
                enable_SMTPUTF8=True,
                hostname="ludus",
                ident="Ludus",
                authenticator=self._authenticated,
                auth_required=bool(self.token),
                auth_require_tls=False,
            )

    def _authenticated(
        self, server: Any, session: Any, envelope: Any, mechanism: str, login: Any
    ) -> AuthResult:
        name, password = (part.decode("utf-8", "replace") for part in (login.login, login.password))
        return AuthResult(success=self.admits(password), handled=False, auth_data=name)


class _TooLong(Exception):
    """More than is read."""


@dataclass(frozen=True, slots=True)
class _Outbox:
    """Sends what arrives by SMTP."""

    enter: Callable[[str], MailService]

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        recipients: Sequence[str] = envelope.rcpt_tos
        try:
            self.enter(session.auth_data or "").submit(envelope.original_content, recipients)
        except Refused as refused:
            return f"550 {' '.join(str(refused).split())}"
        return "250 sent"
