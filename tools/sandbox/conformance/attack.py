"""`Attack`: a hostile program, and what must become of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ludus.tools.sandbox.limits import Limits
from ludus.tools.sandbox.result import Result, Value, Verdict

ESCAPED = "ESCAPED"
"""Printed by an attack, with a few words, when it got something that no guest may have."""


@dataclass(frozen=True)
class Evidence:
    """What came back from an attack, and what the suite knows but the attack must not."""

    results: tuple[Result, ...]
    """The program's, then those of the programs after it."""
    values: tuple[Value, ...]
    """The calls', if it was called."""
    limits: Limits
    nodename: str
    """The host's name."""
    seconds: float
    """Until the first came back, by the host's clock."""
    neighbours: tuple[Result, ...] = ()
    """The results of the program beside it."""


@dataclass(frozen=True)
class Attack:
    """One attack.

    Its programs find a dictionary `host`: `port`, `abstract` and `socket` (where the host listens), `folder`
    and `precious` (a folder of the host's, and a file in it), `victim` (one of its processes), `owner` (the
    process that owns the sandbox), `mark` (the name for anything made outside the work directory).
    """

    name: str
    code: str
    expected: tuple[Verdict, ...]
    """The acceptable verdicts."""
    how: Literal["run", "call", "session", "pair"] = "run"
    """As a program; as a function `attack(n)`, called with 1, 2 and 3; as a cell; or as a program beside
    another sandbox's `neighbour`."""
    seconds: float = 3.0
    """The limit on wall time, and on processor time."""
    then: tuple[str, ...] = ()
    """Programs or cells that follow in the same sandbox; they must be ok."""
    neighbour: str = ""
    stdin: bytes = b""
    files_out: tuple[str, ...] = ()
    """Files to collect; only those in `kept` may come back."""
    kept: tuple[str, ...] = ()
    """Files to collect that must come back."""
    overwrite: tuple[str, ...] = ()
    """Names under which the host writes files of its own afterwards: no link may divert them."""
    needs: tuple[str, ...] = ()
    """Those of `backends.GUARANTEES` without which it would harm the machine. If the sandbox lacks one, the
    attack is not made and counts as a failure."""
    judge: Callable[[Evidence], str] = field(default=lambda evidence: "", repr=False)
    """What else is wrong with what came back; empty if nothing is."""


INPUTS: Sequence[Sequence[Any]] = ([1], [2], [3])


def is_json(value: Any) -> bool:
    """Whether a value consists of plain JSON data only, by exact type."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if type(item) is list:
            waiting += item
        elif type(item) is dict:
            waiting += [*item.keys(), *item.values()]
        elif type(item) not in (str, int, float, bool, type(None)):
            return False
    return True


def plain_values(evidence: Evidence) -> str:
    """A judge: calls return plain data, and no more values than there were calls."""
    if len(evidence.values) > len(INPUTS):
        return f"{len(evidence.values)} values of {len(INPUTS)} calls"
    strange = [value for value in evidence.values if not is_json(value.value)]
    return f"a value that is not plain data: {strange[0]!r:.80}" if strange else ""


def no_values(evidence: Evidence) -> str:
    """A judge: nothing was computed, so no value may come back."""
    valued = [value for value in evidence.values if value.error is None]
    return f"a value, though nothing was computed: {valued[0]!r:.80}" if valued else ""


def in_time(evidence: Evidence) -> str:
    """A judge: nobody waited for the program after it had ended."""
    seconds = evidence.results[0].seconds
    return f"it took {seconds:.1f} s, though it ended at once" if seconds > evidence.limits.wall_s / 2 else ""
