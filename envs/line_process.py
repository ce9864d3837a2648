"""`LineProcess`: a process of its own for code that may take forever, all memory, or global state."""

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ludus.envs.faults import EnvironmentFault

START_S = 300.0
"""Seconds until a process has imported what it needs, on a machine that has much else to do."""


class LineProcess:
    """A Python program that answers each line of JSON with another one, started when it is first asked.

    Where it has not answered in time, or has ended, it is replaced before the next question. Threads share
    one: their questions wait for each other. A fork of this process needs one of its own.

    Args:
        arguments: the interpreter's, such as a file.
        purpose: what it does, as in "the process that PURPOSE did not start".
        hello: asked of every process that is started; it must answer within `START_S`.
        environment: variables beside those of this process.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        purpose: str,
        hello: Any,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._arguments, self._purpose, self._hello = arguments, purpose, hello
        self._environment = environment or {}
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._greeting: Any = None

    def ask(self, question: Any, seconds: float) -> Any:
        """The answer, or None: it came not in time, or the process ended over the question.

        Raises:
            EnvironmentFault: the process does not start.
        """
        with self._lock:
            try:
                answer = _line(self._started(), question, seconds)
            except BaseException:  # Ctrl-C too: the next question must not get this one's answer
                self.close()
                raise
            if answer is None:
                self.close()
            return answer

    def greeting(self) -> Any:
        """What it answered to `hello`.

        Raises:
            EnvironmentFault: the process does not start.
        """
        with self._lock:
            self._started()
            return self._greeting

    def close(self) -> None:
        """End the process; the next question starts another one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **self._environment},
            )
            self._greeting = _line(self._process, self._hello, START_S)
            if self._greeting is None:
                self.close()
                raise EnvironmentFault(
                    f"the process that {self._purpose} did not start: it ended, or took over {START_S:g} s"
                )
        return self._process


def _line(process: "subprocess.Popen[bytes]", question: Any, seconds: float) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(question).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None
    if not select.select([process.stdout], [], [], seconds)[0]:
        return None
    line = process.stdout.readline()
    return json.loads(line) if line else None
