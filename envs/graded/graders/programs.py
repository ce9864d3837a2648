"""Graders that run programs in the sandbox: `python` (the grader is one), `tests` (the answer is one)."""

import ast
import builtins
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from ludus.envs.code.faults import sandbox_faults
from ludus.envs.code.function.judge import STOPPED
from ludus.envs.code.function.reply import MOST_CHARACTERS, program_in
from ludus.envs.graded import guest_program, guest_tests
from ludus.envs.graded.graders.base import Grade, Grader, shown
from ludus.envs.graded.templates import Sample, TemplateText, fill
from ludus.tools.sandbox import CallResult, Limits, shared_pool

Seconds = Annotated[float, Field(gt=0, le=60)]
MEMORY_MB = 512
MODULES = ("collections", "copy", "functools", "heapq", "itertools", "json", "math", "random", "re", "typing")
"""Modules whose import does not count towards a program's time."""
MOST_RUNS = 60
"""How often tests are run again with more answers before they count as failed."""
MOST_CALLS = 10_000


class Python(Grader):
    """A function of your own gives the score: `grade(sample, item)`, from 0 to 1.

    It runs in the sandbox, in a fresh process for each answer; `sample` has `output_text` and `output_tools`.
    What counts is what it returns, not what it prints. An exception, and an end by force, score 0, and the
    record says why. It must not run the answer's own code: `tests` does that.
    """

    type: Literal["python"]
    is_slow = True
    source: str
    """The program that defines `grade`; it has Python's standard library."""
    timeout_s: Seconds = 5.0
    """Seconds for one answer."""

    @field_validator("source")
    @classmethod
    def _defines_grade(cls, source: str) -> str:
        try:
            tree = ast.parse(source)
        except SyntaxError as error:
            raise ValueError(f"source, line {error.lineno}: {error.msg}") from None
        found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "grade"]
        if not found or len(found[-1].args.args) != 2:
            raise ValueError("source defines no function grade(sample, item); write one that returns 0 to 1")
        return source

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        called = _call(self.source, "grade", [[sample.data, dict(item)]], self.timeout_s)
        if not called.values:
            return Grade(0.0, f"grade gave no score: {_stopped(called)}")
        value = called.values[0]
        score = value.value
        if value.error is not None:
            return Grade(0.0, f"grade raised {shown(value.error, 200)}")
        if not isinstance(score, bool | int | float) or not 0 <= score <= 1 or math.isnan(score):
            return Grade(0.0, f"grade returned {shown(repr(score))}, no number from 0 to 1")
        return Grade(float(score), f"grade returned {score}")


class Tests(Grader):
    """The answer is a program that must pass tests, as in HumanEval and MBPP.

    Program and tests run in two sandboxes: what the tests call is computed in the program's, handed over as
    plain data, and compared in the tests'. So a program that ends the process, redefines what is called or
    returns something equal to everything gains nothing by it. The price: tests that look at a changed
    argument, or at an attribute of what the program returned, fail.
    """

    type: Literal["tests"]
    is_slow = True
    tests: TemplateText
    """Assertions; a list of texts is taken line by line."""
    function: TemplateText = ""
    """The function that the program must define; by default the first that the tests call. What else the
    tests use and do not define is the program's too."""
    setup: TemplateText = ""
    """Run before the tests, such as their imports."""
    prefix: TemplateText = ""
    """Put before the program, such as its imports, or the beginning of the function that it completes."""
    input: TemplateText = "{{sample.output_text}}"
    """The answer: a program in a code block, or alone."""
    timeout_s: Seconds = 5.0
    """Seconds for the program on all calls, and as many for the tests."""

    def grade(self, item: Mapping[str, Any], sample: Sample) -> Grade:
        texts = (self.setup, self.tests, self.function, self.input, self.prefix)
        setup, tests, function, text, prefix = (fill(template, item, sample) for template in texts)
        function = function.strip() or _first_called(setup, tests)
        if prefix and _FIRST_LINE_INDENTED.match(text) and len(text) <= MOST_CHARACTERS:
            code = text  # it goes on where the prefix ends
        else:
            program = program_in(text, function)
            if program.complaint:
                return Grade(0.0, program.complaint)
            code = program.code
        source = f"{prefix}\n{code}" if prefix and not prefix.endswith("\n") else prefix + code
        calls: list[str] = []
        answers: list[Any] = []
        for _ in range(MOST_RUNS):
            ran = _call(_TESTS, "run_tests", [[setup, tests, function, calls, answers]], self.timeout_s)
            said = ran.values[0].value if ran.values else None
            if not isinstance(said, dict):
                return Grade(0.0, f"the tests did not end: {_stopped(ran)}")
            if "asked" not in said:
                failed = said.get("failed", "")
                return Grade(float(not failed), failed or "passes the tests")
            calls += said["asked"]
            if len(calls) > MOST_CALLS:
                break
            called = _call(_program(source), "ludus_answer", [[call] for call in calls], self.timeout_s)
            if len(called.values) < len(calls):
                return Grade(0.0, f"the program did not end its calls: {_stopped(called)}")
            answers = [
                value.value if value.error is None else {"error": "", "text": value.error}
                for value in called.values
            ]
        return Grade(0.0, f"the tests make too many calls, one after another: {len(calls)}")


_FIRST_LINE_INDENTED = re.compile(r"(?:[ \t]*\n)*[ \t]+\S")
_TESTS = Path(guest_tests.__file__).read_text(encoding="utf-8")
_ANSWER = Path(guest_program.__file__).read_text(encoding="utf-8")


def _first_called(setup: str, tests: str) -> str:
    """The first name in calls of the tests that neither they nor Python define; empty if there is none."""
    try:
        before, tree = ast.parse(setup), ast.parse(tests)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    known = {name for node in ast.walk(before) for name in _defined(node)} | set(dir(builtins))
    known |= {name for node in ast.walk(tree) for name in _defined(node)}
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return next((name.id for name in calls if isinstance(name, ast.Name) and name.id not in known), "")


def _defined(node: ast.AST) -> list[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [(alias.asname or alias.name).partition(".")[0] for alias in names]
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
            return [name]
    return []


def _program(source: str) -> str:
    """The program as a module of its own, so that what it only does as `__main__` is left out."""
    run = f"exec(compile({source!r}, 'program', 'exec'), globals())"
    name = "__name__ = 'program'\nsys.modules[__name__] = sys.modules['__main__']"
    return f"{_ANSWER}\nimport sys\n{name}\n{run}\n"


def _call(code: str, name: str, inputs: list[list[Any]], seconds: float) -> CallResult:
    # Wall time is limited less tightly than processor time: on a busy machine a program may wait for long.
    limits = Limits(wall_s=4 * seconds, cpu_s=seconds, memory_mb=MEMORY_MB, processes=8, output_kb=1024)
    with sandbox_faults():
        return shared_pool(limits, preload=MODULES).call(code, name, inputs)


def _stopped(called: CallResult) -> str:
    last = called.result.stderr.strip().splitlines()[-1:]
    return ": ".join([STOPPED[called.result.verdict], *(shown(line, 200) for line in last)])
