"""`Failure`: what a server's error means, that is whose failure it was and whether sending again can help.

Servers agree on little: a status, a code, a type or only a sentence may carry the meaning, some wrap another
server's error in their own, and some put an error into an answer with status 200. `read_failure` looks at all
of it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from ludus.agents.engines.answers import plain_text
from ludus.agents.engines.retries import wait_s
from ludus.agents.formats.calls.reply import whole_characters


class Kind(Enum):
    """Whose failure it was."""

    TROUBLE = auto()
    """The server's, and it may pass: an overload, a crash, a bad gateway."""
    LIMITED = auto()
    """Ours: too many requests in this time. Passes when we wait."""
    REFUSAL = auto()
    """The server will not answer this conversation: a content filter, or moderation."""
    MALFORMED = auto()
    """The model's: it wrote a tool call that its own server could not read."""
    TOO_LONG = auto()
    """The model's: the conversation does not fit its context."""
    NO_ACCESS = auto()
    """Ours: no key, a wrong one, or one without the right."""
    NO_CREDIT = auto()
    """Ours: the account has nothing left."""
    NO_MODEL = auto()
    """Ours: the server has no such model."""
    OTHER = auto()
    """The server does not take this request, for another reason."""


@dataclass(frozen=True, slots=True)
class Failure:
    kind: Kind
    said: str
    """The server's reason, on one line."""
    status: int
    wait_s: float | None = None
    """How long the server asks us to wait."""
    written: str = ""
    """What the model wrote, if the kind is `MALFORMED` and the server shows it."""
    message: str = ""
    """Everything that the error says in words, unshortened."""
    names: frozenset[str] = field(default_factory=frozenset)
    """The parameters that it points to."""


def read_failure(status: int, headers: Mapping[str, str], content: bytes, now_s: float) -> Failure:
    """What a response with an error status means.

    Args:
        headers: with names in lower case.
        now_s: Unix time.
    """
    try:
        body: Any = json.loads(content)
    except (ValueError, RecursionError):
        body = plain_text(content)
    return failure_of(status, headers, body, now_s)


def failure_of(status: int, headers: Mapping[str, str], body: Any, now_s: float) -> Failure:
    """What an error means, from its JSON (or its text, where it is not JSON)."""
    told = _Told()
    for key, value in _walk(body):
        told.add(key, value)
    message = " · ".join(dict.fromkeys(text for text in told.texts if text))
    kind = _kind(status, told, message)
    if kind is Kind.NO_ACCESS and status == 403 and isinstance(body, str):
        kind = Kind.OTHER  # a page of a firewall, which dislikes this prompt
    return Failure(
        kind,
        " ".join(message.split())[:300] or f"status {status}, without a reason",
        status,
        wait_s(headers, message, now_s) if kind in (Kind.LIMITED, Kind.TROUBLE) else None,
        _written(told, message) if kind is Kind.MALFORMED else "",
        message,
        frozenset(told.names),
    )


def failure_within(answer: Any, now_s: float) -> Failure | None:
    """The failure that an answer with status 200 contains: an error object instead of choices, in the first
    choice, or a prompt that was blocked."""
    if not isinstance(answer, dict):
        return None
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    error = choice.get("error") if isinstance(choice, dict) else None if choice else answer.get("error")
    if error:
        code = error.get("code") if isinstance(error, dict) else None
        status = code if type(code) is int and 400 <= code < 600 else 502
        return failure_of(status, {}, {"error": error}, now_s)
    feedback = answer.get("prompt_feedback") or answer.get("promptFeedback")
    if choice is None and isinstance(feedback, dict):
        blocked = feedback.get("block_reason") or feedback.get("blockReason")
        return Failure(Kind.REFUSAL, f"the prompt was blocked: {blocked}", 200) if blocked else None
    return None


def refusing(finish: str) -> bool:
    """Whether a finish reason means that a filter ended the reply, such as `content_filter`, Anthropic's
    `refusal`, Gemini's `SAFETY` and `content_filter: PROHIBITED_CONTENT`."""
    return bool(_words(finish) & _REFUSING_FINISHES)


def breaking(finish: str) -> bool:
    """Whether a finish reason means that the server broke off, such as `error` and DeepSeek's
    `insufficient_system_resource`."""
    return bool(_words(finish) & _BREAKING_FINISHES)


def garbled(finish: str) -> bool:
    """Whether a finish reason means that the server could not read the model's call, such as Gemini's
    `MALFORMED_FUNCTION_CALL`."""
    return bool(_words(finish) & _GARBLED_FINISHES)


def _words(finish: str) -> set[str]:
    return set(re.split(r"[^a-z_]+", finish.lower()))


_REFUSING_FINISHES = frozenset(
    {
        "content_filter",
        "content_filtered",
        "refusal",
        "safety",
        "recitation",
        "blocklist",
        "prohibited_content",
        "spii",
        "image_safety",
        "guardrail_intervened",
        "sensitive",
    }
)
_BREAKING_FINISHES = frozenset(
    {
        "error",
        "abort",
        "aborted",
        "cancelled",
        "insufficient_system_resource",
        "network_error",
        "model_error",
    }
)
_GARBLED_FINISHES = frozenset(
    {
        "malformed_function_call",
        "malformed_tool_call",
        "unexpected_tool_call",
        "function_call_filter",
    }
)

