"""Wording shared by messages and reports: near misses, numbers, durations, titles."""

import difflib
from collections.abc import Iterable


def nearest(name: object, choices: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The choice whose spelling is closest to `name`, ignoring case; None if none is close.

    `cutoff` is the minimum similarity, from 0 (anything) to 1 (the same letters).
    """
    spelled = {choice.casefold(): choice for choice in choices}
    close = difflib.get_close_matches(str(name)[:100].casefold(), spelled, n=1, cutoff=cutoff)
    return spelled[close[0]] if close else None


def did_you_mean(name: object, choices: Iterable[str], otherwise: str = "", cutoff: float = 0.6) -> str:
    """`did you mean X?` for the nearest choice, or `otherwise` if none is close."""
    close = nearest(name, choices, cutoff)
    return otherwise if close is None else f"did you mean {close}?"


def first_line(error: BaseException) -> str:
    """Of what an error says; its type, if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def number(value: float, unit: str = "") -> str:
    """Three significant digits; with `percent`, the number is a share. Not-a-number becomes an en dash."""
    if value != value:
        return "–"
    if unit == "percent":
        return f"{100 * value:.1f}%"
    size = abs(value)
    if size < 1e-15:  # zero, up to rounding
        text = "0"
    elif size >= 1000:
        text = f"{value:,.0f}"
    elif size >= 0.001:
        decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3 if size >= 0.01 else 4
        text = f"{value:.{decimals}f}"
    else:
        text = f"{value:.1e}".replace("e-0", "e-")
    return text.replace("-", "−") + (f" {unit}" if unit else "")


def signed(value: float, unit: str = "") -> str:
    """`number` with a plus sign if positive; a difference of percentages is in points."""
    sign = "+" if value > 0 else ""
    if unit == "percent":
        return (sign + f"{100 * value:.1f}").replace("-", "−")
    return sign + number(value, unit)


def counted(count: int, noun: str) -> str:
    """`1 episode`, `5,000 episodes`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def duration(seconds: float) -> str:
    """`7.3 s`, `12 min 30 s`, `1 h 02 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def environment_title(id: str) -> str:
    """An environment's id for tables and headings: Ludus's own without their namespace."""
    return id.removeprefix("ludus/")
