"""`Problem`: a package with one fault that its visible tests reveal, and the calls that judge its repair."""

import json
import pprint
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from ludus.envs.code.repair.domain import Domain
from ludus.envs.code.repair.faults import FAULTS, Source, applied
from ludus.envs.code.repair.trusted import Call, Endless, answers, compile_package, compiled

VISIBLE, HIDDEN = 10, 30
"""The number of visible and hidden calls."""
MOST_PACKAGES, MOST_PLACES = 100, 4
"""The most packages drawn until a fault fits, and the most places tried for each kind of fault."""
LEAST = 3
"""The fault makes at least this many calls wrong, and leaves at least as many right."""


@dataclass(frozen=True)
class Case:
    """A call, the correct package's answer as JSON, and whether the faulty package gives the same."""

    call: Call
    expected: str
    already_right: bool


@dataclass(frozen=True)
class Problem:
    """The problem of an episode. The agent sees only `files`."""

    domain: str
    fault: str
    package: str
    files: Mapping[str, str]
    """Path → text: README, the package with its fault, and the visible tests."""
    visible: tuple[Case, ...]
    hidden: tuple[Case, ...]


def draw_problem(rng: Random, domains: Sequence[Domain], faults: Sequence[str]) -> Problem:
    """A package from one of the domains, with a fault of one of the kinds. The fault breaks at least one
    visible and one hidden call, makes none run forever, and leaves some right.

    Raises:
        LookupError: `MOST_PACKAGES` packages had no such fault.
    """
    for _ in range(MOST_PACKAGES):
        domain = rng.choice(domains)
        parameters = domain.draw(rng)
        files = domain.render(parameters)
        modules = compile_package(files)
        calls = _calls(rng, domain, parameters)
        expected = answers(modules, calls)
        for fault, path, text in _faulty(rng, files, faults):
            faulty = {**modules, path.removesuffix(".py").replace("/", "."): compiled(path, text)}
            cases = _judged(rng, faulty, calls, expected)
            if cases is not None:
                visible, hidden = cases[:VISIBLE], cases[VISIBLE:]
                tests = {f"tests/test_{parameters['package']}.py": write_tests(visible)}
                shown = {**files, path: text, **tests}
                return Problem(domain.name, fault, parameters["package"], shown, visible, hidden)
    raise LookupError(f"no fault of {', '.join(faults)} in {', '.join(domain.name for domain in domains)}")


def _calls(rng: Random, domain: Domain, parameters: Mapping[str, str]) -> list[Call]:
    """Distinct calls, so that no hidden call is in the visible tests."""
    found: dict[Call, None] = {}
    while len(found) < VISIBLE + HIDDEN:
        module, function, arguments = domain.calls(rng, parameters)
        found[Call(f"{parameters['package']}.{module}", function, json.dumps(arguments))] = None
    return list(found)


def _faulty(rng: Random, files: Mapping[str, str], faults: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Kind of fault, path, and the file's faulty text. Kinds are shuffled, so that none is rare for having
    few places or seldom showing."""
    sources = {path: Source(text) for path, text in files.items() if path.endswith(".py")}
    for fault in rng.sample(faults, len(faults)):
        places = [(path, edits) for path, source in sources.items() for edits in FAULTS[fault](source)]
        for path, edits in rng.sample(places, min(MOST_PLACES, len(places))):
            yield fault, path, applied(files[path], edits)


def _judged(
    rng: Random, faulty: Mapping[str, Any], calls: list[Call], expected: list[str | None]
) -> tuple[Case, ...] | None:
    """Visible cases, then hidden ones; None unless each of the two has some wrong and some right."""
    try:
        wrong = [given != right for given, right in zip(answers(faulty, calls), expected, strict=True)]
        if not LEAST <= sum(wrong) <= len(calls) - LEAST:
            return None
        order = _split(rng, wrong)
        # Again in the judge's order: one call's leftover state may change the next call's answer.
        given = answers(faulty, [calls[index] for index in order])
    except Endless:
        return None
    cases = []
    for index, answer in zip(order, given, strict=True):
        right = expected[index]
        assert right is not None, f"the faultless package raises for {calls[index]}"
        cases.append(Case(calls[index], right, answer == right))
    shares = [[case.already_right for case in group] for group in (cases[:VISIBLE], cases[VISIBLE:])]
    return tuple(cases) if all(any(share) and not all(share) for share in shares) else None


def _split(rng: Random, wrong: list[bool]) -> list[int]:
    """The order of the calls, visible first. One to three of those are wrong, or more if few are right."""
    failing = [index for index, is_wrong in enumerate(wrong) if is_wrong]
    passing = [index for index, is_wrong in enumerate(wrong) if not is_wrong]
    kept = passing[: min(len(passing) - 1, VISIBLE - rng.randint(1, min(3, len(failing) - 1)))]
    visible = sorted([*kept, *failing[: VISIBLE - len(kept)]])
    return [*visible, *(index for index in range(len(wrong)) if index not in visible)]


def write_tests(cases: Sequence[Case]) -> str:
    """The visible tests, as a test file."""
    imports: dict[str, set[str]] = {}
    tests = []
    for number, case in enumerate(cases, start=1):
        call = case.call
        imports.setdefault(call.module, set()).add(call.function)
        arguments = "".join(f"\n        {_written(argument)}," for argument in json.loads(call.arguments))
        tests.append(
            f"def test_{call.function}_{number}():\n"
            f"    result = {call.function}({arguments}\n    )\n"
            f"    assert result == (\n        {_written(json.loads(case.expected))}\n    )\n"
        )
    head = [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(imports.items())]
    return "\n".join(head) + "\n\n\n" + "\n\n".join(tests)


def _written(value: Any) -> str:
    text = pprint.pformat(value, width=92, compact=True, sort_dicts=False)
    return text.replace("\n", "\n        ")
