"""`Trust`: every reading of a step against its limit; the first that is beyond it stops the run, or warns."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ludus.tools.checksums import is_damaged, sealed
from ludus.trainers.checks.registry import CHECKS, Check
from ludus.trainers.config.trust import TrustSection
from ludus.trainers.disk import write_file
from ludus.trainers.errors import ConfigError, RunError, TrainingDiverged

FILE = "trust.json"


@dataclass(frozen=True)
class Reading:
    """What a check measured in a step."""

    value: float
    detail: str = ""
    """Where, or what, for a person; told by an alarm."""


Readings = Mapping[str, Reading]
"""By the names of checks; those that do not apply are missing."""


def alarm(check: Check, reading: Reading, config: TrustSection, when: str) -> str:
    """One line if the reading is beyond its limit: which, the likely cause and the fix. Otherwise empty."""
    limit = getattr(config, check.name)
    if check.holds_at(reading.value, limit):
        return ""
    unit = f" {check.unit}" if check.unit else ""
    side = "above" if check.bound == "most" else "below"
    where = f" ({reading.detail})" if reading.detail else ""
    return (
        f"{when}: {check.name} = {reading.value:.3g}{unit} is {side} trust.{check.name} = {limit:g}{where}: "
        f"{check.alarm}"
    )


@dataclass
class Standing:
    """How a check has stood so far."""

    steps: int = 0
    """In how many it was measured."""
    last_step: int = 0
    worst: float | None = None
    worst_step: int = 0
    detail: str = ""
    alarms: int = 0
    message: str = ""
    """Of the last alarm."""

    def take(self, check: Check, reading: Reading, step: int, message: str) -> None:
        self.steps += step > self.last_step
        self.last_step = step
        if self.worst is None or check.is_worse(reading.value, self.worst):
            self.worst, self.worst_step, self.detail = float(reading.value), step, reading.detail
        if message:
            self.alarms, self.message = self.alarms + 1, message


class Trust:
    """The standings of a run's checks, kept in its `trust.json`.

    Args:
        run: The run's folder.
        history: The metrics of the steps before, from which the standings of a resumed run follow.
        warn: Told of an alarm that does not stop the run.
        tokenizer: The key of the policy's tokenizer.
        vocabulary: How many ids the policy knows.

    Raises:
        ConfigError: if a limit can never hold.
        RunError: if the file of a resumed run is damaged.
    """

    def __init__(
        self,
        run: Path,
        config: TrustSection,
        history: Sequence[Mapping[str, float | str]],
        warn: Callable[[str], None],
        tokenizer: str,
        vocabulary: int,
    ) -> None:
        if config.entropy > math.log(vocabulary):
            raise ConfigError(
                f"trust.entropy = {config.entropy:g} nats can never hold: with a vocabulary of "
                f"{vocabulary:,} ids the largest entropy is {math.log(vocabulary):.3g}; lower it"
            )
        self._path, self._config, self._warn = run / FILE, config, warn
        before = _read(self._path)
        self.tokenizer = str(before.get("tokenizer", tokenizer))
        """The key of the one that the run began with."""
        self._standings = {name: Standing() for name in CHECKS}
        self._step, self._alarm, self._pending, self.warned = 0, "", "", False
        self._taken: dict[str, float] = {}
        for line in history:
            self.begin(int(line["step"]) - 1)
            self._restore({n: float(line[c.metric]) for n, c in CHECKS.items() if c.metric in line})
        for record in before.get("checks", []):
            standing = self._standings[record["name"]]
            if (standing.worst, standing.worst_step) == (record["worst"], record["worst_step"]):
                standing.detail = record["detail"]

    def begin(self, step: int) -> None:
        """Turn to a step, counted from 0."""
        self._step, self._taken, self._pending, self.warned = step + 1, {}, "", False
        self.before_stop: Callable[[], object] = lambda: None
        """Called before `check` stops the run; to be set in each step until that is recorded."""

    def check(self, readings: Readings) -> None:
        """Hold readings of this step to their limits.

        Raises:
            TrainingDiverged: as `ring`.
        """
        self.take(readings)
        self.ring(self.before_stop)

    def take(self, readings: Readings) -> None:
        """The same, but an alarm that stops the run waits for `ring`."""
        for name, reading in readings.items():
            check = CHECKS[name]
            if not check.given_as and (
                check.metric not in self._taken or check.is_worse(reading.value, self._taken[check.metric])
            ):
                self._taken[check.metric] = float(reading.value)
            message = alarm(check, reading, self._config, f"GRPO step {self._step}")
            self._standings[name].take(check, reading, self._step, message)
            if message and name in self._config.warn:
                self.warned = True
                self._warn(message)
            elif message and not self._pending:
                self._alarm, self._pending = name, message

    def ring(self, before_stop: Callable[[], object] = lambda: None) -> None:
        """
        Args:
            before_stop: Called before it raises.

        Raises:
            TrainingDiverged: for the first reading of this step that was beyond its limit, unless it only
                warns.
        """
        if self._pending:
            self.write()
            before_stop()
            raise TrainingDiverged(self._pending)

    @property
    def is_ringing(self) -> bool:
        """Whether an alarm that stops the run waits for `ring`."""
        return bool(self._pending)

    @property
    def taken(self) -> Mapping[str, float]:
        """The worst readings of this step so far, as metrics."""
        return self._taken

    def write(self) -> None:
        """
        Raises:
            RunError: if the disk is full.
        """
        record = {
            "tokenizer": self.tokenizer,
            "step": f"GRPO step {self._step}",
            "alarm": self._alarm,
            "checks": [self._record(check, self._standings[name]) for name, check in CHECKS.items()],
        }
        write_file(self._path, json.dumps(sealed(record), indent=1))

    def _restore(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            check, reading = CHECKS[name], Reading(value)
            message = alarm(check, reading, self._config, f"GRPO step {self._step}")
            self._standings[name].take(check, reading, self._step, message)

    def _record(self, check: Check, standing: Standing) -> dict[str, Any]:
        limit = getattr(self._config, check.name)
        return {
            "name": check.name,
            "kind": check.kind,
            "holds": check.holds,
            "unit": check.unit,
            "bound": check.bound,
            "limit": limit if abs(limit) != float("inf") else None,
            "warns": check.name in self._config.warn,
            "steps": standing.steps,
            "worst": _finite(standing.worst),
            "worst_step": standing.worst_step,
            "detail": standing.detail,
            "alarms": standing.alarms,
            "message": standing.message,
        }


def _read(path: Path) -> dict[str, Any]:
    """A run's `trust.json`; empty if there is none."""
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(record, dict) and not is_damaged(record):
            return record
    except ValueError:
        pass
    raise RunError(f"{path} is not what was written: it was edited or damaged; delete it, and resume")


def _finite(value: float | None) -> float | str | None:
    """JSON has no word for the others."""
    return value if value is None or abs(value) < float("inf") else str(value)
