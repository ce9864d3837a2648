"""`MailClient`: a person's mail, wherever the service runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx

from ludus.tools.errors import ToolError
from ludus.tools.services.client import ask, ask_json
from ludus.tools.text import carried

MAX_QUERY = 1_000


@dataclass(frozen=True, slots=True)
class Headline:
    """A message as shown in a list."""

    id: int
    folder: str
    sender: str
    recipients: tuple[str, ...]
    subject: str
    date: str
    """ISO 8601, with an offset."""
    seen: bool
    flagged: bool


@dataclass(frozen=True, slots=True)
class Message(Headline):
    """A whole message."""

    text: str
    invitation: str
    """Its `text/calendar` part; empty if there is none."""
    message_id: str
    in_reply_to: str
    references: tuple[str, ...]
    thread: tuple[int, ...]
    """The ids in its conversation, oldest first."""


class MailClient:
    """Reads and writes mail over HTTP.

    Every method raises what `ludus.tools.services.client.ask` raises.
    """

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def folders(self) -> dict[str, dict[str, int]]:
        """By folder: the numbers of `messages` and of `unseen` ones."""
        found: dict[str, dict[str, int]] = ask_json(self._http, "GET", "/folders")
        return found

    def list(self, folder: str = "inbox", limit: int = 20, offset: int = 0) -> tuple[Headline, ...]:
        """The messages of a folder, newest first."""
        return self._listed({"folder": carried("folder", folder), "limit": limit, "offset": offset})

    def search(self, query: str, limit: int = 20) -> tuple[Headline, ...]:
        """The messages in all folders that contain all words of `query`, newest first."""
        query = carried("query", query)
        if len(query) > MAX_QUERY:
            raise ToolError(f"the query has {len(query)} characters: give {MAX_QUERY} at most")
        return self._listed({"q": query, "limit": limit})

    def read(self, id: int) -> Message:
        """A message, which then counts as seen."""
        found = ask_json(self._http, "GET", f"/messages/{_number(id)}")
        return Message(
            **{**found, **{key: tuple(found[key]) for key in ("recipients", "references", "thread")}}
        )

    def raw(self, id: int) -> bytes:
        """A message as RFC 5322 text."""
        return ask(self._http, "GET", f"/messages/{_number(id)}/raw").content

    def send(
        self, to: Sequence[str], subject: str, text: str, in_reply_to: str = "", invitation: str = ""
    ) -> Headline:
        """Send a message.

        Args:
            to: addresses, with or without names.
            in_reply_to: the Message-ID of the message that it answers.
            invitation: a `text/calendar` part.
        """
        body = {
            "to": [carried("to", recipient) for recipient in to],
            "subject": carried("subject", subject),
            "text": carried("text", text),
            "in_reply_to": carried("in_reply_to", in_reply_to),
            "invitation": carried("invitation", invitation),
        }
        return _headline(ask_json(self._http, "POST", "/messages", json=body))

    def send_raw(self, message: bytes) -> Headline:
        """Send an RFC 5322 message. The service sets its sender and date."""
        headers = {"content-type": "message/rfc822"}
        return _headline(ask_json(self._http, "POST", "/messages", content=message, headers=headers))

    def reply(self, id: int, text: str) -> Headline:
        """Reply to a message's sender, with the same subject."""
        return _headline(
            ask_json(
                self._http, "POST", f"/messages/{_number(id)}/reply", json={"text": carried("text", text)}
            )
        )

    def mark(self, id: int, **changes: Any) -> Headline:
        """Change `seen`, `flagged` or `folder` of a message."""
        changes = {name: carried(name, to) if isinstance(to, str) else to for name, to in changes.items()}
        return _headline(ask_json(self._http, "PATCH", f"/messages/{_number(id)}", json=changes))

    def _listed(self, params: Mapping[str, Any]) -> tuple[Headline, ...]:
        for name in ("limit", "offset"):
            params = {**params, **({name: _number(params[name], name)} if name in params else {})}
        # Assembled here: httpx would take half of a call's time for it.
        found = ask_json(self._http, "GET", f"/messages?{urlencode(params)}")
        return tuple(map(_headline, found["messages"]))


def _number(number: int, name: str = "id") -> int:
    """A number that can be sent: Python does not format numbers with thousands of digits."""
    if not abs(number) < 10**100:
        raise ToolError(f"{name} has too many digits")
    return number


def _headline(found: Mapping[str, Any]) -> Headline:
    return Headline(**{**found, "recipients": tuple(found["recipients"])})
