"""Messages as servers with OpenAI's chat interface take and give them.

What a vendor adds to OpenAI's form (reasoning, signatures of thoughts, fields that nobody has heard of) is
kept apart from the reply, as a turn's `vendor`, and goes back with the message untouched: several vendors
refuse a conversation that lacks it, and models reason worse without it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ludus.agents.engines.answers import BadAnswer, read_ids, read_logprobs
from ludus.agents.engines.base import ServerRefusal
from ludus.agents.engines.failures import breaking, garbled, refusing
from ludus.agents.formats.calls.reply import distinct_ids, read_json
from ludus.agents.policy import Action
from ludus.envs.chat import Message, content_text

MALFORMED = "malformed"
_MESSAGE = frozenset({"role", "content", "tool_calls", "function_call", "refusal", "tool_call_id"})
_CALL = frozenset({"id", "type", "function"})
_FUNCTION = frozenset({"name", "arguments"})


def wire_message(
    message: Mapping[str, Any], vendor: Mapping[str, Any], images: bool = False
) -> dict[str, Any]:
    """A message as servers expect it: arguments are the text of a JSON object, whatever the model wrote.

    Malformed arguments go back under the key `MALFORMED`: a server whose template reads the arguments refuses
    the whole conversation if it cannot read them.

    Args:
        vendor: of an assistant's message, what its vendor added.
    """
    sent: dict[str, Any] = {**message, "content": message["content"] if images else content_text(message)}
    if "tool_calls" in sent:
        sent["tool_calls"] = [_wire_call(call) for call in sent["tool_calls"]]
    sent |= {key: value for key, value in vendor.items() if key != "tool_calls"}
    added = vendor.get("tool_calls", ())
    for call, extra in zip(sent.get("tool_calls", ()), added, strict=False):
        call |= {key: value for key, value in extra.items() if key != "function"}
        call["function"] |= extra.get("function", {})
    return sent


def _wire_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function["arguments"]
    if isinstance(arguments, str):
        try:
            read = read_json(arguments or "{}")
        except ValueError:
            read = None
        arguments = read if isinstance(read, dict) else {MALFORMED: arguments}
    return {**call, "function": {**function, "arguments": json.dumps(arguments)}}


def read_action(answer: Any, max_tokens: int) -> Action:
    """The action in the answer to a chat request.

    Args:
        max_tokens: what a reply that was cut off is assumed to have, where the server does not count.

    Raises:
        BadAnswer: it has no choice with a message, or the server broke off.
        ServerRefusal: a filter ended the reply.
    """
    try:
        choice = answer["choices"][0]
        message = choice["message"]
    except (LookupError, TypeError):
        raise BadAnswer(f"an answer without a choice: {json.dumps(answer)[:200]}") from None
    finish = choice.get("finish_reason")
    finish = finish if isinstance(finish, str) else ""
    if refusing(finish):
        raise ServerRefusal(f"the server ended the reply (finish_reason {finish!r})")
    if breaking(finish):
        raise BadAnswer(f"the server broke off (finish_reason {finish!r})")
    if not isinstance(message, dict):
        raise BadAnswer("a choice without a message")
    cut = finish == "length"
    usage = _usage(answer.get("usage"))
    sampled = usage["completion_tokens"]
    return Action(
        reply=_reply(message),
        finish="length" if cut else "malformed" if garbled(finish) else "stop",
        prompt_tokens=usage["prompt_tokens"] or 0,
        completion_tokens=sampled if sampled is not None else max_tokens if cut else 0,
        reasoning_tokens=usage["reasoning_tokens"] or 0,
        cached_tokens=usage["cached_tokens"] or 0,
        cost=usage["cost"],
        vendor=_vendor(message),
    )


def with_ids(action: Action, answer: Any) -> Action:
    """The action with the server's ids, if it gives all of them.

    Raises:
        BadAnswer: they are not ids, or not log-probabilities.
    """
    choice = answer["choices"][0]
    prompt, ids = read_ids(answer.get("prompt_token_ids")), read_ids(choice.get("token_ids"))
    given = choice.get("logprobs")
    tokens = given.get("content") if isinstance(given, dict) else None
    if isinstance(tokens, list):
        tokens = [token.get("logprob") if isinstance(token, dict) else token for token in tokens]
    logprobs = read_logprobs(tokens)
    if not prompt or len(ids) != len(logprobs):
        return action
    return replace(action, prompt_ids=prompt, completion_ids=ids, logprobs=logprobs)


def _usage(usage: Any) -> dict[str, Any]:
    """What the server counts; None where it does not. Tokens that only the total has are reasoning, which
    Gemini leaves out of `completion_tokens` but bills."""
    usage = usage if isinstance(usage, dict) else {}
    prompt, sampled = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    reasoning = _count(_inside(usage, "completion_tokens_details").get("reasoning_tokens"))
    total = _count(usage.get("total_tokens"))
    if total is not None and prompt is not None and sampled is not None and total > prompt + sampled:
        reasoning = reasoning or total - prompt - sampled
        sampled = total - prompt
    elif reasoning is not None and sampled is not None and reasoning > sampled:
        sampled += reasoning  # it cannot be a part of them
    cached = [
        _inside(usage, "prompt_tokens_details").get("cached_tokens"),
        usage.get("prompt_cache_hit_tokens"),  # DeepSeek
        usage.get("cache_read_input_tokens"),  # Anthropic
    ]
    known = next((count for count in map(_count, cached) if count), None)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": sampled,
        "reasoning_tokens": reasoning,
        "cached_tokens": None if known is None else min(known, prompt or 0),
        "cost": next(filter(None, map(_dollars, (usage.get("cost"), usage.get("estimated_cost")))), 0.0),
    }


def _inside(usage: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    details = usage.get(key)
    return details if isinstance(details, dict) else {}


def _count(value: Any) -> int | None:
    """A number of tokens; None if it is not a number."""
    return value if type(value) is int and 0 <= value < 2**31 else None


def _dollars(value: Any) -> float:
    """A cost; 0 if it is not one."""
    return float(value) if type(value) in (int, float) and 0 <= value < math.inf else 0.0


def _calls(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The calls of a server's message; a single `function_call`, the form before `tool_calls`, is one."""
    calls = message.get("tool_calls")
    if calls and isinstance(calls, list):
        return [call if isinstance(call, Mapping) else {} for call in calls]
    legacy = message.get("function_call")
    return [{"function": legacy}] if isinstance(legacy, Mapping) and legacy.get("name") else []


