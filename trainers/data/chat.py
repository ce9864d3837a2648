"""Rows of chat: a conversation in the OpenAI chat form, checked as a reader of its file would want.

| column | what it holds |
|---|---|
| `messages` | the conversation: a list, or its JSON |
| `tools` | tools in OpenAI's form: a list, or its JSON; optional |
| `success`, `reward` | how it went, for filtering; optional |

Other columns are not read. A message has `role` and `content`; an assistant's may have `tool_calls`,
`reasoning_content` (put before the content between `<think>` tags, as models write it) and `weight` (0 for
context only); a tool's has `tool_call_id`, or answers the calls in their order.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ludus.agents.episode import Turn
from ludus.agents.formats.calls.reply import distinct_ids, whole_characters
from ludus.envs.chat import Content, Message, part_image, part_text
from ludus.tools.errors import DataError
from ludus.tools.tables import Row
from ludus.tools.wording import did_you_mean
from ludus.trainers.data.dialogue import Dialogue

COLUMNS = ("messages", "tools", "success", "reward")
_KEYS = {
    "system": ("role", "content"),
    "user": ("role", "content"),
    "assistant": ("role", "content", "tool_calls", "reasoning_content", "weight"),
    "tool": ("role", "content", "tool_call_id", "name"),
}
_TOOL: dict[str, Any] = {"description": "", "parameters": {}}
"""What a tool that leaves these out has."""


class _Wrong(Exception):
    """What is wrong, without the place."""


def read_dialogue(row: Row) -> Dialogue:
    """
    Raises:
        DataError: the row is not such a conversation; the line names it and what is wrong.
    """
    try:
        values = row.values
        messages = _list("messages", values.get("messages"), values)
        turns, untrained = _turns(messages)
        return Dialogue(
            place=row.place,
            turns=turns,
            tools=_tools(values.get("tools")),
            untrained=untrained,
            success=_success(values.get("success")),
            reward=_reward(values.get("reward")),
        )
    except _Wrong as wrong:
        raise DataError(f"{row.place}: {wrong}") from None


def with_reasoning(content: str, reasoning: str) -> str:
    """A reply that begins with its reasoning, as models that think write it."""
    return f"<think>\n{reasoning.strip()}\n</think>\n\n{content}" if reasoning.strip() else content


def _list(name: str, value: Any, others: Mapping[str, Any] = {}) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise _Wrong(f"{name} is a text that is no JSON") from None
    if value is None:
        columns = [column for column in others if column != name]
        hint = did_you_mean(name, columns, otherwise=f"it has {', '.join(columns) or 'nothing else'}")
        raise _Wrong(f"there is no {name}; {hint}")
    if not isinstance(value, list):
        raise _Wrong(f"{name} is no list, but {str(value)[:60]!r}")
    return value


def _turns(messages: Sequence[Any]) -> tuple[tuple[Turn, ...], frozenset[int]]:
    """The turns of a conversation, and those not to be trained on."""
    if not messages:
        raise _Wrong("messages is empty")
    turns: list[Turn] = []
    untrained: set[int] = set()
    heard: list[Message] = []
    waiting: dict[str, str] = {}  # calls without a result yet: id -> name
    for index, given in enumerate(messages):
        at = f"messages[{index}]"
        role = _role(at, given)
        if role == "system" and index:
            raise _Wrong(
                f"{at} is a second system message; join it to the first"
                if any(message["role"] == "system" for message in heard) or turns
                else f"{at} is a system message after a {messages[0]['role']} message; put it first"
            )
        if role != "tool" and waiting:
            raise _Wrong(
                f"{at} comes before the result of the call {next(iter(waiting))!r}; give every call its "
                "result, a message with role tool, before anybody speaks again"
            )
        if role == "tool":
            id = _answered(at, given, waiting)
            waiting.pop(id)
            heard.append({"role": "tool", "tool_call_id": id, "content": _content(at, given)})
        elif role == "assistant":
            if not any(message["role"] != "system" for message in heard):
                raise _Wrong(
                    f"{at} is the assistant's, but nobody spoke before it"
                    if not turns
                    else f"{at} is a second assistant message in a row; join the two"
                )
            reply = _reply(at, given)
            waiting = {call["id"]: call["function"]["name"] for call in reply.get("tool_calls", ())}
            if _weight(at, given) == 0:
                untrained.add(len(turns))
            turns.append(Turn(observation=heard, reply=reply, reward=0.0, reward_terms={}))
            heard = []
        else:
            heard.append({"role": role, "content": _content(at, given)})  # type: ignore[typeddict-item]
    if heard:
        raise _Wrong(
            f"the last message has the role {messages[-1]['role']}, but only the assistant's replies are "
            "learned; end with one"
        )
    if len(untrained) == len(turns):
        raise _Wrong("every reply has weight 0, so there is nothing to learn")
    return tuple(turns), frozenset(untrained)


def _role(at: str, given: Any) -> str:
    if not isinstance(given, Mapping):
        raise _Wrong(f"{at} is no object with role and content, but {str(given)[:60]!r}")
    role = given.get("role")
    if not isinstance(role, str) or role not in _KEYS:
        hint = "write system" if role == "developer" else did_you_mean(role, _KEYS)
        known = f"one of {', '.join(_KEYS)}"
        raise _Wrong(f"{at} has the role {role!r}, which is not {known}{f'; {hint}' if hint else ''}")
    for key, value in given.items():
        if key not in _KEYS[role] and value is not None:
            known = f"those of role {role} are {', '.join(_KEYS[role])}"
            hint = did_you_mean(key, _KEYS[role], otherwise=known)
            raise _Wrong(f"{at} has an unknown key {str(key)[:60]!r}; {hint}")
    return str(role)


def _content(at: str, given: Mapping[str, Any]) -> Content:
    content = given.get("content")
    if isinstance(content, str):
        return _text(at, content)
    if not isinstance(content, list) or not content:
        raise _Wrong(f"{at} has no content, a text or a list of parts")
    for number, part in enumerate(content):
        text = part_text(part)
        if text is None and part_image(part) is None:
            raise _Wrong(
                f"{at}.content[{number}] is neither a text part nor an inline image, but {str(part)[:60]!r}"
            )
        _text(at, text or "")
    return content


def _text(at: str, text: str) -> str:
    if whole_characters(text) != text:
        raise _Wrong(
            f"{at} has half of a surrogate pair in {_around_surrogate(text)!r}, which is no character, so no "
            "token exists for it; mend the text"
        )
    return text


def _around_surrogate(text: str) -> str:
    at = next(index for index, character in enumerate(text) if "\ud800" <= character <= "\udfff")
    return text[max(0, at - 10) : at + 10]


def _reply(at: str, given: Mapping[str, Any]) -> Message:
    calls = _calls(at, given.get("tool_calls"))
    content: Content = "" if calls and not given.get("content") else _content(at, given)
    reasoning = given.get("reasoning_content")
    if reasoning is not None:
        if not isinstance(reasoning, str) or not isinstance(content, str):
            raise _Wrong(f"{at}.reasoning_content and content must both be texts")
        content = with_reasoning(content, _text(at, reasoning))
    reply: Message = {"role": "assistant", "content": content}
    return {**reply, "tool_calls": calls} if calls else reply


def _calls(at: str, given: Any) -> list[dict[str, Any]]:
    if given is None:
        return []
    found = []
    for number, call in enumerate(_list(f"{at}.tool_calls", given)):
        function = call.get("function") if isinstance(call, Mapping) else None
        function = function if isinstance(function, Mapping) else {}
        name = function.get("name")
        if not isinstance(name, str) or not name:
            raise _Wrong(
                f"{at}.tool_calls[{number}] is no call; it looks like "
                '{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}'
            )
        arguments = function.get("arguments", {})
        if isinstance(arguments, str):
            try:
                arguments = json.loads(_text(at, arguments) or "{}")
            except (ValueError, RecursionError):
                raise _Wrong(
                    f"{at}.tool_calls[{number}]: the arguments of {name} are no JSON: {arguments[:60]!r}"
                ) from None
        if not isinstance(arguments, Mapping):
            raise _Wrong(f"{at}.tool_calls[{number}]: the arguments of {name} are no object")
        _text(at, json.dumps(arguments, ensure_ascii=False))
        found.append((str(call.get("id") or ""), {"name": name, "arguments": dict(arguments)}))
    given_ids = [id for id, _ in found]
    if twice := [id for id in given_ids if id and given_ids.count(id) > 1]:
        raise _Wrong(f"{at} has two calls with the id {twice[0]!r}")
    ids = distinct_ids(given_ids)
    return [
        {"id": id, "type": "function", "function": function}
        for id, (_, function) in zip(ids, found, strict=True)
    ]


def _answered(at: str, given: Mapping[str, Any], waiting: Mapping[str, str]) -> str:
    """The id of the call that a tool message answers."""
    id, name = given.get("tool_call_id"), given.get("name")
    # Ids of calls are texts, whatever they are in the file.
    id = (
        str(id)
        if id is not None
        else next((call for call, of in waiting.items() if name in (None, of)), None)
    )
    if id is None or id not in waiting:
        there = f"waiting are {', '.join(map(repr, waiting))}" if waiting else "no call is waiting"
        call = repr(id) if id is not None else f"of {name}" if name else ""
        raise _Wrong(f"{at} is the result of a call {call} that was not made just before it; {there}")
    return id


def _weight(at: str, given: Mapping[str, Any]) -> int:
    weight = given.get("weight")
    if weight not in (None, 0, 1):
        raise _Wrong(f"{at}.weight is {weight!r}; it is 1, or 0 for a reply that is context only")
    return 1 if weight is None else int(weight)


def _tools(given: Any) -> list[Any]:
    if given is None:
        return []
    tools = _list("tools", given)
    for number, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise _Wrong(
                f"tools[{number}] is no tool in OpenAI's form, "
                '{"type": "function", "function": {"name": "f", "parameters": {}}}'
            )
        for key, kind, wanted in (("description", str, "a text"), ("parameters", Mapping, "a JSON schema")):
            if not isinstance(function.get(key), kind | None):
                raise _Wrong(
                    f"tools[{number}]: {key} of {function['name']} is {str(function[key])[:60]!r}; it is "
                    f"{wanted}, or left out"
                )
    # Templates and formats look up all of these.
    return [{"type": "function", "function": {**_TOOL, **_given(tool["function"])}} for tool in tools]


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """A null is a key that is not there."""
    return {key: value for key, value in values.items() if value is not None}


def _success(given: Any) -> bool | None:
    if given is not None and not isinstance(given, bool):
        raise _Wrong(f"success is {str(given)[:60]!r}; it is true, false, or left out")
    return given


def _reward(given: Any) -> float | None:
    if given is None:
        return None
    try:
        reward = math.nan if isinstance(given, bool | str) else float(given)
    except (TypeError, ValueError, OverflowError):  # a whole number may be past what a float holds
        reward = math.nan
    if not math.isfinite(reward):
        raise _Wrong(f"reward is {str(given)[:60]!r}; it is a finite number, or left out")
    return reward
