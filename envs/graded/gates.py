"""What every item must pass before it is played: a right answer is right, and what is none is not."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import Any

from ludus.envs.graded.recipe import Recipe
from ludus.envs.graded.templates import Sample, fill
from ludus.tools.errors import DataError

OTHERS = 8
"""Answers of other items that are tried at most: they may be right here, too, but not all of them."""


class OtherAnswers:
    """Right answers of a set, each once, from which every item gets a few that are not its own."""

    def __init__(self, recipe: Recipe, items: Iterable[Mapping[str, Any]]) -> None:
        self._answers: dict[str, Sample] = {}
        for item in items:
            with suppress(DataError):  # that item's own gate says so
                sample = recipe.right(item)
                self._answers.setdefault(repr(sample), sample)
        self._keys = list(self._answers)

    def than(self, right: Sample) -> list[Sample]:
        """The same for the same right answer, spread over the set."""
        own = repr(right)
        digest = blake2b(own.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        first, count = int.from_bytes(digest, "big"), len(self._keys)
        chosen = (self._keys[(first + step) % count] for step in range(min(OTHERS + 1, count)))
        return [self._answers[key] for key in chosen if key != own][:OTHERS]


def failed_gate(recipe: Recipe, item: Mapping[str, Any], others: OtherAnswers) -> str:
    """Why an item cannot be used; empty if it can.

    Its reference must pass; an empty answer, the question copied back, and the answer of another item must
    not (of `OTHERS` other answers one at least must be wrong). Whether an answer passes is decided by
    `Recipe.pass_score`.

    Args:
        item: It has all columns that the recipe names.

    Raises:
        EnvironmentFault: what grades broke.
    """

    def passes(sample: Sample) -> bool:
        return recipe.passes(recipe.judge(item, sample))

    try:
        right = recipe.right(item)
        grade = recipe.judge(item, right)
        if not recipe.passes(grade):
            return f"its reference scores {grade.score:g}: {grade.said}"
        if passes(recipe.sample("")):
            return "an empty answer is right"
        if passes(recipe.sample(fill(recipe.prompt, item))):
            return "the question copied back is right"
        candidates = others.than(right)
        if not candidates:
            return "no other item has a different answer"
        if all(map(passes, candidates)):
            return f"the answers of {len(candidates)} other items are right here, too"
    except DataError as error:
        return str(error)
    return ""
