"""`Dialect`: what a server takes of a request, learned from what it refuses.

Reasoning models refuse `temperature` and `seed`, some servers want `max_completion_tokens`, some know no
`top_k`, some take no field in a message that they did not invent. A server says so in a refusal, once; the
request is then sent again without the field, and so is every later one.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ludus.agents.engines.failures import Failure, Kind

MAX_TOKENS, MAX_COMPLETION_TOKENS = "max_tokens", "max_completion_tokens"
_REFUSED = re.compile(
    r"not (be )?(supported|permitted|allowed|accepted|available|compatible|valid)|(does not|doesn't) support"
    r"|unsupported|unrecogni[sz]ed|unknown (name|field|parameter|argument|property|key)|unexpected"
    r"|extra (inputs?|fields?)|additional propert|cannot find field|only the default|deprecated"
    r"|incompatible|no longer|cannot both be|invalid parameter|not one of|must not be",
    re.I,
)
_CAPPED = re.compile(
    r"too large|at most|less than or equal|maximum|valid range|supported range|must be|exceed|greater than",
    re.I,
)
_ABOUT_PROMPT = re.compile(r"prompt|input|messages|your request|conversation", re.I)
_RENAMED = re.compile(rf"use\W+{MAX_COMPLETION_TOKENS}|{MAX_COMPLETION_TOKENS}\W+instead", re.I)
_NO_SYSTEM = re.compile(
    r"system (?:role|messages?|prompts?)[^.]{0,40}not (?:be )?supported|not support[^.]{0,20}system", re.I
)
_NO_EMPTY = re.compile(
    r"non-empty|must have either content or tool_calls|content (?:is|cannot be|must not be|can't be) empty"
    r"|non-whitespace",
    re.I,
)
EMPTY = "(no text)"
"""What an empty reply of the model is sent as, to a server that takes no empty messages."""


@dataclass
class Dialect:
    """Shared by all requests to a server; only grows."""

    left_out: set[str] = field(default_factory=set)
    """Fields of the body that the server does not take."""
    message_fields: set[str] = field(default_factory=set)
    """Fields of messages and calls that it does not take, not even those that it invented."""
    completion_tokens: bool = False
    """The limit of a reply is called `max_completion_tokens`."""
    cap: int | None = None
    """The most tokens in a reply that it lets one ask for."""
    system_in_user: bool = False
    """It has no system messages: their text goes to the beginning of the user's first message."""
    no_empty: bool = False
    """It takes no message without text."""

    def applied(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body as this server takes it."""
        spoken = {key: value for key, value in body.items() if value is not None and key not in self.left_out}
        if MAX_TOKENS in spoken:
            limit = spoken[MAX_TOKENS] if self.cap is None else min(spoken[MAX_TOKENS], self.cap)
            spoken[MAX_TOKENS] = limit
            if self.completion_tokens:
                spoken = {MAX_COMPLETION_TOKENS if key == MAX_TOKENS else key: spoken[key] for key in spoken}
        if "messages" in spoken and (self.message_fields or self.system_in_user or self.no_empty):
            spoken["messages"] = self._messages(spoken["messages"])
        return spoken

    def learn(self, failure: Failure, body: Mapping[str, Any], optional: Collection[str]) -> str | None:
        """Learn from a refusal of `body`, which was this dialect's form of a request.

        Args:
            optional: the fields of the body that may be left out.

        Returns:
            What is sent differently from now on, for people; None if the refusal teaches nothing.
        """
        text, before = failure.message, self._state()
        limit = MAX_COMPLETION_TOKENS if MAX_COMPLETION_TOKENS in body else MAX_TOKENS
        cap = _cap(text, body.get(limit)) if MAX_TOKENS in optional else None
        if failure.kind is Kind.TOO_LONG:
            if cap is None or _ABOUT_PROMPT.search(text):
                return None
        elif failure.kind is not Kind.OTHER:
            return None
        named = self._names(failure, body)
        if limit == MAX_TOKENS and limit in optional and _RENAMED.search(text):
            self.completion_tokens = True
            note = f"the limit of a reply is sent as {MAX_COMPLETION_TOKENS}"
        elif cap is not None:
            self.cap = cap
            note = f"it allows at most {cap} tokens in a reply, of {body[limit]} asked for"
        elif _NO_SYSTEM.search(text) and _has_system(body):
            self.system_in_user = True
            note = "it takes no system message: its text stands at the beginning of the first user message"
        elif _NO_EMPTY.search(text) and "messages" in body:
            self.no_empty = True
            note = f"it takes no message without text: an empty reply goes back as {EMPTY}"
        elif _REFUSED.search(text) and named:
            self.left_out |= named & body.keys() & {*optional}
            self.message_fields |= named & _vendor_fields(body)
            refused = sorted(named & {*optional, *_vendor_fields(body)})
            note = f"it does not take {' and '.join(refused)}: left out of every request"
        else:
            return None
        return note if self._state() != before else None

    def _state(self) -> tuple[Any, ...]:
        names = frozenset(self.left_out), frozenset(self.message_fields)
        return *names, self.completion_tokens, self.cap, self.system_in_user, self.no_empty

    def _names(self, failure: Failure, body: Mapping[str, Any]) -> set[str]:
        """The fields of a request that its refusal points to."""
        fields = {*body, *_vendor_fields(body)}
        pointed = {name.rpartition(".")[2] for name in failure.names}
        words = set(re.findall(r"\w+", failure.message))
        return fields & (pointed | words)

    def _messages(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        spoken = [self._message(message) for message in messages]
        if self.system_in_user:
            system = "\n\n".join(str(message["content"]) for message in spoken if message["role"] == "system")
            spoken = [message for message in spoken if message["role"] != "system"]
            first = next((message for message in spoken if message["role"] == "user"), None)
            if system and first is not None and isinstance(first["content"], str):
                first["content"] = f"{system}\n\n{first['content']}"
            elif system:
                spoken.insert(0, {"role": "user", "content": system})
        return spoken

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        spoken = {key: value for key, value in message.items() if key not in self.message_fields}
        if "tool_calls" in spoken:
            spoken["tool_calls"] = [
                {key: value for key, value in call.items() if key not in self.message_fields}
                for call in spoken["tool_calls"]
            ]
        if self.no_empty and not spoken.get("content") and not spoken.get("tool_calls"):
            spoken["content"] = EMPTY
        return spoken


_FORM = frozenset({"role", "content", "tool_calls", "tool_call_id", "id", "type", "function", "name"})
"""The fields of messages and calls in OpenAI's form, which are never left out."""


def _vendor_fields(body: Mapping[str, Any]) -> set[str]:
    """The fields of messages and calls beyond OpenAI's form."""
    messages = body.get("messages") or ()
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    return {key for item in (*messages, *calls) for key in item} - _FORM


def _has_system(body: Mapping[str, Any]) -> bool:
    return any(message["role"] == "system" for message in body.get("messages") or ())


def _cap(text: str, asked: Any) -> int | None:
    """The most tokens in a reply that a refusal allows, if it is about that."""
    if not isinstance(asked, int) or not _CAPPED.search(text):
        return None
    if not re.search(r"max_\w*tokens|max(imum)?\s?output|completion tokens|output tokens", text, re.I):
        return None
    smaller = [
        int(number) for number in re.findall(r"(?<![\w.-])\d{2,9}(?![\w.-])", text) if int(number) < asked
    ]
    return max(smaller) - ("exclusive" in text) if smaller else None


def room(failure: Failure, asked: int) -> int:
    """The tokens that a reply may have where prompt and reply together are too long; 0 if the prompt alone
    is.

    Servers give the length of the context, that of the prompt, what was asked for, or the sum, in any order;
    which number is which follows from how they relate. Without numbers, an eighth is tried.
    """
    numbers = {int(number) for number in re.findall(r"(?<![\w.-])\d{2,9}(?![\w])", failure.message)}
    about_reply = re.search(r"max_\w*tokens|completion|output|new_tokens|requested", failure.message, re.I)
    if asked not in numbers and not about_reply:
        return 0
    others = numbers - {asked}
    fits = [
        (length - prompt, (prompt + asked) in numbers)
        for length in others
        for prompt in others
        if prompt < length < prompt + asked
    ]
    by_sum = [left for left, is_sum in fits if is_sum]
    if by_sum or fits:
        return min(by_sum or [left for left, _ in fits])
    return asked // 8 if asked >= 64 else 0
