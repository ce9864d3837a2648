"""`Session`: what an IMAP server answers to the commands of one connection."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ludus.tools.services.mail.imap.message import MACROS, fetched, flags_of, marks_seen
from ludus.tools.services.mail.imap.search import read_criteria
from ludus.tools.services.mail.imap.syntax import (
    BadCommand,
    Literal,
    Word,
    listed,
    read_set,
    read_words,
    text_of,
)
from ludus.tools.services.mail.service import MailService, Refused
from ludus.tools.services.mail.store import FLAGS, Row

CAPABILITIES = b"IMAP4rev1 LITERAL+ SASL-IR AUTH=PLAIN IDLE UIDPLUS MOVE NAMESPACE SPECIAL-USE UNSELECT ID"
GREETING = b"* OK [CAPABILITY " + CAPABILITIES + b"] Ludus's mail is ready\r\n"
NAMES: Mapping[str, str] = {"inbox": "INBOX", "sent": "Sent", "archive": "Archive", "trash": "Trash"}
"""What IMAP calls the folders."""
VALIDITY = 1
"""UIDVALIDITY: UIDs follow from the world and the calls, in one run of the server as in the next."""
MOST_PATTERN = 40
"""Characters of what LIST asks for: the names are shorter."""
_USES = {"sent": b"\\Sent", "archive": b"\\Archive", "trash": b"\\Trash"}
_FLAGS = listed(b"\\" + flag.capitalize().encode() for flag in FLAGS)

Enter = Callable[[str], MailService]
"""Puts a world, named as a login is, into the service and returns it. Asked again for each command, since
other requests put their worlds in.

Raises:
    Refused: there are too many worlds.
"""


@dataclass(frozen=True, slots=True)
class Done:
    """A command that was carried out."""

    untagged: bytes = b""
    code: bytes = b""
    """A response code for the last line, such as `[READ-ONLY]`."""


@dataclass(frozen=True, slots=True)
class Waits:
    """A command that goes on with the client's next line."""

    prompt: bytes


