"""`probe`: what a chat template does, found out by rendering a few messages with it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from ludus.agents.formats.base import FormatError
from ludus.agents.formats.calls.registry import FORMATS, announced, named, recognise
from ludus.agents.formats.calls.reply import THINK, CallFormat, calls_of
from ludus.agents.formats.calls.response_template import response_template_format
from ludus.agents.formats.chat_template import ChatTemplate, Style
from ludus.envs.chat import Chat, Message, assistant, user

_PROBE = "ludusprobe"
"""A text that no template changes, to find out what a template puts after an assistant's words."""
_ASKED = "ludususer"
_OPENED = re.compile(rf"{THINK}\s*\Z")
ASKED = user(_ASKED)


@dataclass(frozen=True)
class End:
    """What ends an assistant's turn."""

    text: str
    """What the template writes there; empty if nothing, so that the turn ends where the next one begins."""
    id: int | None
    """The token that a policy samples there; None if the text begins with none."""
    later: str = ""
    """What the template writes in its place once the conversation goes on; empty if the same."""


@dataclass(frozen=True)
class TurnForm:
    """What a model's turns look like."""

    style: Style
    end: End
    """Of a reply without calls."""
    end_of_call: End


def probe(template: ChatTemplate, calls: str | None, ends: Sequence[int]) -> TurnForm:
    """How a template writes turns.

    Args:
        calls: the name of the format of tool calls; None: the one that the template writes.
        ends: ids that end a turn, beside what the template writes.

    Raises:
        FormatError: the template cannot be rendered, or there is no format `calls`.
    """
    opened = _OPENED.search(template.render([ASKED], (), Style()))
    style = Style(opened=opened[0] if opened else "")
    end = _find_end(template, style)
    style, end_of_call = _find_calls(template, style, end, calls, ends)
    return TurnForm(style, _find_end(template, style) if style.is_framed else end, end_of_call)


def _find_end(template: ChatTemplate, style: Style) -> End:
    """What ends an assistant's words."""
    said = [ASKED, assistant(_PROBE)]
    alone = template.render(said, (), style, generate=False)
    _, found, closing = alone.rpartition(_PROBE)
    if not found:
        raise FormatError(f"the chat template of {template.name} leaves out what the assistant says")
    frame = style.spoken(_PROBE).rpartition(_PROBE)[2]
    closing = closing.removeprefix(frame)
    try:
        followed = template.render([*said, ASKED], (), style, generate=False).rpartition(_PROBE)[2]
    except FormatError:  # one answer is all
        followed = closing
    following = _token(template, followed.removeprefix(frame))
    if not closing:
        return End("", following.id if following else None)
    end = _token(template, closing) or End(closing, None)
    return end if following is None or following.text == end.text else replace(end, later=following.text)


def _token(template: ChatTemplate, text: str) -> End | None:
    """The added token at the beginning of a text."""
    ids = template.control.encode(text)
    added = template.tokenizer.added_tokens_decoder.get(ids[0]) if ids else None
    if added is None or not text.startswith(added.content):
        return None
    return End(added.content, ids[0])


def _find_calls(
    template: ChatTemplate, style: Style, end: End, name: str | None, ends: Sequence[int]
) -> tuple[Style, End]:
    """The format of calls, whether the template takes arguments as objects or as text, and what ends a reply
    that calls: by rendering one."""
    opening = template.render([ASKED], (), style)
    generation = opening.removeprefix(template.render([ASKED], (), style, generate=False))
    own = response_template_format(template.tokenizer, generation)
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
    for form in known:  # an id in the form that the format's template accepts
        for objects in (True, False):
            tried = replace(style, calls=form, objects=objects)
            try:
                before = template.render([ASKED], tools, tried)
                written = template.render([ASKED, reply], tools, tried, generate=False)
            except FormatError:
                continue
            said = (
                written.removeprefix(before) if written.startswith(before) else written.rpartition(_ASKED)[2]
            )
            ended = said.rpartition(end.text or "\0")[0]
            if recognise(ended or said, calls_of(reply), (form,)):
                messages = [ASKED, reply, result]
                return tried, _find_end_of_call(template, tried, end, messages, tools, written, ends)
    chosen = known[0] if name else _announced_calls(template, style, tools)
    return replace(style, calls=chosen), end


def _announced_calls(template: ChatTemplate, style: Style, tools: Sequence[Any]) -> CallFormat | None:
    """The format that the template tells the model to write, or that the tokenizer has tokens for, where the
    template itself writes no calls."""
    try:
        shown, plain = (template.render([ASKED], told, style) for told in (tools, ()))
    except FormatError:
        return None
    tokens = " ".join(token.content for token in template.tokenizer.added_tokens_decoder.values())
    return None if shown == plain else announced(shown) or announced(tokens)


def _find_end_of_call(
    template: ChatTemplate,
    style: Style,
    end: End,
    messages: Chat,
    tools: Sequence[Any],
    written: str,
    ends: Sequence[int],
) -> End:
    """
    Args:
        end: of a reply without calls.
        messages: a reply that calls, and the result.
        written: the conversation up to the reply.
    """
    closing = written.rpartition(_PROBE)[2].rstrip()
    if end.text and end.text in closing:
        return end
    last = template.control.encode(closing)[-1:]
    token = _token(template, template.decode(last))
    if token and (end.text or last[0] in (*ends, template.tokenizer.eos_token_id)):
        return token
    try:
        following = template.render(messages, tools, style, generate=False).removeprefix(written)
    except FormatError:  # no results of tools
        return end
    opening = _token(template, following)
    return End("", opening.id) if opening else end