def _reply(message: Mapping[str, Any]) -> Message:
    """The assistant's message, reduced to the keys of a conversation, with each call in OpenAI's form."""
    content = message.get("content") or message.get("refusal") or ""
    reply: Message = {"role": "assistant", "content": content_text({"content": content})}
    if calls := _calls(message):
        ids = distinct_ids([str(call.get("id") or "") for call in calls])
        reply["tool_calls"] = [_call(id, call) for id, call in zip(ids, calls, strict=True)]
    return reply


def _call(id: str, call: Mapping[str, Any]) -> dict[str, Any]:
    """A call in OpenAI's form, whatever the server left out."""
    function = call.get("function")
    function = function if isinstance(function, Mapping) else {}
    arguments = function.get("arguments")
    return {
        "id": id,
        "type": "function",
        "function": {
            "name": str(function.get("name") or ""),
            "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments or {}),
        },
    }


def _vendor(message: Mapping[str, Any]) -> dict[str, Any]:
    """What the vendor added to the message and to its calls. A content of parts goes back as it came, since
    the parts may be more than text."""
    added = _added(message, _MESSAGE)
    if isinstance(message.get("content"), list):
        added["content"] = message["content"]
    calls = [_vendor_call(call) for call in _calls(message)]
    return {**added, "tool_calls": calls} if any(calls) else added


def _vendor_call(call: Mapping[str, Any]) -> dict[str, Any]:
    added = _added(call, _CALL | {"index"})
    function = call.get("function")
    inside = _added(function, _FUNCTION) if isinstance(function, Mapping) else {}
    return {**added, "function": inside} if inside else added


def _added(given: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    return {
        key: value for key, value in given.items() if key not in known and value not in (None, "", [], {})
    }
