"""The byte-level alphabet that GPT-2 introduced: every byte as one printable character."""

from collections.abc import Sequence
from functools import cache


@cache
def byte_of_character() -> dict[str, int]:
    """The byte that each of the 256 characters stands for.

    Printable latin-1 characters stand for themselves; the other 68 bytes, in order, take the code points from
    256 on (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", the released encoder).
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    table = {chr(byte): byte for byte in sorted(printable)}
    for byte in range(256):
        if byte not in printable:
            table[chr(len(table) - len(printable) + 256)] = byte
    return table


def display(piece: bytes) -> str:
    """The text of a single token; bytes that do not form a character show as `<0xE2>`."""
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return piece.decode("utf-8", errors="surrogateescape").translate(_ESCAPED)


_ESCAPED = {0xDC00 + byte: f"<0x{byte:02X}>" for byte in range(0x80, 0x100)}


def completion_text_ids(completion_ids: Sequence[int], stop_ids: Sequence[int]) -> Sequence[int]:
    """A completion without the stop id that ended it; a truncated one is returned whole."""
    return completion_ids[:-1] if completion_ids and completion_ids[-1] in stop_ids else completion_ids
