"""How the report writes numbers and words. `report.js` does the same for values under the pointer."""

import re

FORMAT_WORDS = {
    "format",
    "malformed",
    "invalid",
    "illegal",
    "tag",
    "tags",
    "syntax",
    "parse",
    "parsed",
    "unparsed",
}


def is_format_term(name: str) -> bool:
    """Whether a reward term is about the reply's form, not about what it achieved; told by its name."""
    return not FORMAT_WORDS.isdisjoint(re.split(r"[^a-z]+", name.lower()))


def words(name: str) -> str:
    """An identifier as a reader would say it."""
    return visible(name.replace("_", " ").replace("-", " ").strip())


def visible(text: str) -> str:
    """The text with control and bidi characters, unseen or deceptive otherwise, made visible."""
    return text.encode("utf-8", "replace").decode("utf-8").translate(_VISIBLE)


def number(value: float, unit: str = "") -> str:
    """Three significant digits; `percent` takes a share. Not-a-number is an en dash."""
    if value != value:
        return "–"
    if unit == "percent":
        return f"{100 * value:.1f}%"
    size = abs(value)
    if size < 1e-15:  # what rounding leaves of 0
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
    """`number` with a plus sign before what is positive; a difference of percentages is in points."""
    sign = "+" if value > 0 else ""
    if unit == "percent":
        return (sign + f"{100 * value:.1f}").replace("-", "−")
    return sign + number(value, unit)


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


_VISIBLE = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
_VISIBLE |= {0x7F: "␡"} | dict.fromkeys(range(0x80, 0xA0), "�")
_VISIBLE |= {
    code: f"⟨U+{code:04X}⟩"
    for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}  # fmt: skip
