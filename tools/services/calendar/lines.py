"""Content lines of iCalendar: folding, parameters, escapes (RFC 5545, 3.1 to 3.3.11; RFC 6868)."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

LINE_BYTES = 75
"""A longer line continues on the next, which begins with a space."""

_HEAD = re.compile(r"([A-Za-z0-9-]+)((?:;[A-Za-z0-9-]+=(?:\"[^\"]*\"|[^\";:])*)*):")
_PARAMETER = re.compile(r";([A-Za-z0-9-]+)=((?:\"[^\"]*\"|[^\";:])*)")
_ESCAPED = re.compile(r"\\([\\;,nN])")
_TO_ESCAPE = re.compile(r"[\\;,\n]")
_CARET = {"^n": "\n", "^'": '"', "^^": "^"}


class BadCalendar(ValueError):
    """A text that is no calendar object, or makes no sense as one. The message says why."""


@dataclass(frozen=True, slots=True)
class Line:
    """A property: `NAME;PARAMETER=…:value`, with names in capitals and the value as written."""

    name: str
    parameters: Mapping[str, str]
    value: str


def unfolded(text: str) -> list[str]:
    """The content lines of a text, without empty ones."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\n ", "").replace("\n\t", "")
    return [line for line in text.split("\n") if line]


def read_line(line: str) -> Line:
    """
    Raises:
        BadCalendar: it is not a content line.
    """
    name, colon, value = line.partition(":")
    if colon and name.isalpha() and name.isascii():
        # Most lines have neither parameters nor a dash in their names.
        return Line(name.upper(), {}, value)
    head = _HEAD.match(line)
    if head is None:
        raise BadCalendar(f"{line[:60]!r} is no content line: one reads NAME:value")
    parameters = {
        name.upper(): re.sub(r"\^[n'^]", lambda found: _CARET[found[0]], value.strip('"'))
        for name, value in _PARAMETER.findall(head[2])
    }
    return Line(head[1].upper(), parameters, line[head.end() :])


def folded(line: str) -> str:
    """A content line in pieces of at most `LINE_BYTES` bytes, with line ends between them."""
    if len(line) <= LINE_BYTES and line.isascii():
        return line
    pieces, size, begun = [], 0, 0
    for place, character in enumerate(line):
        length = len(character.encode("utf-8", "surrogatepass"))
        if size + length > LINE_BYTES:
            pieces.append(line[begun:place])
            # The space at the start of a continued line counts.
            begun, size = place, 1
        size += length
    return "\r\n ".join((*pieces, line[begun:]))


def escaped(text: str) -> str:
    """A text as the value of a property."""
    return _TO_ESCAPE.sub(lambda found: "\\n" if found[0] == "\n" else f"\\{found[0]}", text)


def unescaped(value: str) -> str:
    """The text of a value; a backslash that escapes nothing stands for itself."""
    return _ESCAPED.sub(lambda found: "\n" if found[1] in "nN" else found[1], value)


@functools.lru_cache(maxsize=4096)
def parameter(text: str) -> str:
    """A text as the value of a parameter."""
    text = text.replace("^", "^^").replace('"', "^'").replace("\n", "^n")
    return f'"{text}"' if re.search(r"[,;:]", text) else text
