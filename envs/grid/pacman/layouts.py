"""Fixed mazes: named ones of our own, and any that a user draws in the same signs."""

from dataclasses import dataclass

import numpy as np

from ludus.envs.errors import ArgumentError

WALL, FLOOR, PELLET, POWER = 0, 1, 2, 3
"""What lies in a cell, as in the two low bits of an observation."""

_SIGNS = {"#": WALL, " ": FLOOR, ".": PELLET, "o": POWER, "P": FLOOR, "G": PELLET}


@dataclass(frozen=True)
class Layout:
    """A maze as drawn: what lies in each cell, where Pac-Man begins, and where the ghosts are at home."""

    ground: np.ndarray
    """uint8 (rows, columns): WALL, FLOOR, PELLET or POWER."""
    start: int
    """Pac-Man's cell, row · columns + column."""
    home: int
    """The ghosts' cell."""


def read_layout(layout: str) -> Layout:
    """A layout by its name in `LAYOUTS`, or drawn: lines of `#` wall, `.` pellet, `o` power pellet, space,
    one `P` for Pac-Man and one `G` for the ghosts' home (which holds a pellet).

    Raises:
        ArgumentError: the name is unknown, or the drawing is not a closed maze whose pellets can all be
        reached.
    """
    if "\n" not in layout.strip():
        if layout not in LAYOUTS:
            raise ArgumentError(
                f"layout {layout!r} is unknown: choose one of {', '.join(LAYOUTS)}, "
                "or draw one as several lines of '#', '.', 'o', ' ', 'P' and 'G'"
            )
        layout = LAYOUTS[layout]
    lines = [line.rstrip() for line in layout.strip("\n").splitlines()]
    columns = len(lines[0])
    for number, line in enumerate(lines, 1):
        if len(line) != columns:
            raise ArgumentError(f"layout line {number} has {len(line)} cells, but line 1 has {columns}")
        if unknown := set(line) - set(_SIGNS):
            raise ArgumentError(f"layout line {number} has {sorted(unknown)}: the signs are {list(_SIGNS)}")
    drawn = "".join(lines)
    for sign, meaning in (("P", "Pac-Man's start"), ("G", "the ghosts' home")):
        if drawn.count(sign) != 1:
            raise ArgumentError(
                f"a layout has exactly one {sign!r} ({meaning}), this one has {drawn.count(sign)}"
            )
    ground = np.array([_SIGNS[sign] for sign in drawn], np.uint8).reshape(len(lines), columns)
    if ground[[0, -1]].any() or ground[:, [0, -1]].any():
        raise ArgumentError("a layout's border must be wall ('#') all round")
    start = drawn.index("P")
    unreached = (ground != WALL) & ~_reachable(ground, start)
    if unreached.any():
        row, column = np.argwhere(unreached)[0]
        raise ArgumentError(
            f"layout line {row + 1}, column {column + 1}: Pac-Man can never get there from 'P'"
        )
    return Layout(ground, start, drawn.index("G"))


def _reachable(ground: np.ndarray, start: int) -> np.ndarray:
    columns = ground.shape[1]
    seen = np.zeros(ground.size, np.bool_)
    seen[start] = True
    open_cells = [start]
    floor = ground.ravel() != WALL
    while open_cells:
        cell = open_cells.pop()
        for neighbour in (cell - columns, cell + 1, cell + columns, cell - 1):
            if floor[neighbour] and not seen[neighbour]:
                seen[neighbour] = True
                open_cells.append(neighbour)
    return seen.reshape(ground.shape)


LAYOUTS = {
    "ring": """
#######
#o.G.o#
#.###.#
#.###.#
#.###.#
#..P..#
#######
""",
    "lanes": """
#########
#o.....o#
#.#.#.#.#
#.#.G.#.#
#.#.#.#.#
#...#...#
#.#...#.#
#...P...#
#########
""",
    "garden": """
#############
#o....#....o#
#.###.#.###.#
#...........#
###.#.#.#.###
#...#.G.#...#
#.#.#####.#.#
#.#.......#.#
#.###.#.###.#
#.....P.....#
#.###.#.###.#
#o....#....o#
#############
""",
    "harbour": """
###################
#........#........#
#o##.###.#.###.##o#
#.................#
#.##.#.#####.#.##.#
#....#...#...#....#
####.###.#.###.####
#....#...G...#....#
#.##.#.##.##.#.##.#
#.##...#...#...##.#
#.####.#.#.#.####.#
#........#........#
#.##.###.#.###.##.#
#o.#.....P.....#.o#
##.#.#.#####.#.#.##
#....#...#...#....#
#.######.#.######.#
#.................#
###################
""",
}
