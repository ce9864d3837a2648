"""`math`: the answer is equal to the reference as mathematics."""

import atexit
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ludus.envs.graded import math_worker
from ludus.envs.graded.graders.base import Grade, Grader, shown
from ludus.envs.graded.templates import Sample, TemplateText, fill
from ludus.envs.line_process import LineProcess
from ludus.envs.math.numbers import without_markup

LIMIT_S = 5.0
"""Seconds for one comparison."""
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
    answer = _worker(os.getpid()).ask([wanted, given], LIMIT_S)
    if answer is None:
        return False, f" (no end within {LIMIT_S:g} s)"
    equal, said = answer
    return bool(equal), f" ({said})" if said else ""


def _answer(text: str) -> str | None:
    found = {without_markup(content) for content in boxed(text)} or {without_markup(text)}
    return found.pop() if len(found) == 1 else None


@cache
def _worker(process: int) -> LineProcess:
    """Of this process: a fork must not share its parent's pipes."""
    worker = LineProcess([str(Path(math_worker.__file__))], "compares expressions", ["1", "1"])
    atexit.register(worker.close)
    return worker
