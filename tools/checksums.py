"""Files that carry their own checksum, so that a flipped bit is detected instead of shown as a result.

A record (a JSON object) has it under the key `checksum`, a TOML file in a comment at its end, a folder in a
file of its own. What has none was written before checksums existed, and is accepted as it is.
"""

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEY = "checksum"
FOLDER_FILE = "checksums.json"
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


def seal_folder(folder: Path) -> None:
    """Write the checksums of a folder's files beside them."""
    sums = {file.name: sha256_of(file) for file in sorted(folder.iterdir()) if file.is_file()}
    (folder / FOLDER_FILE).write_text(json.dumps(sealed(sums), indent=1), encoding="utf-8")


def damaged_file(folder: Path) -> Path | None:
    """A file of a sealed folder that is there, but not as it was written; None if there is none."""
    record = folder / FOLDER_FILE
    if not record.is_file():
        return None
    try:
        sums = json.loads(record.read_text(encoding="utf-8"))
        if is_damaged(sums):
            return record
    except (ValueError, TypeError):
        return record
    files = [folder / name for name in sums if name != KEY]
    return next((file for file in files if file.is_file() and sha256_of(file) != sums[file.name]), None)


def sha256_of(file: Path) -> str:
    """Of a file's content, in hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode(errors='surrogatepass')):08x}"
