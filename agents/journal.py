"""The journal: one line per record, written before the record counts.

A line is eight hexadecimal digits (CRC-32 of the rest), a space, and a JSON object without line breaks. A
torn or damaged line costs only itself: reading resumes at the next line break.
"""

import fcntl
import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ludus.tools.errors import UserError

_SYNC_SECONDS = 1.0
"""Seconds between flushes to disk. A line survives the death of the process at once; a power cut may cost
those of the last second."""


def line_of(fields: Mapping[str, Any]) -> bytes:
    """A record as a journal line, with its line break."""
    content = json.dumps(fields, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(content), content)


def fields_of(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None where the line is damaged."""
    checksum, _, content = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(content):
        return None
    fields: dict[str, Any] = json.loads(content)
    return fields


def read_fields(path: Path) -> Iterator[dict[str, Any]]:
    """The intact records of a journal, in the order written; damaged lines are skipped (`Journal.mend`
    reports them)."""
    if path.exists():
        with open(path, "rb") as file:
            yield from (fields for line in file if (fields := fields_of(line)) is not None)


class Journal:
    """Appends to a journal, which only one process at a time may do; a context manager."""

    def __init__(self, path: Path, records: str = "episodes") -> None:
        """
        Args:
            path: the file, made if it does not exist.
            records: what its records are called.

        Raises:
            UserError: another process has it open.
        """
        self.path, self._records = path, records
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise UserError(
                f"{path} is being played by another process: wait for it, or choose another place"
            ) from None
        self._synced = time.monotonic()
        self._end = os.fstat(self._file).st_size

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        os.fsync(self._file)
        os.close(self._file)

    def append(self, line: bytes) -> None:
        """Write a line of `line_of`; the record counts once this returns.

        Raises:
            OSError: it could not be written whole; the partial line is removed.
        """
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError as error:
            os.ftruncate(self._file, self._end)
            error.filename = error.filename or str(self.path)
            raise
        self._end += len(line)
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fsync(self._file)
            self._synced = time.monotonic()

    def mend(self) -> str:
        """Cut off a torn tail, so that the next record starts on a new line. Returns a message about it and
        any other damage, or an empty string if all is whole."""
        whole = damaged = torn = 0
        with open(self.path, "rb") as file:
            for line in file:
                if fields_of(line) is not None:
                    whole += 1
                elif line.endswith(b"\n"):
                    damaged += 1
                else:
                    torn = len(line)
        if torn:
            self._end -= torn
            os.ftruncate(self._file, self._end)
        if not torn and not damaged:
            return ""
        what = [f"{torn} bytes of an unfinished line were cut off"] if torn else []
        what += [f"{damaged} damaged lines are skipped"] if damaged else []
        return (
            f"{self.path}: {' and '.join(what)}; {whole} {self._records} are whole and kept; missing ones "
            "are played again"
        )
