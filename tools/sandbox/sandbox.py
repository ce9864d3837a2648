"""`Sandbox`: a place to run untrusted programs, on any backend."""

import asyncio
import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Self

from ludus.tools.errors import UserError
from ludus.tools.sandbox.arguments import check_name, check_order, checked_bytes, checked_inputs
from ludus.tools.sandbox.backends import GUARANTEES, Backend, LaunchSpec, backend, backend_name
from ludus.tools.sandbox.limits import Limits
from ludus.tools.sandbox.link import MIB, Link
from ludus.tools.sandbox.reports import called_values, judged, reported_files
from ludus.tools.sandbox.result import CallResult, Result, SandboxFault, Verdict
from ludus.tools.sandbox.session import Session

_logger = logging.getLogger("ludus.sandbox")
START_S = 30.0
REQUIRED = ("files", "network", "processes", "system calls", "memory", "disk")
"""What a sandbox must guarantee unless the caller asks for less."""


class Sandbox:
    """A work directory, and programs that run in it one at a time.

    Use `Sandbox.open(…)` in a `with` statement. A program can access the interpreter, the chosen packages and
    the work directory, which is its current directory, but nothing else on this machine and no network. When
    it ends, everything that it started is ended too. The work directory stays until the sandbox is closed or
    `wipe` is called.

    Thread-safe: calls from several threads wait for each other. For many programs at once use a
    `SandboxPool`.
    """

    def __init__(self, link: Link, spec: LaunchSpec, name: str) -> None:
        self._link = link
        self._lock = threading.RLock()
        self._session: Session | None = None
        self.spec = spec
        self.backend = name
        self.isolation = dict(link.launched.isolation)
        """How each guarantee is kept, in words."""
        self.dirty = False

    @classmethod
    def open(
        cls,
        backend: str | Backend | None = None,
        limits: Limits | None = None,
        packages: Iterable[str] = (),
        preload: Iterable[str] = (),
        require: Iterable[str] | None = None,
    ) -> "Sandbox":
        """Start a sandbox.

        Args:
            backend: `"process"`, `"docker"`, `"subprocess"`, or a backend of your own; by default the
                value of `LUDUS_SANDBOX`, else `"process"`.
            limits: what a program may use, unless its run sets other limits.
            packages: names of distributions that guests may import; their dependencies are included.
            preload: modules to import in advance, so that guests do not wait for them.
            require: those of `GUARANTEES` without which it must not run; by default `REQUIRED`, and none for
                `"subprocess"`.

        Raises:
            UserError: there is no such backend or package, or it cannot guarantee what is required.
            SandboxFault: it did not start.
        """
        if limits is not None and not isinstance(limits, Limits):
            raise UserError(f"limits={limits!r:.50}: give Limits(…)")
        for argument, given in (("packages", packages), ("preload", preload), ("require", require)):
            if isinstance(given, str):
                raise UserError(f"{argument}={given!r} is one name: give a list, [{given!r}]")
        spec = LaunchSpec(limits or Limits(), tuple(packages), tuple(preload))
        name, launch = _chosen(backend)
        needed = tuple(require) if require is not None else () if name == "subprocess" else REQUIRED
        if strange := [guarantee for guarantee in needed if guarantee not in GUARANTEES]:
            raise UserError(
                f"require: {strange[0]!r} is not a guarantee; choose from {', '.join(GUARANTEES)}"
            )
        launched = launch(spec)
        if missing := [guarantee for guarantee in needed if guarantee not in launched.isolation]:
            launched.kill()
            launched.control.close()
            raise UserError(
                f"the sandbox {name!r} cannot isolate here: {', '.join(missing)}; nothing was run. Use "
                f"another backend, or ask for less with require={tuple(launched.isolation)}"
            )
        if name != "subprocess":  # which warns by itself
            _say_what_is_not_held(name, frozenset(GUARANTEES) - frozenset(launched.isolation))
        link = Link(launched)
        try:
            link.wait_until_ready(START_S)
        except BaseException:  # Ctrl-C too
            link.kill()
            raise
        return cls(link, spec, name)

    def write(self, name: str, data: bytes | str) -> None:
        """Write a file in the work directory; parent folders are created.

        Raises:
            UserError: the name leads outside the work directory, or the file does not fit.
        """
        check_name(name)
        result = self._do({"do": "write", "name": name}, stdin=checked_bytes("data", data))[0]
        self.dirty = True
        if result.verdict is not Verdict.OK:
            raise UserError(f"write {name!r}: {result.stderr.strip() or result.verdict}")

    def read(self, name: str) -> bytes:
        """The content of a file in the work directory.

        Raises:
            FileNotFoundError: there is no such regular file (links are not followed).
        """
        check_name(name)
        files = self._collect([name])
        if name not in files:
            raise FileNotFoundError(f"{name!r} is not a regular file in the sandbox's work directory")
        return files[name]

    def run(
        self, code: str, stdin: str | bytes = "", files_out: Sequence[str] = (), limits: Limits | None = None
    ) -> Result:
        """Run a Python program until it ends.

        Args:
            code: the program; it runs as `__main__`.
            stdin: its input.
            files_out: names of files to return at the end.
            limits: what it may use, in place of the sandbox's own limits; the disk limit stays the sandbox's,
                and the limits on memory and processes can only be lowered.

        Raises:
            UserError: an argument is not what it should be.
            SandboxFault: the sandbox broke.
        """
        check_order(code, limits, files_out)
        with self._lock:
            result, _ = self._do(
                {"do": "run", "code": code}, limits, checked_bytes("stdin", stdin), report=None
            )
            if files_out:
                result = replace(result, files=self._collect(files_out))
            return result

    def call(
        self, code: str, name: str, inputs: Sequence[Sequence[Any]], limits: Limits | None = None
    ) -> CallResult:
        """Run a program that defines the function `name`, then call it once with each list of arguments.

        Arguments and values are JSON data. A value is only what the guest claims: compare it here, strictly.

        Raises:
            UserError: an argument is not what it should be.
            SandboxFault: the sandbox broke.
        """
        check_order(code, limits)
        job = {"do": "call", "code": code, "name": name, "inputs": checked_inputs(name, inputs)}
        result, report = self._do(job, limits)
        return CallResult(called_values(report, len(inputs)), result)

    async def arun(
        self, code: str, stdin: str | bytes = "", files_out: Sequence[str] = (), limits: Limits | None = None
    ) -> Result:
        """`run`, without blocking the event loop."""
        return await asyncio.to_thread(self.run, code, stdin, files_out, limits)

    async def acall(
        self, code: str, name: str, inputs: Sequence[Sequence[Any]], limits: Limits | None = None
    ) -> CallResult:
        """`call`, without blocking the event loop."""
        return await asyncio.to_thread(self.call, code, name, inputs, limits)

    def session(self) -> Session:
        """A notebook in this sandbox, for use in a `with` statement. Nothing else can run here until it is
        closed."""
        self._free()
        self._session = Session(self._link, self.spec.limits)
        self.dirty = True
        return self._session

    def snapshot(self) -> bytes:
        """The work directory's contents as a compressed archive. Do not unpack it outside a sandbox.

        Raises:
            UserError: a program left something that cannot be archived: a locked file, a deeply nested
                folder, a sparse file.
        """
        result, report = self._do({"do": "snapshot"}, report=int(2 * self.spec.limits.disk_mb * MIB))
        if result.verdict is not Verdict.OK:
            raise UserError(
                f"snapshot: {result.verdict}: {result.stderr.strip()[-300:]}; a program left something that "
                "cannot be archived"
            )
        return report

    def restore(self, snapshot: bytes) -> None:
        """Restore the work directory from a `snapshot` of this sandbox or another."""
        content = checked_bytes("snapshot", snapshot)
        self.wipe()
        result, _ = self._do({"do": "restore"}, stdin=content)
        self.dirty = True
        if result.verdict is not Verdict.OK:
            raise UserError(
                f"restore: {result.verdict}: {result.stderr.strip()}; is it a snapshot, and does it fit?"
            )

    def wipe(self) -> None:
        """Empty the work directory.

        Raises:
            SandboxFault: a program left something that cannot be removed; the sandbox has been ended.
        """
        if not self.dirty:
            return
        result, _ = self._do({"do": "wipe"}, Limits(wall_s=10, cpu_s=10))
        if result.verdict is not Verdict.OK or self.dirty:
            self.close()
            raise SandboxFault(f"the work directory could not be emptied: {result.stderr.strip()[-300:]}")

    def reset(self) -> None:
        """Reset it for the next user: no session, no process, an empty work directory.

        Raises:
            SandboxFault: that failed, and the sandbox has been ended.
        """
        if self._session is not None:
            self._session.close()
            self._session = None
        self.wipe()

    @property
    def alive(self) -> bool:
        """Whether it can still run programs."""
        return not self._link.dead

    def close(self) -> None:
        """End it, and everything in it."""
        self._link.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _free(self) -> None:
        if self._session is not None and self._session.open:
            raise UserError("a session is open in this sandbox: close it, or open another sandbox")

    def _collect(self, names: Sequence[str]) -> dict[str, bytes]:
        most = int(self.spec.limits.disk_mb * MIB)
        job = {"do": "read", "names": list(names), "bytes": most}
        _, report = self._do(job, report=2 * most * len(names))
        return reported_files(report, names, most)

    def _do(
        self,
        job: dict[str, Any],
        limits: Limits | None = None,
        stdin: bytes = b"",
        report: int | None = 0,
    ) -> tuple[Result, bytes]:
        """Do one job; returns its result and its report."""
        with self._lock:
            self._free()
            allowed = limits or self.spec.limits
            memory_before = self._link.launched.out_of_memory()
            try:
                begun = self._link.start(job, allowed, stdin, report)
                answer = self._link.finish(begun, allowed.wall_s)
            except (KeyboardInterrupt, SystemExit):  # between the two, too
                self._link.kill()
                raise
            self.dirty = bool(answer["dirty"])
            starved = self._link.launched.out_of_memory() > memory_before
            overflowed = any(stream.overflowed for stream in begun.streams)
            result = judged(answer, overflowed, starved, bytes(begun.stdout.data), bytes(begun.stderr.data))
            return result, bytes(begun.report.data)


@cache
def _say_what_is_not_held(name: str, missing: frozenset[str]) -> None:
    """Warn once per backend about guarantees that were not required and are not kept."""
    if missing:
        _logger.warning("the sandbox %r does not isolate here: %s", name, ", ".join(sorted(missing)))


def _chosen(choice: str | Backend | None) -> tuple[str, Backend]:
    if callable(choice):
        return getattr(choice, "__name__", "custom"), choice
    name = backend_name(choice)
    return name, backend(name)
