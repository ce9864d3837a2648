"""Small files that carry their own checksum, so that a flipped bit is detected instead of shown as a result.

A record (a JSON object) has it under the key `checksum`, a TOML file in a comment at its end. A file without
one was written before checksums existed, and is accepted as it is.
"""

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

KEY = "checksum"
_COMMENT = re.compile(r"^# checksum: (\S*)\n?\Z", re.MULTILINE)


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its checksum."""
    content = {key: value for key, value in record.items() if key != KEY}
    return {**content, KEY: _checksum(json.dumps(content, sort_keys=True))}


def is_damaged(record: Mapping[str, Any]) -> bool:
    """Whether the record does not match its checksum."""
    return KEY in record and record[KEY] != sealed(record)[KEY]


def sealed_text(text: str) -> str:
    """A text with its checksum in a comment at its end."""
    return f"{text}# checksum: {_checksum(text)}\n"


def is_damaged_text(text: str) -> bool:
    """Whether the text does not match the checksum at its end."""
    found = _COMMENT.search(text)
    return found is not None and found.group(1) != _checksum(text[: found.start()])


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode(errors='surrogatepass')):08x}"
