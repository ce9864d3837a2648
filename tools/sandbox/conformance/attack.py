"""`Attack`: a program that tries to get away with something, and what must become of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ludus.tools.sandbox.limits import Limits
from ludus.tools.sandbox.result import Result, Value, Verdict

ESCAPED = "ESCAPED"
"""What an attack prints, with a few words, when it got something that no guest may have."""


@dataclass(frozen=True)
class Evidence:
    """What came back from an attack, and what the suite knows and the attack should not."""

    results: tuple[Result, ...]
    """Of the program, then of those that followed it."""
    values: tuple[Value, ...]
    """Of the calls, where it was called."""
    limits: Limits
    nodename: str
    """The host's name."""
    seconds: float
    """Until the first was back, by the host's clock."""
    neighbours: tuple[Result, ...] = ()
    """Of the program beside it."""


@dataclass(frozen=True)
class Attack:
    """One attack.

    Its programs find a dictionary `host`: `port`, `abstract` and `socket` (where the host listens), `folder`
    and `precious` (one of the host's, and a file in it), `victim` (one of its processes), `owner` (the
    process that owns the sandbox), `mark` (to name everything with that is made outside the work directory).
    """

    name: str
    code: str
    expected: tuple[Verdict, ...]
    """The verdicts that are right."""
    how: Literal["run", "call", "session", "pair"] = "run"
    """As a program; as a function `attack(n)`, called with 1, 2 and 3; as a cell; or as a program beside
    another sandbox's `neighbour`."""
    seconds: float = 3.0
    """Of time and of processor time, that it may take."""
    then: tuple[str, ...] = ()
    """Programs or cells that follow in the same sandbox; they must be ok."""
    neighbour: str = ""
    stdin: bytes = b""
    files_out: tuple[str, ...] = ()
    """Files to collect; none may come back but those of `kept`."""
    kept: tuple[str, ...] = ()
    """Files to collect that must come back."""
    overwrite: tuple[str, ...] = ()
    """Names under which the host writes a file of its own afterwards: no link may lead it elsewhere."""
    needs: tuple[str, ...] = ()
    """Guarantees (of `backends.GUARANTEES`) without which it would harm the machine. Where the sandbox does
    not claim one, the attack is not made and counts as a failure."""
    judge: Callable[[Evidence], str] = field(default=lambda evidence: "", repr=False)
    """What else is wrong with what came back; empty if nothing is."""


INPUTS: Sequence[Sequence[Any]] = ([1], [2], [3])


def is_json(value: Any) -> bool:
    """Whether a value is made of nothing but plain JSON data, by exact type."""
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
    """A judge: what a call gives is plain data, and no more of it than there were calls."""
    if len(evidence.values) > len(INPUTS):
        return f"{len(evidence.values)} values of {len(INPUTS)} calls"
    strange = [value for value in evidence.values if not is_json(value.value)]
    return f"a value that is not plain data: {strange[0]!r:.80}" if strange else ""


def no_values(evidence: Evidence) -> str:
    """A judge: nothing was computed, so no value may come back."""
    valued = [value for value in evidence.values if value.error is None]
    return f"a value, though nothing was computed: {valued[0]!r:.80}" if valued else ""


def in_time(evidence: Evidence) -> str:
    """A judge: the program was not waited for beyond its own end."""
    seconds = evidence.results[0].seconds
    return f"it took {seconds:.1f} s, though it ended at once" if seconds > evidence.limits.wall_s / 2 else ""
