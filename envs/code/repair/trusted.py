"""Runs generated packages, correct or faulty, in our own process.

It runs only code written by `Domain.render` and `faults`, never anything that an agent wrote.
"""

import builtins
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

MOST_STEPS = 20_000
"""The most loop iterations in one call; a fault that needs more is assumed to loop forever."""


class Endless(BaseException):
    """A call took too many steps. Not an `Exception`, so that generated code cannot catch it."""


@dataclass(frozen=True)
class Call:
    """A call of a function in a package: `module` includes the package, and arguments are a JSON list."""

    module: str
    function: str
    arguments: str


_LOOP = re.compile(r"^( *)(?:for|while) .*:$", re.MULTILINE)


def compiled(path: str, text: str) -> Any:
    """A module's code with every loop iteration counted. A loop's head must be a single line."""
    return compile(_LOOP.sub(r"\g<0>\n\1    __step__()", text), path, "exec")


def compile_package(files: Mapping[str, str]) -> dict[str, Any]:
    """Module name → code, for every Python file."""
    return {
        path.removesuffix(".py").replace("/", "."): compiled(path, text)
        for path, text in files.items()
        if path.endswith(".py")
    }


def answers(modules: Mapping[str, Any], calls: Sequence[Call]) -> list[str | None]:
    """The results of the calls, made in order in one run of the package: JSON, or None if a call raised.

    Raises:
        Endless: a call took more than `MOST_STEPS` steps, or recursed endlessly.
    """
    loaded: dict[str, dict[str, Any]] = {}
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps > MOST_STEPS:
            raise Endless

    def load(name: str) -> dict[str, Any]:
        if name not in loaded:
            loaded[name] = {"__name__": name, "__builtins__": own, "__step__": step}
            exec(modules[name], loaded[name])
        return loaded[name]

    def find(name: str, *rest: Any) -> Any:
        return SimpleNamespace(**load(name)) if name in modules else builtins.__import__(name, *rest)

    # Its own import function keeps the package out of sys.modules, which threads share.
    own = {**vars(builtins), "__import__": find}
    given: list[str | None] = []
    for call in calls:
        steps = 0
        try:
            value = load(call.module)[call.function](*json.loads(call.arguments))
            given.append(json.dumps(value, sort_keys=True))
        except RecursionError:
            raise Endless from None
        except Exception:
            # Any exception is an outcome: a wrong answer.
            given.append(None)
    return given
