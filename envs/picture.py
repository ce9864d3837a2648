"""Pictures in messages. A picture is an array, uint8 (height, width, 3)."""

import base64
import io
import struct
import zlib

import numpy as np
from PIL import Image

from ludus.envs import spaces
from ludus.envs.chat import Part, image_part

OBSERVATIONS = ("text", "picture", "both")
"""What environments show that can draw what they say: their argument `observation`."""


def picture_part(picture: np.ndarray) -> Part:
    """A picture as a part of a message's content."""
    return image_part(png(picture))


def png(picture: np.ndarray) -> bytes:
    """A picture as a PNG file. Its bytes follow from the picture and Python's zlib: where that is the same,
    so is the file of whoever draws it again."""
    height, width, _ = picture.shape
    # Each line begins with the number of its filter, 0: none.
    lines = np.zeros((height, 1 + 3 * width), np.uint8)
    lines[:, 1:] = picture.reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def chat_space(height: int, width: int) -> spaces.Chat:
    """Conversations with pictures of this size."""
    return spaces.Chat(max_image_length=longest_url(height, width))


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
    return np.array(opened(url))


def opened(url: str) -> Image.Image:
    """`from_url`, as Pillow's image."""
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
