"""A picture of a conversation, for videos of environments in words."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ludus.envs.chat import content_images, content_text
from ludus.envs.picture import opened

WIDTH, HEIGHT = 640, 480
"""Of a conversation's picture, whatever is in it, since a video's frames are of one size."""
_MARGIN, _LINE, _FONT = 12, 18, 14
_THUMBNAIL = 144
"""The longest side of a message's picture there, a multiple of a line's height."""
_COLUMNS = 73
"""Characters in a line: `_FONT` of DejaVu Sans Mono is 8.4 pixels wide."""
_PAPER, _INK = (250, 248, 240), (30, 32, 40)
_ROLES = {
    "system": (120, 110, 100),
    "user": (32, 96, 160),
    "assistant": (24, 128, 72),
    "tool": (150, 88, 20),
}


def conversation_picture(messages: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """The end of a conversation, as much as fits, uint8 (480, 640, 3): each message under its role, in a font
    whose letters are of one width, so that boards stand; pictures are made small."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), _PAPER)
    pen = ImageDraw.Draw(picture)
    room = (HEIGHT - 2 * _MARGIN) // _LINE
    lines: list[tuple[str, tuple[int, int, int]] | Image.Image] = []
    for message in reversed(messages):
        role = str(message["role"])
        told: list[Any] = [(role, _ROLES.get(role, _INK))]
        told += [(line, _INK) for line in _wrapped(content_text(message), room)]
        told += _thumbnails(message)
        lines[:0] = told
        if sum(map(_height, lines)) > room * _LINE:
            break
    while sum(map(_height, lines)) > room * _LINE:
        lines.pop(0)
    y = _MARGIN
    for line in lines:
        if isinstance(line, Image.Image):
            picture.paste(line, (_MARGIN, y))
        else:
            pen.text((_MARGIN, y), line[0], fill=line[1], font=_font())
        y += _height(line)
    return np.array(picture)


def _height(line: Any) -> int:
    return _THUMBNAIL if isinstance(line, Image.Image) else _LINE


def _thumbnails(message: Mapping[str, Any]) -> Iterator[Image.Image]:
    for url in content_images(message):
        try:
            picture = opened(url)
        except OSError:
            continue  # an agent's picture that is none: its text still says [image]
        picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
        yield picture


def _wrapped(text: str, lines: int) -> list[str]:
    """The text's last lines, broken where they are too long. What no font can draw is a `?`."""
    # Whatever stands before this many characters does not fit.
    tail = text[-lines * _COLUMNS :].expandtabs(4).splitlines()
    drawn = ("".join(sign if sign.isprintable() else "?" for sign in line) for line in tail)
    return [
        piece for line in drawn for piece in textwrap.wrap(line, _COLUMNS, replace_whitespace=False) or [""]
    ]


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    import matplotlib

    file = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSansMono.ttf"
    # Pillow's own layout: the other one depends on what the machine has.
    return ImageFont.truetype(file, _FONT, layout_engine=ImageFont.Layout.BASIC)
