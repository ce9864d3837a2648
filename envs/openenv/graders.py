"""Graders for OpenEnv's validation, of what its own leave out: seeds, determinism, and episodes apart.

OpenEnv finds them by the entry points of `openenv.validation.graders`. Each plays the episode that the
validation has recorded again, on the same server; they hold for any environment that is served so.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from openenv.validation import (
    CheckResult,
    CheckStatus,
    Level,
    NormalizedManifest,
    ProviderCapability,
    Subject,
)
from websockets.sync.client import ClientConnection, connect

TIMEOUT_S = 60.0
OTHER_SEEDS = 8
"""Seeds of which at least one must begin another episode."""


@dataclass(frozen=True)
class Recorded:
    """The episode that the validation has played: a reset, and steps."""

    url: str
    requests: list[dict[str, Any]]
    answers: list[dict[str, Any]]

    @contextmanager
    def session(self) -> Iterator[ClientConnection]:
        url = f"{self.url.rstrip('/').replace('http', 'ws', 1)}/ws"
        with connect(url, proxy=None, max_size=None, compression=None) as session:
            yield session

    def with_seed(self, seed: int) -> dict[str, Any]:
        """The reset, with another seed."""
        return {"type": "reset", "data": {**self.requests[0]["data"], "seed": seed}}

    @property
    def seed(self) -> int:
        return int(self.requests[0]["data"]["seed"])


def ask(session: ClientConnection, request: dict[str, Any]) -> dict[str, Any]:
    """The answer, of whatever type it is."""
    session.send(json.dumps(request))
    answer: dict[str, Any] = json.loads(session.recv(timeout=TIMEOUT_S))
    return answer


class _Grader:
    check_id: str
    remediation: str
    level = Level.RUNTIME
    requires_capabilities: frozenset[str] = frozenset()
    requires_provider: frozenset[ProviderCapability] = frozenset()
    depends_on: tuple[str, ...] = ("runtime.startup",)

    def applies_to(self, manifest: NormalizedManifest) -> bool:
        return True

    def run(self, subject: Subject) -> CheckResult:
        began = time.monotonic()
        assert subject.running is not None, "graders of this level get a running subject"
        assert subject.runtime_evidence is not None, "and what was recorded of it"
        rows = [row for row in subject.runtime_evidence.exchanges if row.operation != "state"]
        recorded = Recorded(
            subject.running.base_url,
            [json.loads(row.request_json) for row in rows],
            [json.loads(row.response_json) for row in rows],
        )
        problems = list(self.problems(recorded))
        return CheckResult(
            check_id=self.check_id,
            status=CheckStatus.FAIL if problems else CheckStatus.PASS,
            measured={"requests": len(rows)},
            evidence=problems or ["the recorded episode came out the same"],
            remediation=self.remediation if problems else None,
            duration_s=time.monotonic() - began,
        )

    def problems(self, recorded: Recorded) -> Iterator[str]:
        raise NotImplementedError


class SeedControl(_Grader):
    """A seed begins the same episode in any session; not every seed does."""

    check_id = "runtime.seed_control"
    remediation = "Draw everything that begins an episode from a generator of the session, seeded by reset."

    def problems(self, recorded: Recorded) -> Iterator[str]:
        with recorded.session() as session:
            others = [
                ask(session, recorded.with_seed(recorded.seed + 1 + number)) for number in range(OTHER_SEEDS)
            ]
            again = ask(session, recorded.requests[0])
        if again != recorded.answers[0]:
            yield f"seed {recorded.seed} begins another episode in another session, after other seeds"
        if all(other == recorded.answers[0] for other in others):
            yield f"{OTHER_SEEDS} other seeds begin the episode of seed {recorded.seed}"


class EpisodeDeterminism(_Grader):
    """The same seed and actions lead to the same."""

    check_id = "runtime.episode_determinism"
    remediation = (
        "Let observations and rewards follow from the seed and the actions: no clock, no global generator."
    )

    def problems(self, recorded: Recorded) -> Iterator[str]:
        with recorded.session() as session:
            for turn, request in enumerate(recorded.requests):
                if ask(session, request) != recorded.answers[turn]:
                    yield f"turn {turn} was answered otherwise when it was played again"
                    return


class EpisodeIsolation(_Grader):
    """Sessions that take turns do not notice each other, nor does an episode the one that was left before."""

    check_id = "runtime.episode_isolation"
    remediation = "Keep the state of an episode in the session's own environment, and begin anew in reset."

    def problems(self, recorded: Recorded) -> Iterator[str]:
        with recorded.session() as session, recorded.session() as other:
            for turn, request in enumerate(recorded.requests):
                answer = ask(session, request)
                ask(other, request if turn else recorded.with_seed(recorded.seed + 1))
                if answer != recorded.answers[turn]:
                    yield f"turn {turn} was answered otherwise while another session played"
                    return
            ask(other, recorded.with_seed(recorded.seed + 1))
            for request in recorded.requests[1:2]:
                ask(other, request)
            if ask(other, recorded.requests[0]) != recorded.answers[0]:
                yield "an episode begins otherwise where another one was left"
