"""The engine protocol: token ids in, sampled token ids out, one session per episode."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ludus.agents.kept import KeptSets
from ludus.tools.errors import UserError


class EngineFault(RuntimeError):
    """Something on the engine's side broke: a server that died, a device that was lost.

    A rollout marks the episode as a fault and leaves it out of training. A mistake of the caller, or a bug in
    an in-process engine, is an ordinary exception.
    """


class ServerRefusal(RuntimeError):
    """The server will not answer this conversation: a content filter, or moderation. The message says why.

    A rollout ends the episode as a refusal, which is neither scored nor played again.
    """


class EngineError(UserError):
    """An engine does not support this: such a model, this way of sampling, new weights."""


def refuse_pictures(pictures: Sequence[str], who: str) -> None:
    """For engines that take none.

    Raises:
        EngineError: there are some.
    """
    if pictures:
        raise EngineError(f'{who} takes no pictures: set engine.kind = "embedded"')


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. An engine returns log-probabilities under exactly this distribution."""

    max_tokens: int = 64
    stop_ids: tuple[int, ...] = ()
    temperature: float = 1.0
    """0 means greedy; log-probabilities are then those at temperature 1."""
    top_p: float = 1.0
    top_k: int = 0
    """0 means no limit."""
    min_p: float = 0.0
    likeliest: int = 0
    """Of how many of the likeliest ids log-probabilities are told beside each sampled id; see `Tokens`."""

    @property
    def is_truncated(self) -> bool:
        """Whether tokens are drawn from a part of the vocabulary, where they are drawn at all."""
        return self.top_p < 1 or self.top_k > 0 or self.min_p > 0

    def room(self, prompt_tokens: int, max_context: int) -> int:
        """How many tokens may be sampled after a prompt; 0 or less where the context is full. Nothing cuts a
        prompt: its completion is empty then, and its episode ends with `limit:tokens`."""
        return min(self.max_tokens, max_context - prompt_tokens)


def refuse_likeliest(sampling: Sampling, who: str) -> None:
    """For engines that do not tell the likeliest ids.

    Raises:
        EngineError: they are asked for.
    """
    if sampling.likeliest:
        raise EngineError(
            f'{who} tells the log-probability of the sampled token alone: set engine.kind = "embedded"'
        )


Likeliest = tuple[tuple[int, float], ...]
"""Ids and their log-probabilities, the likeliest first; none that could not be drawn."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Sampled tokens, in order: a part of a completion."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    likeliest: tuple[Likeliest, ...] = ()
    """Where each id was drawn; empty unless `Sampling.likeliest` asks for them."""


Told = Callable[[Tokens], object]
"""Is called in the event loop with what was sampled since its last call; it must not raise."""


@dataclass(frozen=True, slots=True)
class Completion:
    ids: tuple[int, ...]
    """Sampled ids, including the stop id if it was sampled."""
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length"]
    weights_version: int
    kept: KeptSets | None = None
    """The ids that each was drawn among; None where that was all of them, or the engine does not tell."""
    cached_tokens: int = 0
    """Those of the context whose keys and values were found in a cache; 0 where the engine does not count."""
    likeliest: tuple[Likeliest, ...] = ()
    """As in `Tokens`."""

    @property
    def tokens(self) -> Tokens:
        return Tokens(self.ids, self.logprobs, self.likeliest)


class Session(Protocol):
    """One episode's place in the engine, which may cache what it computed for the ids seen so far."""

    async def generate(
        self,
        ids: Sequence[int],
        sampling: Sampling,
        seed: int,
        pictures: Sequence[str] = (),
        told: Told | None = None,
    ) -> Completion:
        """Continue `ids`, the whole context, among which are these pictures (data URLs). A caching engine
        computes only what differs from the last call's context. A context without room gives an empty
        completion with finish "length".

        The tokens depend only on (weights, ids, sampling, seed), whatever else is in the batch.

        Args:
            told: hears of all tokens before the completion is returned: of each as soon as it is sampled,
                where the engine computes here token by token.

        Raises:
            EngineFault: what computes the tokens broke.
            RuntimeError: the session is closed or busy with another call, or the engine is asleep or closed.
            UserError: this engine cannot sample like this, or takes no pictures.
        """
        ...

    def rest(self) -> None:
        """Until the next `generate` others act in the episode, so the engine need not wait for this session
        before it computes for others."""
        ...

    def close(self) -> None:
        """Give the place back; a completion still being generated is dropped."""
        ...


class Engine(Protocol):
    """What turns token ids into sampled token ids, under weights that a trainer may change.

    Rollouts need `session` and `max_context`. A training step calls, in this order: `wake`, a rollout,
    `sleep`, the updates of the weights, `weights_changed`.
    """

    @property
    def max_context(self) -> int:
        """Prompt and completion together, in tokens."""
        ...

    @property
    def weights_version(self) -> int:
        """How many updates of the weights the engine has seen; recorded in every completion."""
        ...

    @property
    def cached_tokens(self) -> int:
        """Of how many tokens it has keys and values that the next call could attend to."""
        ...

    def weights_fingerprint(self) -> int | None:
        """Of the weights that it samples from, as `fingerprint` computes it; None if it cannot tell."""
        ...

    def session(self) -> Session:
        """
        Raises:
            RuntimeError: the engine is closed.
        """
        ...

    def weights_changed(self) -> None:
        """Sample from the trainer's weights as they are now: whatever was computed under the old ones is
        forgotten, and `weights_version` grows by one.

        Raises:
            RuntimeError: completions are being generated.
            EngineError: the engine's weights do not belong to the trainer.
            EngineFault: the weights could not be transferred to the engine.
        """
        ...

    def sleep(self) -> None:
        """Give back the memory that only sampling needs, such as KV caches, until `wake`. Sessions stay open.
        An engine without such memory does nothing, as does one that is asleep.

        Raises:
            RuntimeError: completions are being generated.
        """
        ...

    def wake(self) -> None:
        """Be ready to sample again; does nothing where the engine is awake.

        Raises:
            EngineFault: the memory cannot be allocated again.
        """
        ...

    def close(self) -> None:
        """Release everything for good: threads, connections, memory. Completions still being generated are
        dropped. Closing twice is fine."""
        ...
