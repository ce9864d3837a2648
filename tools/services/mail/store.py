"""Messages and threads as immutable values."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ludus.tools.services.mail.mailbox import Mailbox

FLAGS = ("seen", "flagged", "answered", "deleted", "draft")

Row = Mapping[str, Any]
"""A message, by column; never changed."""


@dataclass(frozen=True, slots=True)
class Content:
    """All that a store holds."""

    rows: Mapping[int, Row] = field(default_factory=dict)
    """The messages by id, in the order of their ids."""
    last: int = 0
    """The highest id that a message has or had."""
    uid: int = 0
    """The highest UID that a message has or had."""


class Store:
    """Messages, in folders and threads. `content` is an immutable value, which a change replaces."""

    def __init__(self) -> None:
        self.content = Content()

    def messages(self, folder: str | None, words: Sequence[str], limit: int, offset: int) -> list[Row]:
        """The messages in a folder (None: in all) that contain all the words, newest first."""
        wanted = [word.casefold() for word in words]
        found = [
            row
            for row in self.content.rows.values()
            if folder in (None, row["folder"]) and (not wanted or _contains(row, wanted))
        ]
        found.sort(key=lambda row: (row["date"], row["id"]), reverse=True)
        return found[offset : offset + limit]

    def thread(self, thread: int) -> list[Row]:
        """A conversation, oldest first."""
        return [row for row in self.content.rows.values() if row["thread"] == thread]

    def message(self, id: int) -> Row | None:
        return self.content.rows.get(id)

    def with_message_id(self, message_id: str) -> Row | None:
        return next((row for row in self.content.rows.values() if row["message_id"] == message_id), None)

    def counts(self) -> dict[str, tuple[int, int]]:
        """By folder: the number of messages, and of unseen ones."""
        found: dict[str, tuple[int, int]] = {}
        for row in self.content.rows.values():
            count, unseen = found.get(row["folder"], (0, 0))
            found[row["folder"]] = (count + 1, unseen + (not row["seen"]))
        return found

    def last(self) -> int:
        """The highest id that a message has or had; 0 for none."""
        return self.content.last

    def add(self, rows: Iterable[Row]) -> None:
        """Add messages, as from `new_row`, whose ids follow the last. Each gets the next UID."""
        added = {row["id"]: {**row, "uid": uid} for uid, row in enumerate(rows, self.next_uid())}
        content = self.content
        last = max((content.last, *added))
        self.content = Content({**content.rows, **added}, last, content.uid + len(added))

    def mark(self, id: int, changes: Mapping[str, Any]) -> None:
        """Change the folder or flags of a message. In another folder it gets the next UID: IMAP numbers what
        is new in a folder upwards."""
        rows, uid = self.content.rows, self.content.uid
        if id not in rows:
            return
        marked = {**rows[id], **{flag: bool(changes[flag]) for flag in FLAGS if flag in changes}}
        if "folder" in changes and changes["folder"] != marked["folder"]:
            uid += 1
            marked |= {"folder": changes["folder"], "uid": uid}
        self.content = Content({**rows, id: marked}, self.content.last, uid)

    def remove(self, ids: Iterable[int]) -> None:
        """Delete messages for good."""
        gone = set(ids)
        kept = {id: row for id, row in self.content.rows.items() if id not in gone}
        self.content = Content(kept, self.content.last, self.content.uid)

    def numbered(self, folder: str) -> list[tuple[int, int]]:
        """UIDs and ids of the messages in a folder, in IMAP's order."""
        return sorted(
            (row["uid"], row["id"]) for row in self.content.rows.values() if row["folder"] == folder
        )

    def next_uid(self) -> int:
        """What the next message that enters any folder will be numbered."""
        return self.content.uid + 1


def _contains(row: Row, words: Iterable[str]) -> bool:
    text = "\n".join((row["sender"], *row["recipients"], row["subject"], row["text"])).casefold()
    return all(word in text for word in words)


def new_row(
    id: int,
    folder: str,
    thread: int,
    message_id: str,
    in_reply_to: str,
    refs: Sequence[str],
    sender: str,
    recipients: Sequence[str],
    subject: str,
    date: str,
    text: str,
    invitation: str = "",
    seen: bool = False,
) -> Row:
    """A message that is not in a store yet."""
    return {
        "id": id,
        "folder": folder,
        "thread": thread,
        "message_id": message_id,
        "in_reply_to": in_reply_to,
        "refs": list(refs),
        "sender": sender,
        "recipients": list(recipients),
        "subject": subject,
        "date": date,
        "text": text,
        "invitation": invitation,
        **dict.fromkeys(FLAGS, False),
        "seen": seen,
    }


def copied(row: Row, id: int, folder: str) -> Row:
    """A copy of a message, in a thread of its own."""
    fields = ("sender", "recipients", "subject", "date", "text", "invitation")
    return new_row(
        *(id, folder, id, row["message_id"], row["in_reply_to"], row["refs"]), *(row[name] for name in fields)
    )


@functools.lru_cache(maxsize=64)
def filled(mailbox: Mailbox) -> Content:
    """The content of a store with a mailbox's mails."""
    rows: list[Row] = []
    for id, mail in enumerate(mailbox.mails, start=1):
        thread, parent, references = id, "", ()
        if mail.answers is not None:
            earlier = rows[mail.answers]
            thread, parent = earlier["thread"], earlier["message_id"]
            references = (*earlier["refs"], parent)
        rows.append(
            new_row(
                *(id, mail.folder, thread, message_id(id), parent, references, mail.sender, mail.to),
                *(mail.subject, mail.date.isoformat(), mail.text, mail.invitation, mail.seen),
            )
        )
    store = Store()
    store.add(rows)
    return store.content


def message_id(id: int) -> str:
    """The Message-ID of the message with a number."""
    return f"<{id}.ludus@mail.invalid>"
