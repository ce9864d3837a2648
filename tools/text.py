"""Which text a service's protocol can carry."""

import re

from ludus.tools.errors import ToolError

UNCARRIED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that no service takes: the control characters but tab and line feed, halves of surrogate pairs,
U+FFFE and U+FFFF. XML cannot carry the most of them (XML 1.0, 2.2), iCalendar no control character (RFC 5545,
3.1), and UTF-8 no half of a pair."""


def uncarried(text: str) -> str | None:
    """What keeps a text from being sent, as `U+000B at character 2`; None for a text that can be."""
    found = UNCARRIED.search(text)
    return None if found is None else f"U+{ord(found[0]):04X} at character {found.start() + 1}"


def carried(name: str, text: str) -> str:
    """A text that can be sent, with line feeds alone for line ends.

    Args:
        name: what the caller knows it as.

    Raises:
        ToolError: no service takes one of its characters.
    """
    if not isinstance(text, str):
        raise ToolError(f"{name} must be a text")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if wrong := uncarried(text):
        raise ToolError(f"{name} has a character that cannot be sent: {wrong}; leave it out")
    return text
