"""Names and untrusted text, as the report writes them. `report.js` does the same under the pointer."""


def words(name: str) -> str:
    """An identifier in readable form."""
    return visible(name.replace("_", " ").replace("-", " ").strip())


def visible(text: str) -> str:
    """The text with invisible and deceptive characters (control, bidi) made visible."""
    return text.encode("utf-8", "replace").decode("utf-8").translate(_VISIBLE)


_VISIBLE = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
_VISIBLE |= {0x7F: "␡"} | dict.fromkeys(range(0x80, 0xA0), "�")
_VISIBLE |= {
    code: f"⟨U+{code:04X}⟩"
    for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}  # fmt: skip
