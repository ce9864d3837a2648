"""The program that runs in the sandbox, beside the agent's files: it calls functions and runs tests.

It gets files and calls, never the expected results; its output is trusted no more than the agent itself.
It is sent as text and imports nothing of Ludus.
"""

import ast
import glob
import importlib
import json
import linecache
import os
import sys
import traceback
from typing import Any

MOST_SHOWN = 4
"""The most failures that are shown in full."""
MOST_CHARACTERS = 700
"""The most characters shown of a value."""


class Different(AssertionError):
    """Two values compared by a test are not equal."""


def unpack(files: dict[str, str]) -> None:
    """Write the files into the current folder, and import from there."""
    for path, text in files.items():
        if folder := os.path.dirname(path):
            os.makedirs(folder, exist_ok=True)
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
    sys.dont_write_bytecode = True
    sys.path.insert(0, os.getcwd())


def answer(files: dict[str, str] | None, module: str, function: str, arguments: list[Any]) -> Any:
    """Call a function of the package; `files` come with the first call."""
    if files is not None:
        unpack(files)
    return getattr(importlib.import_module(module), function)(*arguments)


def expect_equal(found: Any, expected: Any) -> None:
    # The test wrote `==`; `!=` may be defined differently.
    if not (found == expected):
        raise Different(f"got:      {cut(repr(found))}\n    expected: {cut(repr(expected))}")


def cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + " …"


class ShowValues(ast.NodeTransformer):
    """Turns `assert a == b` with no message of its own into a comparison that reports both values."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        test = node.test
        if node.msg is None and isinstance(test, ast.Compare) and [type(op) for op in test.ops] == [ast.Eq]:
            call = ast.Call(ast.Name("__expect_equal__", ast.Load()), [test.left, test.comparators[0]], [])
            return ast.fix_missing_locations(ast.copy_location(ast.Expr(call), node))
        return node


def tests_of(path: str) -> dict[str, Any]:
    """The functions of a test file whose names begin with `test`, in order."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    namespace = {"__name__": path.removesuffix(".py").replace("/", "."), "__expect_equal__": expect_equal}
    exec(compile(ShowValues().visit(ast.parse(text, path)), path, "exec"), namespace)
    return {name: test for name, test in namespace.items() if name.startswith("test") and callable(test)}


def failure(error: BaseException) -> str:
    """What went wrong, and where in the agent's files."""
    lines = []
    for frame in traceback.extract_tb(error.__traceback__):
        path = os.path.relpath(frame.filename) if os.path.isabs(frame.filename) else frame.filename
        if path != "main.py" and not path.startswith(".."):
            lines.append(f"    {path}, line {frame.lineno}, in {frame.name}: {frame.line}")
    if isinstance(error, Different):
        return "\n".join([*lines[-1:], f"    {error}"])
    said = "".join(traceback.format_exception_only(error)).strip()
    return "\n".join([*lines[-6:], *(f"    {cut(line)}" for line in said.splitlines())])


def main() -> None:
    """Run the tests in the files given on stdin, and report the outcome."""
    unpack(json.load(sys.stdin))
    passed = 0
    failed = []
    for path in sorted(glob.glob("tests/**/test*.py", recursive=True)):
        try:
            tests = tests_of(path)
        except BaseException as error:
            failed.append((path, failure(error)))
            continue
        for name, test in tests.items():
            try:
                test()
            except BaseException as error:
                failed.append((f"{path}::{name}", failure(error)))
            else:
                passed += 1
    for name, story in failed[:MOST_SHOWN]:
        print(f"FAILED {name}\n{story}\n")
    for name, _ in failed[MOST_SHOWN:]:
        print(f"FAILED {name}")
    if not passed and not failed:
        print("no tests found: a test is a function test_… in a file tests/test_….py")
    print(f"{passed} passed, {len(failed)} failed")
