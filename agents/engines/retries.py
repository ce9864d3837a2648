"""How long to wait before a request is sent again."""

import math
from datetime import UTC
from email.utils import parsedate_to_datetime

from ludus.agents.policy import derive_seed

FIRST_S, LONGEST_S = 0.5, 30.0


def backoff_s(attempt: int, seed: int) -> float:
    """Doubles with every attempt (0, 1, …) up to `LONGEST_S`, times a jitter in [0.5, 1) drawn from the seed,
    so that clients that failed together do not retry together."""
    jitter = 0.5 + derive_seed(seed, attempt) / 2**64
    return min(LONGEST_S, FIRST_S * 2.0 ** min(attempt, 16)) * jitter


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
