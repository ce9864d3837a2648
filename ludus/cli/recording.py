"""An episode as a GIF."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ludus.cli.environments import make, resolve
from ludus.cli.errors import UsageError
from ludus.tools.files import replacing_file

DEFAULT_FPS = 4
LAST_FRAME_MILLISECONDS = 1500


class Recorder:
    """Pictures of an episode, from a second instance of the environment: the same seed and the same actions
    give the same episode, so the first one may be rendered in another mode.

    Raises:
        UsageError: the environment renders no pictures, or the file cannot be a GIF.
    """

    def __init__(self, id: str, arguments: dict[str, Any], path: Path) -> None:
        if path.suffix.lower() != ".gif":
            raise UsageError(f"--record {path}: only GIFs are written; name it {path.stem}.gif")
        if not path.parent.is_dir():
            raise UsageError(f"--record {path}: there is no folder {path.parent}; make it first")
        env = make(id, arguments)
        modes = env.metadata.get("render_modes", [])
        env.close()
        if "rgb_array" not in modes:
            raise UsageError(
                f"{resolve(id)} draws no pictures, so there is nothing to --record: it renders "
                f"{', '.join(modes) or 'nothing'}, not rgb_array, as ludus/PacManChat-v0 does"
            )
        every_move = "rgb_array_list" in modes
        self._env = make(id, arguments, render_mode="rgb_array_list" if every_move else "rgb_array")
        self._path = path
        self._frames: list[np.ndarray] = []

    def reset(self, seed: int) -> None:
        self._env.reset(seed=seed)
        self._frames += self._pictures()

    def step(self, action: Any) -> None:
        self._env.step(action)
        self._frames += self._pictures()

    def close(self) -> int:
        """Write the file, unless no episode has begun; returns the number of pictures."""
        self._env.close()
        if self._frames:
            write_gif(self._path, self._frames, self._env.metadata.get("render_fps", DEFAULT_FPS))
        return len(self._frames)

    def _pictures(self) -> list[np.ndarray]:
        rendered: Any = self._env.render()
        return rendered if isinstance(rendered, list) else [rendered]


def write_gif(path: Path, frames: Sequence[np.ndarray], fps: float) -> None:
    """Write pictures (height, width, 3), values 0 to 255, as a GIF that repeats, the last one shown longer.

    Raises:
        OSError: the file could not be written; an existing file is untouched.
    """
    from PIL import Image

    # A palette for each picture: the first one's would lack colours that appear later.
    pictures = [Image.fromarray(frame).quantize(256, dither=Image.Dither.NONE) for frame in frames]
    durations = [round(1000 / fps)] * (len(pictures) - 1) + [LAST_FRAME_MILLISECONDS]
    with replacing_file(path) as scratch:
        pictures[0].save(
            scratch, format="GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0
        )
