"""Unified diffs, applied to text files. Made for patches that models write: counts in `@@` lines
are ignored, line numbers are only hints, and blanks at line ends do not matter."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ludus.tools.errors import ToolError

_HUNK = re.compile(r"@@+(?: -(\d{1,9})(?:,(\d{1,9}))? \+\d+(?:,\d+)? @@+.*)?")
_NOTHING = "/dev/null"
MOST_HUNKS = 50
"""The most hunks for one file; each takes time to match."""


@dataclass(frozen=True)
class Hunk:
    """One change. `lines` are pairs of a sign (` `, `-` or `+`) and a line without its end."""

    start: int | None
    """The line before which it claims to begin, counted from 0; None if it does not say."""
    lines: tuple[tuple[str, str], ...]

    @property
    def old(self) -> list[str]:
        return [line for sign, line in self.lines if sign != "+"]


@dataclass(frozen=True)
class FilePatch:
    """The changes to one file; the old path is None if the file is created, the new one if it is removed."""

    old: str | None
    new: str | None
    hunks: tuple[Hunk, ...]

    @property
    def path(self) -> str:
        return self.new or self.old or ""


def apply_patch(files: Mapping[str, str], patch: str) -> dict[str, str]:
    """The files after a patch; either all of it applies or none.

    Args:
        files: path → text.
        patch: unified diffs of one or more files; `/dev/null` creates or removes a file.

    Raises:
        ToolError: it is not a patch, or it does not fit the files; the message says where.
    """
    after = dict(files)
    for change in parse(patch):
        if change.old is None:
            if change.path in after:
                raise ToolError(
                    f"{change.path} exists already: take it as the old file, instead of /dev/null"
                )
            before: list[str] = []
        elif change.old not in after:
            raise ToolError(
                f"there is no file {change.old[:100]!r} to patch; the patch of a new one begins with "
                "'--- /dev/null'"
            )
        else:
            before = _lines(after[change.old])
        patched = _patched(change.path, before, change.hunks)
        if change.old is not None:
            del after[change.old]
        if change.new is not None:
            after[change.new] = "".join(f"{line}\n" for line in patched)
        elif patched:
            raise ToolError(f"the patch removes {change.path}, but not all of its lines")
    return after


def parse(patch: str) -> list[FilePatch]:
    """The files changed by a patch.

    Raises:
        ToolError: there are no files, or a line is not part of a patch.
    """
    lines = _lines(patch.replace("\r\n", "\n"))
    found: list[FilePatch] = []
    place = 0
    while place < len(lines):
        if not _is_header(lines, place):
            if _HUNK.fullmatch(lines[place]):
                raise ToolError(
                    f"line {place + 1} of the patch: a hunk without a file; begin with '--- a/PATH' and "
                    "'+++ b/PATH'"
                )
            place += 1
            continue
        old, new = _path(lines[place]), _path(lines[place + 1])
        place += 2
        hunks = []
        while place < len(lines) and (match := _HUNK.fullmatch(lines[place])):
            # `@@ -3,0 +4,2 @@` inserts after line 3; with any other count the number is that of the first
            # line.
            start = int(match[1]) - (match[2] != "0") if match[1] else None
            body = list(_body(lines, place + 1))
            place += 1 + len(body)
            hunks.append(Hunk(start, tuple(_signed(body, place))))
        if old is None and new is None:
            raise ToolError("a patch from /dev/null to /dev/null changes nothing")
        if not hunks:
            raise ToolError(
                f"the patch of {(new or old or '')[:100]} has no hunk: after '+++' comes a line '@@ … @@'"
            )
        if len(hunks) > MOST_HUNKS:
            raise ToolError(
                f"{len(hunks)} hunks for one file are too many: at most {MOST_HUNKS}, or write the file"
            )
        found.append(FilePatch(old, new, tuple(hunks)))
    if not found:
        raise ToolError(
            "this is no patch: it needs lines '--- a/PATH', '+++ b/PATH', '@@ -1,3 +1,3 @@' and the lines"
        )
    return found


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []


def _is_header(lines: list[str], place: int) -> bool:
    following = lines[place + 1] if place + 1 < len(lines) else ""
    return lines[place].startswith("--- ") and following.startswith("+++ ")


def _path(header: str) -> str | None:
    name = header[4:].split("\t")[0].strip().strip('"')
    if name == _NOTHING:
        return None
    return name[2:] if name.startswith(("a/", "b/", "./")) else name


def _body(lines: list[str], place: int) -> Iterator[str]:
    """The lines of a hunk, up to the next hunk, the next file or the end of the patch."""
    while place < len(lines):
        line = lines[place]
        if _HUNK.fullmatch(line) or _is_header(lines, place) or line.startswith(("diff --git ", "```")):
            return
        yield line
        place += 1


def _signed(body: list[str], end: int) -> Iterator[tuple[str, str]]:
    # Empty lines at the end separate hunks or end the message; others are context lines that lost their
    # blank.
    while body and not body[-1]:
        body = body[:-1]
    for number, line in enumerate(body):
        if not line:
            yield " ", ""
        elif line[0] in " +-":
            yield line[0], line[1:]
        elif line[0] != "\\":
            place = end - len(body) + number
            raise ToolError(
                f"the patch's line {line[:80]!r} (about line {place}) begins with none of ' ', '+', '-'"
            )


def _patched(path: str, before: list[str], hunks: tuple[Hunk, ...]) -> list[str]:
    """The lines with the hunks applied, each where its old lines are, and after the previous hunk."""
    after: list[str] = []
    done = 0
    shift = 0
    for number, hunk in enumerate(hunks, start=1):
        where = f"hunk {number} of {path}"
        if not any(sign in "+-" for sign, _ in hunk.lines):
            raise ToolError(f"{where} changes nothing: it has no line with '+' or '-'")
        at = _place(where, before, hunk, done, shift)
        if hunk.start is not None:
            shift = at - hunk.start
        after += before[done:at]
        for sign, line in hunk.lines:
            if sign == "+":
                after.append(line)
                continue
            if sign == " ":
                after.append(before[at])
            at += 1
        done = at
    return after + before[done:]


def _place(where: str, before: list[str], hunk: Hunk, least: int, shift: int) -> int:
    """The position of a hunk's old lines: the match nearest to where it claims to be."""
    old = hunk.old
    if not old:
        place = least if not before else None if hunk.start is None else max(least, hunk.start + shift)
        if place is None or place > len(before):
            raise ToolError(f"{where} inserts at a place that cannot be told: give a line of context")
        return place
    wanted = [line.rstrip() for line in old]
    stripped = [line.rstrip() for line in before]
    places = [
        place
        for place in range(least, len(before) - len(old) + 1)
        if stripped[place : place + len(old)] == wanted
    ]
    if not places:
        raise ToolError(f"{where} does not fit: {_nearest(stripped, wanted)}. Read the file again")
    if hunk.start is None:
        if len(places) > 1:
            lines = ", ".join(str(place + 1) for place in places)
            raise ToolError(
                f"{where} fits at lines {lines}: give more context, or the line in '@@ -LINE,… @@'"
            )
        return places[0]
    hint = hunk.start + shift
    return min(places, key=lambda place: abs(place - hint))


def _nearest(before: list[str], wanted: list[str]) -> str:
    """The first differing line, at the position where most lines match the hunk."""
    if not before:
        return "the file is empty"

    def alike(place: int) -> int:
        return sum(
            old == line for old, line in zip(wanted, before[place : place + len(wanted)], strict=False) if old
        )

    place = max(range(len(before)), key=alike)
    if not alike(place):
        return f"the file has no line {next((line for line in wanted if line), '')[:80]!r}"
    for offset, line in enumerate(wanted):
        if place + offset >= len(before):
            return f"it goes on behind the end of the file (line {len(before)})"
        if before[place + offset] != line:
            break
    return f"line {place + offset + 1} is {before[place + offset][:80]!r}, and not {line[:80]!r}"
