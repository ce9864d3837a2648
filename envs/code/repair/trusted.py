"""Runs generated packages in our own process: what they should answer, and what they answer with a fault.

It runs only text written by `Domain.render` and `faults`, never anything that an agent wrote.
"""

import builtins
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

MOST_STEPS = 20_000
"""Rounds of loops in one call; a fault that needs more is taken to loop for ever."""


class Endless(BaseException):
    """A call took too many steps. Not an `Exception`, so that no generated code catches it."""


@dataclass(frozen=True)
class Call:
    """A call of a function in a package: `module` with its package, arguments as a JSON list."""

    module: str
    function: str
    arguments: str


_LOOP = re.compile(r"^( *)(?:for|while) .*:$", re.MULTILINE)


def compiled(path: str, text: str) -> Any:
    """A module's code in which every round of a loop is counted. The head of a loop is one line."""
    return compile(_LOOP.sub(r"\g<0>\n\1    __step__()", text), path, "exec")


def compile_package(files: Mapping[str, str]) -> dict[str, Any]:
    """Module name → code, of every Python file."""
    return {
        path.removesuffix(".py").replace("/", "."): compiled(path, text)
        for path, text in files.items()
        if path.endswith(".py")
    }


def answers(modules: Mapping[str, Any], calls: Sequence[Call]) -> list[str | None]:
    """What the calls return, one after another in one run of the package: JSON, or None where a call raised.

    Raises:
        Endless: a call took more than `MOST_STEPS` steps, or recursed without an end.
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

    # An import function of its own keeps the package out of sys.modules, which threads share.
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
            # Any exception is an outcome here: a wrong answer.
            given.append(None)
    return given
