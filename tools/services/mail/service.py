"""The mail service: one person's mailboxes over HTTP, and outsiders who answer by rule."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from ludus.tools.content import KeysByIdentity, content_key
from ludus.tools.errors import ToolError
from ludus.tools.services.mail import rfc822
from ludus.tools.services.mail.mailbox import FOLDERS, Correspondent, Mailbox, invented_mailbox
from ludus.tools.services.mail.store import FLAGS, Content, Row, Store, copied, filled, message_id, new_row
from ludus.tools.services.service import Service, VirtualClock
from ludus.tools.text import carried

MAX_LISTED = 50
MAX_KEPT = 10_000
MAX_RECIPIENTS = 20
MAX_CHARACTERS = 100_000
MAX_ADDRESS = 1_000
"""The maximum number of characters in a recipient, name included."""
_ADDRESS = re.compile(r"[^\s@<>,;]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


class MailService(Service):
    """The mail of one person.

    | request | answer |
    |---|---|
    | `GET /folders` | messages and unseen messages by folder |
    | `GET /messages?folder=&q=&limit=&offset=` | headers, newest first; `q`: words that must all occur |
    | `GET /messages/ID` | a message, which then counts as seen, with the ids of its thread |
    | `GET /messages/ID/raw` | the same as RFC 5322 text |
    | `POST /messages` | sends JSON (`to`, `subject`, `text`, `in_reply_to`, `invitation`) or RFC 5322 |
    | `POST /messages/ID/reply` | sends JSON (`text`) to the sender, with the same subject |
    | `PATCH /messages/ID` | `seen`, `flagged`, `folder` |

    Mail to somebody who answers by rule is answered at once. An invitation (a `text/calendar` part with
    METHOD REQUEST) is accepted unless they are busy then. Errors: `{"error": true, "reason": "…"}`.

    A stale answer lists the mail without the newest message.

    Args:
        mailbox: the initial content; a number is the seed of an invented one.
        clock: dates the messages.
    """

    name = "mail"

    def __init__(self, mailbox: Mailbox | int = 0, clock: VirtualClock | None = None) -> None:
        super().__init__(clock)
        self.store = Store()
        self._row_keys = KeysByIdentity(_row_key, most=4096)
        self._mailbox_keys: KeysByIdentity[Mailbox] = KeysByIdentity(content_key, most=8)
        self.mailbox = mailbox if isinstance(mailbox, Mailbox) else invented_mailbox(mailbox)
        self.load(self.mailbox)
        # A bare router: it needs no middleware for errors and sessions.
        self._app = Router(
            routes=[
                Route("/folders", _refusing(self._folders)),
                Route("/messages", _refusing(self._list), methods=["GET"]),
                Route("/messages", _refusing(self._send), methods=["POST"]),
                Route("/messages/{id}", _refusing(self._read), methods=["GET"]),
                Route("/messages/{id}", _refusing(self._mark), methods=["PATCH"]),
                Route("/messages/{id}/raw", _refusing(self._raw)),
                Route("/messages/{id}/reply", _refusing(self._reply), methods=["POST"]),
            ]
        )

    @property
    def app(self) -> ASGIApp:
        return self._app

    @property
    def state(self) -> tuple[Mailbox, Content]:
        return self.mailbox, self.store.content

    @state.setter
    def state(self, state: tuple[Mailbox, Content]) -> None:
        self.mailbox, self.store.content = state

    def key(self, state: tuple[Mailbox, Content], with_stale: bool = False) -> int:
        mailbox, content = state
        rows = [self._row_keys(row) for row in content.rows.values()]
        return content_key((self._mailbox_keys(mailbox), rows, content.last))

    def load(self, mailbox: Mailbox) -> None:
        """Start over with another mailbox."""
        self.state = (mailbox, filled(mailbox))

    def messages(self, folder: str) -> list[Row]:
        """The content of a folder, newest first, for judging the outcome without the protocol."""
        return self.store.messages(folder, (), MAX_KEPT, 0)

    def submit(self, raw: bytes, recipients: Sequence[str]) -> Row:
        """Send a message in RFC 5322 text, as SMTP does: the recipients are told beside it, and its headers
        name only those who may be seen.

        Raises:
            Refused: for an address or a text that mail cannot have, or a message that is not there to answer.
        """
        fields = rfc822.read(raw)
        named = {_parsed(recipient)[1].casefold(): recipient for recipient in fields["to"]}
        to = _recipients([named.get(address.casefold(), address) for address in recipients])
        texts = _texts(fields)
        parent = self.store.with_message_id(texts["in_reply_to"]) if texts["in_reply_to"] else None
        return self._sent(to, texts, parent)

    def appended(self, folder: str, raw: bytes, flags: Collection[str]) -> int:
        """Put a message in RFC 5322 text into a folder, without sending it.

        Returns:
            Its UID.

        Raises:
            Refused: for a text that mail cannot have.
        """
        fields = rfc822.read(raw)
        sender = _carried("from", rfc822.sender(raw))[:MAX_ADDRESS] or self.mailbox.owner.mailbox
        to = [_carried("to", recipient)[:MAX_ADDRESS] for recipient in fields["to"][:MAX_RECIPIENTS]]
        id, uid = self.store.last() + 1, self.store.next_uid()
        self.store.add([self._row(id, folder, sender, to, _texts(fields), None, "seen" in flags)])
        self.store.mark(id, dict.fromkeys(flags, True))
        return uid

    def copied(self, rows: Sequence[Row], folder: str) -> list[int]:
        """Copy messages into a folder; returns the copies' UIDs."""
        id, uid = self.store.last() + 1, self.store.next_uid()
        self.store.add(copied(row, id + place, folder) for place, row in enumerate(rows))
        for place, row in enumerate(rows):
            self.store.mark(id + place, {flag: row[flag] for flag in FLAGS})
        return [uid + place for place in range(len(rows))]

    async def _folders(self, request: Request) -> Response:
        counts = self.store.counts()
        return JSONResponse(
            {
                name: dict(zip(("messages", "unseen"), counts.get(name, (0, 0)), strict=True))
                for name in FOLDERS
            }
        )

    async def _list(self, request: Request) -> Response:
        asked = request.query_params
        folder = asked.get("folder") or None
        if folder is not None and folder not in FOLDERS:
            raise Refused(f"there is no folder {folder[:40]!r}; there are: {', '.join(FOLDERS)}")
        limit = _integer(asked, "limit", 20, 1, MAX_LISTED)
        offset = _integer(asked, "offset", 0, 0, 10**6)
        words = _carried("q", asked.get("q", "")).split()
        if self.is_stale:
            offset += 1
        rows = self.store.messages(folder, words[:20], limit, offset)
        return JSONResponse({"messages": [_headline(row) for row in rows]})

    async def _read(self, request: Request) -> Response:
        row = self._found(request)
        if not row["seen"]:
            self.store.mark(row["id"], {"seen": True})
        thread = [message["id"] for message in self.store.thread(row["thread"])]
        body = {key: row[key] for key in ("text", "invitation", "message_id", "in_reply_to")}
        return JSONResponse({**_headline(row), **body, "references": row["refs"], "thread": thread})

    async def _raw(self, request: Request) -> Response:
        return Response(rfc822.written(self._found(request)), media_type="message/rfc822")

    async def _mark(self, request: Request) -> Response:
        row, changes = self._found(request), await _json(request)
        for name, value in changes.items():
            if name == "folder" and value not in FOLDERS:
                raise Refused(f"there is no folder {str(value)[:40]!r}; there are: {', '.join(FOLDERS)}")
            if name in ("seen", "flagged") and not isinstance(value, bool):
                raise Refused(f"{name} is true or false")
            if name not in ("folder", "seen", "flagged"):
                raise Refused(f"{name[:40]!r} cannot be changed; folder, seen and flagged can")
        self.store.mark(row["id"], changes)
        return JSONResponse(_headline({**row, **changes}))

    async def _send(self, request: Request) -> Response:
        if request.headers.get("content-type", "").startswith("message/rfc822"):
            asked = rfc822.read(await request.body())
        else:
            asked = await _json(request)
        texts = _texts(asked)
        parent = self.store.with_message_id(texts["in_reply_to"]) if texts["in_reply_to"] else None
        if texts["in_reply_to"] and parent is None:
            raise Refused(f"there is no message {texts['in_reply_to'][:80]!r} to answer")
        sent = self._sent(_recipients(asked.get("to")), texts, parent)
        return JSONResponse(_headline(sent), status_code=201)

    async def _reply(self, request: Request) -> Response:
        parent = self._found(request)
        texts = _texts({**await _json(request), "subject": _answering(parent["subject"])})
        return JSONResponse(_headline(self._sent([parent["sender"]], texts, parent)), status_code=201)

    def _sent(self, to: list[str], texts: Mapping[str, str], parent: Row | None) -> Row:
        """Put a message into `sent`, and the answers to it into the inbox."""
        id = self.store.last() + 1
        row = self._row(id, "sent", self.mailbox.owner.mailbox, to, texts, parent, seen=True)
        self.store.add([row, *self._answers(row, to, texts)])
        found = self.store.message(id)
        assert found is not None
        return found

    def _row(
        self,
        id: int,
        folder: str,
        sender: str,
        to: Sequence[str],
        texts: Mapping[str, str],
        parent: Row | None,
        seen: bool,
    ) -> Row:
        thread, before, references = id, "", ()
        if parent is not None:
            thread, before = parent["thread"], parent["message_id"]
            references = (*parent["refs"], before)
        now = self.clock.now.isoformat()
        return new_row(
            *(id, folder, thread, message_id(id), before, references, sender, to, texts["subject"], now),
            *(texts["text"], texts["invitation"], seen),
        )

    def _answers(self, row: Row, to: Sequence[str], texts: Mapping[str, str]) -> list[Row]:
        """The answers of the people to whom a message was sent."""
        owner = self.mailbox.owner.mailbox
        addresses = {_parsed(recipient)[1].casefold() for recipient in to}
        answers: list[Row] = []
        for person in self.mailbox.people:
            answer = _answer(person, texts) if person.address.casefold() in addresses else None
            if answer is not None:
                id = row["id"] + 1 + len(answers)
                answers.append(self._row(id, "inbox", person.mailbox, [owner], answer, row, seen=False))
        return answers

    def _found(self, request: Request) -> Row:
        id = request.path_params["id"]
        row = self.store.message(int(id)) if re.fullmatch(r"[0-9]{1,18}", id) else None
        if row is None:
            raise Refused(f"there is no message {id[:40]}; list or search messages for their ids", 404)
        return row


