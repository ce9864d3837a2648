"""Mailboxes and threads in SQLite, in memory, saved and restored as bytes."""

import functools
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ludus.tools.services.mail.mailbox import Mailbox

_SCHEMA = """
PRAGMA page_size = 1024;
CREATE TABLE messages (
    id INTEGER PRIMARY KEY, folder TEXT NOT NULL, thread INTEGER NOT NULL, message_id TEXT NOT NULL,
    in_reply_to TEXT NOT NULL, refs TEXT NOT NULL, sender TEXT NOT NULL, recipients TEXT NOT NULL,
    subject TEXT NOT NULL, date TEXT NOT NULL, text TEXT NOT NULL, invitation TEXT NOT NULL,
    seen INTEGER NOT NULL, flagged INTEGER NOT NULL, answered INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0, draft INTEGER NOT NULL DEFAULT 0, words TEXT NOT NULL,
    uid INTEGER NOT NULL
);
CREATE TABLE last (id INTEGER NOT NULL, uid INTEGER NOT NULL);
INSERT INTO last VALUES (0, 0);
"""
_COLUMNS = (
    *("id", "folder", "thread", "message_id", "in_reply_to", "refs", "sender", "recipients", "subject"),
    *("date", "text", "invitation", "seen", "flagged", "words"),
)
FLAGS = ("seen", "flagged", "answered", "deleted", "draft")
_INSERT = f"INSERT INTO messages ({', '.join(_COLUMNS)}, uid) VALUES ({', '.join('?' * len(_COLUMNS))}, ?)"
_SHOWN = (*_COLUMNS[:-1], *FLAGS[2:], "uid")
_SELECT = f"SELECT {', '.join(_SHOWN)} FROM messages"

Row = Mapping[str, Any]
"""A message, by column."""


class Store:
    """A database whose whole content is an immutable value, `content`: cheap to keep, restore and pickle.
    Bytes are written when first needed after a change, and read when a message is first needed after a
    restore.
    """

    def __init__(self) -> None:
        self._database: sqlite3.Connection | None = None
        self._content: bytes | None = _empty()

    @property
    def content(self) -> bytes:
        if self._content is None:
            self._content = self._open().serialize()
        return self._content

    @content.setter
    def content(self, content: bytes) -> None:
        if content is not self._content:
            self._content = content
            if self._database is not None:
                self._database.close()
                self._database = None

    def messages(self, folder: str | None, words: Sequence[str], limit: int, offset: int) -> list[Row]:
        """The messages in a folder (None: in all) that contain all the words, newest first."""
        conditions = ["folder = ?"] if folder is not None else []
        conditions += ["instr(words, ?) > 0"] * len(words)
        given = ([folder] if folder is not None else []) + [word.casefold() for word in words]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        query = f"{_SELECT}{where} ORDER BY date DESC, id DESC LIMIT ? OFFSET ?"
        return [_row(values) for values in self._open().execute(query, (*given, limit, offset))]

    def thread(self, thread: int) -> list[Row]:
        """A conversation, oldest first."""
        return [
            _row(values)
            for values in self._open().execute(f"{_SELECT} WHERE thread = ? ORDER BY id", (thread,))
        ]

    def message(self, id: int) -> Row | None:
        for values in self._open().execute(f"{_SELECT} WHERE id = ?", (id,)):
            return _row(values)
        return None

    def with_message_id(self, message_id: str) -> Row | None:
        for values in self._open().execute(f"{_SELECT} WHERE message_id = ?", (message_id,)):
            return _row(values)
        return None

    def counts(self) -> dict[str, tuple[int, int]]:
        """By folder: the number of messages, and of unseen ones."""
        found = self._open().execute("SELECT folder, count(*), sum(1 - seen) FROM messages GROUP BY folder")
        return {folder: (count, unseen) for folder, count, unseen in found}

    def last(self) -> int:
        """The highest id that a message has or had; 0 for none."""
        (highest,) = self._open().execute("SELECT id FROM last").fetchone()
        return int(highest)

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add messages: values in the order of the columns, as from `row_values`. Each gets the next UID."""
        uid = self.next_uid()
        numbered = [(*row, uid + place) for place, row in enumerate(rows)]
        with self._changed() as database:
            database.executemany(_INSERT, numbered)
            database.execute(
                "UPDATE last SET id = max(id, (SELECT coalesce(max(id), 0) FROM messages)), uid = ?",
                (uid + len(numbered) - 1,),
            )

    def mark(self, id: int, changes: Mapping[str, Any]) -> None:
        """Change the folder or flags of a message. In another folder it gets the next UID: IMAP numbers what
        is new in a folder upwards."""
        uid = self.next_uid()
        with self._changed() as database:
            for column in FLAGS:
                if column in changes:
                    database.execute(f"UPDATE messages SET {column} = ? WHERE id = ?", (changes[column], id))
            if "folder" in changes:
                database.execute(
                    "UPDATE messages SET folder = ?, uid = ? WHERE id = ? AND folder != ?",
                    (changes["folder"], uid, id, changes["folder"]),
                )
                database.execute("UPDATE last SET uid = ?", (uid,))

    def remove(self, ids: Iterable[int]) -> None:
        """Delete messages for good."""
        with self._changed() as database:
            database.executemany("DELETE FROM messages WHERE id = ?", ((id,) for id in ids))

    def numbered(self, folder: str) -> list[tuple[int, int]]:
        """UIDs and ids of the messages in a folder, in IMAP's order."""
        return (
            self._open()
            .execute("SELECT uid, id FROM messages WHERE folder = ? ORDER BY uid", (folder,))
            .fetchall()
        )

    def next_uid(self) -> int:
        """What the next message that enters any folder will be numbered."""
        (highest,) = self._open().execute("SELECT uid FROM last").fetchone()
        return int(highest) + 1

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            # An instance serves one thread at a time, but not always the same thread.
            self._database = sqlite3.connect(":memory:", check_same_thread=False)
            self._database.deserialize(self._content or _empty())
        return self._database

    def _changed(self) -> sqlite3.Connection:
        database = self._open()
        self._content = None
        return database


