"""A step that undoes what was learned."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from ludus.trainers.config import GrpoSection
from ludus.trainers.errors import TrainingDiverged

WINDOW = 2
"""Steps whose mean rewards are compared: the last two with the best two in a row."""

LEAST_FALL = 0.5
"""In standard deviations of an episode's reward. With many groups a fall may be certain and yet small."""


def check_collapse(history: Sequence[Mapping[str, float | str]], config: GrpoSection, step: int) -> None:
    """Compare the mean reward of the last two steps with that of the best two consecutive ones before them.

    The standard error of a step's mean is that over its groups; since few groups may agree by chance, it
    counts as no smaller than the root mean square of all steps so far.

    Args:
        history: The metrics of the steps so far, the last one included: `reward`, `reward_error` and
            `reward_std`. A step without them (all groups faulted, or there was only one) is passed over.
        step: Counted from 0.

    Raises:
        TrainingDiverged: if the reward fell by more than `config.collapse_limit` standard errors.
    """
    points = [
        (float(line["reward"]), float(line["reward_error"]), float(line["reward_std"]))
        for line in history
        if "reward_error" in line
    ]
    if not config.collapse_limit or len(points) < 2 * WINDOW:
        return
    usual = math.sqrt(fmean(error**2 for _, error, _ in points))
    windows = [points[begin : begin + WINDOW] for begin in range(len(points) - WINDOW + 1)]
    best, now = max(windows[:-WINDOW], key=_mean_reward), windows[-1]
    fall = _mean_reward(best) - _mean_reward(now)
    error = math.sqrt(sum(max(error, usual) ** 2 for _, error, _ in (*best, *now))) / WINDOW
    spread = fmean(spread for _, _, spread in (*best, *now))
    if fall > config.collapse_limit * error and fall > LEAST_FALL * spread:
        raise TrainingDiverged(
            f"GRPO step {step + 1}: the mean reward of the last {WINDOW} steps is {_mean_reward(now):.3g}, "
            f"after {_mean_reward(best):.3g} at its best: a fall of {fall / error:.0f} standard errors, more "
            f"than grpo.collapse_limit = {config.collapse_limit:g}. The updates undo what was learned, most "
            f"likely because they are too large: begin a new run with a lower grpo.learning_rate than "
            f"{config.learning_rate:g} or with more grpo.groups; model.path and sft.steps = 0 take over the "
            "primed model"
        )


def _mean_reward(window: Sequence[tuple[float, float, float]]) -> float:
    return fmean(reward for reward, _, _ in window)
