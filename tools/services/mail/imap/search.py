"""IMAP's SEARCH: from criteria to a test of messages (RFC 3501, section 6.4.4)."""

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from email.parser import BytesHeaderParser
from typing import TypeAlias

from ludus.tools.services.mail.imap.message import raw
from ludus.tools.services.mail.imap.syntax import BadCommand, Word, read_set, text_of
from ludus.tools.services.mail.store import FLAGS, Row

Test: TypeAlias = "Callable[[int, Row], bool]"
"""Whether a message fits, by its sequence number and its row."""
MOST_KEYS = 200
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def read_criteria(words: Sequence[Word], uids: Sequence[int]) -> Test:
    """What SEARCH asks for; several keys must all fit.

    Args:
        uids: of the folder's messages, ascending.

    Raises:
        BadCommand: a key is unknown, or lacks its argument.
    """
    left = list(words)
    if len(left) > 1 and isinstance(left[0], str) and left[0].upper() == "CHARSET":
        if text_of(left[1]).upper() not in ("UTF-8", "US-ASCII"):
            raise BadCommand("[BADCHARSET (UTF-8 US-ASCII)] another character set is not read")
        del left[:2]
    if not left or len(left) > MOST_KEYS:
        raise BadCommand(f"give 1 to {MOST_KEYS} search keys")
    tests = []
    while left:
        tests.append(_key(left, uids))
    return lambda number, row: all(test(number, row) for test in tests)


def _key(left: list[Word], uids: Sequence[int]) -> Test:
    """Takes one key and its arguments from what is left."""
    word = _next(left)
    if isinstance(word, list):
        return read_criteria(word, uids)
    key = word.upper()
    if key == "ALL":
        return lambda number, row: True
    if key == "NOT":
        inner = _key(left, uids)
        return lambda number, row: not inner(number, row)
    if key == "OR":
        one, other = _key(left, uids), _key(left, uids)
        return lambda number, row: one(number, row) or other(number, row)
    flag = key.removeprefix("UN").lower()
    if flag in FLAGS:
        is_set = not key.startswith("UN")
        return lambda number, row: row[flag] == is_set
    # No message is \Recent, since every session sees the same.
    if key in ("NEW", "RECENT"):
        return lambda number, row: False
    if key == "OLD":
        return lambda number, row: True
    if key in ("KEYWORD", "UNKEYWORD"):
        text_of(_next(left))
        return lambda number, row: key == "UNKEYWORD"
    if key in _TEXTS:
        read, wanted = _TEXTS[key], text_of(_next(left)).casefold()
        return lambda number, row: wanted in read(row).casefold()
    if key == "HEADER":
        name, wanted = text_of(_next(left)), text_of(_next(left)).casefold()
        return lambda number, row: any(wanted in value.casefold() for value in _headers(row, name))
    if key in _DATES:
        compare, day = _DATES[key], _day(text_of(_next(left)))
        return lambda number, row: compare(datetime.fromisoformat(row["date"]).date(), day)
    if key in ("LARGER", "SMALLER"):
        size = text_of(_next(left))
        if not re.fullmatch(r"\d{1,10}", size):
            raise BadCommand(f"{key} {size[:20]!r}: give a number of bytes")
        larger, bound = key == "LARGER", int(size)
        return lambda number, row: len(raw(row)) > bound if larger else len(raw(row)) < bound
    if key == "UID":
        named = frozenset(read_set(text_of(_next(left)), uids))
        return lambda number, row: row["uid"] in named
    numbers = frozenset(read_set(word, range(1, len(uids) + 1)))
    return lambda number, row: number in numbers


def _next(left: list[Word]) -> Word:
    if not left:
        raise BadCommand("a search key lacks its argument")
    return left.pop(0)


def _headers(row: Row, name: str) -> list[str]:
    return [str(value) for value in BytesHeaderParser().parsebytes(raw(row)).get_all(name, [])]


def _day(text: str) -> date:
    found = re.fullmatch(r"(\d{1,2})-([A-Za-z]{3})-(\d{4})", text.strip())
    try:
        if found is not None:
            return date(int(found[3]), _MONTHS.index(found[2].lower()) + 1, int(found[1]))
    except ValueError:
        pass
    raise BadCommand(f"{text[:20]!r} is no date: give one such as 3-Mar-2031")


_TEXTS: dict[str, Callable[[Row], str]] = {
    "FROM": lambda row: row["sender"],
    "TO": lambda row: ", ".join(row["recipients"]),
    "CC": lambda row: "",
    "BCC": lambda row: "",
    "SUBJECT": lambda row: row["subject"],
    "BODY": lambda row: f"{row['text']}\n{row['invitation']}",
    "TEXT": lambda row: "\n".join(
        (row["sender"], *row["recipients"], row["subject"], row["text"], row["invitation"])
    ),
}
_DATES: dict[str, Callable[[date, date], bool]] = {
    **dict.fromkeys(("BEFORE", "SENTBEFORE"), lambda sent, day: sent < day),
    **dict.fromkeys(("ON", "SENTON"), lambda sent, day: sent == day),
    **dict.fromkeys(("SINCE", "SENTSINCE"), lambda sent, day: sent >= day),
}
