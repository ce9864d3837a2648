"""`Library`: another library, in child processes that are all alike."""

import atexit
import difflib
import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ludus.envs.errors import ArgumentError
from ludus.envs.foreign import child
from ludus.envs.line_process import LineProcess
from ludus.tools.errors import UserError
from ludus.tools.extras import how_to_install

CHILDREN = min(4, os.cpu_count() or 1)
"""Processes of one library; what belongs together is asked of the same one."""
PATIENCE_S = 600.0
"""Seconds for an answer: the limit that matters is one of processor time, which the kernel keeps."""


class LibraryError(Exception):
    """The library raised something; the text is its type and what it said."""


@dataclass(frozen=True, slots=True)
class Library:
    """Another library. Strings hash in the same way in each of its processes, whatever they do here."""

    module: str
    """What is imported."""
    guest: str
    """The file that `child.py` runs; its answer to `"names"` is the list of what there is."""
    package: str = ""
    """What is installed, if its name is another one."""

    def require(self) -> None:
        """
        Raises:
            UserError: the library is not installed.
        """
        if find_spec(self.module) is None:
            package = self.package or self.module
            raise UserError(f"this needs {package}, which is not installed: {how_to_install(package)}")

    def names(self) -> list[str]:
        """What there is.

        Raises:
            EnvironmentFault: the process does not start.
        """
        names: list[str] = _process(os.getpid(), self, 0).greeting()["is"]
        return names

    def ask(self, number: int, question: Any, seconds: int) -> Any:
        """What the guest answers; None: not within so many seconds of processor time, or its process broke.

        Args:
            number: questions with the same one go to the same process, which may remember.

        Raises:
            LibraryError: the library raised an exception.
            EnvironmentFault: the process does not start.
        """
        process = _process(os.getpid(), self, number % CHILDREN)
        said = process.ask([seconds, question], PATIENCE_S)
        if said is None:
            return None
        if "error" in said:
            raise LibraryError(said["error"])
        return said["is"]


@cache
def _process(owner: int, library: Library, number: int) -> LineProcess:
    """One of this process: a fork must not share its parent's pipes."""
    arguments = ["-P", str(Path(child.__file__)), library.guest]
    environment = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    process = LineProcess(arguments, f"runs {library.module}", [60, "names"], environment)
    atexit.register(process.close)
    return process


def as_name(argument: str, given: object, names: Collection[str]) -> str:
    """One of many names.

    Raises:
        ArgumentError: it is none; the nearest are named.
    """
    if given not in names:
        close = difflib.get_close_matches(str(given)[:100], names, n=3, cutoff=0.0)
        raise ArgumentError(
            f"{argument}: {given!r} is unknown; the nearest of {len(names)} are {', '.join(close)}"
        )
    return str(given)
