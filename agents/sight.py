"""What a model that sees makes of pictures: the tokens that stand for one, and their embeddings.

A picture's embeddings are computed by the model's own vision tower and put in where the input embedding meets
their ids (see `picture_ids`); from there on they are tokens like any others, with a position each. That holds
for families whose language model reads pictures in no other way, which are those of `picture_ids.FAMILIES`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ludus.agents.attention import computing_with
from ludus.agents.picture_ids import FIRST, key_and_place, key_of, with_picture
from ludus.envs.picture import from_url
from ludus.tools.errors import UserError
from ludus.tools.wording import first_line

_PLACEHOLDER = "<image>"
_ATTENTION = "sdpa"
_READER = "picture_reader"
Features = Mapping[int, Tensor]
"""The embeddings of pictures by their keys, [tokens, H] each."""


class SightError(UserError):
    """A picture cannot be read, or a model and its image processor do not belong together."""


@dataclass(frozen=True, eq=False)
class PictureReader:
    """From pictures to a model's tokens and pixels."""

    processor: Any
    """An `Idefics3Processor`."""
    placeholder: int
    """The id that a chat template writes for a picture, and the processor for each of its tokens."""

    def ids(self, url: str) -> tuple[int, ...]:
        """What stands for a picture in place of its placeholder.

        Raises:
            SightError: the URL holds no picture.
        """
        return _ids(self, url)

    def pixels(self, url: str) -> dict[str, Tensor]:
        """What the vision tower reads, a batch of one. Raises as `ids`."""
        return _pixels(self, url)


@lru_cache(maxsize=4096)
def _ids(reader: PictureReader, url: str) -> tuple[int, ...]:
    given = {"text": [_PLACEHOLDER], "images": [[_opened(url)]], "add_special_tokens": False}
    ids = reader.processor(**given)["input_ids"][0]
    return with_picture(ids, reader.placeholder, key_of(url))


@lru_cache(maxsize=64)
def _pixels(reader: PictureReader, url: str) -> dict[str, Tensor]:
    # Without the tokenizer, which another thread may be using.
    read = reader.processor.image_processor([[_opened(url)]], return_tensors="pt")
    return {name: read[name] for name in ("pixel_values", "pixel_attention_mask") if name in read}


def _opened(url: str) -> Image.Image:
    try:
        return Image.fromarray(from_url(url))
    except (OSError, ValueError) as error:
        raise SightError(
            f"a picture of {len(url):,} characters cannot be read ({first_line(error)}): give a PNG, JPEG, "
            "GIF or WebP file as a data URL"
        ) from error


def let_see(model: Any, tokenizer: Any, folder: Path) -> None:
    """Let a model of one of the `FAMILIES` see, with the image processor that lies in its folder.

    Raises:
        SightError: there is none, or the tokenizer has no token for pictures.
    """
    from transformers import AutoImageProcessor, Idefics3Processor

    config = model.config
    if tokenizer.get_vocab().get(_PLACEHOLDER) != config.image_token_id:
        raise SightError(
            f"the tokenizer's {_PLACEHOLDER} is not the token {config.image_token_id} of pictures in "
            "config.json: they do not belong together; use the model's own tokenizer"
        )
    try:
        images = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    except (OSError, ValueError) as error:
        raise SightError(
            f"{folder} has no image processor that can be read ({first_line(error)}): save it there, beside "
            "the tokenizer"
        ) from error
    # A copy, since the processor adds what it misses. SmolVLM's own needs packages for videos, and is the
    # same for pictures.
    processor = Idefics3Processor(images, deepcopy(tokenizer), model.model.image_seq_len)
    setattr(model, _READER, PictureReader(processor, config.image_token_id))


def save_reader(model: Any, folder: Path) -> None:
    """The image processor of a model that sees, beside its weights."""
    if (reader := reader_of(model)) is not None:
        reader.processor.image_processor.save_pretrained(folder)


def reader_of(model: Any) -> PictureReader | None:
    """How a model reads pictures; None for one that does not see."""
    return getattr(model, _READER, None)


def features_of(model: Any, urls: Sequence[str]) -> dict[int, Tensor]:
    """The embeddings of pictures, as the model's vision tower computes them, with gradients where these are
    enabled.

    Raises:
        SightError: one cannot be read, or the tower makes another number of tokens of it than the processor.
    """
    reader = reader_of(model)
    if not urls or reader is None:
        return {}
    together: dict[torch.Size, list[str]] = {}
    for url in urls:
        together.setdefault(reader.pixels(url)["pixel_values"].shape, []).append(url)
    features: dict[int, Tensor] = {}
    # The tower attends by itself, whatever the language model computes with.
    with computing_with(model, _ATTENTION):
        for alike in together.values():
            pixels = [reader.pixels(url) for url in alike]
            joined = {name: torch.cat([one[name] for one in pixels]).to(model.device) for name in pixels[0]}
            seen = model.get_image_features(**joined, return_dict=True).pooler_output
            features |= {key_of(url): tokens for url, tokens in zip(alike, seen, strict=True)}
    for url in urls:
        made, written = len(features[key_of(url)]), sum(id >= FIRST for id in reader.ids(url))
        if made != written:
            raise SightError(
                f"{type(model).__name__} makes {made} tokens of a picture for which its image processor has "
                f"{written}: they do not belong together; use the model's own"
            )
    return features


@contextmanager
def seeing(model: Any, features: Features) -> Iterator[None]:
    """Inside, the model's input embedding knows these pictures."""
    reader = reader_of(model)
    if not features or reader is None:
        yield
        return
    embedding = model.get_input_embeddings()
    embedding.forward = partial(_embed, embedding, reader.placeholder, features)
    try:
        yield
    finally:
        del embedding.forward  # that of the class again


def _embed(embedding: nn.Module, placeholder: int, features: Features, ids: Tensor) -> Tensor:
    """Embeddings of ids of both kinds, [..., H]."""
    is_seen = ids >= FIRST
    embedded: Tensor = type(embedding).forward(embedding, ids.where(~is_seen, placeholder))
    if not is_seen.any():
        return embedded
    places: dict[int, int] = {}
    rows = 0
    for key, tokens in features.items():
        places[key], rows = rows, rows + len(tokens)
    seen = (key_and_place(id) for id in ids[is_seen].tolist())
    place_N = torch.tensor([places[key] + place for key, place in seen], device=ids.device)
    return embedded.index_put((is_seen,), torch.cat([*features.values()])[place_N].to(embedded.dtype))
