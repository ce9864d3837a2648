"""Terms added to an episode's return before episodes are compared."""


def soft_overlong_penalty(length: int, limit: int, margin: int) -> float:
    """The penalty added to the return for a long answer: 0 up to `limit - margin` tokens, then falling
    linearly to -1 at `limit`, and -1 beyond (DAPO, arXiv:2503.14476, eq. 13, L_max = limit, L_cache =
    margin).

    Raises ValueError unless 0 < margin <= limit.
    """
    if not 0 < margin <= limit:
        raise ValueError(f"the margin must be between 1 and the limit of {limit} tokens, not {margin}")
    return min(0.0, max(-1.0, (limit - margin - length) / margin))
