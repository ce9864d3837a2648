"""Levels of difficulty, from the arguments that make an environment's tasks harder."""

from collections.abc import Mapping, Sequence
from typing import Any


def levels_of(difficulties: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The arguments of each level, easiest first.

    Args:
        difficulties: arguments in the order in which they are raised, each with its values, easiest first.

    Returns:
        Level 0 has the easiest value of every argument; each further level raises one value by one, the first
        argument's to its end before the second's. Empty if there are no such arguments.
    """
    if not difficulties:
        return []
    level = {name: values[0] for name, values in difficulties.items()}
    levels = [level]
    for name, values in difficulties.items():
        for value in values[1:]:
            level = {**level, name: value}
            levels.append(level)
    return levels
