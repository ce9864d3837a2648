"""What IMAP shows of a message: its parts, its structure and its envelope, all from its RFC 5322 text."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from email import message_from_bytes, policy
from email.message import Message
from email.utils import getaddresses
from functools import lru_cache
from typing import Any

from ludus.tools.services.mail import rfc822
from ludus.tools.services.mail.imap.syntax import BadCommand, listed, literal, quoted
from ludus.tools.services.mail.store import FLAGS, Row

MACROS: Mapping[str, tuple[str, ...]] = {
    "ALL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"),
    "FAST": ("FLAGS", "INTERNALDATE", "RFC822.SIZE"),
    "FULL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"),
}
_SECTION = re.compile(r"BODY(\.PEEK)?\[([^\]]*)\](?:<(\d{1,10})\.(\d{1,10})>)?", re.I)
_ALIASES = {"RFC822": "BODY[]", "RFC822.HEADER": "BODY.PEEK[HEADER]", "RFC822.TEXT": "BODY[TEXT]"}


def raw(row: Row) -> bytes:
    """A message's text; a pure function of what is stored of it."""
    fields = ("sender", "subject", "date", "message_id", "in_reply_to", "text", "invitation")
    return _raw(*(row[name] for name in fields), tuple(row["recipients"]), tuple(row["refs"]))


@lru_cache(maxsize=1024)
def _raw(*values: Any) -> bytes:
    names = ("sender", "subject", "date", "message_id", "in_reply_to", "text", "invitation", "recipients")
    return rfc822.written(dict(zip((*names, "refs"), values, strict=True)))


@lru_cache(maxsize=256)
def _parsed(text: bytes) -> Message:
    return message_from_bytes(text, policy=policy.compat32)


def flags_of(row: Row) -> bytes:
    return listed(b"\\" + flag.capitalize().encode() for flag in FLAGS if row[flag])


def marks_seen(item: str) -> bool:
    """Whether fetching an item marks the message as seen."""
    found = _SECTION.fullmatch(_ALIASES.get(item.upper(), item))
    return found is not None and not found[1]


def fetched(row: Row, item: str) -> bytes:
    """An item of a FETCH answer: its name and its value.

    Raises:
        BadCommand: there is no such item.
    """
    name = item.upper()
    if simple := _SIMPLE.get(name):
        return name.encode() + b" " + simple(row)
    found = _SECTION.fullmatch(_ALIASES.get(name, item))
    if found is None:
        raise BadCommand(f"{item[:60]!r} cannot be fetched")
    content = _section(_parsed(raw(row)), raw(row), found[2].strip())
    shown = name if name in _ALIASES else f"BODY[{found[2]}]"
    if found[3] is not None:
        first = int(found[3])
        content, shown = content[first : first + int(found[4])], f"{shown}<{first}>"
    return shown.encode() + b" " + literal(content)


def _section(message: Message, text: bytes, section: str) -> bytes:
    """The bytes of a section: `""`, `HEADER`, `TEXT`, `2.1`, `1.MIME`, `HEADER.FIELDS (FROM TO)`, …"""
    found = re.fullmatch(r"(\d{1,4}(?:\.\d{1,4}){0,9})?\.?([A-Za-z].*)?", section)
    if found is None:
        raise BadCommand(f"there is no section {section[:60]!r}")
    numbers, what = found[1] or "", (found[2] or "").upper()
    part, whole = _part(message, text, numbers)
    head, _, body = whole.partition(b"\r\n\r\n")
    if not what:
        return body if numbers else whole
    if what in ("HEADER", "MIME"):
        return head + b"\r\n\r\n"
    if what == "TEXT":
        return body
    fields = re.fullmatch(r"HEADER\.FIELDS(\.NOT)? \(([^()]*)\)", what)
    if fields is None:
        raise BadCommand(f"there is no section {section[:60]!r}")
    names = {name.strip('"') for name in fields[2].split()}
    kept = [
        b"%s: %s\r\n" % (name.encode(), str(value).encode("utf-8", "replace"))
        for name, value in part.items()
        if (name.upper() in names) == (fields[1] is None)
    ]
    return b"".join(kept) + b"\r\n"


