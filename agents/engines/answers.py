"""Reading the answers of servers: ids, log-probabilities, and reasons for a refusal."""

import json
import math
import os
import re
from typing import Any

import httpx


class BadAnswer(Exception):
    """The answer cannot be used; the message says why."""


def read_ids(value: Any) -> tuple[int, ...]:
    """The token ids of an answer; empty if it has none.

    Raises:
        BadAnswer: it has something else.
    """
    if not isinstance(value, list | None) or not all(type(id) is int and id >= 0 for id in value or ()):
        raise BadAnswer(f"these are not token ids: {str(value)[:80]}")
    return tuple(value or ())


def read_logprobs(value: Any) -> tuple[float, ...]:
    """The log-probabilities of an answer; empty if it has none.

    Raises:
        BadAnswer: it has something else.
    """
    if not isinstance(value, list | None) or not all(
        type(logprob) in (int, float) and math.isfinite(logprob) and logprob < 0.01 for logprob in value or ()
    ):
        raise BadAnswer(f"these are not log-probabilities: {str(value)[:80]}")
    return tuple(map(float, value or ()))


def media_type(response: httpx.Response) -> str:
    """The media type that the response claims."""
    return response.headers.get("content-type", "").partition(";")[0] or "of no type"


def body_text(response: httpx.Response) -> str:
    """The body as text, whatever encoding it claims to have."""
    # Not `response.text`: it believes whatever encoding the server names, such as `hex`.
    return response.content.decode("utf-8", "replace")


def without_key(said: str, key_variable: str) -> str:
    """The text without the key: some servers repeat it, and it would end up in logs and results."""
    key = os.environ.get(key_variable, "").strip()
    return said.replace(key, f"${key_variable}") if len(key) >= 8 else said


def reason(response: httpx.Response, key_variable: str) -> str:
    """The server's reason for its refusal, on one line; of an HTML page, the title."""
    body = without_key(body_text(response), key_variable)
    try:
        said: Any = json.loads(body)
    except (ValueError, RecursionError):
        title = re.search(r"<title>(.*?)</title>", body, re.I | re.S)
        said = title[1] if title else "" if "<html" in body.lower() else body
    for key in ("error", "message", "detail"):
        if isinstance(said, dict) and said.get(key):
            said = said[key]
    line = " ".join(str(said).split())[:300]
    return line or f"{response.reason_phrase or 'no reason given'}"
