"""`Lesson`: what a teacher says of sampled tokens. `Teacher`: who says it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ludus.agents.episode import TrainingSequence


@dataclass(frozen=True)
class Likeliest:
    """At each of S positions the K ids that the teacher holds likeliest, and what it gives to them."""

    ids_SK: Tensor
    """int32, the likeliest first."""
    logprobs_SC: Tensor
    """Of these ids and, unless they are all, of all others together: C = K + 1, float32."""
    words: int
    """The vocabulary: of the first so many ids. What a model has beyond is padding, and is left out."""
    beta: float
    """Of the divergence that is learned by; see `losses.divergence`."""


@dataclass(frozen=True)
class Lesson:
    """Of S sampled tokens, in flat order (see `packing`), on the CPU."""

    logprobs_S: Tensor
    """The teacher's, in nats."""
    likeliest: Likeliest | None = None
    """None: the policy is taught by its own tokens alone."""


class Teacher(Protocol):
    """Who gives lessons."""

    def lesson(self, rows: Sequence[TrainingSequence]) -> Lesson:
        """
        Raises:
            RunError: it gives none.
        """
        ...
