"""What a model that sees makes of pictures: the tokens that stand for one, and their embeddings.

A picture's embeddings are computed by the model's own vision tower and put in where the input embedding meets
their ids (see `picture_ids`); from there on they are tokens like any others. Two things differ in some of the
families of `picture_ids.FAMILIES`: the tokens lie in a grid, and are rotated by their rows and columns there
(`rotary_positions`), and the first layers of the language model are given more of the picture (Qwen3-VL).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ludus.agents.attention import computing_with
from ludus.agents.picture_ids import FAMILIES, FIRST, key_and_place, key_of, with_picture
from ludus.envs.picture import from_url
from ludus.tools.errors import UserError
from ludus.tools.wording import first_line

_ATTENTION = "sdpa"
_READER = "picture_reader"
_READ = ("pixel_values", "pixel_attention_mask", "image_grid_thw")
"""Of what an image processor returns, what vision towers read."""


class SightError(UserError):
    """A picture cannot be read, or a model and its image processor do not belong together."""


@dataclass(frozen=True, eq=False)
class PictureReader:
    """From pictures to a model's tokens and pixels."""

    processor: Any
    """An `Idefics3Processor`; of pictures in grids the image processor, since they are nothing but tokens."""
    placeholder: int
    """The id that a chat template writes for a picture, and the processor for each of its tokens."""
    merge: int = 0
    """A token of a grid is made of so many rows and columns of patches; 0: tokens lie in line."""

    @property
    def images(self) -> Any:
        """The image processor."""
        return self.processor if self.merge else self.processor.image_processor

    def ids(self, url: str) -> tuple[int, ...]:
        """What stands for a picture in place of its placeholder.

        Raises:
            SightError: the URL holds no picture.
        """
        return _ids(self, url)

    def pixels(self, url: str) -> dict[str, Tensor]:
        """What the vision tower reads of one picture. Raises as `ids`."""
        return _pixels(self, url)

    def grid(self, url: str) -> tuple[int, int] | None:
        """The rows and columns in which a picture's tokens lie; None: in line. Raises as `ids`."""
        if not self.merge:
            return None
        _, rows, columns = (self.pixels(url)["image_grid_thw"][0] // self.merge).tolist()
        return rows, columns


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a model makes of a picture of N tokens."""

    embeddings_NH: Tensor
    deeper: tuple[Tensor, ...] = ()
    """What is added to the tokens after each of the language model's first layers, [N, H] (DeepStack,
    arXiv:2406.04334)."""
    grid: tuple[int, int] | None = None
    """The rows and columns in which they lie; None: in line."""


Features = Mapping[int, Seen]
"""Pictures by their keys."""


@lru_cache(maxsize=4096)
def _ids(reader: PictureReader, url: str) -> tuple[int, ...]:
    if grid := reader.grid(url):
        ids = [reader.placeholder] * (grid[0] * grid[1])
    else:
        given = {"text": [reader.processor.image_token], "images": [[_opened(url)]]}
        ids = reader.processor(**given, add_special_tokens=False)["input_ids"][0]
    return with_picture(ids, reader.placeholder, key_of(url))


@lru_cache(maxsize=64)
def _pixels(reader: PictureReader, url: str) -> dict[str, Tensor]:
    # Without the tokenizer, which another thread may be using.
    picture = _opened(url)
    try:
        read = reader.images([[picture]], return_tensors="np")
    except ValueError as error:
        raise SightError(
            f"a picture of {picture.width} × {picture.height} pixels cannot be read by the model's image "
            f"processor ({first_line(error)}): give one of another shape"
        ) from error
    return {name: torch.from_numpy(read[name]) for name in _READ if name in read}


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
    placeholder = FAMILIES[config.model_type]
    if tokenizer.get_vocab().get(placeholder) != config.image_token_id:
        raise SightError(
            f"the tokenizer's {placeholder} is not the token {config.image_token_id} of pictures in "
            "config.json: they do not belong together; use the model's own tokenizer"
        )
    try:
        images = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    except (OSError, ValueError) as error:
        raise SightError(
            f"{folder} has no image processor that can be read ({first_line(error)}): save it there, beside "
            "the tokenizer"
        ) from error
    if merge := getattr(config.vision_config, "spatial_merge_size", 0):
        reader = PictureReader(images, config.image_token_id, merge)
    else:
        # A copy, since the processor adds what it misses. SmolVLM's own needs packages for videos, and is the
        # same for pictures.
        processor = Idefics3Processor(images, deepcopy(tokenizer), model.model.image_seq_len)
        reader = PictureReader(processor, config.image_token_id)
    setattr(model, _READER, reader)


def save_reader(model: Any, folder: Path) -> None:
    """The image processor of a model that sees, beside its weights."""
    if (reader := reader_of(model)) is not None:
        reader.images.save_pretrained(folder)


def reader_of(model: Any) -> PictureReader | None:
    """How a model reads pictures; None for one that does not see."""
    return getattr(model, _READER, None)


def lie_in_grids(model: Any) -> bool:
    """Whether the tokens of the pictures that a model sees are rotated by their rows and columns."""
    reader = reader_of(model)
    return reader is not None and reader.merge > 0


def features_of(model: Any, urls: Sequence[str]) -> dict[int, Seen]:
    """What the model's vision tower makes of pictures, with gradients where these are enabled.

    Raises:
        SightError: one cannot be read, or the tower makes another number of tokens of it than the processor.
    """
    reader = reader_of(model)
    if not urls or reader is None:
        return {}
    together: dict[torch.Size, list[str]] = {}
    for url in urls:
        together.setdefault(reader.pixels(url)["pixel_values"].shape, []).append(url)
    features: dict[int, Seen] = {}
    # The tower attends by itself, whatever the language model computes with.
    with computing_with(model, _ATTENTION):
        for alike in together.values():
            pixels = [reader.pixels(url) for url in alike]
            joined = {name: torch.cat([one[name] for one in pixels]).to(model.device) for name in pixels[0]}
            made = model.get_image_features(**joined, return_dict=True)
            layers = getattr(made, "deepstack_features", None) or ()
            for url, *seen in zip(alike, made.pooler_output, *layers, strict=True):
                features[key_of(url)] = Seen(seen[0], tuple(seen[1:]), reader.grid(url))
    for url in urls:
        tokens, written = len(features[key_of(url)].embeddings_NH), sum(id >= FIRST for id in reader.ids(url))
        if tokens != written:
            raise SightError(
                f"{type(model).__name__} makes {tokens} tokens of a picture for which its image processor "
                f"has {written}: they do not belong together; use the model's own"
            )
    return features


def in_grids(features: Features) -> bool:
    """Whether tokens of these pictures lie in grids; else any token's position is its place."""
    return any(seen.grid for seen in features.values())


