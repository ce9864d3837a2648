"""`TemplateFormat`: the chat format of any Hugging Face tokenizer that has a chat template."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError

from ludus.agents.formats.base import FormatError, Prompt
from ludus.agents.formats.byte_level import byte_of_character, completion_text_ids, display
from ludus.agents.formats.calls.registry import FORMATS, named, recognise
from ludus.agents.formats.calls.reply import CallFormat, calls_of, write_json
from ludus.agents.formats.calls.response_template import response_template_format
from ludus.envs.chat import Chat, Message, assistant, content_text

_PROBE = "ludusprobe"
"""A text that no template changes, to find out what a template puts after an assistant's words."""
_ASKED = "ludususer"
_BYTE = re.compile("<0x([0-9A-F]{2})>")
"""A token that is one byte, in SentencePiece's form."""
_USER: Message = {"role": "user", "content": _ASKED}


class TemplateFormat:
    """Renders with a tokenizer's own chat template and keeps every id as it was sampled.

    Tool calls are read in the format that the template writes, or as the tokenizer's `response_template`
    says; if an environment has no tools, nothing is a call.

    A later turn appends when the template's text of the new conversation begins with its text of the old
    one, then the assistant's words, then the end of the turn. The text after that is tokenised and appended;
    how the earlier ids spell their text does not matter. Otherwise the template rewrote what the model had
    seen (dropped its thinking, trimmed its words, moved a system prompt), and the turn forks: the whole
    history is rendered anew.

    Args:
        tokenizer: a `transformers` tokenizer with a chat template.
        calls: the name of a format of tool calls to use instead of the one that the template writes.

    Raises:
        FormatError: if the template cannot be rendered or its turns end with no token that can be sampled, or
            there is no format `calls`.
    """

    def __init__(self, tokenizer: Any, calls: str | None = None) -> None:
        self._tokenizer = tokenizer
        self._text = lru_cache(maxsize=1024)(self._render_json)
        self._ids = lru_cache(maxsize=1024)(self._encode)
        self._piece = lru_cache(maxsize=None)(self._bytes_of)
        self._objects = True
        self._calls: CallFormat | None = None
        self._end_text, end_id = self._find_end_of_turn()
        self._generation = self._find_generation_prompt()
        self._find_calls(calls)
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
        text = self._render(messages, tools)
        if tools and text == self._render(messages, ()):
            raise FormatError(
                f"the chat template of {self._name} leaves tools out: use a model whose template shows them"
            )
        return Prompt(self._ids(text), fork=False)

    def next_prompt(
        self, history: Chat, context: Sequence[int], added: Chat, tools: Sequence[Any] = ()
    ) -> Prompt:
        if not history or history[-1]["role"] != "assistant":
            raise ValueError("the history of a later turn ends with the assistant's reply")
        before = self._render(history[:-1], tools)
        whole = self._render([*history, *added], tools)
        said: str | None = content_text(history[-1])
        if history[-1].get("tool_calls"):
            said = self._written(before, history, tools)
            if said is not None and not self._was_sampled(said, before, context):
                said = None
        seen = before + (said or "")
        if said is None or not whole.startswith(seen + self._end_text):
            return Prompt(self._ids(whole), fork=True)
        # Encoded from the end-of-turn token on, as inside the whole text: some tokenizers treat the beginning
        # of a text specially.
        ids = self._encode(whole[len(seen) :])
        ended = context[-1] in self.stop_ids
        return Prompt(ids[1:] if ended and ids and ids[0] in self.stop_ids else ids, fork=False)

    def demonstrate(self, reply: Message) -> tuple[int, ...]:
        # Encoded as after a prompt, since some tokenizers treat the beginning of a text specially.
        opening = self._render([_USER], ())
        said = self._said(opening, reply)
        before, whole = self._ids(opening), self._encode(opening + said)
        spelled = whole[len(before) :] if whole[: len(before)] == before else self._encode(said)
        return (*spelled, self.stop_ids[0])

    def parse(self, completion_ids: Sequence[int], tools: Sequence[Any] = ()) -> Message:
        text = self._decode_text(completion_text_ids(completion_ids, self.stop_ids))
        if self._calls is None or not tools:
            return assistant(text)
        return self._calls.read(text, tools, begun=self._generation.rstrip().endswith("<think>"))

    def decode(self, ids: Sequence[int]) -> list[str]:
        return [display(self._piece(id)) for id in ids]

    def pieces(self, ids: Sequence[int]) -> list[bytes]:
        return [self._piece(id) for id in ids]

    @property
    def _name(self) -> str:
        return self._tokenizer.name_or_path or type(self._tokenizer).__name__

    def _render(self, messages: Chat, tools: Sequence[Any], generate: bool = True) -> str:
        # The engine reads only text, so an image becomes `[image]`.
        flat = [self._flat(message) for message in messages]
        try:
            return self._text(json.dumps([flat, list(tools)]), generate)
        except FormatError:
            if all(len(message.get("tool_calls", ())) < 2 for message in flat):
                raise
            # Some templates allow only one call in a message; a model may still have made several.
            first = [{**m, "tool_calls": m["tool_calls"][:1]} if m.get("tool_calls") else m for m in flat]
            return self._text(json.dumps([first, list(tools)]), generate)

    def _flat(self, message: Message) -> dict[str, Any]:
        """A message as templates expect it: content as text, arguments as objects or as text, ids in an
        accepted form."""
        flat: dict[str, Any] = {**message, "content": content_text(message)}
        valid_id = self._calls.valid_id if self._calls else str
        if "tool_call_id" in flat:
            flat["tool_call_id"] = valid_id(flat["tool_call_id"])
        if calls := calls_of(message):
            flat["tool_calls"] = [
                {
                    "id": valid_id(call.id),
                    "type": "function",
                    "function": {"name": call.name, "arguments": self._arguments(call.arguments)},
                }
                for call in calls
            ]
        return flat

    def _arguments(self, arguments: Mapping[str, Any] | str) -> Mapping[str, Any] | str:
        if isinstance(arguments, str):  # of a malformed call
            return {"arguments": arguments} if self._objects else arguments
        return arguments if self._objects else write_json(arguments)

    def _render_json(self, conversation: str, generate: bool) -> str:
        messages, tools = json.loads(conversation)
        try:
            return self._tokenizer.apply_chat_template(
                messages, tools=tools or None, add_generation_prompt=generate, tokenize=False
            )
        # A template that takes arguments in another form adds a text to an object, or walks through a text.
        except (TemplateError, TypeError) as error:
            roles = ", ".join(message["role"] for message in messages)
            raise FormatError(
                f"the chat template of {self._name} refuses messages with the roles {roles} ({error}): "
                "use a model whose template takes them"
            ) from error

    def _written(self, before: str, history: Chat, tools: Sequence[Any]) -> str | None:
        """The text that the template puts after `before` for the last message of `history`, up to the end of
        the turn."""
        alone = self._render(history, tools, generate=False)
        said, found, _ = alone.removeprefix(before).rpartition(self._end_text)
        return said if found and alone.startswith(before) else None

    def _was_sampled(self, said: str, before: str, context: Sequence[int]) -> bool:
        """Whether the text of the last completion of `context`, which began after the last id of `before`, is
        `said`."""
        ids = completion_text_ids(context, self.stop_ids)
        opening = self._ids(before)[-1:]
        longest = min(len(ids), len(said.encode()) + 1)
        starts = (len(ids) - length for length in range(longest + 1))
        return any(
            tuple(ids[start - 1 : start]) == opening and self._decode_text(ids[start:]) == said
            for start in starts
        )

    def _said(self, opening: str, reply: Message) -> str:
        """The text of a reply, with its calls as the template writes them."""
        if not reply.get("tool_calls"):
            return content_text(reply)
        if self._calls is None:
            raise FormatError(
                f"the chat template of {self._name} writes tool calls in no format known here: use another "
                "model, or name the format"
            )
        said = self._written(opening, [_USER, reply], ())
        if said is not None and len(self._calls.parse(said, ()).calls) == len(calls_of(reply)):
            return said
        return self._calls.write(reply)

    def _find_generation_prompt(self) -> str:
        """The text that the template puts after the messages when the assistant is to speak."""
        return self._render([_USER], ()).removeprefix(self._render([_USER], (), generate=False))

    def _find_calls(self, name: str | None) -> None:
        """The format of calls, and whether the template takes arguments as objects or as text: by rendering
        one."""
        own = response_template_format(self._tokenizer, self._generation)
        known = (named(name),) if name else (own,) if own else tuple(FORMATS.values())
        call: dict[str, Any] = {"name": _PROBE, "arguments": {"word": _PROBE}}
        reply: Message = {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call00000", "type": "function", "function": call}],
        }
        parameters = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
        tool = {"name": _PROBE, "description": _PROBE, "parameters": parameters}
        tools = [{"type": "function", "function": tool}]
        for self._objects in (True, False):
            try:
                before = self._render([_USER], tools)
                alone = self._render([_USER, reply], tools, generate=False)
            except FormatError:
                continue
            said = alone.removeprefix(before) if alone.startswith(before) else alone.rpartition(_ASKED)[2]
            self._calls = recognise((said.rpartition(self._end_text)[0] or said), calls_of(reply), known)
            if self._calls:
                return
        self._objects = True
        self._calls = known[0] if name else None

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
        # A template writes the beginning-of-text token itself, if there is one.
        return tuple(self._tokenizer.encode(text, add_special_tokens=False, verbose=False))

    def _decode_text(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )

    def _bytes_of(self, id: int) -> bytes:
        text, token = self._decode_text([id]), self._tokenizer.convert_ids_to_tokens(id) or ""
        if "\ufffd" in text:  # only part of a character
            if fallback := _BYTE.fullmatch(token):
                return bytes.fromhex(fallback[1])
            if all(character in byte_of_character() for character in token):
                return bytes(byte_of_character()[character] for character in token)
        # SentencePiece drops the space before the first word of a text; decoded alone, every word is the
        # first.
        return f"{' ' if token.startswith('▁') and not text.startswith(' ') else ''}{text}".encode()
