"""Pictures among token ids.

Where a model sees a picture, each of the tokens that stand for it has an id that no vocabulary has, made from
the picture's content and the token's place in it. So ids alone tell pictures apart: whatever compares them
(keys and values that are kept, prompts that begin alike, rows that share a prefix) is right about pictures
and need not know of them, and nobody samples one. What a model makes of them: `ludus.agents.sight`.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ludus.envs.chat import content_images

Id = TypeVar("Id", int, NDArray[np.int64])

FAMILIES = {
    "idefics3": "<image>",
    "smolvlm": "<image>",
    "qwen2_5_vl": "<|image_pad|>",
    "qwen3_vl": "<|image_pad|>",
}
"""The types of models (`config.model_type`) that see, and the token that their chat templates write for a
picture."""
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
    return tuple(id_of(key, next(places)) if id == placeholder else id for id in ids)


def id_of(key: int, place: int) -> int:
    """The id of a picture's token: the inverse of `key_and_place`."""
    return FIRST | key << _PLACE_BITS | place


def key_and_place(id: Id) -> tuple[Id, Id]:
    """The picture that an id ≥ `FIRST` is of, and the token's place in it; of an array, those of its ids."""
    return (id - FIRST) >> _PLACE_BITS, id & (MOST - 1)


def pictures_among(ids: Iterable[int], messages: Iterable[Any]) -> tuple[str, ...]:
    """Of the pictures in the messages, as data URLs, each of those once that ids are of."""
    return shown_by(ids, (url for message in messages for url in content_images(message)))


def shown_by(ids: Iterable[int], urls: Iterable[str]) -> tuple[str, ...]:
    """Of these pictures, as data URLs, each of those once that ids are of."""
    keys = {key_and_place(id)[0] for id in ids if id >= FIRST}
    return tuple(url for url in dict.fromkeys(urls) if key_of(url) in keys) if keys else ()
