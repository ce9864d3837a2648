"""Pictures of boards and of text."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

CELL = 48
"""Pixels of a square's side."""
_SHARPEN = 2
"""Drawn so many times as large and then shrunk, for smooth edges."""
_PAPER: Colour = (250, 248, 240)
_INK: Colour = (30, 32, 40)
_LINE: Colour = (90, 80, 70)


def board_picture(
    rows: Sequence[Sequence[str]],
    discs: Mapping[str, Colour],
    ground: Colour,
    other_ground: Colour | None = None,
) -> np.ndarray:
    """A board of squares, on which a sign is a disc of its colour, or, if it has none, a letter.

    Args:
        rows: a sign for each square, from the top; an empty text for an empty square.
        discs: colours by sign.
        ground: of squares.
        other_ground: of every second square, as on a chess board.

    Returns:
        uint8 (48 · rows, 48 · columns, 3).
    """
    size = CELL * _SHARPEN
    picture = Image.new("RGB", (len(rows[0]) * size, len(rows) * size), ground)
    pen = ImageDraw.Draw(picture)
    for row, signs in enumerate(rows):
        for column, sign in enumerate(signs):
            x, y = column * size, row * size
            fill = other_ground if other_ground is not None and (row + column) % 2 else ground
            pen.rectangle((x, y, x + size - 1, y + size - 1), fill=fill, outline=_LINE)
            if sign in discs:
                edge = size // 8
                pen.ellipse((x + edge, y + edge, x + size - edge, y + size - edge), fill=discs[sign])
            elif sign:
                pen.text((x + size // 2, y + size // 2), sign, fill=_INK, font=_font(size // 2), anchor="mm")
    return np.array(picture.reduce(_SHARPEN))


def text_picture(text: str, width: int = 480, height: int = 192) -> np.ndarray:
    """Lines of text on paper, uint8 (height, width, 3); what does not fit is cut off."""
    picture = Image.new("RGB", (width, height), _PAPER)
    ImageDraw.Draw(picture).multiline_text((12, 10), text, fill=_INK, font=_font(16), spacing=6)
    return np.array(picture)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
