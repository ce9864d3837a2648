"""The syntax of IMAP: from a command's bytes to words and lists, and back (RFC 3501, sections 4 and 9)."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import TypeAlias

MOST_DEPTH = 20
MOST_SPANS = 1_000
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
# A section such as BODY[HEADER.FIELDS (From To)]<0.100> is one word.
_ATOM = re.compile(r'(?:[^\s()"\[\]{}]|\[[^\[\]]*\])+')
_LITERAL_AT_END = re.compile(rb"~?\{(\d{1,10})(\+?)\}\Z")


class BadCommand(Exception):
    """The command cannot be read; the message says why."""


class Literal(str):
    """A text that was sent with its length."""

    raw: bytes

    def __new__(cls, raw: bytes) -> "Literal":
        made = super().__new__(cls, raw.decode("utf-8", "replace"))
        made.raw = raw
        return made


Word: TypeAlias = "str | list[Word]"


def announced(line: bytes) -> tuple[int, bool] | None:
    """The length of the literal that a line announces at its end, and whether the client waits for leave to
    send it; None if it announces none."""
    found = _LITERAL_AT_END.search(line)
    return (int(found[1]), not found[2]) if found else None


def read_words(parts: Sequence[bytes]) -> list[Word]:
    """The words of a command: strings, and lists for what stands in brackets.

    Args:
        parts: lines and literals in turn, lines without their ends.

    Raises:
        BadCommand: quotes or brackets are not closed, or it is nested too deeply.
    """
    root: list[Word] = []
    stack = [root]
    for number, part in enumerate(parts):
        if number % 2:
            stack[-1].append(Literal(part))
            continue
        text = (_LITERAL_AT_END.sub(b"", part) if number + 1 < len(parts) else part).decode(
            "utf-8", "replace"
        )
        at = 0
        while at < len(text):
            if text[at] == " ":
                at += 1
            elif text[at] == "(":
                if len(stack) > MOST_DEPTH:
                    raise BadCommand("nested too deeply")
                opened: list[Word] = []
                stack[-1].append(opened)
                stack.append(opened)
                at += 1
            elif text[at] == ")":
                if len(stack) == 1:
                    raise BadCommand("a bracket is closed that was not opened")
                stack.pop()
                at += 1
            elif found := _QUOTED.match(text, at):
                stack[-1].append(re.sub(r"\\(.)", r"\1", found[1]))
                at = found.end()
            elif found := _ATOM.match(text, at):
                stack[-1].append(found[0])
                at = found.end()
            else:
                raise BadCommand(f"{text[at]!r} cannot stand there")
    if len(stack) > 1:
        raise BadCommand("a bracket is not closed")
    return root


def text_of(word: Word) -> str:
    """
    Raises:
        BadCommand: it is a list.
    """
    if not isinstance(word, str):
        raise BadCommand("a list stands where a word is expected")
    return word


def quoted(text: str | None) -> bytes:
    """A string, as a literal where it cannot be quoted; NIL for None."""
    if text is None:
        return b"NIL"
    raw = text.encode("utf-8", "replace")
    if all(32 <= byte < 127 and byte not in b'"\\' for byte in raw):
        return b'"%s"' % raw
    return literal(raw)


def literal(raw: bytes) -> bytes:
    return b"{%d}\r\n%s" % (len(raw), raw)


def listed(items: Iterable[bytes]) -> bytes:
    return b"(%s)" % b" ".join(items)


def read_set(text: str, numbers: Sequence[int]) -> list[int]:
    """Which of the ascending `numbers` a set such as `1:3,7,9:*` names, in ascending order; `*` is the last.

    Raises:
        BadCommand: it is no set.
    """
    pieces = text.split(",", MOST_SPANS)
    if len(pieces) > MOST_SPANS:
        raise BadCommand(f"a set has at most {MOST_SPANS} parts")
    last = numbers[-1] if numbers else 0
    named: set[int] = set()
    for piece in pieces:
        if not re.fullmatch(r"(\d{1,10}|\*)(:(\d{1,10}|\*))?", piece):
            raise BadCommand(f"{text[:40]!r} is no set of numbers")
        ends = [last if end == "*" else int(end) for end in piece.split(":")]
        named.update(numbers[bisect_left(numbers, min(ends)) : bisect_right(numbers, max(ends))])
    return sorted(named)
