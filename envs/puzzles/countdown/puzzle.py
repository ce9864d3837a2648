"""Puzzles of Countdown: drawn so that they can be solved, and solved."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from ludus.envs.math.expressions import Expression, Raw

LEAST_TARGET = 10
MOST_NUMBERS = 6

_LISTED = 3
"""Of groups up to this size all values are listed; of larger ones only what is asked for is looked for."""

Group = tuple[int, ...]
"""Numbers that are combined, smallest first."""


@dataclass(frozen=True, slots=True)
class Puzzle:
    numbers: tuple[int, ...]
    """In the order in which they are shown."""
    target: int
    solution: Expression
    """The one it was drawn from; there may be others."""


def draw_puzzle(raw: Raw, count: int, largest: int, largest_target: int) -> Puzzle:
    """`count` numbers from 1 to `largest`, combined by random `steps` until the result can be a target."""
    while True:
        numbers = tuple(1 + raw() % largest for _ in range(count))
        pool: list[tuple[int, Expression]] = [(number, number) for number in numbers]
        while len(pool) > 1:
            one, other = pool.pop(raw() % len(pool)), pool.pop(raw() % len(pool))
            (low, right), (high, left) = sorted((one, other), key=lambda pair: pair[0])
            ways = steps(high, low)
            operation, value = ways[raw() % len(ways)]
            pool.append((value, (operation, left, right)))
        target, solution = pool[0]
        if LEAST_TARGET <= target <= largest_target:
            return Puzzle(numbers, target, solution)


def steps(high: int, low: int) -> list[tuple[str, int]]:
    """What can be made of two numbers ≥ 1, `high` ≥ `low`: operation and value.

    Only integers ≥ 1, and nothing is multiplied or divided by 1, which would use a number up for nothing.
    """
    found = [("add", high + low)]
    if high > low:
        found.append(("subtract", high - low))
    if low > 1:
        found.append(("multiply", high * low))
        if high % low == 0:
            found.append(("divide", high // low))
    return found


def solve(numbers: tuple[int, ...], target: int) -> Expression | None:
    """A solution made of `steps` alone; None if there is none. Every puzzle that is drawn has one."""

    @cache
    def values(group: Group) -> dict[int, Expression]:
        """Everything that can be made of a group."""
        if len(group) == 1:
            return {group[0]: group[0]}
        found: dict[int, Expression] = {}
        for part, rest in _splits(group):
            for one, left in values(part).items():
                for other, right in values(rest).items():
                    pair = (left, right) if one >= other else (right, left)
                    for operation, value in steps(max(one, other), min(one, other)):
                        found.setdefault(value, (operation, *pair))
        return found

    @cache
    def reach(group: Group, goal: int) -> Expression | None:
        if len(group) <= _LISTED:
            return values(group).get(goal)
        for part, rest in _splits(group):
            for value, expression in values(part).items():
                for operation, needed, is_left in _steps_back(goal, value):
                    found = reach(rest, needed)
                    if found is not None:
                        pair = (found, expression) if is_left else (expression, found)
                        return (operation, *pair)
        return None

    return reach(tuple(sorted(numbers)), target)


def _splits(group: Group) -> Iterator[tuple[Group, Group]]:
    """The ways to part a group in two, the smaller part first; some twice."""
    places = range(len(group))
    for size in range(1, len(group) // 2 + 1):
        for chosen in combinations(places, size):
            rest = tuple(group[place] for place in places if place not in chosen)
            yield tuple(group[place] for place in chosen), rest


def _steps_back(goal: int, value: int) -> Iterator[tuple[str, int, bool]]:
    """The numbers of which a step with `value` makes `goal`: operation, number, whether it stands left."""
    if goal > value:
        yield "add", goal - value, True
    yield "subtract", goal + value, True
    if value > goal:
        yield "subtract", value - goal, False
    if value > 1:
        yield "divide", goal * value, True
        if goal % value == 0 and goal > value:
            yield "multiply", goal // value, True
        if value % goal == 0 and value > goal:
            yield "divide", value // goal, False
