"""`ChatTemplate`: a tokenizer's chat template, from messages to text, and its tokenizer, from text to ids and
back."""

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import TemplateSyntaxError

from ludus.agents.formats.base import FormatError
from ludus.agents.formats.calls.reply import (
    END_THINK,
    THINK,
    Call,
    CallFormat,
    calls_of,
    split_thinking,
    write_json,
)
from ludus.agents.formats.control_tokens import ControlTokens
from ludus.agents.picture_ids import FIRST
from ludus.envs.chat import Chat, Message, Part, content_text, part_image, part_text, text_part
from ludus.tools.wording import first_line

_NOW = re.compile(r"""strftime_now\(\s*("[^"]*"|'[^']*')\s*\)""")


@dataclass(frozen=True)
class Style:
    """How a model's replies are written."""

    calls: CallFormat | None = None
    """The format of its calls; None if it is not known."""
    objects: bool = True
    """Whether the template takes the arguments of a call as objects, or as text."""
    opened: str = ""
    """The beginning of a thought with which a prompt ends."""

    @property
    def is_framed(self) -> bool:
        """Whether every reply has a form of its own, with calls or without."""
        return self.calls is not None and self.calls.words is not None

    def spoken(self, words: str) -> str:
        """What a model writes after the prompt to say these words: it goes on with thinking that the prompt
        opened, or closes it."""
        if self.calls is not None and self.calls.words is not None:
            return self.calls.words(words)
        if not self.opened:
            return words
        if words.startswith(self.opened):
            return words.removeprefix(self.opened)
        if words.lstrip().startswith(THINK):
            return words.lstrip().removeprefix(THINK)
        if END_THINK in words:
            return words
        return (f"\n{END_THINK}\n\n" if "\n" in self.opened else END_THINK) + words


class ChatTemplate:
    """Renders conversations with a tokenizer's own template, and encodes and decodes.

    Args:
        tokenizer: a `transformers` tokenizer with a chat template.
        day: what the template tells the model, if it tells the date.
        sees: whether messages have their pictures; else each becomes `[image]`.
    """

    def __init__(self, tokenizer: Any, day: datetime.date, sees: bool = False) -> None:
        self.tokenizer = tokenizer
        self.sees = sees
        self.day = day
        self.control = ControlTokens(tokenizer)
        self.ids = lru_cache(maxsize=1024)(self.control.encode)
        self._text = lru_cache(maxsize=1024)(self._render_json)

    @property
    def name(self) -> str:
        """Of the tokenizer, for a person."""
        return self.tokenizer.name_or_path or type(self.tokenizer).__name__

    @property
    def source(self) -> str:
        """Of the template, or of all templates of the tokenizer."""
        return self.control.source

    def render(self, messages: Chat, tools: Sequence[Any], style: Style, generate: bool = True) -> str:
        """The text of a conversation, with the control tokens that its messages spell broken.

        Args:
            generate: whether it ends where the assistant begins to speak.

        Raises:
            FormatError: the template refuses the messages.
        """
        flat = _flat(messages, style)
        if self.sees:
            shown = zip(flat, messages, strict=True)
            flat = [{**one, "content": _parts(one, message)} for one, message in shown]
        flat = self.control.broken(flat)
        tools = self.control.broken(list(tools))
        try:
            return self._text(json.dumps([flat, tools]), generate)
        except FormatError:
            plainer = [_plainer(message) for message in flat]
            if plainer == flat:
                raise
            return self._text(json.dumps([plainer, tools]), generate)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids. A model may have more ids than its tokenizer, where its matrices were padded; such
        an id is U+FFFD, and so is one of a picture."""
        if max(ids, default=-1) < len(self.tokenizer):
            return self._decode_known(list(ids))
        run: list[int] = []
        texts: list[str] = []
        for id in ids:
            if id >= FIRST or self.tokenizer.convert_ids_to_tokens(id) is None:
                texts += [self._decode_known(run), "\ufffd"]
                run = []
            else:
                run.append(id)
        return "".join([*texts, self._decode_known(run)])

    def _decode_known(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def _render_json(self, conversation: str, generate: bool) -> str:
        messages, tools = json.loads(conversation)
        try:
            return self.tokenizer.apply_chat_template(
                messages,
                tools=tools or None,
                chat_template=self._source(bool(tools)),
                add_generation_prompt=generate,
                tokenize=False,
            )
        except TemplateSyntaxError as error:
            raise FormatError(
                f"the chat template of {self.name} is broken (line {error.lineno}: {first_line(error)}): "
                "put the model's own back"
            ) from error
        # A template refuses, or its expressions fail as any Python does: one that takes arguments in another
        # form adds a text to an object, or walks through a text.
        except Exception as error:
            roles = ", ".join(message["role"] for message in messages)
            raise FormatError(
                f"the chat template of {self.name} refuses messages with the roles {roles} "
                f"({first_line(error)}): use a model whose template takes them"
            ) from error

    def _source(self, with_tools: bool) -> str:
        """The template, with the date in place of what asks for it."""
        source: str = self.tokenizer.get_chat_template(tools=[{}] if with_tools else None)
        return _NOW.sub(lambda asked: json.dumps(self.day.strftime(asked[1][1:-1])), source)


def _flat(messages: Chat, style: Style) -> list[dict[str, Any]]:
    """Messages as templates expect them: content as text, arguments as objects or as text, ids in an accepted
    form, and thinking apart where the format of replies has a place for it."""
    flat, ids = list[dict[str, Any]](), dict[str, str]()
    id_for = style.calls.id_for if style.calls else _id_of
    for message in messages:
        # For a model that reads only text, so an image becomes `[image]`.
        one: dict[str, Any] = {**message, "content": content_text(message)}
        if "tool_call_id" in one:
            id = one["tool_call_id"]
            one["tool_call_id"] = ids.get(id) or id_for(Call("", {}, id), len(ids))
        if calls := calls_of(message):
            own = {call.id: id_for(call, len(ids) + place) for place, call in enumerate(calls)}
            ids |= own
            one["tool_calls"] = [
                {
                    "id": own[call.id],
                    "type": "function",
                    "function": {"name": call.name, "arguments": _arguments(call.arguments, style.objects)},
                }
                for call in calls
            ]
        if style.is_framed and message["role"] == "assistant":
            thought, one["content"] = split_thinking(one["content"])
            one |= {"reasoning_content": thought} if thought else {}
        flat.append(one)
    return flat


def _parts(flat: Mapping[str, Any], message: Message) -> list[Part]:
    """A content in the form in which templates take pictures; which they are is told apart from the text."""
    content = message.get("content")
    if not isinstance(content, list):
        return [text_part(flat["content"])]
    parts = [{"type": "image"} if part_image(part) else text_part(part_text(part) or "") for part in content]
    return [part for part in parts if part != text_part("")]


def _plainer(message: dict[str, Any]) -> dict[str, Any]:
    """A reply that calls, for templates that allow one call in it, or no thinking beside words; a model may
    still have written both."""
    if not message.get("tool_calls"):
        return message
    plain = {**message, "tool_calls": message["tool_calls"][:1]}
    if plain["content"]:
        plain.pop("reasoning_content", None)
    return plain


def _arguments(arguments: Mapping[str, Any] | str, objects: bool) -> Mapping[str, Any] | str:
    if isinstance(arguments, str):  # of a malformed call
        return {"arguments": arguments} if objects else arguments
    return arguments if objects else write_json(arguments)


def _id_of(call: Call, place: int) -> str:
    return call.id
