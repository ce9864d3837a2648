"""Where the text of a completion lies in its ids."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from ludus.agents.formats.base import ChatFormat
from ludus.agents.formats.byte_level import completion_text_ids


def sampled_text(chat_format: ChatFormat, completion_ids: Sequence[int]) -> tuple[str, list[int]]:
    """The text of a completion, without the id that ends the turn, and how many of its characters are
    complete with each of the ids, [T].

    A character whose bytes are in several ids is complete with the last of them. Bytes that are not UTF-8
    show as U+FFFD, as everywhere.
    """
    pieces = chat_format.pieces(completion_text_ids(completion_ids, chat_format.stop_ids))
    text, ends = _decoded(b"".join(pieces))
    complete = [bisect_right(ends, end) for end in accumulate(map(len, pieces))]
    return text, complete + [len(text)] * (len(completion_ids) - len(complete))


def _decoded(data: bytes) -> tuple[str, list[int]]:
    """`data.decode(errors="replace")`, and where each of its characters ends, in bytes."""
    texts: list[str] = []
    ends: list[int] = []
    at = 0
    while at < len(data):
        broken = b""
        try:
            text = data[at:].decode()
        except UnicodeDecodeError as error:
            text, broken = data[at : at + error.start].decode(), data[at + error.start : at + error.end]
        ends += [at + end for end in accumulate(len(character.encode()) for character in text)]
        at += len(text.encode())
        texts.append(text)
        if broken:
            at += len(broken)
            ends.append(at)
            texts.append("\ufffd")
    return "".join(texts), ends
