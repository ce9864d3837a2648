"""The result of parsing a reply: calls, and the text around them."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ludus.envs.chat import Message, content_text, reply_tool_calls

THINK, END_THINK = "<think>", "</think>"

MAX_MALFORMED = 64
"""The most malformed calls told apart in one reply; the rest belongs to the text of the last one. Nobody
reads so many errors, and each may cost a scan of the whole text: without a bound, a hostile text takes
quadratic time."""

MAX_DEPTH = 100
"""Depth of nested lists and objects. Python reads JSON ten times as deep, but code that walks through it
later, from deeper in the stack, fails."""


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call."""

    name: str
    arguments: Mapping[str, Any] | str
    """The arguments or, for a malformed call, the text in their place, which `Tool.read` answers with an
    error that the model can act on."""
    id: str = ""
    """As the model wrote it, in formats that have ids."""


@dataclass(frozen=True, slots=True)
class ParsedReply:
    text: str
    """The text around the calls."""
    calls: tuple[Call, ...] = ()


def read_json(text: str) -> Any:
    """JSON as the standard defines it, without NaN and infinities; surrogates are repaired.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or has a number with thousands of digits.
    """
    try:
        value = _STRICT.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _is_deep(value, text, 0, len(text)):
        raise ValueError("nested too deeply")
    return mended(value) if _ESCAPED_SURROGATE(text) else value


def scan_json(text: str, at: int) -> tuple[Any, int] | None:
    """The JSON value that begins at `at`, and the position after it; None if there is no value, or it is too
    deep."""
    try:
        value, end = _STRICT.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None
    if _is_deep(value, text, at, end):
        return None
    return (mended(value) if _ESCAPED_SURROGATE(text, at, end) else value), end


def write_json(value: Any) -> str:
    return _ENCODER.encode(value)


def whole_characters(text: str) -> str:
    """The text without surrogates, which UTF-8 cannot encode: pairs become their character, single ones
    U+FFFD."""
    if text.isascii() or not _SURROGATE(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@dataclass(frozen=True)
class CallFormat:
    """A way in which models write calls."""

    name: str
    parse: Callable[[str, Sequence[Any]], ParsedReply]
    """From any text to calls and the text around them; never raises. `tools`, in OpenAI's form, may be empty;
    a format whose notation leaves types or the beginning of a call open looks them up there."""
    render: Callable[[Sequence[Call]], str]
    """From calls to text that `parse` reads back."""
    separator: str = "\n"
    """The separator between a reply's text and its first call."""
    id_of: Callable[[int], str] = "call_{}".format
    """The id of a call, from its position in the reply, if the model wrote none."""
    id_for: Callable[[Call, int], str] = lambda call, place: call.id
    """The id of a call in the form that the format's chat templates accept, which the call may have already;
    `place`: how many calls the conversation had before."""
    marks: tuple[str, ...] | None = None
    """One of these stands where `parse` finds the first call, after white space at most; None: not known."""
    words: Callable[[str], str] | None = None
    """How the words of a reply are written, thinking between `<think>` and `</think>` at their beginning
    included, in a format in which they have marks of their own; `parse` reads them back."""

    def read(self, text: str, tools: Sequence[Any] = ()) -> Message:
        """A model's reply as an assistant message. Thinking at its beginning is text, whatever calls are in
        it."""
        thought = thinking(text)
        parsed = self.parse(text[thought:], tools)
        return message(ParsedReply(text[:thought] + parsed.text, parsed.calls), self.id_of)

    def write(self, reply: Message) -> str:
        """The reply for which `read` gives this message."""
        text, calls = content_text(reply), self.render(calls_of(reply))
        return text + (self.separator if text and calls else "") + calls


def thinking(text: str) -> int:
    """Where the thinking at the beginning of a text ends: whatever looks like a call in it is a draft."""
    if not text.lstrip().startswith(THINK):
        return 0
    end = text.find(END_THINK)
    return len(text) if end < 0 else end + len(END_THINK)


def split_thinking(text: str) -> tuple[str, str]:
    """The thinking at the beginning of a text, without its marks, and the rest."""
    end = thinking(text)
    thought = text[:end].strip().removeprefix(THINK).removesuffix(END_THINK).strip()
    return thought, text[end:].lstrip("\n") if end else text


def with_thinking(thought: str, text: str) -> str:
    """A text after its thinking, as most models write it."""
    return f"{THINK}\n{thought}\n{END_THINK}\n\n{text}" if thought else text


def around(pieces: Sequence[str], separator: str = "\n") -> str:
    """The text of a reply from the pieces before, between and after its calls."""
    first, *others = pieces
    texts = [first.removesuffix(separator) if others else first]
    texts += [piece.removeprefix("\n").removesuffix("\n") for piece in others]
    return "\n".join(text for text in texts if text)


def distinct_ids(given: Sequence[str], id_of: Callable[[int], str] = "call_{}".format) -> list[str]:
    """The ids of a reply's calls; one that is missing, or repeats an earlier call's, is made from its
    position."""
    ids: dict[str, None] = {}
    for position, id in enumerate(given):
        while not id or id in ids:
            id, position = id_of(position), position + len(given)
        ids[id] = None
    return list(ids)


def message(parsed: ParsedReply, id_of: Callable[[int], str] = "call_{}".format) -> Message:
    """A parsed reply as an assistant message.

    A call without an id, or with that of an earlier call, gets one from its position in the reply: `call_0`,
    `call_1`, …
    """
    if not parsed.calls:
        return {"role": "assistant", "content": parsed.text}
    calls: list[dict[str, Any]] = []
    ids = distinct_ids([call.id for call in parsed.calls], id_of)
    for id, call in zip(ids, parsed.calls, strict=True):
        function = {"name": call.name, "arguments": call.arguments}
        calls.append({"id": id, "type": "function", "function": function})
    return {"role": "assistant", "content": parsed.text, "tool_calls": calls}


def calls_of(reply: Any) -> list[Call]:
    """The calls of an assistant message. Arguments that are the text of a JSON object become that object."""
    return [_call_of(call) for call in reply_tool_calls(reply)]


def _call_of(call: Mapping[str, Any]) -> Call:
    function = call.get("function")
    function = function if isinstance(function, Mapping) else {}
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            read = read_json(arguments or "{}")
        except ValueError:
            read = None
        arguments = read if isinstance(read, dict) else arguments
    elif not isinstance(arguments, Mapping):
        arguments = {} if arguments is None else write_json(arguments)
    return Call(str(function.get("name", "")), arguments, str(call.get("id") or ""))


def _is_deep(value: Any, text: str, at: int, end: int) -> bool:
    """Whether a value, written from `at` to `end`, is nested deeper than `MAX_DEPTH`."""
    if text.count("[", at, end) + text.count("{", at, end) <= MAX_DEPTH:
        return False
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return bool(level)


def mended(value: Any) -> Any:
    """A copy of plain data, with the texts in it repaired by `whole_characters`."""
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, list):
        return [mended(item) for item in value]
    if isinstance(value, dict):
        return {whole_characters(key): mended(item) for key, item in value.items()}
    return value


def finite(number: str) -> float:
    """
    Raises:
        ValueError: the number is too large for a float.
    """
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"{number[:20]} is too large")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_ENCODER = json.JSONEncoder(ensure_ascii=False)
_STRICT = json.JSONDecoder(parse_float=finite, parse_constant=_refuse_constant)
_ESCAPED_SURROGATE = re.compile(r"\\u[dD]").search
_SURROGATE = re.compile("[\ud800-\udfff]").search
