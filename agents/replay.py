"""`replay`: plays a recorded episode again, for its pictures."""

import json
from typing import Any

import gymnasium

from ludus.agents.episode import Episode
from ludus.agents.rollout import EnvironmentSpec
from ludus.envs.chat import content_text


def replay(episode: Episode, render_mode: str = "rgb_array") -> list[Any]:
    """Plays a recorded episode again and returns what was rendered: after `reset`, then after each turn. The
    mode `rgb_array_list` gives as many pictures per turn as the environment has moves.

    Raises:
        ValueError: the rewards differ from the record, so it is not the same environment.
    """
    env = EnvironmentSpec(episode.environment, episode.arguments).make(render_mode=render_mode)
    try:
        observation, _ = env.reset(seed=episode.seed)
        native = not isinstance(observation, list)
        frames = _rendered(env)
        for number, turn in enumerate(episode.turns):
            action = json.loads(content_text(turn.reply)) if native else turn.reply
            _, reward, _, _, _ = env.step(action)
            if float(reward) != turn.reward:
                raise ValueError(
                    f"{episode.environment} (seed {episode.seed}) pays {float(reward)!r} on turn {number}, "
                    f"the record says {turn.reward!r}: the environment changed since the episode was played"
                )
            frames += _rendered(env)
        return frames
    finally:
        env.close()


def _rendered(env: gymnasium.Env[Any, Any]) -> list[Any]:
    """The pictures from `render`; in the mode `rgb_array_list` there are several per turn."""
    rendered: Any = env.render()
    return rendered if isinstance(rendered, list) else [rendered]
