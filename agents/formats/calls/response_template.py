"""A model's own description of its replies: the `response_template` of its `transformers` tokenizer.

`transformers` uses it to read a reply as a whole, and gives up at a single malformed call. Then the calls are
split (by the same template, with the calls' bodies as plain text) and each is read by itself."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ludus.agents.formats.base import FormatError
from ludus.agents.formats.calls.json_calls import call_of, malformed
from ludus.agents.formats.calls.reply import Call, CallFormat, ParsedReply, read_json, with_thinking

_FIELD = "tool_calls"
_BODY = "ludus_body"


def response_template_format(tokenizer: Any, generation_prompt: str) -> CallFormat | None:
    """The format of a tokenizer's `response_template`; None if it has none, or none with calls.

    Raises:
        FormatError: `transformers` cannot use it.
    """
    template = getattr(tokenizer, "response_template", None)
    if not isinstance(template, Mapping) or _FIELD not in template.get("fields", {}):
        return None
    from transformers.utils.chat_parsing.response_templates import load_response_template

    try:
        whole, apart = load_response_template(template), load_response_template(_apart(template))
    except ValueError as error:
        raise FormatError(
            f"the tokenizer's response_template cannot be used ({error}): correct it, or remove it"
        ) from error

    def parse(text: str, tools: Sequence[Any] = ()) -> ParsedReply:
        try:
            read = _read(tokenizer, text, whole, generation_prompt, tools)
            calls = [call_of(_strict(call)) for call in _listed(read)]
        except _TROUBLE:
            try:
                read = _read(tokenizer, text, apart, generation_prompt, ())
            except _TROUBLE:  # not even that: a required part is missing
                return ParsedReply(text)
            calls = [_one(tokenizer, found, template, tools) for found in _listed(read)]
        return ParsedReply(_text(read), tuple(calls)) if calls else ParsedReply(text)

    return CallFormat("response_template", parse, _render)


_TROUBLE = (ValueError, KeyError, TypeError, RecursionError)
"""Exceptions that `transformers` raises for a reply that does not fit the template."""


def _read(tokenizer: Any, text: str, template: Any, prefix: str, tools: Sequence[Any]) -> Mapping[str, Any]:
    read: Mapping[str, Any] = tokenizer.parse_response(text, template, prefix=prefix, tools=list(tools))
    return read


def _listed(read: Mapping[str, Any]) -> list[Any]:
    calls = read.get(_FIELD) or []
    flat = calls if isinstance(calls, list) else [calls]
    return [entry for call in flat for entry in (call if isinstance(call, list) else [call])]


def _strict(value: Any) -> Any:
    """A value under the rules of this package's own parsers: `transformers` accepts NaN, any depth, and
    surrogates.

    Raises:
        ValueError, RecursionError: they would refuse it.
    """
    return read_json(json.dumps(value))


def _text(read: Mapping[str, Any]) -> str:
    """The rest of the reply: thinking and content."""
    thought = read.get("reasoning_content") or read.get("thinking")
    content = read.get("content")
    said = content if isinstance(content, str) else ""
    return with_thinking(thought, said) if isinstance(thought, str) else said


def _apart(template: Mapping[str, Any]) -> dict[str, Any]:
    """The template with each call's body as text, alongside what its delimiters captured."""
    field = template["fields"][_FIELD]
    kept = {key: field[key] for key in ("open", "open_pattern", "close", "close_pattern") if key in field}
    names = re.findall(r"\(\?P<(\w+)>", "".join(map(str, kept.values())))
    apart = {
        **kept,
        "content": "text",
        "repeats": True,
        "transform": {_BODY: "{content}", **{name: f"{{{name}}}" for name in names}},
    }
    return {**template, "fields": {**template["fields"], _FIELD: apart}}


def _one(tokenizer: Any, found: Mapping[str, Any], template: Mapping[str, Any], tools: Sequence[Any]) -> Call:
    """A call from its body or, if that is malformed, with the body as its arguments."""
    body = found[_BODY]
    field = template["fields"][_FIELD]
    inner = {key: field[key] for key in ("content", "content_args", "transform_each") if key in field}
    if "transform" in field:
        inner["transform"] = _filled(field["transform"], found)
    alone = {"start_anchor": template.get("start_anchor", "\0"), "fields": {_FIELD: inner}}
    try:
        value = _strict(_read(tokenizer, body, alone, "", ()).get(_FIELD))
    except _TROUBLE:
        call = malformed(body)
        return Call(found.get("name") or call.name, body)
    return call_of(value, body)


def _filled(transform: Any, captured: Mapping[str, Any]) -> Any:
    """A transform with the values that the call's opening captured filled in."""
    if isinstance(transform, Mapping):
        return {key: _filled(value, captured) for key, value in transform.items()}
    if isinstance(transform, list):
        return [_filled(value, captured) for value in transform]
    name = transform[1:-1] if isinstance(transform, str) else ""
    return captured[name] if name in captured and transform == f"{{{name}}}" else transform


def _render(calls: Sequence[Call]) -> str:
    if not calls:
        return ""
    raise FormatError(
        "this model's response_template says how calls are read, and its chat template does not write them"
    )
