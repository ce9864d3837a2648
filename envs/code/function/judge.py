"""The judge of functions: it runs a program in the sandbox and compares results outside.

The sandbox gets the program and the inputs. In this process our own reference computes the answers, which are
compared with what the program claims.
"""

import math
import re
import reprlib
from dataclasses import dataclass, replace
from typing import Any

from ludus.envs.code.faults import sandbox_faults
from ludus.envs.code.function.families import Cases, Task, call
from ludus.tools.sandbox import CallResult, Limits, SandboxPool, Verdict, shared_pool

LIMITS = Limits(wall_s=1.0, cpu_s=0.04, memory_mb=128, processes=1, output_kb=16, disk_mb=8)
"""Limits for all the small inputs of a task together, which take two or three milliseconds. They bound the
cost of a hostile program."""
TIMED = replace(LIMITS, wall_s=3.0, output_kb=1024)
"""Limits for the large input, whose answer may also be large; the family sets its processor time."""
MODULES = (
    *("array", "bisect", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal", "enum"),
    *("fractions", "functools", "heapq", "itertools", "json", "math", "operator", "random", "re"),
    *("statistics", "string", "textwrap", "typing"),
)
"""Modules whose import does not count towards a program's time."""
TOLERANCE = 1e-9
STOPPED = {
    Verdict.TIME_LIMIT: "it took too long",
    Verdict.MEMORY_LIMIT: "it used too much memory",
    Verdict.OUTPUT_LIMIT: "it printed too much",
    Verdict.DISK_LIMIT: "it wrote too much to the disk",
    Verdict.REFUSED: "it asked for what no program may have here",
    Verdict.RUNTIME_ERROR: "it broke off",
    Verdict.OK: "it gave no answer",
}


@dataclass(frozen=True)
class Tried:
    """How a program did on some cases."""

    right: tuple[bool, ...]
    """Whether each case is right."""
    ran: bool
    """Whether every call returned something."""
    failures: tuple[str, ...]
    """For each wrong case, the call, the expected value and the result."""
    printed: str
    """The end of its output."""

    @property
    def share(self) -> float:
        return sum(self.right) / len(self.right)

    @property
    def count(self) -> str:
        """As text: `2 of 3`."""
        return f"{sum(self.right)} of {len(self.right)}"

    @property
    def all_right(self) -> bool:
        return all(self.right)


@dataclass(frozen=True)
class Judgement:
    """How a program did on all cases."""

    public: Tried
    hidden: Tried
    fast: bool
    """Whether all cases are right, and so is the large input, in time, if the family has one."""

    @property
    def solved(self) -> bool:
        return self.public.all_right and self.hidden.all_right

    @property
    def terms(self) -> dict[str, float]:
        """The rubric's terms, each from 0 to 1."""
        return {
            "runs": float(self.public.ran),
            "public": self.public.share,
            "hidden": self.hidden.share,
            "solved": float(self.solved),
            "fast": float(self.fast),
        }

    @property
    def failure(self) -> str:
        """The first case that is wrong; empty if none is."""
        wrong = (*self.public.failures, *self.hidden.failures)
        return next(iter(wrong), "" if self.fast else "right, but not in time for a long input")


def try_public(task: Task, code: str) -> Tried:
    """Run a program on the examples.

    Raises:
        EnvironmentFault: the sandbox broke.
    """
    return _tried(task, task.public, _called(task, code, task.public))


def judge(task: Task, code: str) -> Judgement:
    """Run a program on all cases: the small ones in one process, then the large one, if there is one and the
    rest is right, in another.

    Raises:
        EnvironmentFault: the sandbox broke.
    """
    public, hidden = task.public, task.hidden
    both = Cases((*public.inputs, *hidden.inputs), (*public.answers, *hidden.answers))
    called = _called(task, code, both)
    shown = len(public.inputs)
    rest = replace(called, values=called.values[shown:])
    tried = Judgement(_tried(task, public, called), _tried(task, hidden, rest), False)
    return replace(tried, fast=tried.solved and _in_time(task, code))


def same(expected: Any, given: Any) -> bool:
    """Whether a value equals the expected one, types included. Where a float is expected, an integer will do,
    and `TOLERANCE` is allowed, relative or absolute; NaN equals nothing."""
    if isinstance(expected, float):
        number = isinstance(given, int | float) and not isinstance(given, bool) and abs(given) < 1e300
        return number and math.isclose(expected, given, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if type(expected) is not type(given):
        return False
    if isinstance(expected, list):
        return len(expected) == len(given) and all(map(same, expected, given))
    return bool(expected == given)


def shown(value: Any) -> str:
    """A value as a short text, however large or deep."""
    return _SHORT.repr(value)


def _pool() -> SandboxPool:
    return shared_pool(LIMITS, preload=MODULES)


def _called(task: Task, code: str, cases: Cases, limits: Limits | None = None) -> CallResult:
    with sandbox_faults():
        return _pool().call(code, task.family.function, cases.inputs, limits=limits)


def _in_time(task: Task, code: str) -> bool:
    if task.family.timed is None or task.timed is None:
        return True
    limits = replace(TIMED, cpu_s=task.family.timed.cpu_s)
    return _tried(task, task.timed, _called(task, code, task.timed, limits)).all_right


def _tried(task: Task, cases: Cases, called: CallResult) -> Tried:
    values, result = called.values, called.result
    right, failures, ran = [], [], True
    for position, (arguments, expected) in enumerate(zip(cases.inputs, cases.answers, strict=True)):
        value = values[position] if position < len(values) else None
        good = value is not None and value.error is None and same(expected, value.value)
        right.append(good)
        ran = ran and value is not None and value.error is None
        if not good:
            if value is None:
                came = f"nothing came: {STOPPED[result.verdict]}{_last_words(result.stderr)}"
            else:
                came = (
                    f"got {shown(value.value)}" if value.error is None else f"got {_clean(_cut(value.error))}"
                )
            failures.append(f"{_cut(call(task.family, arguments))}: expected {_cut(repr(expected))}, {came}")
    return Tried(tuple(right), ran, tuple(failures), _clean(result.stdout[-1000:]))


def _last_words(stderr: str) -> str:
    lines = stderr.strip().splitlines()[-3:]
    return ": " + _clean(_cut("\n".join(lines))) if lines else ""


def _cut(text: str, most: int = 300) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _clean(text: str) -> str:
    """The text without memory addresses, which differ from run to run."""
    return re.sub(r"\b0x[0-9a-f]+", "0x…", text)


class _Short(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        # Printing an integer takes time, and Python refuses very long ones.
        return repr(x) if x.bit_length() < 256 else f"<an integer of {x.bit_length()} bits>"


_SHORT = _Short()
_SHORT.maxlist = _SHORT.maxdict = 30
_SHORT.maxstring = _SHORT.maxother = 300