def _part(message: Message, text: bytes, numbers: str) -> tuple[Message, bytes]:
    """A part of a message by its numbers, and its bytes. Part 1 of a message without parts is its body."""
    part, whole = message, text
    for number in filter(None, numbers.split(".")):
        parts: Any = part.get_payload()
        if part.is_multipart():
            if not 1 <= int(number) <= len(parts):
                raise BadCommand(f"there is no part {numbers[:40]}")
            boundary = b"--" + str(part.get_boundary()).encode()
            part = parts[int(number) - 1]
            whole = whole.split(boundary)[int(number)].removeprefix(b"\r\n").removesuffix(b"\r\n")
        elif number != "1":
            raise BadCommand(f"there is no part {numbers[:40]}")
    return part, whole


def _structure(row: Row, extended: bool) -> bytes:
    message, text = _parsed(raw(row)), raw(row)
    if not message.is_multipart():
        return _leaf(message, text.partition(b"\r\n\r\n")[2], extended)
    parts = []
    for number, part in enumerate(message.get_payload(), 1):
        content = _part(message, text, str(number))[1].partition(b"\r\n\r\n")[2]
        parts.append(_leaf(part, content, extended))
    tail = [quoted(message.get_content_subtype().upper())]
    if extended:
        tail += [listed([b'"BOUNDARY"', quoted(message.get_boundary())]), b"NIL", b"NIL", b"NIL"]
    return b"(%s %s)" % (b"".join(parts), b" ".join(tail))


def _leaf(part: Message, content: bytes, extended: bool) -> bytes:
    kind, subtype = part.get_content_maintype(), part.get_content_subtype()
    parameters = [
        quoted(word) for pair in (part.get_params() or [])[1:] for word in (pair[0].upper(), pair[1])
    ]
    said = [
        quoted(kind.upper()),
        quoted(subtype.upper()),
        listed(parameters) if parameters else b"NIL",
        b"NIL",
        b"NIL",
        quoted(str(part.get("Content-Transfer-Encoding", "7bit")).upper()),
        str(len(content)).encode(),
    ]
    if kind == "text":
        said.append(str(content.count(b"\n")).encode())
    return listed([*said, *([b"NIL"] * 4 if extended else [])])


def _envelope(row: Row) -> bytes:
    message = _parsed(raw(row))

    def addresses(*names: str) -> bytes:
        for name in names:
            found = [pair for pair in getaddresses(map(str, message.get_all(name, []))) if pair[1]]
            if found:
                return b"(%s)" % b"".join(_address(*pair) for pair in found)
        return b"NIL"

    date, subject, parent, id = (
        message.get(name) for name in ("Date", "Subject", "In-Reply-To", "Message-ID")
    )
    said = [quoted(_text(date)), quoted(_text(subject)), addresses("From"), addresses("Sender", "From")]
    said += [addresses("Reply-To", "From"), addresses("To"), addresses("Cc"), addresses("Bcc")]
    return listed([*said, quoted(_text(parent)), quoted(_text(id))])


def _address(name: str, address: str) -> bytes:
    local, _, domain = address.rpartition("@")
    return listed([quoted(name or None), b"NIL", quoted(local), quoted(domain)])


def _text(value: Any) -> str | None:
    return None if value is None else " ".join(str(value).split())


def _internal_date(row: Row) -> bytes:
    return f'"{datetime.fromisoformat(row["date"]):%d-%b-%Y %H:%M:%S %z}"'.encode()


_SIMPLE: Mapping[str, Callable[[Row], bytes]] = {
    "UID": lambda row: str(row["uid"]).encode(),
    "FLAGS": flags_of,
    "INTERNALDATE": _internal_date,
    "RFC822.SIZE": lambda row: str(len(raw(row))).encode(),
    "ENVELOPE": _envelope,
    "BODY": lambda row: _structure(row, False),
    "BODYSTRUCTURE": lambda row: _structure(row, True),
}
