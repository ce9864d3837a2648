"""Rubrics: named, weighted reward terms."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Rubric:
    """A named set of weights. The reward of a step is the sum over terms of weight times value.

    Raises:
        ValueError: `form` names a term that has no weight.
        KeyError: on calling it with a term that has no weight.
    """

    weights: Mapping[str, float]
    form: tuple[str, ...] = ()
    """The terms that judge the form of a reply: its tags, whether it could be read, whether its calls were
    well-formed. The others judge what was achieved. Reports and metrics show the two apart, so that a policy
    which has only learned the form can be told from one that has learned the task."""

    def __post_init__(self) -> None:
        for name in self.form:
            if name not in self.weights:
                raise ValueError(f"form: {name!r} is no term; the terms are {', '.join(self.weights)}")

    def __call__(self, terms: Mapping[str, float]) -> float:
        weights = self.weights
        # A weight of 0 leaves a term out, even where its value is infinite or no number.
        return float(sum(weights[name] * value for name, value in terms.items() if weights[name]))
