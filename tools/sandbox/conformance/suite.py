"""`check`: makes every attack in turn, and inspects the host after each."""

import os
import secrets as random_bytes
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ludus.tools.errors import UserError
from ludus.tools.sandbox.conformance import (
    disk,
    memory,
    output,
    processes,
    results,
    secrets,
    syscalls,
)
from ludus.tools.sandbox.conformance import time as time_attacks
from ludus.tools.sandbox.conformance.attack import ESCAPED, INPUTS, Attack, Evidence
from ludus.tools.sandbox.conformance.host import Host, children, left_behind, owned
from ludus.tools.sandbox.conformance.report import Outcome, Report
from ludus.tools.sandbox.limits import Limits
from ludus.tools.sandbox.result import Result, SandboxFault, Value, Verdict
from ludus.tools.sandbox.sandbox import Sandbox

LIMITS = Limits(wall_s=3, cpu_s=3, memory_mb=64, processes=16, output_kb=16, disk_mb=8)
"""What an attack may use. Open your own sandbox with these."""
ATTACKS: Mapping[str, tuple[Attack, ...]] = {
    "time": time_attacks.ATTACKS,
    "processes": processes.ATTACKS,
    "memory": memory.ATTACKS,
    "disk": disk.ATTACKS,
    "output": output.ATTACKS,
    "system calls": syscalls.ATTACKS,
    "results": results.ATTACKS,
    "secrets": secrets.ATTACKS,
}
"""The attacks, by topic."""

_LATE_S = 3.0
"""How long after its time limit a program may come back."""
_HANGS_S = 30.0
"""After how long an attack counts as having hung the sandbox."""


