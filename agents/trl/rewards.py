"""`reward`: what episodes earned, for TRL."""

from collections.abc import Callable, Sequence
from typing import Any

from ludus.agents.episode import Episode
from ludus.agents.trl.tools import ToolEpisode, finished


def reward(
    completions: Sequence[Any],
    episode: Sequence[Episode | None] = (),
    environments: Sequence[ToolEpisode] = (),
    log_metric: Callable[[str, float], None] = lambda name, value: None,
    **_: Any,
) -> list[float | None]:
    """A reward function of GRPOTrainer, for `rollout_func` and for `environment_factory`.

    Returns:
        The return of each episode; None for one that is left out, which TRL then keeps out of its group's
        baseline and gives no advantage.
    """
    if environments:
        ended = [finished(*one) for one in zip(environments, completions, strict=True)]
    else:
        ended = [(None, False) if one is None else (one.episode_return, one.success) for one in episode]
    scored = [success for earned, success in ended if earned is not None]
    if scored:
        log_metric("success", sum(scored) / len(scored))
    log_metric("left_out", 1 - len(scored) / len(ended))
    return [earned for earned, _ in ended]
