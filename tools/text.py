"""The texts that a service's protocol can carry."""

import re

from ludus.tools.errors import ToolError

UNCARRIED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that no service accepts: control characters except tab and line feed, halves of surrogate pairs,
U+FFFE and U+FFFF. XML cannot carry most of them (XML 1.0, 2.2), iCalendar cannot carry control characters
(RFC 5545, 3.1), and UTF-8 cannot carry halves of pairs."""


def uncarried(text: str) -> str | None:
    """Why a text cannot be sent, such as `U+000B at character 2`; None if it can."""
    found = UNCARRIED.search(text)
    return None if found is None else f"U+{ord(found[0]):04X} at character {found.start() + 1}"


def carried(name: str, text: str) -> str:
    """A text that can be sent, with line feeds as its only line ends.

    Args:
        name: the caller's name for it.

    Raises:
        ToolError: it contains a character that no service accepts.
    """
    if not isinstance(text, str):
        raise ToolError(f"{name} must be a text")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if wrong := uncarried(text):
        raise ToolError(f"{name} has a character that cannot be sent: {wrong}; leave it out")
    return text
