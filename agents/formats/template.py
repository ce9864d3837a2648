"""`TemplateFormat`: the chat format of any Hugging Face tokenizer that has a chat template."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError

from ludus.agents.formats.base import FormatError, Prompt
from ludus.agents.formats.byte_level import byte_of_character, completion_text_ids, display
from ludus.envs.chat import Chat, Message, assistant, content_text

_PROBE = "ludusprobe"
"""A text that no template changes, to see what a template puts behind an assistant's words."""


class TemplateFormat:
    """Renders with a tokenizer's own chat template and keeps every sampled id as it was sampled.

    A later turn appends when the template's text of the new conversation begins with its text of the old
    one, then the assistant's words, then the end of the turn. What follows is tokenised and appended; how the
    ids in front spell their text plays no part. Otherwise the template rewrote what the model had seen
    (dropped its thinking, trimmed its words, moved a system prompt), and the turn forks: the whole is
    rendered anew.

    Args:
        tokenizer: a `transformers` tokenizer with a chat template.

    Raises:
        FormatError: if the template cannot be rendered or its turns end with no token that can be sampled.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._text = lru_cache(maxsize=1024)(self._render_json)
        self._ids = lru_cache(maxsize=1024)(self._encode)
        self._piece = lru_cache(maxsize=None)(self._decode_one)
        self._end_text, end_id = self._find_end_of_turn()
        stop_ids = [id for id in (end_id, tokenizer.eos_token_id) if id is not None]
        if not stop_ids:
            raise FormatError(
                f"{self._name}: neither its chat template nor its tokenizer has a token that ends a turn: "
                "set the tokenizer's eos_token"
            )
        self.stop_ids: tuple[int, ...] = tuple(dict.fromkeys(stop_ids))
        self.pad_id: int = self.stop_ids[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self.vocab_size: int = len(tokenizer)

    def first_prompt(self, messages: Chat, tools: Sequence[Any] = ()) -> Prompt:
        return Prompt(self._ids(self._render(messages, tools)), fork=False)

    def next_prompt(
        self, history: Chat, context: Sequence[int], added: Chat, tools: Sequence[Any] = ()
    ) -> Prompt:
        if not history or history[-1]["role"] != "assistant":
            raise ValueError("the history of a later turn ends with the assistant's reply")
        seen = self._render(history[:-1], tools) + content_text(history[-1])
        whole = self._render([*history, *added], tools)
        if not whole.startswith(seen + self._end_text):
            return Prompt(self._ids(whole), fork=True)
        # Encoded from the end-of-turn token on, as it would be inside the whole: some tokenizers treat the
        # beginning of a text in a way of its own.
        ids = self._encode(whole[len(seen) :])
        ended = context[-1] in self.stop_ids
        return Prompt(ids[1:] if ended and ids and ids[0] in self.stop_ids else ids, fork=False)

    def demonstrate(self, reply: Message) -> tuple[int, ...]:
        # Spelled as behind a prompt, for some tokenizers treat the beginning of a text in a way of its own.
        opening = self._render([{"role": "user", "content": "u"}], ())
        said = content_text(reply)
        before, whole = self._ids(opening), self._encode(opening + said)
        spelled = whole[len(before) :] if whole[: len(before)] == before else self._encode(said)
        return (*spelled, self.stop_ids[0])

    def parse(self, completion_ids: Sequence[int]) -> Message:
        ids = completion_text_ids(completion_ids, self.stop_ids)
        return assistant(self._decode_text(ids))

    def decode(self, ids: Sequence[int]) -> list[str]:
        return [self._piece(id) for id in ids]

    @property
    def _name(self) -> str:
        return self._tokenizer.name_or_path or type(self._tokenizer).__name__

    def _render(self, messages: Chat, tools: Sequence[Any], generate: bool = True) -> str:
        # The engine reads text only, so an image reads `[image]`.
        flat = [{**message, "content": content_text(message)} for message in messages]
        return self._text(json.dumps([flat, list(tools)]), generate)

    def _render_json(self, conversation: str, generate: bool) -> str:
        messages, tools = json.loads(conversation)
        try:
            return self._tokenizer.apply_chat_template(
                messages, tools=tools or None, add_generation_prompt=generate, tokenize=False
            )
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise FormatError(
                f"the chat template of {self._name} refuses messages with the roles {roles} ({error}): "
                "use a model whose template takes them"
            ) from error

    def _find_end_of_turn(self) -> tuple[str, int | None]:
        """The text that ends an assistant's turn, and its id if it is one that can be sampled."""
        said = self._render([{"role": "user", "content": "u"}, assistant(_PROBE)], (), generate=False)
        _, found, closing = said.rpartition(_PROBE)
        if not found:
            raise FormatError(f"the chat template of {self._name} leaves out what the assistant says")
        ids = self._encode(closing)
        added = self._tokenizer.added_tokens_decoder.get(ids[0]) if ids else None
        if added is not None and closing.startswith(added.content):
            return added.content, ids[0]
        return closing, None

    def _encode(self, text: str) -> tuple[int, ...]:
        # A template writes the beginning-of-text token itself where there is one.
        return tuple(self._tokenizer.encode(text, add_special_tokens=False, verbose=False))

    def _decode_text(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )

    def _decode_one(self, id: int) -> str:
        text, token = self._decode_text([id]), self._tokenizer.convert_ids_to_tokens(id)
        if "\ufffd" in text and all(character in byte_of_character() for character in token):
            return display(bytes(byte_of_character()[character] for character in token))
        # SentencePiece drops the space before the first word of a text; apart, every word is the first.
        return f" {text}" if token.startswith("▁") and not text.startswith(" ") else text
