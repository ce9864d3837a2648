"""The player of a benchmark: the policy that `--model`, `--agent` and the sampling options name."""

import datetime
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from ludus.agents.choose import SCRIPTED, URLS, choose_policy
from ludus.agents.engines.options import SERVED_MAX_TOKENS, ServerListener, ServerOptions
from ludus.agents.policy import Policy

if TYPE_CHECKING:
    from ludus.agents.engines.config import EngineSection

FEW = 32
"""A scripted agent plays this many episodes in the time that it takes to start other processes."""
_FULL_PROCESS = 64
"""Requests in flight that keep one process's HTTP client busy: with more, a second process helps."""


@dataclass(frozen=True, slots=True)
class PlayerChoice:
    model: str
    """`scripted:NAME`, the URL of an OpenAI-compatible server, or a model's folder or name on the hub."""
    agent: str = "direct"
    temperature: float = 0.0
    max_tokens: int = SERVED_MAX_TOKENS
    seed: int = 0
    system: str = ""
    """A text at the beginning of the system message."""
    written_calls: str = ""
    """How calls in the text of a served model's replies are read: see `ChatPolicy`."""
    engine: "EngineSection | None" = None
    """What computes a local model's replies; None: this process."""
    day: datetime.date | None = None
    """What a local model's chat template tells it, if it tells the date: the day on which the run began."""
    server: ServerOptions = field(default_factory=ServerOptions)
    """How a served model is asked; `concurrency` is the run's, divided among its processes."""

    @property
    def is_scripted(self) -> bool:
        return self.model.startswith(SCRIPTED)

    @property
    def is_served(self) -> bool:
        return self.model.startswith(URLS)

    @property
    def shown(self) -> str:
        """The model in a form that is safe to record: a URL without user and password."""
        if not self.is_served:
            return self.model
        parts = urlsplit(self.model)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def recorded(self) -> dict[str, Any]:
        """What a record of the run has of the options that are not fields of its own; without secrets."""
        text = {"system": self.system, "written_calls": self.written_calls}
        return {name: value for name, value in text.items() if value} | self.server.recorded()

    def resolved(self) -> "PlayerChoice":
        """The same with the server's name for its model, so that a run cannot continue with another model.

        Raises:
            UserError: nobody answers at the URL, access is refused, or there is no such model.
        """
        if not self.is_served:
            return self
        from ludus.agents.engines.server import OpenAIServer

        return replace(self, model=OpenAIServer.connect(self.model, options=self.server).name)

    def processes(self, episodes: int, concurrency: int) -> int:
        """How many processes play; 0: only this one. A scripted agent keeps a core busy; a server's client
        does so only with many requests in flight; a model in this process has no use for another process."""
        cores = len(os.sched_getaffinity(0))
        if self.is_scripted:
            wanted = min(cores, concurrency) if episodes > FEW else 0
        else:
            wanted = -(-min(concurrency, episodes) // _FULL_PROCESS) if self.is_served else 0
        return min(cores, wanted) if wanted > 1 else 0

    def policy(self, concurrency: int, listener: ServerListener | None = None) -> Policy:
        """
        Args:
            listener: is told what a server's client has to tell.

        Raises:
            UserError: there is no such model, or its server refuses us.
        """
        return choose_policy(
            self.model,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            seed=self.seed,
            concurrency=concurrency,
            agent=self.agent,
            system=self.system,
            engine=self.engine,
            server=self.server,
            written_calls=self.written_calls,
            listener=listener,
            day=self.day,
        )
