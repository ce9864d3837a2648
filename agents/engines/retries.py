"""How long to wait before a request is sent again."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from ludus.agents.policy import derive_seed

FIRST_S, LONGEST_S = 0.5, 30.0
_UNIT = r"(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)"
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(rf"(\d+(?:\.\d+)?)\s*({_UNIT})(?![a-z])", re.I)
_IN_WORDS = re.compile(
    rf"(?:again|retry|wait|available)(?: in| after| for)? ((?:\d+(?:\.\d+)?\s*{_UNIT}(?![a-z])[\s,]*)+)", re.I
)
_RESET = re.compile(r"(x-)?(anthropic-)?ratelimit-(reset(-\w+)?|[\w-]+-reset)", re.I)


def backoff_s(attempt: int, seed: int) -> float:
    """Doubles with every attempt (0, 1, …) up to `LONGEST_S`, times a jitter in [0.5, 1) drawn from the seed,
    so that clients that failed together do not retry together."""
    jitter = 0.5 + derive_seed(seed, attempt) / 2**64
    return min(LONGEST_S, FIRST_S * 2.0 ** min(attempt, 16)) * jitter


def wait_s(headers: Mapping[str, str], message: str, now_s: float) -> float | None:
    """How long a server asks us to wait, in seconds from `now_s` (Unix time); None if it does not say.

    In this order: `retry-after-ms`, `Retry-After`, a sentence such as `try again in 1m26.4s`, and the time at
    which a limit that is used up is reset (`x-ratelimit-reset-requests` and its many variants).
    """
    milliseconds = retry_after_s(headers.get("retry-after-ms", ""), now_s)
    if milliseconds is not None:
        return milliseconds / 1000
    if (asked := retry_after_s(headers.get("retry-after", ""), now_s)) is not None:
        return asked
    if said := _IN_WORDS.search(message):
        return _duration_s(said[1])
    used_up, others = list[float](), list[float]()
    for name, value in headers.items():
        if _RESET.fullmatch(name) and (seconds := _until_s(value, now_s)) is not None:
            remaining = headers.get(name.replace("reset", "remaining"), "").strip()
            (used_up if remaining == "0" else others).append(seconds)
    return max(used_up) if used_up else min(others, default=None)


def retry_after_s(header: str, now_s: float) -> float | None:
    """The delay that a Retry-After header asks for, in seconds from `now_s` (Unix time); None if it cannot be
    read.

    It holds seconds or an HTTP date (RFC 9110, section 10.2.3).
    """
    try:
        seconds = float(header)
    except ValueError:
        try:
            moment = parsedate_to_datetime(header)
        except (ValueError, OverflowError):
            return None
        # "-0000" means UTC with an unknown local zone; such a date is parsed without a zone.
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now_s
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until_s(value: str, now_s: float) -> float | None:
    """The seconds from now that a reset header means: a duration (`6m0s`, `1.5`), a Unix time in seconds or
    milliseconds, or a date."""
    value = value.strip()
    if (duration := _duration_s(value)) is not None:
        return duration
    try:
        number = float(value)
    except ValueError:
        try:
            number = datetime.fromisoformat(value).timestamp()
        except ValueError:
            return retry_after_s(value, now_s)
    if not math.isfinite(number):
        return None
    if number > 1e11:
        number /= 1000
    return max(0.0, number - now_s if number > 1e9 else number)


def _duration_s(text: str) -> float | None:
    """`1m26.4s` or `2 minutes, 5 seconds` in seconds; None if it is not such a duration."""
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text).strip(" ,"):
        return None
    return sum(
        float(number) * (0.001 if unit.lower().startswith(("ms", "mil")) else _SECONDS[unit[0].lower()])
        for number, unit in parts
    )
