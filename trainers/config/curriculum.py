"""`[environment.curriculum]`: levels of difficulty."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ludus.tools.section import Section
from ludus.trainers.config.values import Count, CountOrNone

_SUCCESS_ONLY = ("start", "low", "high")


class CurriculumSection(Section):
    """Levels of difficulty: which of them training plays follows from how the policy does. Only arguments
    that the environment's `arguments` do not give are varied."""

    kind: Literal["success", "learnability"] = "success"
    """`success`: one level at a time, a harder one once success is above `high`, an easier one once it is
    below `low`. `learnability`: all levels, each as often as its share of groups that are not flat, since
    only those teach."""
    difficulty: dict[str, list[Any]] = Field(default_factory=dict)
    """Arguments of the environment in the order in which they are raised, each with its values, easiest
    first; `{}` takes the environment's own. Level 0 has the easiest value of each, every further level raises
    one value by one, the first argument's to its end before the second's."""
    start: CountOrNone = 0
    """The level that training begins with. For `success`."""
    low: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Below this share of successes, the level falls by one. For `success`."""
    high: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Above this share of successes, the level rises by one. For `success`."""
    window: Count = 3
    """Steps at a level over which its success or learnability is taken."""
    evaluate: list[CountOrNone] = Field(default_factory=list)
    """Levels of the held-out tasks, which stay the same while the level of training moves; `[]` takes the
    hardest alone."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind != "success":
            for name in _SUCCESS_ONLY:
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(
                        f'{name} = {getattr(self, name)} moves one level at a time, but kind = "{self.kind}" '
                        f'draws from all levels; drop {name} or take kind = "success"'
                    )
        if self.low >= self.high:
            raise ValueError(
                f"low = {self.low:g} is not below high = {self.high:g}: success is kept between the two; "
                "the level falls below low and rises above high"
            )
        for name, values in self.difficulty.items():
            if not values:
                raise ValueError(f"difficulty.{name} is empty: list its values, easiest first")
        if len(set(self.evaluate)) < len(self.evaluate):
            raise ValueError(f"evaluate = {self.evaluate} names a level twice; name each once")
        return self
