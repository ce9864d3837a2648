"""`math`: the answer is equal to the reference as mathematics."""

import atexit
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ludus.envs.faults import EnvironmentFault
from ludus.envs.graded import math_worker
from ludus.envs.graded.graders.base import Grade, Grader, shown
from ludus.envs.graded.templates import Sample, TemplateText, fill
from ludus.envs.math.numbers import without_markup

LIMIT_S = 5.0
"""Seconds for one comparison."""
START_S = 60.0
"""Seconds until the process answers for the first time: it imports sympy."""
MOST = 500
"""Characters of an answer that is compared symbolically."""


class Math(Grader):
    r"""The answer is equal to the reference as mathematics (math-verify): `1/2`, `0.5` and `\frac{1}{2}` are.

    The answer is what stands in `\boxed{…}`; of several boxes, all must hold the same. Without a box, `input`
    as a whole is the answer. The same goes for the reference.
    """

    type: Literal["math"]
    needs = ("math_verify",)
    is_slow = True

    reference: TemplateText
    input: TemplateText = "{{sample.output_text}}"

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        given, wanted = (_answer(fill(text, item, sample)) for text in (self.input, self.reference))
        if given is None or wanted is None:
            return Grade(0.0, "several boxes that differ")
        if not given or len(given) > MOST:
            return Grade(0.0, "no answer" if not given else f"an answer of {len(given)} characters")
        if given == wanted:
            return Grade(1.0, f"{shown(given)} is the reference")
        equal, said = compare(wanted, given)
        return Grade(float(equal), f"{shown(given)} {'equals' if equal else 'is not'} {shown(wanted)}{said}")


def boxed(text: str) -> Iterator[str]:
    r"""The contents of each `\boxed{…}` with matching braces, in linear time."""
    start = text.find("\\boxed{")
    while start >= 0:
        depth, position = 1, start + 7
        while position < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            position += 1
        if depth:
            return
        yield text[start + 7 : position - 1].strip()
        start = text.find("\\boxed{", position)


def compare(wanted: str, given: str) -> tuple[bool, str]:
    """Whether two expressions are equal, and what is to be said of it. The same pair gives the same.

    Raises:
        EnvironmentFault: the process that compares does not start.
    """
    return _worker(os.getpid()).ask(wanted, given)


def _answer(text: str) -> str | None:
    found = {without_markup(content) for content in boxed(text)} or {without_markup(text)}
    return found.pop() if len(found) == 1 else None


class _Worker:
    """A process that compares, replaced when it has taken too long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def ask(self, wanted: str, given: str) -> tuple[bool, str]:
        with self._lock:
            try:
                process = self._process or self._start()
                answer = self._line(process, [wanted, given], LIMIT_S)
            except BaseException:  # Ctrl-C too: the next question must not get this one's answer
                self.close()
                raise
            if answer is None:
                self.close()
                return False, f" (no end within {LIMIT_S:g} s)"
            equal, said = answer
            return bool(equal), f" ({said})" if said else ""

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(math_worker.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        if self._line(self._process, ["1", "1"], START_S) != [True, ""]:
            raise EnvironmentFault(
                "the process that compares expressions did not start: is math-verify whole?"
            )
        return self._process

    @staticmethod
    def _line(process: subprocess.Popen[bytes], question: list[str], seconds: float) -> Any:
        """The answer; None: it came not in time, or the process has ended."""
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


@cache
def _worker(process: int) -> _Worker:
    """Of this process: a fork must not share its parent's pipes."""
    return _Worker()
