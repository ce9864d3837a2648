"""`TemplateFormat`: the chat format of any Hugging Face tokenizer that has a chat template."""

import datetime
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from ludus.agents.formats.base import FormatError, Prompt, ReplyForm
from ludus.agents.formats.byte_level import byte_of_character, completion_text_ids, display
from ludus.agents.formats.calls.registry import FORMATS
from ludus.agents.formats.calls.reply import END_THINK, Call, calls_of
from ludus.agents.formats.chat_template import ChatTemplate
from ludus.agents.formats.control_tokens import whole
from ludus.agents.formats.probing import ASKED, probe
from ludus.agents.picture_ids import FIRST
from ludus.envs.chat import Chat, Message, assistant, content_images, content_text

if TYPE_CHECKING:
    from ludus.agents.sight import PictureReader

_REASONING = "reasoning_content"
"""What templates call the thinking of an assistant's message."""
_BYTE = re.compile("<0x([0-9A-F]{2})>")
"""A token that is one byte, in SentencePiece's form."""


class TemplateFormat:
    """Renders with a tokenizer's own chat template and keeps every id as it was sampled.

    Tool calls are read in the format that the template writes, or as the tokenizer's `response_template`
    says; if an environment has no tools, nothing is a call.

    A later turn appends when the template's text of the new conversation begins with its text of the old
    one, then the assistant's words, then the end of the turn. The text after that is tokenised and appended;
    how the earlier ids spell their text does not matter. Otherwise the template rewrote what the model had
    seen (dropped its thinking, trimmed its words, moved a system prompt), and the turn forks: the whole
    history is rendered anew. It also forks, but keeps every earlier id, where the template replaces nothing
    but the token that ended the turn (gpt-oss).

    Where the prompt itself opens the model's thinking, a reply as a message begins with what was opened, and
    a demonstration closes it. Control tokens that a message's text spells are encoded as characters.

    For a model that sees, what the template writes for a picture is replaced by the picture's own ids.

    Args:
        tokenizer: a `transformers` tokenizer with a chat template.
        calls: the name of a format of tool calls to use instead of the one that the template writes.
        ends: further ids that end a turn, beside the template's own and the tokenizer's end of text.
        day: what a template that tells the model the date takes for today; today if None. Fixed as long as
            the format lives, so that no prompt changes at midnight.
        pictures: how the model reads pictures, if it does; else they are `[image]`.
        sees: whether the template is of a model that sees, which may take contents in parts only; so it is
            with `pictures`. Without these, a prompt has the template's placeholders.

    Raises:
        FormatError: if the template cannot be rendered or its turns end with no token that can be sampled, or
            there is no format `calls`.
    """

    def __init__(
        self,
        tokenizer: Any,
        calls: str | None = None,
        ends: Sequence[int] = (),
        day: datetime.date | None = None,
        pictures: "PictureReader | None" = None,
        sees: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._pictures = pictures
        self.vocab_size: int = len(tokenizer)
        sees = sees or pictures is not None
        self._template = ChatTemplate(tokenizer, day or datetime.date.today(), sees)
        self._piece = lru_cache(maxsize=None)(self._bytes_of)
        form = probe(self._template, calls, ends)
        self._style, self._end, self._end_of_call = form.style, form.end, form.end_of_call
        found = (self._end.id, self._end_of_call.id, tokenizer.eos_token_id, *ends)
        self.stop_ids: tuple[int, ...] = tuple(dict.fromkeys(id for id in found if id is not None))
        if not self.stop_ids:
            raise FormatError(
                f"{self._template.name}: neither its chat template nor its tokenizer has a token that ends a "
                "turn: set the tokenizer's eos_token"
            )
        self.pad_id: int = self.stop_ids[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    @property
    def sees(self) -> bool:
        return self._pictures is not None

    def first_prompt(self, messages: Chat, tools: Sequence[Any] = ()) -> Prompt:
        text = self._render(messages, tools)
        if tools and text == self._render(messages, ()):
            raise FormatError(
                f"the chat template of {self._template.name} leaves tools out: use a model whose template "
                "shows them, or --written-calls hermes (ludus eval, bench, …), which lists them in words"
            )
        if tools and self._style.calls is None:
            raise FormatError(self._unknown_calls)
        return self._prompt(self._template.ids(text), messages, fork=False)

    def next_prompt(
        self, history: Chat, context: Sequence[int], added: Chat, tools: Sequence[Any] = ()
    ) -> Prompt:
        if not history or history[-1]["role"] != "assistant":
            raise ValueError("the history of a later turn ends with the assistant's reply")
        before = self._render(history[:-1], tools)
        text = self._render([*history, *added], tools)
        calls, end = history[-1].get("tool_calls"), self._end
        said: str | None = self._style.spoken(self._template.control.broken(content_text(history[-1])))
        if calls:
            said, end = self._written(before, history, tools), self._end_of_call
        is_framed = bool(calls) or self._style.is_framed
        if said is not None and is_framed and not self._was_sampled(said, before, context):
            said = None
        seen = before + (said or "")
        # Encoded from the end-of-turn token on, as inside the whole text: some tokenizers treat the beginning
        # of a text specially.
        ids = self._template.control.encode(text[len(seen) :])
        last, first = context[-1], ids[:1]
        replaced = last in self.stop_ids and (
            first == (last,) or bool(end.text and first and first[0] in self.stop_ids)
        )
        # A turn that ended by the beginning of another role than the one that came.
        another = not end.text and not replaced and last in (self._end.id, self._end_of_call.id)
        if said is None or another or not text.startswith(seen + (end.later or end.text)):
            return self._prompt(self._template.ids(text), [*history, *added], fork=True)
        if end.later and last in self.stop_ids:  # another token stands in the place of one that was sampled
            later = self._prompt(ids, added, fork=True)
            return replace(later, ids=(*context[:-1], *later.ids))
        return self._prompt(ids[1:] if replaced else ids, added, fork=False)

    def demonstrate(self, reply: Message) -> tuple[int, ...]:
        # Encoded as after a prompt, since some tokenizers treat the beginning of a text specially.
        opening, encode = self._render([ASKED], ()), self._template.control.encode
        said = self._said(opening, reply)
        before, both = self._template.ids(opening), encode(opening + said)
        spelled = both[len(before) :] if both[: len(before)] == before else encode(said)
        end = self._end_of_call if reply.get("tool_calls") else self._end
        return (*spelled, self.stop_ids[0] if end.id is None else end.id)

    def parse(self, completion_ids: Sequence[int], tools: Sequence[Any] = ()) -> Message:
        style, said = self._style, completion_text_ids(completion_ids, self.stop_ids)
        text = style.opened + self.text(said)
        if style.calls is None or not (tools or style.is_framed):
            return assistant(text)
        reply = style.calls.read(text, tools)
        return reply if tools or not reply.get("tool_calls") else assistant(text)

    def reply_form(self, tools: Sequence[Any] = ()) -> ReplyForm:
        style = self._style
        if style.is_framed:
            return ReplyForm(style.opened, thinks=True, marks=None)
        marks = style.calls.marks if tools and style.calls is not None else ()
        thinks = any(mark in self._template.source for mark in (END_THINK, _REASONING))
        return ReplyForm(style.opened, thinks, marks)

    def text(self, ids: Sequence[int]) -> str:
        return self._template.decode(ids)

    def decode(self, ids: Sequence[int]) -> list[str]:
        return [display(self._piece(id)) for id in ids]

    def pieces(self, ids: Sequence[int]) -> list[bytes]:
        return [self._piece(id) for id in ids]

    def _prompt(self, ids: tuple[int, ...], messages: Chat, fork: bool) -> Prompt:
        """A prompt in which the pictures of the messages, which it shows in order, have their ids."""
        reader = self._pictures
        if reader is None:
            return Prompt(ids, fork)
        urls = [url for message in messages for url in content_images(message)]
        if ids.count(reader.placeholder) != len(urls):
            raise FormatError(
                f"the chat template of {self._template.name} shows {ids.count(reader.placeholder)} of "
                f"{len(urls)} pictures: use a model whose template shows those of every message"
            )
        waiting = iter(urls)
        shown = [reader.ids(next(waiting)) if id == reader.placeholder else (id,) for id in ids]
        return Prompt(tuple(chain(*shown)), fork, tuple(dict.fromkeys(urls)))

    @property
    def _unknown_calls(self) -> str:
        return (
            f"the chat template of {self._template.name} writes tool calls in no format known here "
            f"({', '.join(FORMATS)}): use another model, or an environment without tools"
        )

    def _render(self, messages: Chat, tools: Sequence[Any], generate: bool = True) -> str:
        return self._template.render(messages, tools, self._style, generate)

    def _written(self, before: str, history: Chat, tools: Sequence[Any]) -> str | None:
        """The text that the template puts after `before` for the last message of `history`, up to the end of
        the turn."""
        alone = self._render(history, tools, generate=False)
        end = self._end_of_call if history[-1].get("tool_calls") else self._end
        if not alone.startswith(before):
            return None
        said, found, _ = alone.removeprefix(before).rpartition(end.text or "\0")
        return said if found else None if end.text else alone.removeprefix(before)

    def _was_sampled(self, said: str, before: str, context: Sequence[int]) -> bool:
        """Whether the text of the last completion of `context`, which began after the last id of `before`, is
        `said`."""
        said = whole(said)
        ids = completion_text_ids(context, self.stop_ids)
        opening = self._template.ids(before)[-1:]
        longest = min(len(ids), len(said.encode()) + 1)
        starts = (len(ids) - length for length in range(longest + 1))
        return any(
            tuple(ids[start - 1 : start]) == opening and self._template.decode(ids[start:]) == said
            for start in starts
        )

    def _said(self, opening: str, reply: Message) -> str:
        """The text of a reply after the prompt, with its calls as the template writes them."""
        broken, calls = self._template.control.broken, self._style.calls
        spoken = self._style.spoken(broken(content_text(reply)))
        if not reply.get("tool_calls"):
            return spoken
        if calls is None:
            raise FormatError(self._unknown_calls)
        said = self._written(opening, [ASKED, reply], ())
        if said is not None and _names(calls.parse(whole(said), ()).calls) == _names(calls_of(reply)):
            return said
        return calls.write(cast(Message, {**broken(dict(reply)), "content": spoken}))

    def _bytes_of(self, id: int) -> bytes:
        text = self._template.decode([id])
        token = None if id >= FIRST else self._tokenizer.convert_ids_to_tokens(id)
        if token is None:
            return text.encode()
        if "\ufffd" in text:  # only part of a character
            if fallback := _BYTE.fullmatch(token):
                return bytes.fromhex(fallback[1])
            if all(character in byte_of_character() for character in token):
                return bytes(byte_of_character()[character] for character in token)
        # SentencePiece drops the space before the first word of a text; decoded alone, every word is the
        # first.
        return f"{' ' if token.startswith('▁') and not text.startswith(' ') else ''}{text}".encode()


def _names(calls: Sequence[Call]) -> list[str]:
    return [call.name for call in calls]