def rotary_positions(ids: Sequence[int], features: Features) -> NDArray[np.int64]:
    """By which a row's tokens are rotated, [3, L]: in time, in height and in width. A text's token has the
    same position in all three; those of a picture count rows and columns from there, and what follows goes on
    after the longer side (Qwen2-VL, arXiv:2409.12191, section 2.1).

    Args:
        ids: the whole row.
        features: of its pictures, which lie in grids.
    """
    ids_L = np.fromiter(ids, np.int64)
    is_seen_L = ids_L >= FIRST
    key_N, place_N = key_and_place(ids_L[is_seen_L])
    keys, index_N = np.unique(key_N, return_inverse=True)
    grid_N2 = np.array([features[key].grid for key in keys.tolist()], np.int64).reshape(-1, 2)[index_N]
    row_N, column_N = np.divmod(place_N, grid_N2[:, 1])
    advance_L = np.ones_like(ids_L)
    advance_L[is_seen_L] = np.where(place_N == grid_N2.prod(1) - 1, grid_N2.max(1), 0)
    positions_3L = np.tile(advance_L.cumsum() - advance_L, (3, 1))
    positions_3L[1:, is_seen_L] += [row_N, column_N]
    return positions_3L


@contextmanager
def seeing(model: Any, features: Features) -> Iterator[None]:
    """Inside, the model's input embedding, and its first layers, know these pictures."""
    reader = reader_of(model)
    if not features or reader is None:
        yield
        return
    embedding = model.get_input_embeddings()
    sight = _Sight(embedding, reader.placeholder, features)
    embedding.forward = sight.embed
    hooks = []
    if sight.deeper:
        hooks.append(
            model.base_model.language_model.register_forward_pre_hook(sight.deepen, with_kwargs=True)
        )
    try:
        yield
    finally:
        del embedding.forward  # that of the class again
        for hook in hooks:
            hook.remove()


class _Sight:
    """What a model is given of pictures in a forward pass."""

    def __init__(self, embedding: nn.Module, placeholder: int, features: Features) -> None:
        self._embedding, self._placeholder = embedding, placeholder
        self._first: dict[int, int] = {}
        rows = 0
        for key, seen in features.items():
            self._first[key], rows = rows, rows + len(seen.embeddings_NH)
        self._embeddings = torch.cat([seen.embeddings_NH for seen in features.values()])
        layers = zip(*(seen.deeper for seen in features.values()), strict=True)
        self.deeper = [torch.cat(of_pictures) for of_pictures in layers]
        self._is_seen: Tensor | None = None
        """Of the tokens that were embedded last, if any of them is a picture's."""
        self._place_N = torch.empty(0, dtype=torch.int64)
        """Where these are among all tokens of pictures."""

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings of ids of both kinds, [..., H]."""
        is_seen = ids >= FIRST
        embedded: Tensor = type(self._embedding).forward(
            self._embedding, ids.where(~is_seen, self._placeholder)
        )
        self._is_seen = is_seen if is_seen.any() else None
        if self._is_seen is None:
            return embedded
        seen = (key_and_place(id) for id in ids[is_seen].tolist())
        self._place_N = torch.tensor([self._first[key] + place for key, place in seen], device=ids.device)
        return embedded.index_put((is_seen,), self._embeddings[self._place_N].to(embedded.dtype))

    def deepen(self, _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """A hook before the language model."""
        if self._is_seen is None:
            return None
        added = [layer[self._place_N] for layer in self.deeper]
        return inputs, {**named, "visual_pos_masks": self._is_seen, "deepstack_visual_embeds": added}
