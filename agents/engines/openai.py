"""`OpenAIEngine`: tokens in, tokens out, from a server that gives token ids (vLLM does)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ludus.agents.engines.answers import BadAnswer, read_ids, read_logprobs
from ludus.agents.engines.base import (
    Completion,
    EngineError,
    EngineFault,
    Sampling,
    Told,
    refuse_likeliest,
    refuse_pictures,
)
from ludus.agents.engines.server import ContextTooLong, MalformedOutput, OpenAIServer


@dataclass(frozen=True)
class OpenAIEngine:
    """The engine of a server that takes and gives token ids, at `/v1/completions`.

    Nothing is left to the server's defaults: only `Sampling` decides, and only its stop ids end a completion.
    Samples follow from the seed as far as the server guarantees it; vLLM's results depend in their last
    digits on what else is in the batch.

    The weights are the server's own. A server that takes the trainer's weights would need another engine,
    whose `weights_changed` transfers them.

    Raises:
        EngineError: neither the server nor the caller gives `max_context`.
    """

    server: OpenAIServer
    processed_logprobs: bool = False
    """The server's log-probabilities are those of the distribution that was sampled from (vLLM started with
    `--logprobs-mode processed_logprobs`). If they are the model's own, as by default, temperatures other than
    0 and 1 and any truncation of the distribution are refused."""

    def __post_init__(self) -> None:
        if self.server.max_context is None:
            raise EngineError(
                f"{self.server.name} does not say how long its contexts may be: set engine.max_context"
            )

    @property
    def max_context(self) -> int:
        assert self.server.max_context is not None
        return self.server.max_context

    @property
    def weights_version(self) -> int:
        """Always 0: a server's weights do not change."""
        return 0

    @property
    def cached_tokens(self) -> int:
        """Always 0: what a server caches is of weights that do not change."""
        return 0

    def weights_fingerprint(self) -> None:
        """A server does not tell."""

    def session(self) -> "OpenAISession":
        return OpenAISession(self)

    def weights_changed(self) -> None:
        """
        Raises:
            EngineError: always.
        """
        raise EngineError(
            f"{self.server.name} has its own weights and would keep using the old ones: train with "
            'engine.kind = "embedded"'
        )

    def sleep(self) -> None:
        """Does nothing: the memory belongs to another process."""

    def wake(self) -> None:
        """Does nothing: see `sleep`."""

    def close(self) -> None:
        """Does nothing: connections end with their event loop."""


@dataclass(frozen=True)
class OpenAISession:
    """A server caches by token ids, so a session holds nothing."""

    engine: OpenAIEngine

    async def generate(
        self,
        ids: Sequence[int],
        sampling: Sampling,
        seed: int,
        pictures: Sequence[str] = (),
        told: Told | None = None,
    ) -> Completion:
        """Continue `ids`. A context without room gives an empty completion with finish "length".

        Raises:
            EngineFault: the server did not answer in several attempts.
            ServerRefusal: it will not answer this prompt.
            EngineError: it gives no ids, or its log-probabilities are not those of `sampling`, or there are
                pictures, or it is to tell the likeliest ids.
            UserError: it refuses to answer.
        """
        engine = self.engine
        refuse_pictures(pictures, f"{engine.server.name}, given token ids,")
        refuse_likeliest(sampling, engine.server.name)
        plain = not sampling.is_truncated and sampling.temperature in (0, 1)
        if not (engine.processed_logprobs or plain):
            raise EngineError(
                f"{engine.server.name} may give log-probabilities of another distribution than {sampling} "
                "draws from: start vLLM with --logprobs-mode processed_logprobs and say "
                "processed_logprobs=True, or sample at temperature 1"
            )
        room = sampling.room(len(ids), engine.max_context)
        empty = Completion((), (), "length", 0)
        if room <= 0:
            return empty
        try:
            completion = await engine.server.post(
                "completions",
                _request(ids, sampling, room, seed),
                lambda answer: _completion(answer, ids, sampling, engine.server.name),
                seed,
            )
        except ContextTooLong:
            return empty
        except MalformedOutput as failure:  # it was asked for ids alone
            raise EngineFault(str(failure)) from failure
        if told is not None:
            told(completion.tokens)
        return completion

    def rest(self) -> None:
        pass

    def close(self) -> None:
        pass


def _request(ids: Sequence[int], sampling: Sampling, room: int, seed: int) -> dict[str, Any]:
    return {
        "prompt": list(ids),
        "max_tokens": room,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "seed": seed,
        "stop_token_ids": list(sampling.stop_ids),
        "ignore_eos": True,
        # A model's folder may hold other defaults, which the server would use.
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "logprobs": 0,
        "return_token_ids": True,
    }


def _completion(answer: Any, prompt: Sequence[int], sampling: Sampling, server: str) -> Completion:
    """
    Raises:
        BadAnswer: it is not a completion of `prompt`.
        EngineError: the server gives no token ids.
    """
    try:
        choice = answer["choices"][0]
        finish = choice["finish_reason"]
    except (LookupError, TypeError):
        raise BadAnswer("an answer without a choice") from None
    ids, read = choice.get("token_ids"), choice.get("prompt_token_ids")
    if ids is None or read is None:
        raise EngineError(f"{server} gives no token ids: use vLLM, or the chat mode, which needs none")
    given = choice.get("logprobs")
    ids, read = read_ids(ids), read_ids(read)
    logprobs = read_logprobs(given.get("token_logprobs") if isinstance(given, dict) else None)
    if read != tuple(prompt):
        raise BadAnswer("an answer to another prompt")
    if not ids or len(ids) != len(logprobs) or finish not in ("stop", "length"):
        raise BadAnswer(f"{len(ids)} ids, {len(logprobs)} log-probabilities, finish {finish!r}")
    return Completion(ids, logprobs, "stop" if ids[-1] in sampling.stop_ids else "length", 0)