def row_values(
    id: int,
    folder: str,
    thread: int,
    message_id: str,
    in_reply_to: str,
    references: Sequence[str],
    sender: str,
    recipients: Sequence[str],
    subject: str,
    date: str,
    text: str,
    invitation: str = "",
    seen: bool = False,
) -> tuple[Any, ...]:
    """A message as it is stored."""
    words = "\n".join((sender, *recipients, subject, text)).casefold()
    stored = (
        id,
        folder,
        thread,
        message_id,
        in_reply_to,
        " ".join(references),
        sender,
        json.dumps(list(recipients)),
    )
    return (*stored, subject, date, text, invitation, int(seen), 0, words)


def copied(row: Row, id: int, folder: str) -> tuple[Any, ...]:
    """A copy of a message, in a thread of its own."""
    fields = ("sender", "recipients", "subject", "date", "text", "invitation")
    return row_values(
        *(id, folder, id, row["message_id"], row["in_reply_to"], row["refs"]), *(row[name] for name in fields)
    )


@functools.lru_cache(maxsize=64)
def filled(mailbox: Mailbox) -> bytes:
    """The content of a store with a mailbox's mails."""
    rows: list[tuple[Any, ...]] = []
    for id, mail in enumerate(mailbox.mails, start=1):
        thread, parent, references = id, "", ()
        if mail.answers is not None:
            earlier = rows[mail.answers]
            thread, parent = earlier[2], earlier[3]
            references = (*earlier[5].split(), parent)
        rows.append(
            row_values(
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


@functools.cache
def _empty() -> bytes:
    database = sqlite3.connect(":memory:")
    database.executescript(_SCHEMA)
    content = database.serialize()
    database.close()
    return content


def _row(values: Sequence[Any]) -> Row:
    row = dict(zip(_SHOWN, values, strict=True))
    row["recipients"] = json.loads(row["recipients"])
    row["refs"] = row["refs"].split()
    row.update((flag, bool(row[flag])) for flag in FLAGS)
    return row
