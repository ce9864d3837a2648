"""Calls in JSON between marks of their own: those of DeepSeek, Kimi, Granite, Phi-4-mini and Command."""

import re
from dataclasses import dataclass

from ludus.agents.formats.calls.json_calls import call_of, malformed, read_list, read_object
from ludus.agents.formats.calls.reply import MAX_MALFORMED, Call, ParsedReply, around, scan_json
from ludus.agents.formats.calls.untyped import Matcher

_SPACE = re.compile(r"\s*").match


@dataclass(frozen=True)
class Marks:
    """The marks of a format, as functions of a text and a position in it."""

    open: Matcher
    """Finds what begins a call, or a list of calls."""
    close: Matcher
    """Matches what ends it, white space before included."""
    either: Matcher
    """Finds where a malformed call ends: at what closes it, or before the next one."""
    head: Matcher | None = None
    """Matches what stands between the mark and the arguments, if the JSON is the arguments alone: its group
    is the name, a group `id` the call's id."""


def marks(open: str, close: str, head: str | None = None) -> Marks:
    """From regular expressions."""
    return Marks(
        re.compile(open).search,
        re.compile(rf"\s*(?:{close})").match,
        re.compile(rf"(?={open})|{close}").search,
        None if head is None else re.compile(head).match,
    )


def read_marked(text: str, marks: Marks) -> ParsedReply:
    """A call is closed by its mark, by the next call or, if its JSON is complete, by any text after it."""
    pieces, calls = [], list[Call]()
    done, errors = 0, 0
    while opened := marks.open(text, done):
        pieces.append(text[done : opened.start()])
        inside = _SPACE(text, opened.end()).end()  # type: ignore[union-attr]
        told_apart = errors < MAX_MALFORMED
        read = (_named if marks.head else _plain)(text, inside, marks) if told_apart else None
        if read is None:
            errors += 1
            ended = marks.either(text, inside) if told_apart else None
            region = text[inside : ended.start() if ended else len(text)]
            read = _broken(region, marks), ended.end() if ended else len(text)
        found, done = read
        errors += sum(isinstance(call.arguments, str) for call in found)
        calls += found
        if closed := marks.close(text, done):
            done = closed.end()
    return ParsedReply(around([*pieces, text[done:]], ""), tuple(calls))


def _plain(text: str, at: int, marks: Marks) -> tuple[list[Call], int] | None:
    """A call that names its tool, or a list of such calls."""
    if not text.startswith("[", at):
        read = read_object(text, at) if text.startswith("{", at) else None
        return None if read is None else ([read[0]], read[1])
    whole = scan_json(text, at)
    return None if whole is None else ([call_of(value) for value in whole[0]], whole[1])


def _named(text: str, at: int, marks: Marks) -> tuple[list[Call], int] | None:
    """A call's name, then its arguments."""
    head = marks.head(text, at) if marks.head else None
    found = scan_json(text, head.end()) if head else None
    if head is None or found is None or not isinstance(found[0], dict):
        return None
    return [Call(head["name"], found[0], head.groupdict().get("id") or "")], found[1]


def _broken(region: str, marks: Marks) -> list[Call]:
    """The calls of a text that is not JSON as a whole; at least one."""
    if marks.head is not None:
        head = marks.head(region, 0)
        return [Call(head["name"], region[head.end() :].strip()) if head else malformed(region.strip())]
    listed = read_list(region, 0)[0] if region.startswith("[") else []
    return listed or [malformed(region.strip())]
