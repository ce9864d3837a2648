"""Rubrics: named, weighted reward terms."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Rubric:
    """A named set of weights. The reward of a step is the sum over terms of weight times value.

    Raises:
        KeyError: on calling it with a term that has no weight.
    """

    weights: Mapping[str, float]

    def __call__(self, terms: Mapping[str, float]) -> float:
        weights = self.weights
        return float(sum(weights[name] * value for name, value in terms.items()))
