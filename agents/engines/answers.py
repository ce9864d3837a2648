"""Reading the answers of servers: ids, log-probabilities, and bodies that are not JSON."""

import math
import re
from collections.abc import Mapping
from typing import Any

_TITLE, _TITLE_END = re.compile("<title>", re.I), re.compile("</title>", re.I)


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


def media_type(headers: Mapping[str, str]) -> str:
    """The media type that a response claims."""
    return headers.get("content-type", "").partition(";")[0] or "of no type"


def plain_text(content: bytes) -> str:
    """A body that is not JSON, as text; of an HTML page, the title."""
    # Whatever encoding the server claims: it may claim one such as `hex`.
    body = content.decode("utf-8", "replace")
    # Not `<title>(.*?)</title>`, which takes quadratic time where titles begin and never end.
    if (begins := _TITLE.search(body)) and (ends := _TITLE_END.search(body, begins.end())):
        return body[begins.end() : ends.start()]
    return "" if "<html" in body.lower() else body
