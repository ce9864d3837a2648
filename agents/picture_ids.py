"""Pictures among token ids.

Where a model sees a picture, each of the tokens that stand for it has an id that no vocabulary has, made from
the picture's content and the token's place in it. So ids alone tell pictures apart: whatever compares them
(keys and values that are kept, prompts that begin alike, rows that share a prefix) is right about pictures
and need not know of them, and nobody samples one. What a model makes of them: `ludus.agents.sight`.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

from ludus.envs.chat import content_images

FAMILIES = ("idefics3", "smolvlm")
"""The types of models (`config.model_type`) that see."""
FIRST = 1 << 60
"""Ids of pictures begin here: `FIRST + key · 2¹⁶ + place`, below 2⁶¹."""
_PLACE_BITS, _KEY_BYTES = 16, 5
MOST = 1 << _PLACE_BITS
"""Tokens of a picture."""


def key_of(url: str) -> int:
    """The key of a picture's content, below 2⁴⁰, from its data URL."""
    return int.from_bytes(blake2b(url.encode(), digest_size=_KEY_BYTES).digest(), "big")


def with_picture(ids: Sequence[int], placeholder: int, key: int) -> tuple[int, ...]:
    """The ids with the tokens of one picture in place of the placeholders.

    Raises:
        ValueError: it has more than 65,536.
    """
    if ids.count(placeholder) > MOST:
        raise ValueError(f"a picture of {ids.count(placeholder)} tokens: at most {MOST} have ids")
    places = iter(range(MOST))
    return tuple(FIRST | key << _PLACE_BITS | next(places) if id == placeholder else id for id in ids)


def key_and_place(id: int) -> tuple[int, int]:
    """The picture that an id ≥ `FIRST` is of, and the token's place in it."""
    return (id - FIRST) >> _PLACE_BITS, id & (MOST - 1)


def pictures_among(ids: Iterable[int], messages: Iterable[Any]) -> tuple[str, ...]:
    """Of the pictures in the messages, as data URLs, each of those once that ids are of."""
    keys = {key_and_place(id)[0] for id in ids if id >= FIRST}
    if not keys:
        return ()
    urls = dict.fromkeys(url for message in messages for url in content_images(message))
    return tuple(url for url in urls if key_of(url) in keys)