@dataclass(slots=True)
class Session:
    enter: Enter
    admits: Callable[[str], bool]
    """Whether a password is right."""
    ended: bool = False
    is_idle: bool = False
    """Whether the client waits for news until it says DONE."""
    _user: str | None = None
    _folder: str = ""
    """The open folder; empty if none is."""
    _is_read_only: bool = False
    _uids: list[int] = field(default_factory=list)
    """Of the open folder, as far as the client knows: a message's number is its place here, from 1."""
    _waiting: bytes = b""
    """The tag of the command that waits for its next line."""

    def respond(self, parts: Sequence[bytes]) -> bytes:
        """The answer to a command, or to the next line of one that waits.

        Args:
            parts: the command's lines and literals in turn.
        """
        if self._waiting:
            tag, self._waiting = self._waiting, b""
            return self._ended(tag, lambda: self._continue(parts[0]))
        tag, _, rest = parts[0].partition(b" ")
        if not re.fullmatch(rb"[A-Za-z0-9.#$&',;:<=>?@^_`|~!/-]{1,64}", tag):
            return b"* BAD a command begins with a tag\r\n"
        return self._ended(tag, lambda: self._carry_out([rest, *parts[1:]]))

    def news(self) -> bytes:
        """What has changed in the open folder since the client was told."""
        if not self._folder:
            return b""
        now = [uid for uid, _ in self._mail().store.numbered(self._folder)]
        there, told = set(now), b""
        for number in range(len(self._uids), 0, -1):
            if self._uids[number - 1] not in there:
                del self._uids[number - 1]
                told += b"* %d EXPUNGE\r\n" % number
        if len(now) > len(self._uids):
            told += b"* %d EXISTS\r\n" % len(now)
        self._uids = now
        return told

    def _ended(self, tag: bytes, carry_out: Callable[[], Done | Waits]) -> bytes:
        """The whole answer to a command: what it tells, news, and the line with its tag."""
        try:
            done = carry_out()
        except BadCommand as bad:
            return b"%s BAD %s\r\n" % (tag, _line(str(bad)))
        except Refused as refused:
            return b"%s NO %s\r\n" % (tag, _line(str(refused)))
        if isinstance(done, Waits):
            self._waiting = tag
            return done.prompt
        return b"%s%s OK %s\r\n" % (done.untagged, tag, b" ".join(filter(None, [done.code, b"done"])))

    def _carry_out(self, parts: Sequence[bytes]) -> Done | Waits:
        words = read_words(parts)
        name = text_of(words.pop(0)).upper() if words else ""
        by_uid = name == "UID" and bool(words)
        if by_uid:
            name = text_of(words.pop(0)).upper()
        handler = (_BY_UID if by_uid else _COMMANDS).get(name)
        if handler is None:
            raise BadCommand(f"there is no command {'UID ' * by_uid}{name[:20]}")
        if self._user is None and name not in _BEFORE_LOGIN:
            raise BadCommand("log in first")
        if name in _WITH_FOLDER and not self._folder:
            raise BadCommand("select a folder first")
        if name in _CHANGING and self._is_read_only:
            raise Refused("[READ-ONLY] the folder was opened with EXAMINE")
        done = handler(self, words, True) if by_uid else handler(self, words)
        # Numbers must not change under a client that is using them (RFC 3501, 7.4.1).
        if isinstance(done, Waits) or (name in ("FETCH", "STORE", "SEARCH") and not by_uid):
            return done
        return Done(done.untagged + self.news(), done.code) if self._user is not None else done

    def _continue(self, line: bytes) -> Done | Waits:
        if self.is_idle:
            self.is_idle = False
            if line.strip().upper() != b"DONE":
                raise BadCommand("IDLE ends with DONE")
            return Done(self.news())
        return self._authenticate_plain(line.decode("utf-8", "replace"))

    def _mail(self) -> MailService:
        return self.enter(self._user or "")

    # Logging in

    def _capability(self, words: list[Word]) -> Done:
        return Done(b"* CAPABILITY " + CAPABILITIES + b"\r\n")

    def _noop(self, words: list[Word]) -> Done:
        return Done()

    def _id(self, words: list[Word]) -> Done:
        return Done(b'* ID ("name" "Ludus")\r\n')

    def _logout(self, words: list[Word]) -> Done:
        self.ended, self._folder = True, ""
        return Done(b"* BYE until next time\r\n")

    def _login(self, words: list[Word]) -> Done:
        name, password = _texts(words, 2)
        return self._enter_as(name, password)

    def _authenticate(self, words: list[Word]) -> Done | Waits:
        if not words or text_of(words[0]).upper() != "PLAIN":
            raise Refused("[CANNOT] PLAIN is the only mechanism")
        return self._authenticate_plain(text_of(words[1])) if len(words) > 1 else Waits(b"+ \r\n")

    def _authenticate_plain(self, said: str) -> Done:
        try:
            decoded = base64.b64decode(said.strip().encode(), validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            raise BadCommand("that is not base64") from None
        _, name, password = f"{decoded}\0\0".split("\0")[:3]
        return self._enter_as(name, password)

    def _enter_as(self, name: str, password: str) -> Done:
        if self._user is not None:
            raise BadCommand("already logged in")
        if not self.admits(password):
            raise Refused("[AUTHENTICATIONFAILED] the password is the server's token")
        self.enter(name)
        self._user = name
        return Done(code=b"[CAPABILITY " + CAPABILITIES + b"]")

    # Folders

    def _list(self, words: list[Word]) -> Done:
        *_, reference, pattern = _list_words(words)
        if not pattern:
            return Done(b'* LIST (\\Noselect) "/" ""\r\n')
        # A run of wildcards means one: each of its own would multiply the ways in which a name can fit.
        pattern = re.sub(r"%+", "%", re.sub(r"[*%]*\*[*%]*", "*", f"{reference}{pattern}"))
        if len(pattern) > MOST_PATTERN:
            raise BadCommand(f"a pattern has at most {MOST_PATTERN} characters")
        regex = re.compile(
            "".join(".*" if c == "*" else "[^/]*" if c == "%" else re.escape(c) for c in pattern),
            re.I,
        )
        told = [
            b'* LIST (%s) "/" %s\r\n'
            % (b" ".join(filter(None, [b"\\HasNoChildren", _USES.get(folder, b"")])), name.encode())
            for folder, name in NAMES.items()
            if regex.fullmatch(name)
        ]
        return Done(b"".join(told))

    def _lsub(self, words: list[Word]) -> Done:
        return Done(self._list(words).untagged.replace(b"* LIST", b"* LSUB"))

    def _namespace(self, words: list[Word]) -> Done:
        return Done(b'* NAMESPACE (("" "/")) NIL NIL\r\n')

    def _subscribed(self, words: list[Word]) -> Done:
        _folder(*_texts(words, 1))
        return Done()

    def _fixed(self, words: list[Word]) -> Done:
        raise Refused("[CANNOT] the folders are fixed: INBOX, Sent, Archive, Trash")

    def _status(self, words: list[Word]) -> Done:
        if len(words) != 2 or not isinstance(words[1], list):
            raise BadCommand("STATUS takes a folder and a list of items")
        folder, store = _folder(text_of(words[0])), self._mail().store
        messages, unseen = store.counts().get(folder, (0, 0))
        known = {
            "MESSAGES": messages,
            "UNSEEN": unseen,
            "RECENT": 0,
            "UIDNEXT": store.next_uid(),
            "UIDVALIDITY": VALIDITY,
        }
        told = []
        for item in map(text_of, words[1]):
            if item.upper() not in known:
                raise BadCommand(f"STATUS has no item {item[:20]!r}")
            told.append(f"{item.upper()} {known[item.upper()]}".encode())
        return Done(b"* STATUS %s %s\r\n" % (NAMES[folder].encode(), listed(told)))

    def _select(self, words: list[Word]) -> Done:
        return self._opened(words, False)

    def _examine(self, words: list[Word]) -> Done:
        return self._opened(words, True)

    def _opened(self, words: list[Word], is_read_only: bool) -> Done:
        self._folder = ""
        folder, store = _folder(*_texts(words, 1)), self._mail().store
        self._folder, self._is_read_only = folder, is_read_only
        self._uids = [uid for uid, _ in store.numbered(folder)]
        unseen = next((number for number, row in self._rows(self._uids) if not row["seen"]), 0)
        told = [
            b"* FLAGS " + _FLAGS,
            b"* %d EXISTS" % len(self._uids),
            b"* 0 RECENT",
            b"* OK [PERMANENTFLAGS %s] kept" % (b"()" if is_read_only else _FLAGS),
            b"* OK [UIDVALIDITY %d] always" % VALIDITY,
            b"* OK [UIDNEXT %d] next" % store.next_uid(),
        ]
        told += [b"* OK [UNSEEN %d] first unseen" % unseen] if unseen else []
        code = b"[READ-ONLY]" if is_read_only else b"[READ-WRITE]"
        return Done(b"\r\n".join(told) + b"\r\n", code)

    def _unselect(self, words: list[Word]) -> Done:
        self._folder = ""
        return Done()

    def _close(self, words: list[Word]) -> Done:
        if not self._is_read_only:
            self._expunged(self._uids)
        return self._unselect(words)

    def _idle(self, words: list[Word]) -> Waits:
        self.is_idle = True
        return Waits(b"+ waiting\r\n")

    # Messages

    def _fetch(self, words: list[Word], by_uid: bool = False) -> Done:
        if len(words) < 2:
            raise BadCommand("FETCH takes a set of messages and what to show of them")
        asked = words[1] if isinstance(words[1], list) else words[1:2]
        items = [item for word in asked for item in MACROS.get(text_of(word).upper(), (text_of(word),))]
        if by_uid and "UID" not in (item.upper() for item in items):
            items.insert(0, "UID")
        marks = not self._is_read_only and any(map(marks_seen, items))
        told, store = [], self._mail().store
        for number, row in self._rows(self._named(words[0], by_uid)):
            shown = [fetched(row, item) for item in items]
            if marks and not row["seen"]:
                store.mark(row["id"], {"seen": True})
                shown.append(b"FLAGS " + flags_of({**row, "seen": True}))
            told.append(b"* %d FETCH %s\r\n" % (number, listed(shown)))
        return Done(b"".join(told))

    def _store(self, words: list[Word], by_uid: bool = False) -> Done:
        if len(words) < 3:
            raise BadCommand("STORE takes a set of messages, FLAGS with a sign, and flags")
        found = re.fullmatch(r"([+-]?)FLAGS(\.SILENT)?", text_of(words[1]).upper())
        if found is None:
            raise BadCommand("only FLAGS can be stored")
        given = words[2] if isinstance(words[2], list) else words[2:]
        flags = _flags(given)
        changes: dict[str, bool] = dict.fromkeys(flags, found[1] != "-")
        if not found[1]:
            changes = {flag: flag in flags for flag in FLAGS}
        told, store = [], self._mail().store
        for number, row in self._rows(self._named(words[0], by_uid)):
            store.mark(row["id"], changes)
            shown = [b"FLAGS " + flags_of({**row, **changes})]
            shown += [b"UID %d" % row["uid"]] if by_uid else []
            told.append(b"* %d FETCH %s\r\n" % (number, listed(shown)))
        return Done(b"" if found[2] else b"".join(told))

    def _search(self, words: list[Word], by_uid: bool = False) -> Done:
        fits = read_criteria(words, self._uids)
        found = [
            row["uid"] if by_uid else number for number, row in self._rows(self._uids) if fits(number, row)
        ]
        return Done(b"* SEARCH%s\r\n" % b"".join(b" %d" % number for number in found))

    def _copy(self, words: list[Word], by_uid: bool = False) -> Done:
        return Done(code=self._copied(words, by_uid))

    def _move(self, words: list[Word], by_uid: bool = False) -> Done:
        code = self._copied(words, by_uid)
        self._mail().store.remove(row["id"] for _, row in self._rows(self._named(words[0], by_uid)))
        return Done((b"* OK %s moved\r\n" % code if code else b"") + self.news())

    def _copied(self, words: list[Word], by_uid: bool) -> bytes:
        """Copies messages into a folder; the code that tells their UIDs there (RFC 4315)."""
        if len(words) != 2:
            raise BadCommand("give a set of messages and a folder")
        uids = self._named(words[0], by_uid)
        new = self._mail().copied([row for _, row in self._rows(uids)], _folder(text_of(words[1])))
        if not new:
            return b""
        there, here = (",".join(map(str, numbers)).encode() for numbers in (uids, new))
        return b"[COPYUID %d %s %s]" % (VALIDITY, there, here)

    def _expunge(self, words: list[Word], by_uid: bool = False) -> Done:
        self._expunged(self._named(words[0], True) if by_uid and words else self._uids)
        return Done()

    def _expunged(self, uids: Sequence[int]) -> None:
        gone = [row["id"] for _, row in self._rows(uids) if row["deleted"]]
        if gone:
            self._mail().store.remove(gone)

    def _append(self, words: list[Word]) -> Done:
        if len(words) < 2 or not isinstance(words[-1], Literal):
            raise BadCommand("APPEND takes a folder and a message")
        folder, options = _folder(text_of(words[0])), words[1:-1]
        flags = _flags(options[0]) if options and isinstance(options[0], list) else set()
        uid = self._mail().appended(folder, words[-1].raw, flags)
        return Done(code=b"[APPENDUID %d %d]" % (VALIDITY, uid))

    def _named(self, word: Word, by_uid: bool) -> list[int]:
        """The UIDs of the messages that a set names."""
        if by_uid:
            return read_set(text_of(word), self._uids)
        numbers = read_set(text_of(word), range(1, len(self._uids) + 1))
        if not numbers and text_of(word) != "*":
            raise BadCommand(f"there are {len(self._uids)} messages")
        return [self._uids[number - 1] for number in numbers]

    def _rows(self, uids: Sequence[int]) -> list[tuple[int, Row]]:
        """The messages that are still there, with their numbers."""
        store = self._mail().store
        ids, wanted = dict(store.numbered(self._folder)), set(uids)
        numbered = [(number, ids.get(uid)) for number, uid in enumerate(self._uids, 1) if uid in wanted]
        rows = [(number, store.message(id)) for number, id in numbered if id is not None]
        return [(number, row) for number, row in rows if row is not None]


_Command = Callable[..., Done | Waits]
_BY_UID: Mapping[str, _Command] = {
    "FETCH": Session._fetch,
    "STORE": Session._store,
    "SEARCH": Session._search,
    "COPY": Session._copy,
    "MOVE": Session._move,
    "EXPUNGE": Session._expunge,
}
_COMMANDS: Mapping[str, _Command] = {
    "CAPABILITY": Session._capability,
    "NOOP": Session._noop,
    "CHECK": Session._noop,
    "ID": Session._id,
    "LOGOUT": Session._logout,
    "LOGIN": Session._login,
    "AUTHENTICATE": Session._authenticate,
    "LIST": Session._list,
    "LSUB": Session._lsub,
    "NAMESPACE": Session._namespace,
    "SUBSCRIBE": Session._subscribed,
    "UNSUBSCRIBE": Session._subscribed,
    **dict.fromkeys(("CREATE", "DELETE", "RENAME"), Session._fixed),
    "STATUS": Session._status,
    "SELECT": Session._select,
    "EXAMINE": Session._examine,
    "UNSELECT": Session._unselect,
    "CLOSE": Session._close,
    "IDLE": Session._idle,
    "APPEND": Session._append,
    **_BY_UID,
}
_BEFORE_LOGIN = frozenset({"CAPABILITY", "NOOP", "ID", "LOGOUT", "LOGIN", "AUTHENTICATE"})
_WITH_FOLDER = frozenset({*_BY_UID, "CLOSE", "UNSELECT", "CHECK"})
_CHANGING = frozenset({"STORE", "MOVE", "EXPUNGE"})


def _texts(words: Sequence[Word], count: int) -> list[str]:
    if len(words) != count:
        raise BadCommand(f"it takes {count} words")
    return [text_of(word) for word in words]


def _list_words(words: Sequence[Word]) -> list[str]:
    """Reference and pattern of LIST, without the options of its extended form."""
    plain = [word for word in words if isinstance(word, str)]
    if len(plain) < 2:
        raise BadCommand("LIST takes a reference and a pattern")
    return plain[:2]


def _folder(name: str) -> str:
    """
    Raises:
        Refused: there is no such folder.
    """
    for folder, called in NAMES.items():
        if name.casefold() == called.casefold():
            return folder
    raise Refused(f"[TRYCREATE] there is no folder {name[:40]!r}")


def _flags(words: Sequence[Word]) -> set[str]:
    """The flags that are kept here; keywords are not."""
    given = {text_of(word).removeprefix("\\").lower() for word in words}
    return given & {*FLAGS}


def _line(text: str) -> bytes:
    return " ".join(text.split()).encode("ascii", "backslashreplace")
