"""Verdicts, values and files that come back from a sandbox, read as hostile data."""

import base64
import binascii
import contextlib
import json
import re
import signal
from collections.abc import Sequence
from typing import Any

from ludus.tools.sandbox.guest.program import DISK_EXIT, MEMORY_EXIT
from ludus.tools.sandbox.result import Result, Value, Verdict


def judged(answer: dict[str, Any], overflowed: bool, starved: bool, stdout: bytes, stderr: bytes) -> Result:
    """The verdict, from what the server saw when a guest ended."""
    status = answer["ended"]
    killer = status & 0x7F
    exit_code = None if killer else status >> 8
    verdict = _verdict(answer, overflowed, starved, killer, exit_code)
    return Result(
        verdict,
        1 if exit_code in (MEMORY_EXIT, DISK_EXIT) else exit_code,
        killer or None,
        stdout.decode(errors="replace"),
        stderr.decode(errors="replace"),
        seconds=answer["seconds"],
        peak_memory=answer["peak"],
    )


def _verdict(
    answer: dict[str, Any], overflowed: bool, starved: bool, killer: int, exit_code: int | None
) -> Verdict:
    if overflowed:
        return Verdict.OUTPUT_LIMIT
    # Checked before time: a program may wait in vain for children that were killed for lack of memory.
    if answer["killed"] == "memory" or starved or exit_code == MEMORY_EXIT:
        return Verdict.MEMORY_LIMIT
    if answer["killed"] in ("wall", "cpu") or killer == signal.SIGXCPU:
        return Verdict.TIME_LIMIT
    if answer["filled"] or exit_code == DISK_EXIT or killer == signal.SIGXFSZ:
        return Verdict.DISK_LIMIT
    if killer == signal.SIGSYS:
        return Verdict.REFUSED
    return Verdict.RUNTIME_ERROR if killer or exit_code else Verdict.OK


def called_values(report: bytes, count: int) -> list[Value]:
    """The values of at most `count` calls, one per line; a malformed line is that call's error."""
    values = []
    for line in report.split(b"\n")[:-1][:count]:
        said = _parsed(line)
        if isinstance(said, dict) and "value" in said:
            values.append(Value(said["value"]))
        else:
            error = said.get("error") if isinstance(said, dict) else None
            text = error if isinstance(error, str) else "not a result"
            # JSON can contain half of a surrogate pair, which cannot be printed.
            values.append(Value(error=text.encode(errors="replace").decode()))
    return values


def reported_files(report: bytes, names: Sequence[str], most: int) -> dict[str, bytes]:
    """The requested files in a report, each of at most `most` bytes."""
    files: dict[str, bytes] = {}
    for name in names:
        # Not parsed as JSON: a report may be large, and its objects many times as large.
        head = json.dumps({"name": name, "data": ""})[:-2]
        found = re.search(rb"^%b([A-Za-z0-9+/=]*)\"\}$" % re.escape(head.encode()), report, re.MULTILINE)
        if found:
            with contextlib.suppress(binascii.Error):
                content = base64.b64decode(found[1], validate=True)
                if len(content) <= most:
                    files[name] = content
    return files


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
