"""A scorer by rule: the working-out of a reply in arithmetic."""

from ludus.agents.episode import Episode
from ludus.envs.math.steps import worked_steps


def arithmetic_steps(text: str, episode: Episode, turn: int) -> list[tuple[int, float]]:
    """0 for a step that is right, and -1 for one that is wrong: a value for right steps would pay for writing
    steps that nobody needs."""
    return [(step.end, 0.0 if step.is_right else -1.0) for step in worked_steps(text)]
