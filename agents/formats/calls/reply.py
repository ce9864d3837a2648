"""What a parser finds in a reply: calls, and the text around them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ludus.envs.chat import Message, reply_tool_calls


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call."""

    name: str
    arguments: Mapping[str, Any] | str
    """The arguments; or, of a malformed call, the text that stands in their place, which `Tool.read` answers
    with an error that the model can act on."""
    id: str = ""
    """As the model wrote it, in the formats that have ids."""


@dataclass(frozen=True, slots=True)
class ParsedReply:
    text: str
    """What stands around the calls."""
    calls: tuple[Call, ...] = ()


def read_json(text: str) -> Any:
    """JSON as the standard has it, without NaN and infinities.

    Raises:
        ValueError: it is none, is nested too deeply, or has a number with thousands of digits.
    """
    try:
        return _STRICT.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def whole_characters(text: str) -> str:
    """The text without surrogates, which have no UTF-8: pairs become their character, single ones U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _SURROGATE(text) else text


def message(parsed: ParsedReply, id_of: Any = "call_{}".format) -> Message:
    """A parsed reply as an assistant message.

    A call without an id of its own gets one from its position in the reply: `call_0`, `call_1`, …
    """
    if not parsed.calls:
        return {"role": "assistant", "content": parsed.text}
    calls = [
        {
            "id": call.id or id_of(position),
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for position, call in enumerate(parsed.calls)
    ]
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


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_STRICT = json.JSONDecoder(parse_constant=_refuse_constant)
_SURROGATE = re.compile("[\ud800-\udfff]").search
