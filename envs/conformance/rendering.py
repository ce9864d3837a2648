"""A check of what `render` returns."""

from typing import Any

import gymnasium
import numpy as np

from ludus.envs.conformance.episodes import Recording, Subject, expect_same, replay
from ludus.envs.conformance.report import Violation


def rendering(subject: Subject) -> str:
    """Each of the `render_modes` draws what it should after every step, and changes nothing about the
    episode. `human`, which draws on somebody's screen, is left out."""
    env = subject.make()
    modes = [mode for mode in env.metadata.get("render_modes", []) if mode != "human"]
    env.close()
    for mode in modes:
        try:
            env = subject.make(render_mode=mode)
        except TypeError as error:
            raise Violation(
                f"metadata['render_modes'] has {mode!r}, which cannot be had: {error}; take the argument "
                "render_mode, or name no modes"
            ) from error
        _render(env, mode, subject.recordings[0])
        env.close()
    return ", ".join(modes) or "no modes"


def _render(env: gymnasium.Env[Any, Any], mode: str, recording: Recording) -> None:
    """Play an episode again, and look at what is drawn of it."""
    trace: list[Any] = []
    sizes: set[tuple[int, ...]] = set()
    for step in replay(env, recording):
        trace.append(step)
        drawn: Any = env.render()
        if mode == "ansi":
            if not isinstance(drawn, str):
                raise Violation(f"render() gives {drawn!r:.120} in the mode 'ansi': give a str")
            continue
        pictures = drawn if mode == "rgb_array_list" else [drawn]
        for picture in pictures:
            if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8:
                raise Violation(
                    f"render() gives {picture!r:.120} in the mode {mode!r}: give an array of uint8"
                )
            sizes.add(picture.shape)
    expect_same(f"seed {recording.seed}, drawn as {mode}", recording.trace, tuple(trace))
    if sizes and (len(sizes) > 1 or [len(size) for size in sizes] != [3] or {*sizes}.pop()[2] != 3):
        raise Violation(
            f"render() gives pictures of the shapes {sorted(sizes)} as {mode}: give (height, width, 3), of "
            "one size in an episode, as videos need it"
        )