_REFUSAL_CODES = frozenset(
    {
        "content_filter",
        "contentfilter",
        "responsibleaipolicyviolation",
        "content_policy_violation",
        "content_policy",
        "moderation_blocked",
        "data_inspection_failed",
        "datainspectionfailed",
        "invalid_prompt",
        "prohibited_content",
        "safety",
        "content_blocked",
    }
)
_REFUSAL = re.compile(
    r"content[ _-]?(management )?(filter|policy|moderation)|content exists risk|requires moderation"
    r"|(input|prompt|request|content|output|text|it) (was|is|has been) (flagged|blocked|filtered)"
    r"|flagged (as|by|for)|safety (system|filter|polic|setting|reason)|usage polic(y|ies)"
    r"|inappropriate content|prohibited.content|response was blocked|prompt was blocked",
    re.I,
)
_MALFORMED_CODES = frozenset(
    {
        "tool_use_failed",
        "output_parse_failed",
        "tool_call_parse_failed",
        "malformed_function_call",
        "json_validate_failed",
        "invalid_tool_call",
    }
)
_MALFORMED = re.compile(
    r"error parsing tool call|failed to parse input at pos|tool call validation failed"
    r"|(model|it) generated output that could not be parsed|failed to (call a function|parse tool call)"
    r"|HarmonyError|unexpected token \d+ while expecting start token"
    r"|unexpected tokens remaining in message header|MALFORMED_FUNCTION_CALL",
    re.I,
)
_TOO_LONG_CODES = frozenset(
    {
        "context_length_exceeded",
        "exceed_context_size_error",
        "context_window_exceeded",
        "model_max_prompt_tokens_exceeded",
        "prompt_too_long",
    }
)
_TOO_LONG = re.compile(
    r"context[ _-]?(length|size|window|limit)|maximum context|max_model_len|too many tokens"
    r"|(prompt|input|request|conversation)( text)? is too long|input (token )?length|exceeds? (the )?n_ctx"
    r"|(prompt|input)( token)? (count|length|tokens?)[^.]{0,60}(exceed|longer|too large|greater than)"
    r"|maximum (prompt|input|sequence|model) length|maximum number of (input )?tokens|model token limit"
    r"|reduce the length of the (messages|prompt|input)|too large for model with \d+"
    r"|must have less than \d+ tokens|`?inputs`? tokens \+ `?max_new_tokens`? must be"
    r"|must be less than \d+ tokens|tokens to keep from the initial prompt",
    re.I,
)
_NEVER_FITS = re.compile(r"request too large.*(per minute|per min|\bTPM\b)", re.I | re.S)
"""A limit by the minute that even a single such request exceeds."""
_CREDIT = re.compile(
    r"insufficient[ _](quota|balance|credits?|funds)|exceeded your current quota.*billing"
    r"|credit balance is too low|billing_(hard_limit|not_active)|more credits",
    re.I | re.S,
)
_LONGEST = 20_000
"""Characters of an error's text that are looked at: it may hold all that a model wrote."""
_RAW = re.compile(r"raw='(.*)', err=|at pos \d+: (.*)", re.S)
_WORDS = ("message", "msg", "description", "error", "detail", "error_msg", "raw")
_CODES = ("code", "type", "status", "reason")
_NESTED = (
    "error",
    "errors",
    "detail",
    "details",
    "innererror",
    "metadata",
    "raw",
    "fieldViolations",
    "provider_specific_fields",
)


@dataclass(slots=True)
class _Told:
    """What the parts of an error say."""

    texts: list[str] = field(default_factory=list)
    codes: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    written: str | None = None
    is_moderated: bool = False

    def add(self, key: str, value: Any) -> None:
        if key == "failed_generation":
            self.written = value if isinstance(value, str) else json.dumps(value)
        elif key == "flagged_input":
            self.is_moderated = True
        elif key == "loc" and isinstance(value, list):  # pydantic's place of a wrong field
            self.names |= {part for part in value if isinstance(part, str)}
        elif not isinstance(value, str):
            return
        elif key in _WORDS:
            self.texts.append(whole_characters(value[:_LONGEST]))
        elif key in _CODES:
            self.codes.add(value.lower())
        elif key in ("param", "field"):
            self.names.add(value)


def _walk(body: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The keys and values of an error, through lists, nested errors and errors that are JSON as text."""
    if isinstance(body, str):
        yield "message", body
    elif isinstance(body, list):
        for item in body[:20]:
            if isinstance(item, dict | list):
                yield from _walk(item, depth + 1)
    elif isinstance(body, dict):
        for key, value in body.items():
            yield str(key), value
            if isinstance(value, str) and value.lstrip()[:1] == "{" and key in _WORDS:
                try:
                    value = json.loads(value)
                except (ValueError, RecursionError):
                    continue
            if key in _NESTED and isinstance(value, dict | list) and depth < 6:
                yield from _walk(value, depth + 1)


def _kind(status: int, told: _Told, message: str) -> Kind:
    if told.written is not None or told.codes & _MALFORMED_CODES or _MALFORMED.search(message):
        return Kind.MALFORMED
    if told.is_moderated or told.codes & _REFUSAL_CODES:
        return Kind.REFUSAL
    if status == 402 or (status in (400, 403, 429) and _CREDIT.search(" ".join((message, *told.codes)))):
        return Kind.NO_CREDIT
    if _NEVER_FITS.search(message):
        return Kind.OTHER
    if status == 429:
        return Kind.LIMITED
    if told.codes & _TOO_LONG_CODES or (status in (400, 413, 422, 500) and _TOO_LONG.search(message)):
        return Kind.TOO_LONG
    if status in (408, 409, 425) or status >= 500:
        return Kind.TROUBLE
    if _REFUSAL.search(message):
        return Kind.REFUSAL
    if status in (401, 403):
        return Kind.NO_ACCESS
    if status == 404 and "model" in message.lower():
        return Kind.NO_MODEL
    return Kind.OTHER


def _written(told: _Told, message: str) -> str:
    """What the model wrote, as far as the error shows it."""
    if told.written is not None:
        return whole_characters(told.written)
    shown = _RAW.search(message)
    return (shown[1] or shown[2] or "") if shown else ""
