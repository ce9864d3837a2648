"""Judges a repair by calls that run in a sandbox; their results are compared here."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ludus.envs.code.faults import sandbox_faults
from ludus.envs.code.repair import guest
from ludus.envs.code.repair.problem import Case, Problem
from ludus.tools.sandbox import Limits, Result, shared_pool

# Wall time is limited less tightly than processor time: on a busy machine a program may wait for long.
LIMITS = Limits(wall_s=6.0, cpu_s=1.0, memory_mb=128, processes=8, disk_mb=8)
PRELOAD = ("ast", "glob", "traceback")
_GUEST = Path(guest.__file__).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Verdict:
    """How many calls are right. A gain counts the calls that the fault broke and that are now right, less
    those that are newly wrong, as a share of the broken ones; it is at least 0."""

    visible_right: int
    hidden_right: int
    visible_gain: float
    hidden_gain: float
    solved: bool
    failure: str
    """The first call that is wrong, and what is right; empty if none is."""


def judge(problem: Problem, files: Mapping[str, str]) -> Verdict:
    """Run all visible and hidden calls on the package in `files`, and compare their results.

    Only the package's own files go into the sandbox: no tests, no README, nothing else.

    Raises:
        EnvironmentFault: the sandbox broke.
    """
    package = _package(problem, files)
    cases = (*problem.visible, *problem.hidden)
    if package == _package(problem, problem.files):
        right = [case.already_right for case in cases]
    else:
        right = _right(package, cases)
    split = len(problem.visible)
    return Verdict(
        sum(right[:split]),
        sum(right[split:]),
        _gain(right[:split], problem.visible),
        _gain(right[split:], problem.hidden),
        all(right),
        next((_wrong(case) for case, is_right in zip(cases, right, strict=True) if not is_right), ""),
    )


def run_tests(files: Mapping[str, str]) -> Result:
    """Run the test files in a sandbox.

    Raises:
        EnvironmentFault: the sandbox broke.
    """
    with sandbox_faults():
        return shared_pool(LIMITS, preload=PRELOAD).run(
            f"{_GUEST}\n\nmain()\n", stdin=json.dumps(dict(files))
        )


def same(found: Any, expected: Any) -> bool:
    """Whether JSON data from a guest is exactly as expected: 1 is neither 1.0 nor true.

    Recursion goes no deeper than the expected data, however deep the guest's is.
    """
    if type(found) is not type(expected):
        return False
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return bool(found == expected)


def _package(problem: Problem, files: Mapping[str, str]) -> dict[str, str]:
    return {path: text for path, text in files.items() if path.startswith(f"{problem.package}/")}


def _right(package: Mapping[str, str], cases: Sequence[Case]) -> list[bool]:
    calls: list[list[Any]] = [
        [None, case.call.module, case.call.function, json.loads(case.call.arguments)] for case in cases
    ]
    calls[0][0] = dict(package)
    with sandbox_faults():
        given = shared_pool(LIMITS, preload=PRELOAD).call(_GUEST, "answer", calls).values
    right = [
        value.error is None and same(value.value, json.loads(case.expected))
        for value, case in zip(given, cases, strict=False)
    ]
    return right + [False] * (len(cases) - len(right))


def _wrong(case: Case) -> str:
    call = case.call
    arguments, expected = (
        text if len(text) <= 300 else f"{text[:299]}…" for text in (call.arguments, case.expected)
    )
    return f"{call.module}.{call.function}, called with {arguments}, should give {expected}"


def _gain(right: Sequence[bool], cases: Sequence[Case]) -> float:
    before = sum(case.already_right for case in cases)
    return max(0.0, (sum(right) - before) / (len(cases) - before))
