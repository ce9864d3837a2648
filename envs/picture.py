"""Pictures in messages, and of a conversation. A picture is an array, uint8 (height, width, 3)."""

import base64
import io
import struct
import textwrap
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ludus.envs.chat import Part, content_images, content_text, image_part

OBSERVATIONS = ("text", "picture", "both")
"""What environments show that can draw what they say: their argument `observation`."""

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


def picture_part(picture: np.ndarray) -> Part:
    """A picture as a part of a message's content."""
    return image_part(png(picture))


def png(picture: np.ndarray) -> bytes:
    """A picture as a PNG file. Its bytes follow from the picture and Python's zlib: whoever draws it again
    gets the same file."""
    height, width, _ = picture.shape
    # Each line begins with the number of its filter, 0: none.
    lines = np.zeros((height, 1 + 3 * width), np.uint8)
    lines[:, 1:] = picture.reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def longest_url(height: int, width: int) -> int:
    """The most characters of the data URL of a picture of this size, for a space's `max_image_length`."""
    size = height * (1 + 3 * width)
    # zlib's own bound for what does not compress, and the file's other chunks.
    return len("data:image/png;base64,") + 4 * -(-(size + (size >> 12) + (size >> 14) + 13 + 57) // 3)


def from_url(url: str) -> np.ndarray:
    """The picture in a data URL.

    Raises:
        OSError: its bytes are no picture.
    """
    return np.array(_opened(url))


def _opened(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")


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
            picture = _opened(url)
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
        piece
        for line in drawn
        for piece in textwrap.wrap(line, _COLUMNS, replace_whitespace=False, drop_whitespace=False) or [""]
    ]


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    import matplotlib

    file = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSansMono.ttf"
    # Pillow's own layout: the other one depends on what the machine has.
    return ImageFont.truetype(file, _FONT, layout_engine=ImageFont.Layout.BASIC)
