"""`TemplateFormat`: the chat format of any Hugging Face tokenizer that has a chat template."""

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from jinja2 import TemplateError

from ludus.agents.formats.base import FormatError, Prompt
from ludus.agents.formats.byte_level import byte_of_character, completion_text_ids, display
from ludus.agents.formats.calls.registry import FORMATS, announced, named, recognise
from ludus.agents.formats.calls.reply import (
    END_THINK,
    THINK,
    Call,
    CallFormat,
    calls_of,
    split_thinking,
    write_json,
)
from ludus.agents.formats.calls.response_template import response_template_format
from ludus.agents.formats.control_tokens import ControlTokens, whole
from ludus.envs.chat import Chat, Message, assistant, content_text

_PROBE = "ludusprobe"
"""A text that no template changes, to find out what a template puts after an assistant's words."""
_ASKED = "ludususer"
_BYTE = re.compile("<0x([0-9A-F]{2})>")
"""A token that is one byte, in SentencePiece's form."""
_NOW = re.compile(r"""strftime_now\(\s*("[^"]*"|'[^']*')\s*\)""")
_OPENED = re.compile(rf"{THINK}\s*\Z")
_USER: Message = {"role": "user", "content": _ASKED}


@dataclass(frozen=True)
class _End:
    """What ends an assistant's turn."""

    text: str
    """What the template writes there; empty if nothing, so that the turn ends where the next one begins."""
    id: int | None
    """The token that a policy samples there; None if the text begins with none."""


