"""The engine protocol: async, on token ids, one session per episode."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


class EngineFault(RuntimeError):
    """Something on the engine's side broke: a server that died, a device that was lost.

    A rollout marks the episode as a fault and leaves it out of training. A mistake of the caller, or a bug in
    an in-process engine, is an ordinary exception.
    """


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. The log-probabilities an engine returns are under exactly this distribution."""

    max_tokens: int = 64
    stop_ids: tuple[int, ...] = ()
    temperature: float = 1.0
    """0 means greedy; log-probabilities are then those at temperature 1."""
    top_p: float = 1.0
    top_k: int = 0
    """0 means no limit."""
    min_p: float = 0.0


@dataclass(frozen=True, slots=True)
class Completion:
    ids: tuple[int, ...]
    """Sampled ids, the stop id included when it was sampled."""
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length"]
    weights_version: int


class Session(Protocol):
    """One episode's place in the engine: it holds the KV cache of the ids seen so far."""

    async def generate(self, ids: Sequence[int], sampling: Sampling, seed: int) -> Completion:
        """Continue `ids` (the whole context). Only what differs from the last call's context is computed.

        The tokens follow from (weights, ids, sampling, seed), whatever else is in the batch.
        """
        ...

    def close(self) -> None:
        """Give the place back."""
        ...


class Engine(Protocol):
    def session(self) -> Session: ...
    @property
    def max_context(self) -> int:
        """Prompt and completion together, in tokens."""
        ...