@lru_cache(maxsize=4096)
def _parsed(text: str) -> tuple[str, str]:
    return rfc822.name_and_address(text)


class Refused(Exception):
    """A request that cannot be carried out; the message says why. In HTTP it has a status."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


def _refusing(handler: Callable[[Request], Any]) -> Callable[[Request], Any]:
    async def handle(request: Request) -> Response:
        try:
            answer: Response = await handler(request)
        except Refused as refused:
            return JSONResponse({"error": True, "reason": str(refused)}, status_code=refused.status)
        return answer

    return handle


def _headline(row: Row) -> dict[str, Any]:
    keys = ("id", "folder", "sender", "recipients", "subject", "date", "seen", "flagged")
    return {key: row[key] for key in keys}


async def _json(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Refused("the request's body must be a JSON object")
    return body


def _integer(asked: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = asked.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,7}", text) or not least <= int(text) <= most:
        raise Refused(f"{name}={text[:20]!r}: give an integer from {least} to {most}")
    return int(text)


def _carried(name: str, text: str) -> str:
    try:
        return carried(name, text)
    except ToolError as error:
        raise Refused(str(error)) from None


def _texts(asked: Mapping[str, Any]) -> dict[str, str]:
    texts = {}
    for key in ("subject", "text", "in_reply_to", "invitation"):
        value = asked.get(key, "")
        if not isinstance(value, str) or len(value) > MAX_CHARACTERS:
            raise Refused(f"{key} is a text of at most {MAX_CHARACTERS} characters")
        texts[key] = _carried(key, value)
    return {**texts, "subject": " ".join(texts["subject"].split())}


def _answering(subject: str) -> str:
    return subject if subject.startswith("Re: ") else f"Re: {subject}"


def _recipients(given: Any) -> list[str]:
    given = [given] if isinstance(given, str) else given
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_RECIPIENTS:
        raise Refused(f"to: give one to {MAX_RECIPIENTS} addresses")
    for recipient in given:
        if (
            not isinstance(recipient, str)
            or not recipient.isprintable()
            or len(recipient) > MAX_ADDRESS
            or not _ADDRESS.fullmatch(_parsed(recipient)[1])
        ):
            raise Refused(
                f"{str(recipient)[:80]!r} is no mail address; an address is name@domain, or "
                "Name <name@domain>, with quotes around a name that has a comma"
            )
    return list(given)


def _answer(person: Correspondent, texts: Mapping[str, str]) -> Mapping[str, str] | None:
    """A person's answer to a mail, by rule; None for no answer."""
    if "METHOD:REQUEST" in texts["invitation"]:
        span = _span(texts["invitation"])
        if span is None:
            return None
        start, end = span
        free = all(end <= low or start >= high for low, high in person.busy)
        word, status = ("Accepted", "ACCEPTED") if free else ("Declined", "DECLINED")
        said = "I will be there." if free else "I am sorry, I have something else then."
        invitation = re.sub(r"(?m)^ATTENDEE.*\r?\n", "", texts["invitation"]).replace(
            "METHOD:REQUEST", "METHOD:REPLY"
        )
        attendee = f"ATTENDEE;PARTSTAT={status}:mailto:{person.address}\r\n"
        return {
            "subject": f"{word}: {texts['subject']}",
            "text": f"{said}\n\n{person.name}",
            "invitation": invitation.replace("END:VEVENT", f"{attendee}END:VEVENT"),
        }
    said = f"{texts['subject']}\n{texts['text']}".casefold()
    for rule in person.rules:
        if all(word.casefold() in said for word in rule.words):
            subject = _answering(texts["subject"])
            return {"subject": subject, "text": f"{rule.answer}\n\n{person.name}", "invitation": ""}
    return None


def _span(invitation: str) -> tuple[datetime, datetime] | None:
    """When an invitation's event begins and ends; None unless it says so in UTC."""
    found = [re.search(rf"(?m)^{name}:(\d{{8}}T\d{{6}})Z\s*$", invitation) for name in ("DTSTART", "DTEND")]
    try:
        start, end = (
            datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC) for match in found if match
        )
    except ValueError:
        return None
    return start, end


def _row_key(row: Row) -> int:
    return content_key({name: value for name, value in row.items() if name != "uid"})
