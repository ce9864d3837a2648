"""`SmallFormat`: the small model's own chat format, without a template engine."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ludus.agents.formats.base import Prompt
from ludus.agents.formats.byte_level import byte_of_character, completion_text_ids, display
from ludus.envs.chat import Chat, Message, assistant, content_text

ROLES = ("system", "user", "assistant", "tool")
PAD, END = "<|pad|>", "<|end|>"
CONTROL_TOKENS = (PAD, END, *(f"<|{role}|>" for role in ROLES))
"""The first ids of a small model's vocabulary, in this order."""

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message.role not in ['system', 'user', 'assistant', 'tool'] -%}"
    "{{ raise_exception('unknown role ' + message.role) }}"
    "{%- endif -%}"
    "{{ '<|' + message.role + '|>' + message.content + '<|end|>' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)
"""The same format as a chat template, which goes into the tokenizer's folder for whoever else reads it."""


class SmallFormat:
    """A message is its role's id, the ids of its text, and the id of `<|end|>`.

    Gives the ids that `CHAT_TEMPLATE` gives, with one difference: control tokens that stand in a message's
    text are encoded as plain characters, so that no text can forge a turn. Nothing is ever rewritten, so
    nothing forks.

    Args:
        tokenizer: a `transformers` tokenizer that `build_small_model` made.
    """

    def __init__(self, tokenizer: Any) -> None:
        from tokenizers import Tokenizer

        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        backend.encode_special_tokens = True
        vocabulary = backend.get_vocab()
        self._role_ids = {role: vocabulary[f"<|{role}|>"] for role in ROLES}
        self._end_id = vocabulary[END]
        self._bytes = [_token_bytes(token) for token in sorted(vocabulary, key=vocabulary.__getitem__)]
        self._texts = [display(piece) for piece in self._bytes]
        self._newline_id = backend.encode("\n").ids[0]
        self._encode_line = lru_cache(maxsize=65536)(lambda line: tuple(backend.encode(line).ids))
        self.stop_ids: tuple[int, ...] = (self._end_id,)
        self.pad_id: int = vocabulary[PAD]
        self.vocab_size: int = len(self._bytes)

    @staticmethod
    def fits(tokenizer: Any) -> bool:
        """Whether this is the format of a tokenizer."""
        return tokenizer.chat_template == CHAT_TEMPLATE

    def first_prompt(self, messages: Chat, tools: Sequence[Any] = ()) -> Prompt:
        return Prompt(tuple(self._render(messages, tools)), fork=False)

    def next_prompt(
        self, history: Chat, context: Sequence[int], added: Chat, tools: Sequence[Any] = ()
    ) -> Prompt:
        closing = [] if context[-1] == self._end_id else [self._end_id]
        return Prompt((*closing, *self._render(added, tools)), fork=False)

    def demonstrate(self, reply: Message) -> tuple[int, ...]:
        return (*self._text_ids(content_text(reply)), self._end_id)

    def parse(self, completion_ids: Sequence[int]) -> Message:
        ids = completion_text_ids(completion_ids, self.stop_ids)
        return assistant(b"".join([self._bytes[id] for id in ids]).decode("utf-8", errors="replace"))

    def decode(self, ids: Sequence[int]) -> list[str]:
        return [self._texts[id] for id in ids]

    def _render(self, messages: Chat, tools: Sequence[Any]) -> list[int]:
        if tools:
            raise ValueError("the small model's format has no tools: use a model whose template renders them")
        ids: list[int] = []
        for message in messages:
            if message["role"] not in self._role_ids:
                raise ValueError(f"unknown role {message['role']!r}: it is one of {', '.join(ROLES)}")
            ids.append(self._role_ids[message["role"]])
            ids.extend(self._text_ids(content_text(message)))
            ids.append(self._end_id)
        ids.append(self._role_ids["assistant"])
        return ids

    def _text_ids(self, text: str) -> list[int]:
        # No token reaches over the end of a line, so lines are encoded apart: a board's rows, most of
        # which stay as they are from turn to turn, come from the cache.
        first, *rest = text.split("\n")
        ids = list(self._encode_line(first))
        for line in rest:
            ids.append(self._newline_id)
            ids.extend(self._encode_line(line))
        return ids


def _token_bytes(token: str) -> bytes:
    return token.encode() if token in CONTROL_TOKENS else bytes(byte_of_character()[char] for char in token)
