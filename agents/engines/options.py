"""`ServerOptions`: how requests to a server with OpenAI's interface are sent."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ludus.tools.errors import UserError

KEY_VARIABLE = "OPENAI_API_KEY"
SERVED_MAX_TOKENS = 16_384
"""The most tokens in a reply of a model behind a server, where nobody says otherwise: models that reason need
thousands before they answer."""
_SECRET = re.compile(r"key|token|secret|password|signature|^sig$", re.I)


class ServerListener:
    """Whoever watches the client of a server; every method may be overridden, and may be called from any
    thread."""

    def paced(self, text: str) -> None:
        """How many requests are sent at once, and why not more; empty when nothing holds them back."""

    def note(self, text: str) -> None:
        """Something that a reader of the results must know."""


@dataclass(frozen=True)
class ServerOptions:
    """Keys and secret headers are for the requests alone: no record and no message contains them.

    Raises:
        UserError: a header is none.
    """

    concurrency: int = 64
    """Requests in flight; the others wait."""
    timeout_s: float = 600.0
    """Time limit for one answer."""
    retries: int = 6
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields for the body of every request; they override the usual ones, and None removes a field."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Further headers of every request."""
    query: Mapping[str, str] = field(default_factory=dict)
    """The query of every URL, such as Azure's `api-version`."""
    key_variable: str = KEY_VARIABLE
    """The environment variable with the key, read for each request."""
    ca: Path | None = None
    """A file of certificates to trust instead of the usual authorities'."""

    def __post_init__(self) -> None:
        for name, value in self.headers.items():
            if not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.A):
                raise UserError("the name of a header has characters that none can have")
            if not (value.isascii() and value.isprintable()):
                raise UserError(f"the header {name} has characters that no header can have")

    def recorded(self) -> dict[str, Any]:
        """What a record of the run has of them: all that may change an answer, and no secret."""
        query = {name: "(secret)" if _SECRET.search(name) else value for name, value in self.query.items()}
        record = {"extra": dict(self.extra), "query": query, "headers": sorted(self.headers)}
        return {name: value for name, value in record.items() if value}

    @property
    def key(self) -> str:
        """
        Raises:
            UserError: it has characters that no key can have.
        """
        key = os.environ.get(self.key_variable, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise UserError(
                f"the key in {self.key_variable} has characters that no key can have: set it again"
            )
        return key

    def all_headers(self, host: str) -> dict[str, str]:
        """The headers of every request to a host, with the key in the form that it takes.

        Raises:
            UserError: see `key`.
        """
        sent = {"user-agent": "ludus"}
        if key := self.key:
            # Azure takes a key only in a header of its own; a bearer would have to be a token of Entra.
            sent |= {"api-key": key} if host.endswith(".azure.com") else {"authorization": f"Bearer {key}"}
        return sent | {name.lower(): value for name, value in self.headers.items()}

    def without_secrets(self, text: str) -> str:
        """The text without the key and the values of headers: some servers repeat them, and they would end up
        in logs and results."""
        secrets = {f"${self.key_variable}": os.environ.get(self.key_variable, "").strip()}
        secrets |= {f"(header {name})": value for name, value in self.headers.items()}
        for name, secret in secrets.items():
            if len(secret) >= 8:
                text = text.replace(secret, name)
        return text
