"""A teacher behind a server that gives the log-probabilities of a prompt's tokens, as vLLM does.

Rows go out as token ids, and what comes back is checked: it must be about these ids, and the server must
spell each of them as the policy's tokenizer does.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ludus.agents.engines.answers import BadAnswer, read_ids, read_logprobs
from ludus.agents.engines.base import EngineError, EngineFault, ServerRefusal, refuse_pictures
from ludus.agents.engines.server import ContextTooLong, MalformedOutput, OpenAIServer
from ludus.agents.episode import TrainingSequence
from ludus.agents.formats.base import ChatFormat
from ludus.envs.chat import user
from ludus.trainers.errors import ConfigError, RunError
from ludus.trainers.teachers.lesson import Lesson

ASKED_TOGETHER = 256
"""Ids of the vocabulary in a request: a server computes the logits of all of them at once."""
_FAILURES = (EngineFault, ServerRefusal, ContextTooLong, MalformedOutput)


@dataclass(frozen=True)
class ServerTeacher:
    """Its numbers are the server's, whose last digits depend on what else it computes at the time."""

    server: OpenAIServer
    tokenizer: Any
    """The policy's."""
    _texts: dict[int, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def lesson(self, rows: Sequence[TrainingSequence]) -> Lesson:
        """
        Raises:
            RunError: the server did not answer.
            EngineError: it gives no log-probabilities of prompts, or there are pictures.
            ConfigError: its ids mean something else.
        """
        for row in rows:
            refuse_pictures(row.pictures, f"{self.server.name}, given token ids,")
        asked = [row.ids[: _end(row)] for row in rows]
        try:
            given = asyncio.run(self._logprobs(asked))
        except _FAILURES as failure:
            raise RunError(
                f"the teacher gave no lesson ({failure}): see to the server, and continue with --resume"
            ) from failure
        sampled = [
            logprob
            for row, logprobs in zip(rows, given, strict=True)
            for logprob, is_sampled in zip(logprobs, row.sampled[: len(logprobs)], strict=True)
            if is_sampled
        ]
        return Lesson(torch.tensor(sampled, dtype=torch.float32))

    def refuse_other_words(self, chat_format: ChatFormat) -> None:
        """Compare the server's tokenizer and chat template with the policy's, by what it answers: how it
        spells each id, and which ids it makes of a chat.

        Args:
            chat_format: The policy's, on the day of today.

        Raises:
            ConfigError: they are others, or cannot be compared.
            EngineError: it gives no log-probabilities of prompts.
        """
        ids = sorted(self.tokenizer.get_vocab().values())
        most = min(ASKED_TOGETHER, (self.server.max_context or 2 * ASKED_TOGETHER) - 2)
        parts = [ids[start : start + most] for start in range(0, len(ids), most)]
        chat = [user("What is 2 + 3?")]
        try:
            asyncio.run(self._logprobs([(ids[0], *part) for part in parts]))
            theirs = asyncio.run(self._rendered(chat))
        except _FAILURES as failure:
            raise ConfigError(
                f"distillation.teacher: {self.server.name} does not know all ids of the policy's tokenizer, "
                f"or its chat template cannot be compared ({failure}): serve a model with the policy's "
                "tokenizer and template, or name its folder"
            ) from failure
        own = tuple(chat_format.first_prompt(chat).ids)
        if own != theirs:
            raise ConfigError(
                f"distillation.teacher: {self.server.name} renders a chat as {list(theirs)[:8]}…, the policy "
                f"as {list(own)[:8]}…: its chat template is another, so it would judge prompts that it was "
                "not made for; serve a model with the policy's template"
            )

    async def _logprobs(self, asked: Sequence[Sequence[int]]) -> list[list[float]]:
        return await asyncio.gather(*(self._logprobs_of(list(ids)) for ids in asked))

    async def _logprobs_of(self, ids: list[int]) -> list[float]:
        """Of each id after those before it; of the first, which nothing predicts, 0."""
        if len(ids) < 2:
            return [0.0] * len(ids)
        request = {"prompt": ids, "max_tokens": 1, "temperature": 1.0, "prompt_logprobs": 0}
        return await self.server.post("completions", request, lambda answer: self._read(answer, ids))

    async def _rendered(self, chat: Any) -> tuple[int, ...]:
        def read(answer: Any) -> tuple[int, ...]:
            ids = read_ids(answer.get("prompt_token_ids") if isinstance(answer, dict) else None)
            if not ids:
                raise EngineError(
                    f"{self.server.name} does not say which ids it makes of a chat, so its template cannot "
                    "be compared: use vLLM"
                )
            return ids

        request = {"messages": chat, "max_tokens": 1, "return_token_ids": True}
        return await self.server.post("chat/completions", request, read)

    def _read(self, answer: Any, ids: list[int]) -> list[float]:
        """
        Raises:
            BadAnswer: it is not about these ids.
            EngineError: it has no log-probabilities of the prompt.
            ConfigError: it spells an id otherwise.
        """
        try:
            given = answer["choices"][0].get("prompt_logprobs")
        except (LookupError, TypeError, AttributeError):
            raise BadAnswer("an answer without a choice") from None
        if not isinstance(given, list):
            raise EngineError(
                f"the teacher {self.server.name} answers without the log-probabilities of its prompt: serve "
                "it with vLLM, whose /v1/completions takes prompt_logprobs, or name its folder in "
                "distillation.teacher"
            )
        if len(given) != len(ids):
            raise BadAnswer(f"log-probabilities of {len(given)} tokens of a prompt of {len(ids)}")
        logprobs: list[Any] = []
        for id, entry in zip(ids[1:], given[1:], strict=True):
            found = entry.get(str(id)) if isinstance(entry, dict) else None
            if not isinstance(found, dict):
                raise BadAnswer(f"no log-probability of id {id}, which the prompt has")
            self._refuse_spelling(id, found.get("decoded_token"))
            logprobs.append(found.get("logprob"))
        return [0.0, *read_logprobs(logprobs)]

    def _refuse_spelling(self, id: int, theirs: Any) -> None:
        """Pieces of a character cannot be told apart by their text."""
        if not isinstance(theirs, str):
            raise EngineError(
                f"the teacher {self.server.name} does not say how it spells the ids of its prompt, so its "
                "tokenizer cannot be compared: serve it with vLLM and its own tokenizer"
            )
        if id not in self._texts:
            self._texts[id] = self.tokenizer.decode([id])
        own = self._texts[id]
        # What decoding takes from the beginning of a text, vLLM gives back to some tokenizers' words.
        if str(self.tokenizer.convert_ids_to_tokens(id)).startswith("▁"):
            own, theirs = own.lstrip(" "), theirs.lstrip(" ")
        if theirs != own and "\ufffd" not in theirs + own:
            raise ConfigError(
                f"distillation.teacher: to {self.server.name} id {id} is {theirs!r}, to the policy {own!r}: "
                "its tokenizer is another; take a teacher with the policy's tokenizer"
            )


def _end(row: TrainingSequence) -> int:
    """Where a row's last sampled token ends; 0 without any."""
    return max((place + 1 for place, is_sampled in enumerate(row.sampled) if is_sampled), default=0)
