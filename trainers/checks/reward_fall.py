"""A step that undoes what was learned."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from ludus.trainers.config.grpo import GrpoSection
from ludus.trainers.errors import TrainingDiverged

LAST = 2
"""How many of the last steps have their mean reward compared with the best earlier step's."""

LEAST_FALL = 1.0
"""In standard deviations of an episode's reward. With many groups, a fall can be significant and yet
small."""


def check_collapse(history: Sequence[Mapping[str, float | str]], config: GrpoSection, step: int) -> None:
    """Compare the mean reward of the last two steps with that of the best step before them.

    The standard error of a step's mean is taken over its groups. Since a few groups may agree by chance, it
    is never taken to be smaller than the root mean square of the errors of all steps so far.

    Args:
        history: The metrics of the steps so far, the last one included: `reward`, `reward_error` and
            `reward_std`. A step without them (all groups faulted, or there was only one) is skipped.
        step: Counted from 0.

    Raises:
        TrainingDiverged: if the reward fell by more than `config.collapse_limit` standard errors.
    """
    points = [
        (float(line["reward"]), float(line["reward_error"]), float(line["reward_std"]))
        for line in history
        if "reward_error" in line
    ]
    if not config.collapse_limit or len(points) <= LAST:
        return
    best = max(range(len(points) - LAST), key=lambda index: points[index][0])
    now = fmean(reward for reward, _, _ in points[-LAST:])
    fall = points[best][0] - now
    usual = _root_mean_square([error for _, error, _ in points])
    errors = [max(error, usual) for _, error, _ in points[-LAST:]]
    error = math.hypot(
        _root_mean_square([error for _, error, _ in points[: best + 1]]), math.hypot(*errors) / LAST
    )
    spread = fmean(spread for _, _, spread in (points[best], *points[-LAST:]))
    if fall > config.collapse_limit * error and fall > LEAST_FALL * spread:
        raise TrainingDiverged(
            f"GRPO step {step + 1}: the mean reward of the last {LAST} steps is {now:.3g}, after "
            f"{points[best][0]:.3g} in the best step: a fall of {fall / max(error, 1e-12):.0f} standard "
            f"errors, more than grpo.collapse_limit = {config.collapse_limit:g}. The updates undo what was "
            f"learned, most likely because they are too large: begin a new run with a lower "
            f"grpo.learning_rate than {config.learning_rate:g} or with more grpo.groups; model.path and "
            "sft.steps = 0 take over the primed model"
        )


def _root_mean_square(values: Sequence[float]) -> float:
    return math.sqrt(fmean(value**2 for value in values))
