"""`Session`: a notebook in a sandbox."""

import contextlib
import json
import os
import re
import select
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from ludus.tools.errors import UserError
from ludus.tools.sandbox.arguments import check_order
from ludus.tools.sandbox.limits import Limits
from ludus.tools.sandbox.link import MIB, Job, Link
from ludus.tools.sandbox.reports import judged, reported_files
from ludus.tools.sandbox.result import Result, Verdict


class Session:
    """Cells that run in turn in one interpreter: variables persist from cell to cell.

    The value of a cell's last expression is printed, as in a notebook. A cell that fails keeps its
    variables; if one is killed, all variables are lost, and the next cell begins in a new interpreter
    (`restarts` counts these). Between cells everything in the session is stopped, including threads and
    children.
    """

    def __init__(self, link: Link, limits: Limits) -> None:
        self._link = link
        self._limits = limits
        self._job: Job | None = None
        self._cells = -1
        self.open = True
        self.restarts = 0
        self._begin()

    def run(self, code: str, files_out: Sequence[str] = (), limits: Limits | None = None) -> Result:
        """Run one cell.

        Args:
            code: statements; `__main__` is the session's.
            files_out: names of files to return at the end of the cell.
            limits: what it may use, in place of the sandbox's own limits.

        Raises:
            UserError: an argument is not what it should be, or the session is closed.
            SandboxFault: the sandbox broke.
        """
        check_order(code, limits, files_out)
        if not self.open:
            raise UserError("this session is closed; open another with session()")
        if self._job is None:
            self.restarts += 1
            self._begin()
        try:
            return self._run(code, files_out, limits)
        except BaseException:  # Ctrl-C too: the next cell must not take this one's answer for its own
            self._link.kill()
            raise

    def _run(self, code: str, files_out: Sequence[str], limits: Limits | None) -> Result:
        job = self._job
        assert job is not None
        allowed = limits or self._limits
        most = int(self._limits.disk_mb * MIB)
        for stream in job.streams:
            stream.data.clear()
        job.report.most = allowed.output_kb * 1024 + 2 * most * len(files_out)
        job.stdout.most = job.stderr.most = allowed.output_kb * 1024
        starved_before = self._link.launched.out_of_memory()
        self._link.order("cell", allowed)
        self._hand_in(
            json.dumps({"code": code, "files": list(files_out), "bytes": most}).encode(), allowed.wall_s
        )
        ending = _Ending(job.report.data)
        answer = self._link.follow(job, allowed.wall_s, ending)
        if not answer:
            self._link.order("rest")
            answer = self._link.follow(job, allowed.wall_s)
        report = bytes(job.report.data)
        starved = self._link.launched.out_of_memory() > starved_before
        overflowed = any(stream.overflowed for stream in job.streams)
        if "rested" in answer:
            answer = {
                "ended": ending.status << 8,
                "killed": None,
                "filled": False,
                **answer,
                "seconds": answer["rested"],
            }
        else:
            self._end()
        result = judged(answer, overflowed, starved, bytes(job.stdout.data), bytes(job.stderr.data))
        if self._job is None and result.verdict is Verdict.OK:
            # The interpreter exited by itself in the middle of a cell (os._exit).
            result = replace(result, verdict=Verdict.RUNTIME_ERROR)
        return replace(result, files=reported_files(report, files_out, most))

    @property
    def alive(self) -> bool:
        """Whether the last cell's interpreter, with its variables, is still there."""
        return self._job is not None

    def close(self) -> None:
        """End the interpreter and everything in it; the sandbox can run other things again."""
        if self.open and self._job is not None and not self._link.dead:
            self._link.order("kill")
            while "ended" not in self._link.follow(self._job, 1.0):
                continue
        self._end()
        self.open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        try:
            self._job = self._link.start({"do": "session"}, self._limits, reader, endless=True)
        except BaseException:
            os.close(writer)
            raise
        self._cells = writer

    def _end(self) -> None:
        if self._job is not None:
            self._job.close()
            self._job = None
            os.close(self._cells)

    def _hand_in(self, cell: bytes, seconds: float) -> None:
        """Write a cell. If the guest does not read it, its time runs out and the server reports that."""
        view = memoryview(len(cell).to_bytes(8, "little") + cell)
        with contextlib.suppress(BrokenPipeError):
            while view and select.select([], [self._cells], [], seconds)[1]:
                view = view[os.write(self._cells, view) :]


class _Ending:
    """Looks for the status that ends a cell, and reads each byte of the reports only once."""

    def __init__(self, data: bytearray) -> None:
        self._data = data
        self._seen = 0
        self.status = 0

    def __call__(self) -> bool:
        """Whether it has arrived."""
        end = self._data.rfind(b"\n", self._seen) + 1
        # A longer line is not ours: there is no need to keep its beginning.
        found = _STATUS.search(self._data, max(0, self._seen - 1), end) if end else None
        if found:
            self.status = int(found[1]) & 0xFF
        self._seen = max(end, len(self._data) - _LONGEST)
        return found is not None


_STATUS = re.compile(rb'^\{"cell_status": (\d{1,3})\}\n', re.MULTILINE)
_LONGEST = 32
