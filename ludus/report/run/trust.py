"""What was checked at every step, from the run's `trust.json`: each check's limit, and how near to it the
run came."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from ludus.report.run.files import ReportError
from ludus.tools.checksums import is_damaged
from ludus.tools.wording import counted, number

Kind = Literal["numerics", "identity", "data"]
KINDS: Mapping[Kind, str] = {
    "numerics": "Numerics: the numbers mean what they should",
    "identity": "Identity: weights, caches and ids are the right ones",
    "data": "Data: what is trained on, and what it teaches",
}
"""In the page's order, with their headings."""


@dataclass(frozen=True)
class Check:
    """One check over the whole run."""

    name: str
    kind: Kind
    holds: str
    """What must hold, in words."""
    unit: str
    bound: Literal["most", "least"]
    limit: float | None
    """None if it is switched off."""
    warns: bool
    """Whether an alarm only warns."""
    steps: int
    """At how many steps it was measured; 0 if it does not apply to the run."""
    worst: float | None
    """The value nearest to the limit or farthest beyond it; None while `steps` is 0."""
    worst_step: int | None
    detail: str
    """Where in that step."""
    alarms: int
    message: str
    """The last alarm, with cause and fix; empty without one."""

    @property
    def applies(self) -> bool:
        return self.worst is not None and self.limit is not None

    @property
    def nearness(self) -> float:
        """How near to its limit a check that applies came: 0 far from it, 1 at it, above 1 beyond it.

        It is the ratio of the two, the way round that grows towards the limit: of value to limit for at most
        5, of limit to value for at least 5. Infinity where there is no such ratio (anything but 0 for at most
        0, a value below 0 for at least 5, not-a-number).
        """
        assert self.worst is not None
        assert self.limit is not None
        sign = 1 if self.bound == "most" else -1
        value, limit = sign * self.worst, sign * self.limit
        if math.isnan(value):
            return math.inf
        if limit > 0:
            return max(value, 0.0) / limit
        if limit < 0 and value < 0:
            return limit / value
        return 0.0 if limit == 0 and value <= 0 else math.inf

    @property
    def distance(self) -> str:
        """`nearness` for a person: `480× below`, `1.20× above`."""
        near = self.nearness
        if near == math.inf:
            return "beyond"
        if near == 0:
            return "exact" if self.worst == self.limit else "far"
        factor = max(near, 1 / near)
        times = number(factor) if factor < 1000 else f"{factor:.0e}".replace("e+0", "e").replace("e+", "e")
        return f"{times}× {'below' if (near <= 1) == (self.bound == 'most') else 'above'}"

    @property
    def found(self) -> str:
        """The worst value, as text."""
        return "–" if self.worst is None else number(self.worst, self.unit)

    @property
    def allowed(self) -> str:
        """The limit, as text."""
        if self.limit is None:
            return "off"
        return f"{'≤' if self.bound == 'most' else '≥'}\N{NO-BREAK SPACE}{number(self.limit, self.unit)}"

    @property
    def where(self) -> str:
        """When the worst value was measured, and where in that step."""
        step = "" if self.worst_step is None else f"step {self.worst_step:,}"
        return ", ".join(part for part in (step, self.detail) if part)


@dataclass(frozen=True)
class Trust:
    """The whole file."""

    step: str
    """The last step that was looked at, as `GRPO step 30`."""
    alarm: str
    """The check that stopped the run; empty if none did."""
    checks: tuple[Check, ...]

    @property
    def applied(self) -> list[Check]:
        return [check for check in self.checks if check.applies]

    @property
    def by_kind(self) -> list[tuple[Kind, list[Check]]]:
        """The checks that apply; kinds without any are left out."""
        groups = [(kind, [check for check in self.applied if check.kind == kind]) for kind in KINDS]
        return [(kind, checks) for kind, checks in groups if checks]

    @property
    def off(self) -> list[str]:
        return [check.name for check in self.checks if check.limit is None]

    @property
    def not_applied(self) -> list[str]:
        return [check.name for check in self.checks if check.limit is not None and not check.applies]

    @property
    def rung(self) -> list[Check]:
        """The checks with an alarm, what stopped the run first."""
        return sorted((c for c in self.checks if c.alarms), key=lambda c: c.name != self.alarm)


def read_trust(directory: Path) -> Trust | None:
    """A run's `trust.json`; None if there is none, as in a run that was only fine-tuned.

    Raises:
        ReportError: it is damaged.
    """
    file = directory / "trust.json"
    if not file.is_file():
        return None
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if not is_damaged(record):
            return TypeAdapter(Trust).validate_python(record)
    except (ValueError, TypeError):
        pass
    raise ReportError(
        f"{file}: not what the run wrote there; it was edited or damaged, delete it, and the report goes "
        "without the checks"
    )


def verdict_on(trust: Trust) -> str:
    """What the checks found, in one sentence."""
    if trust.alarm:
        return f"{trust.alarm} stopped the run at {trust.step}."
    if not trust.applied:
        return "No check has been measured yet."
    checks = counted(len(trust.applied), "check")
    warned, stopped = (", ".join(c.name for c in trust.rung if c.warns == warns) for warns in (True, False))
    warning = f"; a warning came from {warned}" if warned else ""
    if stopped:
        return f"{stopped} stopped the run, which was then resumed{warning}."
    if warned:
        return f"None of the {checks} that apply stopped the run{warning}."
    closest = max(trust.applied, key=lambda check: check.nearness)
    came = f"{closest.found} at {closest.where}, limit {closest.allowed}"
    return f"All {checks} that apply held at every step; the closest to its limit was {closest.name}: {came}."
