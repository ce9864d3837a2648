"""The XML of WebDAV: bodies read within bounds, elements and answers written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

DAV, CALDAV = "{DAV:}", "{urn:ietf:params:xml:ns:caldav}"
CALENDAR_SERVER = "{http://calendarserver.org/ns/}"
HEAD = '<?xml version="1.0" encoding="utf-8"?>\n'
SPACES = 'xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"'
"""The namespaces that every body declares."""
_PREFIXES = {DAV: "", CALDAV: "C:"}
MAX_DEPTH = 50
"""How deeply the elements of a body may be nested: they are read and written recursively."""
MAX_ANSWER = 64 * 2**20
"""Characters of an answer."""
MEDIA_TYPE = "application/xml; charset=utf-8"


class BadXml(ValueError):
    """A body that is not XML, or is unsafe to read. The message says why."""


class Refusal(Exception):
    """A request that is refused.

    Args:
        status: of HTTP.
        reason: for people.
        precondition: the element, `{namespace}name`, that says to programs what the request violates
            (RFC 4918, 16).
        inner: the XML inside that element.
    """

    def __init__(self, status: int, reason: str, precondition: str = "", inner: str = "") -> None:
        super().__init__(reason)
        self.status = status
        self.precondition = precondition
        self.inner = inner

    @property
    def violated(self) -> str:
        """The precondition as an element."""
        return element(self.precondition, self.inner) if self.precondition else ""

    @property
    def description(self) -> str:
        """The reason as an element."""
        return element(f"{DAV}responsedescription", escape(printable(str(self))))

    @property
    def body(self) -> bytes:
        return f"{HEAD}<error {SPACES}>{self.violated}{self.description}</error>".encode()


def parse(body: bytes) -> ElementTree.Element:
    """The root element of a body. Documents with a DTD are refused: entities could grow without bound, or
    name files.

    Raises:
        BadXml: it is not XML in UTF-8 without a DTD, or nested too deeply.
    """
    try:
        text = body.decode("utf-8")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise BadXml("the XML has a DTD, which is not read")
        root = ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise BadXml(f"the body is not XML: {error}") from None
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise BadXml(f"the XML is nested more than {MAX_DEPTH} deep")
        level = [inner for outer in level for inner in outer]
    return root


def local_name(tag: str) -> str:
    """A tag without its namespace."""
    return tag.rpartition("}")[2]


def element(tag: str, inner: str = "", attributes: Mapping[str, str] | None = None) -> str:
    """An element as text.

    Args:
        tag: `{namespace}name`.
        inner: XML.
    """
    space, brace, name = tag.rpartition("}")
    prefix = _PREFIXES.get(space + brace)
    declared = ""
    if prefix is None:
        prefix = "X:" if space else ""
        declared = f" xmlns{':X' if space else ''}={quoteattr(space[1:])}"
    declared += "".join(f" {key}={quoteattr(value)}" for key, value in (attributes or {}).items())
    if not inner:
        return f"<{prefix}{name}{declared}/>"
    return f"<{prefix}{name}{declared}>{inner}</{prefix}{name}>"


def href(address: str) -> str:
    return f"<href>{escape(address)}</href>"


def printable(text: str) -> str:
    """A text without the characters that XML cannot carry."""
    return "".join(
        character if character in "\t\n\r" or (character >= " " and character not in "\ufffe\uffff") else "?"
        for character in text.encode("utf-8", "replace").decode()
    )


@dataclass(frozen=True, slots=True)
class PropStat:
    """Properties of a resource that share a status."""

    status: str
    """Such as `200 OK`."""
    properties: tuple[str, ...]
    """Elements as text."""
    refusal: Refusal | None = None
    """Why they were refused."""

    @property
    def text(self) -> str:
        why = ""
        if self.refusal:
            violated = self.refusal.violated
            why = f"{violated and f'<error>{violated}</error>'}{self.refusal.description}"
        properties = "".join(self.properties)
        return f"<propstat><prop>{properties}</prop><status>HTTP/1.1 {self.status}</status>{why}</propstat>"


def response(address: str, found: Iterable[PropStat] = (), status: str = "") -> str:
    """One resource of a multistatus, with its properties or with a status of its own."""
    parts = [each.text for each in found if each.properties]
    if status or not parts:
        parts = [f"<status>HTTP/1.1 {status or '200 OK'}</status>"]
    return f"<response>{href(address)}{''.join(parts)}</response>"


def multistatus(responses: Iterable[str], more: str = "") -> bytes:
    """
    Args:
        more: elements that follow the responses.

    Raises:
        Refusal: the answer would be too long.
    """
    parts, size = [], 0
    for text in responses:
        size += len(text)
        if size > MAX_ANSWER:
            raise Refusal(
                507,
                f"the answer would have more than {MAX_ANSWER} characters: ask for less at once",
                f"{DAV}number-of-matches-within-limits",
            )
        parts.append(text)
    return f"{HEAD}<multistatus {SPACES}>{''.join(parts)}{more}</multistatus>".encode("utf-8", "replace")
