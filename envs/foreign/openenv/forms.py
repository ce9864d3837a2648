"""How a server's actions are said in a chat: `form_of` finds it in the server's schemas."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Relayed:
    """`ludus serve openenv`: a reply is sent as it is, and messages come back."""


@dataclass(frozen=True, slots=True)
class Text:
    """The action is a text, and a reply's text is put into its field."""

    field: str


@dataclass(frozen=True, slots=True)
class Called:
    """The action names a tool of the server's own and its arguments."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The action has several fields, or none that is a text: it is itself the one tool, `act`."""

    description: str
    parameters: Mapping[str, Any]


Form = Relayed | Text | Called | Fields


def form_of(schema: Mapping[str, Any]) -> Form:
    """
    Args:
        schema: what the server tells of its actions and observations.
    """
    action = schema["action"]
    fields = {name: field for name, field in action.get("properties", {}).items() if name != "metadata"}
    if "reply" in fields and "reward_terms" in schema["observation"].get("properties", {}):
        return Relayed()
    if {"tool_name", "arguments"} <= fields.keys():
        return Called()
    needed = [name for name in action.get("required", ()) if name in fields] or [*fields]
    if len(needed) == 1 and fields[needed[0]].get("type") == "string":
        return Text(needed[0])
    parameters = {
        "type": "object",
        "properties": fields,
        "required": [name for name in action.get("required", ()) if name in fields],
        **({"$defs": action["$defs"]} if "$defs" in action else {}),
    }
    return Fields(str(action.get("description") or "Act."), parameters)


def shown(observation: Any) -> str:
    """What an agent reads of an observation: its text, if it is nothing else, or JSON; the text of a tool's
    result, or its error."""
    if isinstance(observation, str):
        return observation
    if not isinstance(observation, Mapping):
        return json.dumps(observation, ensure_ascii=False)
    seen = {name: value for name, value in observation.items() if name != "metadata"}
    if {"tool_name", "result"} <= seen.keys():
        error = seen.get("error")
        return f"Error: {error.get('message')}" if isinstance(error, Mapping) else shown(seen["result"])
    if isinstance(blocks := seen.get("content"), list) and "is_error" in seen:
        return "\n".join(str(block.get("text", "")) if isinstance(block, Mapping) else "" for block in blocks)
    if len(seen) == 1 and isinstance(only := next(iter(seen.values())), str):
        return only
    return json.dumps(seen, ensure_ascii=False)