def check(
    backend: str | Callable[[], Sandbox],
    /,
    *,
    only: Collection[str] = (),
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> Report:
    """Attack a sandbox, and inspect this machine after each attack.

    Args:
        backend: the name of a backend, or a function that opens a sandbox with `LIMITS`.
        only: names of topics and attacks to try; by default, all.
        on_outcome: called with each outcome as it arrives.

    Returns:
        A `Report`. An attack that could harm this machine is made only if the sandbox claims (in `isolation`)
        to hold it; otherwise it counts as failed.

    Raises:
        UserError: there is no such topic or attack, the sandbox cannot be opened, or this is not Linux.
    """
    if not sys.platform.startswith("linux"):
        raise UserError("the conformance suite inspects processes and mounts in /proc: run it on Linux")
    known = {*ATTACKS, *(attack.name for attacks in ATTACKS.values() for attack in attacks)}
    if unknown := [name for name in only if name not in known]:
        raise UserError(f"there is no attack or topic {unknown[0]!r}; the topics are {', '.join(ATTACKS)}")
    name = backend if isinstance(backend, str) else getattr(backend, "__name__", "custom")
    outcomes: list[Outcome] = []
    with Host() as host:
        subject = _Subject(backend, host)
        for topic, attacks in ATTACKS.items():
            for attack in attacks:
                if not only or topic in only or attack.name in only:
                    outcomes.append(subject.attacked(topic, attack))
                    on_outcome(outcomes[-1])
        outcomes.append(subject.closed())
        on_outcome(outcomes[-1])
    return Report(name, tuple(outcomes))


class _Subject:
    """The sandbox under attack; if an attack ends it, another takes its place."""

    def __init__(self, backend: str | Callable[[], Sandbox], host: Host) -> None:
        self.host = host
        self.open: Callable[[], Sandbox] = (
            (lambda: Sandbox.open(backend, LIMITS)) if isinstance(backend, str) else backend
        )
        self.known = owned()
        self._warm_up()
        self.first_children, self.first = children(), host.facts()
        self.box = self.open()

    def _warm_up(self) -> None:
        """Open sandboxes until that leaves no new descriptors open: those that a process keeps for all of
        them (connections to an engine) are no leak. A leak with every sandbox is found later."""
        for _ in range(6):
            held = self.host.facts().descriptors
            with self.open(), self.open():
                pass
            if self.host.facts().descriptors <= held:
                return

    def attacked(self, topic: str, attack: Attack) -> Outcome:
        expected = " or ".join(attack.expected)
        isolation = getattr(self.box, "isolation", {})
        if unheld := [guarantee for guarantee in attack.needs if guarantee not in isolation]:
            detail = f"not made, since it would harm this machine: the sandbox does not hold {unheld[0]}"
            return Outcome(topic, attack.name, False, expected, "", detail)
        if not self.box.alive:
            self.box = self.open()
        mark = f"lc{random_bytes.token_hex(6)}"
        before = self.host.facts()
        evidence, wrong = self._made(attack, mark)
        wrong += self.host.inspect(before, mark)
        if evidence is not None:
            wrong += _judged(attack, evidence, self.host.secret)
        got = evidence.results[0].verdict.value if evidence is not None else ""
        return Outcome(topic, attack.name, not wrong, expected, got, "; ".join(wrong))

    def closed(self) -> Outcome:
        """What is left when the sandbox is closed."""
        self.box.close()
        wrong = self.host.inspect(self.first, "no attack")
        if (count := children()) > self.first_children:
            wrong.append(f"{count - self.first_children} processes more than before")
        wrong += [f"left behind: {path}" for path in left_behind(self.known)]
        return Outcome("the end", "nothing is left", not wrong, "", "", "; ".join(wrong))

    def _made(self, attack: Attack, mark: str) -> tuple[Evidence | None, list[str]]:
        """The evidence of an attack, and what went wrong on the way."""
        evidence: list[Evidence] = []
        wrong: list[str] = []

        def make() -> None:
            try:
                evidence.append(self._evidence(attack, mark))
                wrong.extend(self._afterwards())
            except SandboxFault as fault:
                wrong.append(f"the sandbox broke: {fault}")
            except Exception as error:
                wrong.append(f"it raised {type(error).__name__}: {error}")

        maker = threading.Thread(target=make, daemon=True)
        maker.start()
        maker.join(_HANGS_S)
        if maker.is_alive():
            wrong.append(f"the sandbox did not come back within {_HANGS_S:.0f} s")
            self.box.close()
            maker.join(_HANGS_S)
        return (evidence[0] if evidence else None), wrong

    def _evidence(self, attack: Attack, mark: str) -> Evidence:
        box = self.box
        # An earlier user; no trace of its secret may be left.
        box.write("note", self.host.secret)
        box.run(f"secret = {self.host.secret!r}\nprint(input())", self.host.secret, limits=LIMITS)
        box.reset()
        told = self.host.told(mark)
        limits = replace(LIMITS, wall_s=attack.seconds, cpu_s=attack.seconds)
        program = _program(attack.code, told)
        values: list[Value] = []
        neighbour: list[Result] = []
        begun = time.monotonic()
        if attack.how == "call":
            called = box.call(program, "attack", INPUTS, limits)
            values, found = called.values, [called.result]
        elif attack.how == "session":
            with box.session() as session:
                found = [session.run(program, attack.files_out, limits)]
                found += [session.run(cell, limits=LIMITS) for cell in attack.then]
        elif attack.how == "pair":
            secret = self.host.secret.removeprefix("LUDUS-SECRET-")
            beside = _program(attack.neighbour, {**told, "neighbour": secret})
            with self.open() as other:
                thread = threading.Thread(
                    target=lambda: neighbour.append(other.run(beside, limits=LIMITS)), daemon=True
                )
                thread.start()
                found = [box.run(program, limits=limits)]
                thread.join()
        else:
            found = [box.run(program, attack.stdin, attack.files_out, limits)]
        took = time.monotonic() - begun
        if attack.how in ("run", "call"):
            found += [box.run(later, limits=LIMITS) for later in attack.then]
        for name in attack.overwrite:
            with suppress(UserError):
                box.write(name, "the host's own")
        return Evidence(tuple(found), tuple(values), limits, os.uname().nodename, took, tuple(neighbour))

    def _afterwards(self) -> list[str]:
        """What goes wrong with harmless programs in the attacked sandbox, before and after a reset."""
        wrong = []
        for program, said, right in (
            # The attack may have left a full disk.
            ("print('harmless')", "harmless\n", (Verdict.OK, Verdict.DISK_LIMIT)),
            ("import os; print(os.listdir())", "[]\n", (Verdict.OK,)),
        ):
            result = self.box.run(program, limits=LIMITS)
            if result.verdict not in right or result.stdout != said:
                wrong.append(f"a harmless program after it: {result.verdict}, {result.stdout!r:.60}")
            self.box.reset()
        return wrong[:1]


def _program(code: str, told: Mapping[str, Any]) -> str:
    """A program that knows its host and whose processes carry the mark as their name (PR_SET_NAME)."""
    name = f"__import__('ctypes').CDLL(None).prctl(15, {told['mark'].encode()!r}, 0, 0, 0)"
    return f"host = {dict(told)!r}\n{name}\n{code}"


def _judged(attack: Attack, evidence: Evidence, secret: str) -> list[str]:
    """What is wrong with what came back."""
    wrong = []
    first, *later = evidence.results
    if first.verdict not in attack.expected:
        said = first.stderr.strip().splitlines()[-1:]
        wrong.append(f"{first.verdict}{''.join(f' ({line:.100})' for line in said)}")
    wrong += [f"what came after it: {result.verdict}" for result in later if result.verdict is not Verdict.OK]
    for result in evidence.results:
        wrong += [
            line.removeprefix(f"{ESCAPED}: ")
            for line in result.stdout.splitlines()
            if line.startswith(ESCAPED)
        ]
        if max(len(result.stdout), len(result.stderr)) > evidence.limits.output_kb * 1024:
            wrong.append("more output came back than the limit allows")
        wrong += [f"the file {name!r} came back" for name in result.files if name not in attack.kept]
    wrong += [f"the file {name!r} did not come back" for name in attack.kept if name not in first.files]
    for neighbour in evidence.neighbours:
        if neighbour.verdict is not Verdict.OK or neighbour.stdout != "undisturbed\n":
            wrong.append(f"its neighbour was disturbed: {neighbour.verdict}")
    came_back = repr([(result.stdout, result.stderr, result.files) for result in evidence.results]) + repr(
        evidence.values
    )
    if secret in came_back:
        wrong.append("it found a secret of the host")
    if evidence.seconds > evidence.limits.wall_s + _LATE_S:
        wrong.append(f"it was back after {evidence.seconds:.1f} s; its time is {evidence.limits.wall_s} s")
    if judgement := attack.judge(evidence):
        wrong.append(judgement)
    return wrong
