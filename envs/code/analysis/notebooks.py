"""Live notebooks: interpreters in sandboxes, cached by the history that produced them.

A notebook is its history: the files, and the cells that ran. A live interpreter is a cache of it. Continuing
from a history that no live interpreter has (after `restore`, in another process, after an eviction) starts a
new one, in which the cells run again.
"""

import atexit
import itertools
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from ludus.envs.code.analysis.guest import (
    LIMITS,
    OPENING_CELL,
    PACKAGES,
    PLOT_CELL,
    PLOT_FILES,
    PRELOAD,
    plots,
)
from ludus.tools.sandbox import Result, SandboxPool, Session, Verdict, shared_pool


@dataclass(frozen=True, slots=True)
class History:
    """The history of a notebook."""

    key: str
    """Identifies the files."""
    cells: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ran:
    """The outcome of a cell."""

    result: Result
    history: History
    """Empty of cells if the interpreter ended: the next cell starts a new notebook."""
    plots: tuple[bytes, ...] = ()
    """The figures that it left open, as PNG files."""
    complaint: str = ""
    """Why they could not be drawn, or empty."""
    ended: Result | None = None
    """How the interpreter ended (limit, crash, exit), if it did, in the cell or while drawing its figures."""


def pool() -> SandboxPool:
    """This process's pool of sandboxes with pandas and matplotlib loaded."""
    return shared_pool(LIMITS, PACKAGES, PRELOAD)


class _Live:
    """An interpreter in a sandbox, and its history."""

    def __init__(self, history: History, files: Mapping[str, bytes]) -> None:
        self.history = History(history.key)
        with ExitStack() as stack:
            box = stack.enter_context(pool().box())
            for name, data in files.items():
                box.write(name, data)
            self._session: Session = stack.enter_context(box.session())
            self._session.run(OPENING_CELL)
            for cell in history.cells:
                self.run(cell)
            self._stack = stack.pop_all()

    def run(self, code: str) -> Ran:
        result = last = self._session.run(code)
        if self._session.alive:
            # Not in the same cell, since the value of the agent's last expression must be printed.
            last = self._session.run(PLOT_CELL, PLOT_FILES)
        if not self._session.alive:
            return Ran(result, History(self.history.key), ended=last)
        self.history = History(self.history.key, (*self.history.cells, code))
        complaint = "" if last.verdict is Verdict.OK else last.stderr.strip().rpartition("\n")[2]
        return Ran(result, self.history, plots(last.files), complaint)

    def close(self) -> None:
        self._stack.close()


class Notebooks:
    """The live notebooks of this process, at most one for each owner and `most` in total.

    A live notebook holds a sandbox from the pool, so `most` leaves some for other uses. With more owners than
    that, the one idle for longest loses its interpreter. Thread-safe.
    """

    def __init__(self) -> None:
        self._owners = itertools.count()
        self._begin()

    def _begin(self) -> None:
        self._idle: OrderedDict[int, _Live] = OrderedDict()
        self._held = 0
        """Live notebooks, idle or running."""
        self._changed = threading.Condition(threading.RLock())

    def new_owner(self) -> int:
        return next(self._owners)

    def run(self, owner: int, history: History, files: Mapping[str, bytes], code: str) -> Ran:
        """Run a cell as the next one in a history.

        Raises:
            SandboxFault: the sandbox broke.
        """
        live = self._take(owner, history)
        try:
            if live is None:
                live = _Live(history, files)
            ran = live.run(code)
        except BaseException:
            self._drop(live)
            raise
        if ran.ended is not None:
            self._drop(live)
        else:
            self._keep(owner, live)
        return ran

    def close(self, owner: int) -> None:
        """End an owner's notebook, if there is one."""
        with self._changed:
            live = self._idle.pop(owner, None)
        if live is not None:
            self._drop(live)

    def close_all(self) -> None:
        """End every notebook that is not running a cell."""
        for owner in [*self._idle]:
            self.close(owner)

    @property
    def live(self) -> int:
        """How many there are, idle or running."""
        return self._held

    @property
    def most(self) -> int:
        return max(1, pool().size // 2)

    def _take(self, owner: int, history: History) -> _Live | None:
        """The owner's notebook if it has this history; otherwise None, and a place is reserved."""
        most = self.most
        with self._changed:
            live = self._idle.pop(owner, None)
            if live is not None and live.history == history:
                return live
            while live is None and self._held >= most:
                if self._idle:
                    _, live = self._idle.popitem(last=False)
                else:
                    self._changed.wait()
            if live is None:
                self._held += 1
        if live is not None:
            # We take over its place, so `_held` is unchanged.
            try:
                live.close()
            except BaseException:
                self._release()
                raise
        return None

    def _keep(self, owner: int, live: _Live) -> None:
        with self._changed:
            self._idle[owner] = live
            self._changed.notify()

    def _drop(self, live: _Live | None) -> None:
        try:
            if live is not None:
                live.close()
        finally:
            self._release()

    def _release(self) -> None:
        with self._changed:
            self._held -= 1
            self._changed.notify()

    def forget(self) -> None:
        """In a forked child the notebooks belong to the parent. They are kept alive, since closing them would
        affect the parent's sandboxes."""
        _inherited.append(self._idle)
        self._begin()


_inherited: list[Any] = []

NOTEBOOKS = Notebooks()
atexit.register(NOTEBOOKS.close_all)
os.register_at_fork(after_in_child=NOTEBOOKS.forget)
