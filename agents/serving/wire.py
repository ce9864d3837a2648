"""Replies as OpenAI's interface gives them: `chat.completion`, and `chat.completion.chunk` by chunk."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ludus.agents.engines.base import Tokens
from ludus.agents.formats.base import ChatFormat
from ludus.agents.serving.model import Heard, Reply
from ludus.agents.serving.reading import Words


@dataclass(frozen=True)
class Wire:
    """What all that is sent for one request has in common."""

    model: str
    format: ChatFormat
    prompt_ids: tuple[int, ...]
    logprobs: bool
    token_ids: bool
    usage_in_chunks: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def completion(self, replies: Sequence[tuple[Reply, Sequence[Tokens]]]) -> dict[str, Any]:
        """The whole answer, with the sampled tokens of each reply."""
        choices = [
            {
                "index": index,
                "message": _message(reply),
                "logprobs": self._logprobs(tokens),
                "finish_reason": reply.finish,
                **({"token_ids": list(reply.ids)} if self.token_ids else {}),
            }
            for index, (reply, tokens) in enumerate(replies)
        ]
        ids = {"prompt_token_ids": list(self.prompt_ids)} if self.token_ids else {}
        usage = self._usage([reply for reply, _ in replies])
        return {**self._head("chat.completion"), "choices": choices, "usage": usage, **ids}

    def begun(self, index: int) -> dict[str, Any]:
        """The chunk with which a reply begins."""
        return self._chunk(index, {"role": "assistant", "content": ""}, ())

    def heard(self, index: int, heard: Heard) -> dict[str, Any] | None:
        """A chunk with what is new; None if nothing is."""
        delta = _words(heard.words)
        return self._chunk(index, delta, heard.tokens) if delta or (self.logprobs and heard.tokens) else None

    def ended(self, index: int, reply: Reply) -> dict[str, Any]:
        """The chunk with which a reply ends: its calls, and why it ended."""
        calls = [{"index": place, **call} for place, call in enumerate(reply.calls)]
        chunk = self._chunk(index, {"tool_calls": calls} if calls else {}, (), reply.finish)
        if self.token_ids:
            chunk["choices"][0]["token_ids"] = list(reply.ids)
        return chunk

    def usage(self, replies: Sequence[Reply]) -> dict[str, Any]:
        """The chunk after all others, where the client asks for it."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": self._usage(replies)}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _chunk(
        self, index: int, delta: dict[str, Any], tokens: Sequence[Tokens], finish: str | None = None
    ) -> dict[str, Any]:
        logprobs = self._logprobs(tokens) if tokens else None
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        usage = {"usage": None} if self.usage_in_chunks else {}
        return {**self._head("chat.completion.chunk"), "choices": [choice], **usage}

    def _usage(self, replies: Sequence[Reply]) -> dict[str, Any]:
        prompt, sampled = len(self.prompt_ids), sum(len(reply.ids) for reply in replies)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": sampled,
            "total_tokens": prompt + sampled,
            "prompt_tokens_details": {"cached_tokens": replies[0].cached_tokens},
        }

    def _logprobs(self, tokens: Sequence[Tokens]) -> dict[str, Any] | None:
        if not self.logprobs:
            return None
        content = [
            {
                **self._token(token.ids[0], token.logprobs[0]),
                "top_logprobs": [self._token(*likely) for place in token.likeliest for likely in place],
            }
            for token in tokens
        ]
        return {"content": content, "refusal": None}

    def _token(self, id: int, logprob: float) -> dict[str, Any]:
        (piece,) = self.format.pieces([id])
        (text,) = self.format.decode([id])
        return {"token": text, "logprob": logprob, "bytes": list(piece)}


def _message(reply: Reply) -> dict[str, Any]:
    words = reply.words
    return {
        "role": "assistant",
        "content": None if reply.calls and not words.content else words.content,
        "refusal": None,
        **({"reasoning_content": words.reasoning} if words.reasoning else {}),
        **({"tool_calls": list(reply.calls)} if reply.calls else {}),
    }


def _words(words: Words) -> dict[str, Any]:
    said = {"reasoning_content": words.reasoning, "content": words.content}
    return {name: text for name, text in said.items() if text}
