"""Two games as GIFs: the same start, before and after training."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from PIL import Image

from ludus.agents.episode import Episode
from ludus.agents.replay import replay
from ludus.agents.rollout import EnvironmentSpec
from ludus.envs.base import ChatEnv
from ludus.tools.wording import number

LARGEST = 1_000_000
"""Maximum bytes of a GIF; a game that needs more is drawn smaller."""
FRAME_SECONDS = 0.35
LAST_FRAME_SECONDS = 2.0
MOST_FRAMES = 240
WIDEST = 640


@dataclass(frozen=True)
class Gif:
    stage: str
    """`primed` or `final`."""
    title: str
    caption: str
    data: bytes
    width: int
    height: int

    @property
    def base64(self) -> str:
        return base64.b64encode(self.data).decode("ascii")


def draws_pictures(episode: Episode) -> bool:
    """Whether the episode's environment is available and renders `rgb_array`, and not just the conversation,
    which the report shows as text."""
    return "rgb_array" in _render_modes(episode)


def _render_modes(episode: Episode) -> list[str]:
    if ":" not in episode.environment and episode.environment not in gymnasium.registry:
        return []
    env: Any = EnvironmentSpec(episode.environment, episode.arguments).make()
    draws = getattr(type(env.unwrapped), "render", None) is not ChatEnv.render
    modes: list[str] = env.metadata.get("render_modes", []) if draws else []
    env.close()
    return modes


def game(episode: Episode, stage: str, title: str) -> Gif:
    """Replay a recorded episode, and draw it.

    Raises:
        ValueError: the environment is no longer the recorded one.
    """
    every_move = "rgb_array_list" in _render_modes(episode)
    pictures = replay(episode, "rgb_array_list" if every_move else "rgb_array")
    frames = [np.asarray(frame, np.uint8) for frame in pictures]
    turns = len(episode.turns)
    caption = (
        f"return {number(episode.episode_return)} in {turns} {'turn' if turns == 1 else 'turns'}"
        f"{', success' if episode.success else ''} (seed {episode.seed})"
    )
    data = encode(frames)
    width, height = Image.open(io.BytesIO(data)).size
    return Gif(stage, title, caption, data, width, height)


def encode(frames: Sequence[np.ndarray[Any, Any]]) -> bytes:
    """Pictures (height, width, 3) with values 0 to 255 as a looping GIF of at most `LARGEST` bytes. A game
    longer than `MOST_FRAMES` skips frames evenly, but never the first or last.
    """
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), MOST_FRAMES)).round().astype(int))
    pictures = [Image.fromarray(frames[i]) for i in chosen]
    scale = min(1.0, WIDEST / pictures[0].width)
    while True:
        data = _encode(pictures, scale)
        if len(data) <= LARGEST or scale * pictures[0].width < 32:
            return data
        scale *= 0.7


def _encode(pictures: Sequence[Image.Image], scale: float) -> bytes:
    size = (max(1, round(pictures[0].width * scale)), max(1, round(pictures[0].height * scale)))
    drawn = [picture.resize(size, Image.Resampling.BOX) for picture in pictures]
    # One palette for all frames: they then differ only where the game does, and only that is stored.
    sampled = drawn[:: -(-len(drawn) // 16)]
    together = Image.new("RGB", (size[0], size[1] * len(sampled)))
    for i, picture in enumerate(sampled):
        together.paste(picture, (0, i * size[1]))
    palette = together.quantize(128)
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in drawn]
    durations = [round(1000 * FRAME_SECONDS)] * (len(frames) - 1) + [round(1000 * LAST_FRAME_SECONDS)]
    file = io.BytesIO()
    frames[0].save(
        file,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=0,
        optimize=False,
    )
    return file.getvalue()
