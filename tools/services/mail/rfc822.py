"""Stored messages as RFC 5322 text, and back."""

import re
from collections.abc import Mapping
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Any

from ludus.tools.services.search.webpage import read_html

# An unclosed quotation extends to the end: searching for its end from each quote would take quadratic time.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"?', re.S)
_PIECE = re.compile(rf'(?:{_QUOTED.pattern}|[^",])+', re.S)
"""One address in a header with several."""


def name_and_address(text: str) -> tuple[str, str]:
    """The name and address of one mailbox in a header; both empty if it is invalid.

    A second @ outside quotes makes it invalid: from `a@x.example <b@y.example>`, some versions of Python read
    the first address, and some nothing.
    """
    return parseaddr(text) if _QUOTED.sub("", text).count("@") == 1 else ("", "")


def written(row: Mapping[str, Any]) -> bytes:
    """A stored message with its headers; an invitation is a `text/calendar` part."""
    message = EmailMessage(policy.SMTP)
    message["From"] = row["sender"]
    message["To"] = ", ".join(row["recipients"])
    message["Subject"] = row["subject"]
    message["Date"] = format_datetime(datetime.fromisoformat(row["date"]))
    message["Message-ID"] = row["message_id"]
    if row["in_reply_to"]:
        message["In-Reply-To"] = row["in_reply_to"]
        message["References"] = " ".join(row["refs"])
    message.set_content(row["text"])
    if row["invitation"]:
        message.add_alternative(row["invitation"], subtype="calendar")
        # A boundary derived from the message: the library would draw a random one.
        message.set_boundary(f"=={row['message_id'].strip('<>')}==")
    return message.as_bytes()


def read(raw: bytes) -> dict[str, Any]:
    """The fields of a message: `to`, `subject`, `text`, `in_reply_to`, `invitation`. Missing ones are empty;
    for a message in HTML only, `text` is what a reader would see."""
    message = message_from_bytes(raw, policy=policy.default)
    # Headers may contain anything: none may raise.
    headers = [str(value) for name in ("to", "cc") for value in message.get_all(name, [])]
    addresses = [name_and_address(piece) for header in headers for piece in _PIECE.findall(header)]
    text, page = _part(message, "plain"), _part(message, "html")
    return {
        "to": [_mailbox(name, address) for name, address in addresses if address],
        "subject": " ".join(str(message.get("subject", "")).split()),
        "text": text if text or not page else read_html(page)[1],
        "in_reply_to": str(message.get("in-reply-to", "")).strip(),
        "invitation": _part(message, "calendar"),
    }


def sender(raw: bytes) -> str:
    """The sender of a message, name and address; empty if it does not say."""
    named = message_from_bytes(raw, policy=policy.default).get("from")
    name, address = name_and_address(str(named or ""))
    return _mailbox(name, address) if address else ""


def _mailbox(name: str, address: str) -> str:
    """Name and address for a header; the name is quoted if it would otherwise be misread (RFC 5322,
    3.2.4)."""
    if not name:
        return address
    if re.search(r'[()<>\[\]:;@\\,."]', name):
        name = '"' + re.sub(r'([\\"])', r"\\\1", name) + '"'
    return f"{name} <{address}>"


def _part(message: Any, subtype: str) -> str:
    for part in message.walk():
        if part.get_content_type() == f"text/{subtype}" and not part.is_attachment():
            payload = part.get_payload(decode=True) or b""
            return _decoded(payload, part.get_content_charset()).replace("\r\n", "\n").rstrip("\n")
    return ""


def _decoded(payload: bytes, charset: str | None) -> str:
    """A text decoded from its declared charset; from UTF-8 if that is missing or unknown."""
    try:
        return payload.decode(charset or "utf-8", "replace")
    except (LookupError, UnicodeError):
        return payload.decode("utf-8", "replace")