class TemplateFormat:
    """Renders with a tokenizer's own chat template and keeps every id as it was sampled.

    Tool calls are read in the format that the template writes, or as the tokenizer's `response_template`
    says; if an environment has no tools, nothing is a call.

    A later turn appends when the template's text of the new conversation begins with its text of the old
    one, then the assistant's words, then the end of the turn. The text after that is tokenised and appended;
    how the earlier ids spell their text does not matter. Otherwise the template rewrote what the model had
    seen (dropped its thinking, trimmed its words, moved a system prompt), and the turn forks: the whole
    history is rendered anew.

    Where the prompt itself opens the model's thinking, a reply as a message begins with what was opened, and
    a demonstration closes it. Control tokens that a message's text spells are encoded as characters.

    Args:
        tokenizer: a `transformers` tokenizer with a chat template.
        calls: the name of a format of tool calls to use instead of the one that the template writes.
        ends: further ids that end a turn, beside the template's own and the tokenizer's end of text.
        day: what a template that tells the model the date takes for today; today if None. Fixed as long as
            the format lives, so that no prompt changes at midnight.

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
    ) -> None:
        self._tokenizer = tokenizer
        self.vocab_size: int = len(tokenizer)
        self._control = ControlTokens(tokenizer)
        self._day = day or datetime.date.today()
        self._text = lru_cache(maxsize=1024)(self._render_json)
        self._ids = lru_cache(maxsize=1024)(self._control.encode)
        self._piece = lru_cache(maxsize=None)(self._bytes_of)
        self._objects = True
        self._calls: CallFormat | None = None
        opened = _OPENED.search(self._render([_USER], ()))
        self._opened = opened[0] if opened else ""
        self._end = self._end_of_call = self._find_end()
        self._find_calls(calls, ends)
        if self._is_framed:
            self._end = self._find_end()
        found = (self._end.id, self._end_of_call.id, tokenizer.eos_token_id, *ends)
        self.stop_ids: tuple[int, ...] = tuple(dict.fromkeys(id for id in found if id is not None))
        if not self.stop_ids:
            raise FormatError(
                f"{self._name}: neither its chat template nor its tokenizer has a token that ends a turn: "
                "set the tokenizer's eos_token"
            )
        self.pad_id: int = self.stop_ids[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def first_prompt(self, messages: Chat, tools: Sequence[Any] = ()) -> Prompt:
        text = self._render(messages, tools)
        if tools and text == self._render(messages, ()):
            raise FormatError(
                f"the chat template of {self._name} leaves tools out: use a model whose template shows them"
            )
        if tools and self._calls is None:
            raise FormatError(self._unknown_calls)
        return Prompt(self._ids(text), fork=False)

    def next_prompt(
        self, history: Chat, context: Sequence[int], added: Chat, tools: Sequence[Any] = ()
    ) -> Prompt:
        if not history or history[-1]["role"] != "assistant":
            raise ValueError("the history of a later turn ends with the assistant's reply")
        before = self._render(history[:-1], tools)
        text = self._render([*history, *added], tools)
        calls, end = history[-1].get("tool_calls"), self._end
        said: str | None = self._spoken(self._control.broken(content_text(history[-1])))
        if calls:
            said, end = self._written(before, history, tools), self._end_of_call
        if said is not None and (calls or self._is_framed) and not self._was_sampled(said, before, context):
            said = None
        seen = before + (said or "")
        # Encoded from the end-of-turn token on, as inside the whole text: some tokenizers treat the beginning
        # of a text specially.
        ids = self._control.encode(text[len(seen) :])
        last, first = context[-1], ids[:1]
        replaced = last in self.stop_ids and (
            first == (last,) or bool(end.text and first and first[0] in self.stop_ids)
        )
        # A turn that ended by the beginning of another role than the one that came.
        another = not end.text and not replaced and last in (self._end.id, self._end_of_call.id)
        if said is None or another or not text.startswith(seen + end.text):
            return Prompt(self._ids(text), fork=True)
        return Prompt(ids[1:] if replaced else ids, fork=False)

    def demonstrate(self, reply: Message) -> tuple[int, ...]:
        # Encoded as after a prompt, since some tokenizers treat the beginning of a text specially.
        opening = self._render([_USER], ())
        said = self._said(opening, reply)
        before, both = self._ids(opening), self._control.encode(opening + said)
        spelled = both[len(before) :] if both[: len(before)] == before else self._control.encode(said)
        end = self._end_of_call if reply.get("tool_calls") else self._end
        return (*spelled, self.stop_ids[0] if end.id is None else end.id)

    def parse(self, completion_ids: Sequence[int], tools: Sequence[Any] = ()) -> Message:
        text = self._opened + self._decode_text(completion_text_ids(completion_ids, self.stop_ids))
        if self._calls is None or not (tools or self._is_framed):
            return assistant(text)
        reply = self._calls.read(text, tools)
        return reply if tools or not reply.get("tool_calls") else assistant(text)

    def decode(self, ids: Sequence[int]) -> list[str]:
        return [display(self._piece(id)) for id in ids]

    def pieces(self, ids: Sequence[int]) -> list[bytes]:
        return [self._piece(id) for id in ids]

    @property
    def _name(self) -> str:
        return self._tokenizer.name_or_path or type(self._tokenizer).__name__

    @property
    def _unknown_calls(self) -> str:
        return (
            f"the chat template of {self._name} writes tool calls in no format known here "
            f"({', '.join(FORMATS)}): use another model, or an environment without tools"
        )

    @property
    def _is_framed(self) -> bool:
        """Whether every reply has a form of its own, with calls or without."""
        return self._calls is not None and self._calls.words is not None

    def _render(self, messages: Chat, tools: Sequence[Any], generate: bool = True) -> str:
        flat = self._control.broken(self._flat(messages))
        tools = self._control.broken(list(tools))
        try:
            return self._text(json.dumps([flat, tools]), generate)
        except FormatError:
            if all(len(message.get("tool_calls", ())) < 2 for message in flat):
                raise
            # Some templates allow only one call in a message; a model may still have made several.
            first = [{**m, "tool_calls": m["tool_calls"][:1]} if m.get("tool_calls") else m for m in flat]
            return self._text(json.dumps([first, tools]), generate)

    def _flat(self, messages: Chat) -> list[dict[str, Any]]:
        """Messages as templates expect them: content as text, arguments as objects or as text, ids in an
        accepted form, and thinking apart where the format of replies has a place for it."""
        flat, ids = list[dict[str, Any]](), dict[str, str]()
        id_for = self._calls.id_for if self._calls else _id_of
        for message in messages:
            # The engine reads only text, so an image becomes `[image]`.
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
                        "function": {"name": call.name, "arguments": self._arguments(call.arguments)},
                    }
                    for call in calls
                ]
            if self._is_framed and message["role"] == "assistant":
                thought, one["content"] = split_thinking(one["content"])
                one |= {"reasoning_content": thought} if thought else {}
            flat.append(one)
        return flat

    def _arguments(self, arguments: Mapping[str, Any] | str) -> Mapping[str, Any] | str:
        if isinstance(arguments, str):  # of a malformed call
            return {"arguments": arguments} if self._objects else arguments
        return arguments if self._objects else write_json(arguments)

    def _render_json(self, conversation: str, generate: bool) -> str:
        messages, tools = json.loads(conversation)
        try:
            return self._tokenizer.apply_chat_template(
                messages,
                tools=tools or None,
                chat_template=self._template(bool(tools)),
                add_generation_prompt=generate,
                tokenize=False,
            )
        # A template that takes arguments in another form adds a text to an object, or walks through a text.
        except (TemplateError, TypeError) as error:
            roles = ", ".join(message["role"] for message in messages)
            raise FormatError(
                f"the chat template of {self._name} refuses messages with the roles {roles} ({error}): "
                "use a model whose template takes them"
            ) from error

    def _template(self, with_tools: bool) -> str:
        """The template, with the date in place of what asks for it."""
        source: str = self._tokenizer.get_chat_template(tools=[{}] if with_tools else None)
        return _NOW.sub(lambda asked: json.dumps(self._day.strftime(asked[1][1:-1])), source)

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
        opening = self._ids(before)[-1:]
        longest = min(len(ids), len(said.encode()) + 1)
        starts = (len(ids) - length for length in range(longest + 1))
        return any(
            tuple(ids[start - 1 : start]) == opening and self._decode_text(ids[start:]) == said
            for start in starts
        )

    def _said(self, opening: str, reply: Message) -> str:
        """The text of a reply after the prompt, with its calls as the template writes them."""
        spoken = self._spoken(self._control.broken(content_text(reply)))
        if not reply.get("tool_calls"):
            return spoken
        if self._calls is None:
            raise FormatError(self._unknown_calls)
        said = self._written(opening, [_USER, reply], ())
        if said is not None and _names(self._calls.parse(whole(said), ()).calls) == _names(calls_of(reply)):
            return said
        return self._calls.write(cast(Message, {**self._control.broken(dict(reply)), "content": spoken}))

    def _spoken(self, words: str) -> str:
        """What a model writes after the prompt to say these words: it goes on with thinking that the prompt
        opened, or closes it."""
        if self._calls is not None and self._calls.words is not None:
            return self._calls.words(words)
        if not self._opened:
            return words
        if words.startswith(self._opened):
            return words.removeprefix(self._opened)
        if words.lstrip().startswith(THINK):
            return words.lstrip().removeprefix(THINK)
        if END_THINK in words:
            return words
        return (f"\n{END_THINK}\n\n" if "\n" in self._opened else END_THINK) + words

    def _find_end(self) -> _End:
        """What ends an assistant's words."""
        said = [_USER, assistant(_PROBE)]
        alone = self._render(said, (), generate=False)
        _, found, closing = alone.rpartition(_PROBE)
        if not found:
            raise FormatError(f"the chat template of {self._name} leaves out what the assistant says")
        closing = closing.removeprefix(self._spoken(_PROBE).rpartition(_PROBE)[2])  # what frames the words
        if closing:
            return self._token(closing) or _End(closing, None)
        opening = self._token(self._render([*said, _USER], (), generate=False).rpartition(_PROBE)[2])
        return _End("", opening.id if opening else None)

    def _token(self, text: str) -> _End | None:
        """The added token at the beginning of a text."""
        ids = self._control.encode(text)
        added = self._tokenizer.added_tokens_decoder.get(ids[0]) if ids else None
        if added is None or not text.startswith(added.content):
            return None
        return _End(added.content, ids[0])

    def _find_calls(self, name: str | None, ends: Sequence[int]) -> None:
        """The format of calls, whether the template takes arguments as objects or as text, and what ends a
        reply that calls: by rendering one."""
        opening = self._render([_USER], ())
        generation = opening.removeprefix(self._render([_USER], (), generate=False))
        own = response_template_format(self._tokenizer, generation)
        known = (named(name),) if name else (own,) if own else tuple(FORMATS.values())
        call: dict[str, Any] = {"name": _PROBE, "arguments": {"word": _PROBE}}
        id = "call00000"
        reply: Message = {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": id, "type": "function", "function": call}],
        }
        named_result = {"role": "tool", "tool_call_id": id, "name": _PROBE, "content": _ASKED}
        result = cast(Message, named_result)  # some templates ask for the tool's name
        parameters = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
        tool = {"name": _PROBE, "description": _PROBE, "parameters": parameters}
        tools = [{"type": "function", "function": tool}]
        written = ""
        for self._calls in known:  # an id in the form that the format's template accepts
            for self._objects in (True, False):
                try:
                    before = self._render([_USER], tools)
                    written = self._render([_USER, reply], tools, generate=False)
                except FormatError:
                    continue
                said = (
                    written.removeprefix(before)
                    if written.startswith(before)
                    else written.rpartition(_ASKED)[2]
                )
                ended = said.rpartition(self._end.text or "\0")[0]
                if recognise(ended or said, calls_of(reply), (self._calls,)):
                    self._end_of_call = self._find_end_of_call([_USER, reply, result], tools, written, ends)
                    return
        self._objects = True
        self._calls = known[0] if name else None
        if self._calls is None:
            self._calls = self._announced_calls(tools)

    def _announced_calls(self, tools: Sequence[Any]) -> CallFormat | None:
        """The format that the template tells the model to write, or that the tokenizer has tokens for, where
        the template itself writes no calls."""
        try:
            shown, plain = self._render([_USER], tools), self._render([_USER], ())
        except FormatError:
            return None
        tokens = " ".join(token.content for token in self._tokenizer.added_tokens_decoder.values())
        return None if shown == plain else announced(shown) or announced(tokens)

    def _find_end_of_call(
        self, messages: Chat, tools: Sequence[Any], written: str, ends: Sequence[int]
    ) -> _End:
        """
        Args:
            messages: a reply that calls, and the result.
            written: the conversation up to the reply.
        """
        closing = written.rpartition(_PROBE)[2].rstrip()
        if self._end.text and self._end.text in closing:
            return self._end
        last = self._control.encode(closing)[-1:]
        token = self._token(self._decode_text(last))
        if token and (self._end.text or last[0] in (*ends, self._tokenizer.eos_token_id)):
            return token
        try:
            following = self._render(messages, tools, generate=False).removeprefix(written)
        except FormatError:  # no results of tools
            return self._end
        opening = self._token(following)
        return _End("", opening.id) if opening else self._end

    def _decode_text(self, ids: Sequence[int]) -> str:
        """The text of ids. A model may have more ids than its tokenizer, where its matrices were padded; such
        an id is U+FFFD."""
        if max(ids, default=-1) < self.vocab_size:
            return self._decode_known(list(ids))
        run: list[int] = []
        texts: list[str] = []
        for id in ids:
            if self._tokenizer.convert_ids_to_tokens(id) is None:
                texts += [self._decode_known(run), "\ufffd"]
                run = []
            else:
                run.append(id)
        return "".join([*texts, self._decode_known(run)])

    def _decode_known(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def _bytes_of(self, id: int) -> bytes:
        text, token = self._decode_text([id]), self._tokenizer.convert_ids_to_tokens(id)
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


def _id_of(call: Call, place: int) -> str:
    return call.id
