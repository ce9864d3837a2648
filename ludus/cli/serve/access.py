"""Access to the ports of `ludus serve`: the options that its commands share."""

import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from ludus.cli.errors import UsageError

if TYPE_CHECKING:
    from ludus.tools.services.guard import Access

TOKEN = "LUDUS_TOKEN"
Several = tyro.conf.UseAppendAction


@dataclass(frozen=True, kw_only=True)
class AccessOptions:
    """Who may call."""

    token: Annotated[str, tyro.conf.arg(metavar="TOKEN")] = ""
    """Every HTTP request must carry "Authorization: Bearer TOKEN". Other users of this machine can see a
    command line; the environment variable LUDUS_TOKEN sets the token unseen."""
    allow_host: Annotated[tuple[str, ...], Several, tyro.conf.arg(metavar="NAME")] = ()
    """A host name that requests may use, besides localhost, numeric addresses and --host. May be given
    several times."""
    allow_origin: Annotated[tuple[str, ...], Several, tyro.conf.arg(metavar="ORIGIN")] = ()
    """An origin whose web pages may call from a browser, such as https://rig.example. May be given several
    times."""

    def access(self, host: str) -> "Access":
        """
        Args:
            host: the address to listen on.

        Raises:
            UsageError: an option has a value that no request can match.
        """
        from ludus.tools.services.guard import Access

        token = self.token or os.environ.get(TOKEN, "")
        if not re.fullmatch(r"[!-~]*", token):
            raise UsageError("--token: give ASCII letters, digits and punctuation, without spaces")
        for name in self.allow_host:
            if not re.fullmatch(r"[A-Za-z0-9.-]+", name):
                raise UsageError(f"--allow-host {name}: give only a name, such as rig.example")
        for origin in self.allow_origin:
            if not re.fullmatch(r"https?://[^/\s]+", origin):
                raise UsageError(
                    f"--allow-origin {origin}: give scheme and host, such as https://rig.example"
                )
        if not token and host not in ("127.0.0.1", "localhost", "::1"):
            print(f"Whoever reaches {host} can use this server: --token asks for one.", file=sys.stderr)
        return Access(token, (host, *self.allow_host), self.allow_origin)
