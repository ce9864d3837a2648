"""Mazes from a seed: mirror-symmetric, every cell reachable, no dead ends, corridors one cell wide.

A maze is a graph drawn on a lattice whose lines lie two or three cells apart. The left half gets a random
spanning tree (depth first, hence long corridors), passages to its mirror image, a second way out of every
dead end and a few more loops; then it is drawn, and mirrored. A lattice gap of at least two keeps corridors
from lying side by side.
"""

import numpy as np

from ludus.envs.compiled_random import advanced, below, mixed
from ludus.tools.compiling import inner, kernel

SMALLEST, LARGEST = 7, 63
"""Bounds of a maze's rows and columns."""

WALL, FLOOR = 0, 1

_EAST, _SOUTH, _WEST = np.uint8(2), np.uint8(4), np.uint8(8)
_OUTSIDE = np.uint8(16)

_MOST_LINES = (LARGEST + 1) // 2
_LOOP_ODDS = 6
"""One lattice node in this many gets an additional passage."""


def make_maze(rows: int, columns: int, seed: int) -> np.ndarray:
    """One maze as a uint8 array (rows, columns): 0 wall, 1 floor."""
    cells = np.zeros((1, rows * columns), np.uint8)
    draw_mazes(cells, np.array([seed], np.int64), np.ones(1, np.bool_), rows, columns, 0, 1)
    return cells[0].reshape(rows, columns)


@kernel
def draw_mazes(
    cells: np.ndarray, streams: np.ndarray, due: np.ndarray, rows: int, columns: int, low: int, high: int
) -> None:
    """Overwrite the rows of `cells` (uint8, N × rows·columns) in [low, high) that are `due` with new mazes.

    A maze is a function of its stream's next key and the size alone.
    """
    ys = np.empty(_MOST_LINES, np.int64)
    xs = np.empty(_MOST_LINES, np.int64)
    ways = np.empty((_MOST_LINES + 2) ** 2, np.uint8)
    stack = np.empty(_MOST_LINES**2, np.int64)
    for i in range(low, high):
        if due[i]:
            word = mixed(mixed(streams[i]))
            height, word = _spaced(ys, 1, rows - 2, word)
            last, shared, word = _last_column(columns, word)
            width, word = _spaced(xs, 1, last, word)
            word = _grow_tree(ways, stack, height, width, word)
            _open_loops(ways, height, width, shared, word)
            _draw(cells, i, columns, ys, xs, height, width, ways)


@inner
def _last_column(columns: int, word: np.int64) -> tuple[int, bool, np.int64]:
    """Where the left half's last lattice line lies, and whether it is the axis, shared with the mirror."""
    if columns % 2 == 0:
        # Two cells of wall on the axis; in a maze of eight columns the half has room for one line only.
        return (columns // 2 - 2 if columns != 8 else 1), False, word
    axis = columns // 2
    word = advanced(word)
    if columns >= 9 and below(word, 2) == 0:
        return axis - 1, False, word
    return axis, True, word


@inner
def _spaced(lines: np.ndarray, first: int, last: int, word: np.int64) -> tuple[int, np.int64]:
    """Fill `lines` with coordinates from `first` to `last`, two or three apart; returns how many."""
    lines[0] = first
    count = 1
    while lines[count - 1] < last:
        left = last - lines[count - 1]
        if left <= 3:
            gap = left
        elif left == 4:
            gap = 2
        else:
            word = advanced(word)
            gap = 2 + below(word, 2)
        lines[count] = lines[count - 1] + gap
        count += 1
    return count, word


@inner
def _grow_tree(ways: np.ndarray, stack: np.ndarray, height: int, width: int, word: np.int64) -> np.int64:
    """A random spanning tree of the half lattice, depth first.

    `ways` holds a node's open sides as bits (`1 << side`), row by row with a margin of `_OUTSIDE` around.
    """
    stride = width + 2
    for node in range((height + 2) * stride):
        ways[node] = _OUTSIDE
    for y in range(1, height + 1):
        for x in range(1, width + 1):
            ways[y * stride + x] = 0
    word = advanced(word)
    stack[0] = (1 + below(word, height)) * stride + 1
    depth = 1
    while depth > 0:
        node = stack[depth - 1]
        word = advanced(word)
        start = below(word, 4)
        depth -= 1
        for turn in range(4):
            side = (start + turn) & 3
            neighbour = node + _step(side, stride)
            if ways[neighbour] == 0:
                ways[node] |= np.uint8(1 << side)
                ways[neighbour] |= np.uint8(1 << (side ^ 2))
                stack[depth + 1] = neighbour
                depth += 2
                break
    return word


@inner
def _open_loops(ways: np.ndarray, height: int, width: int, shared: bool, word: np.int64) -> None:
    """Open passages to the mirror image, a second way out of every dead end, and some more."""
    stride = width + 2
    if not shared:
        # Two passages to the mirror image, so that no single cell cuts the maze in two.
        word = advanced(word)
        first = below(word, height)
        word = advanced(word)
        second = (first + 1 + below(word, height - 1)) % height
        ways[(first + 1) * stride + width] |= _EAST
        ways[(second + 1) * stride + width] |= _EAST
    for y in range(1, height + 1):
        for x in range(1, width + 1):
            node = y * stride + x
            sides = ways[node]
            # On the axis, the way to the west has its mirror image.
            dead_end = (sides & (sides - 1)) == 0 and not (shared and x == width and sides == _WEST)
            word = advanced(word)
            if dead_end or below(word, _LOOP_ODDS) == 0:
                _open_one(ways, node, stride, x == width and not shared, advanced(word))


@inner
def _open_one(ways: np.ndarray, node: int, stride: int, beside_mirror: bool, word: np.int64) -> None:
    """Open one closed side of a node, if it has any, each with the same chance."""
    start = below(word, 4)
    for turn in range(4):
        side = (start + turn) & 3
        bit = np.uint8(1 << side)
        neighbour = node + _step(side, stride)
        inside = ways[neighbour] != _OUTSIDE
        if not ways[node] & bit and (inside or (beside_mirror and bit == _EAST)):
            ways[node] |= bit
            if inside:
                ways[neighbour] |= np.uint8(1 << (side ^ 2))
            break


@inner
def _step(side: int, stride: int) -> int:
    """From a cell to its neighbour on a side: 0 north, 1 east, 2 south, 3 west."""
    if side & 1:
        return 2 - side
    return (side - 1) * stride


@inner
def _draw(
    cells: np.ndarray,
    i: int,
    columns: int,
    ys: np.ndarray,
    xs: np.ndarray,
    height: int,
    width: int,
    ways: np.ndarray,
) -> None:
    """Draw the lattice and its passages, and their mirror image, into row i of `cells`."""
    for cell in range(cells.shape[1]):
        cells[i, cell] = WALL
    for y in range(height):
        row = ys[y] * columns
        for x in range(width):
            left, right = xs[x], columns - 1 - xs[x]
            cells[i, row + left] = FLOOR
            cells[i, row + right] = FLOOR
            sides = ways[(y + 1) * (width + 2) + x + 1]
            if sides & _EAST:
                for step in range(1, (xs[x + 1] if x < width - 1 else right) - left):
                    cells[i, row + left + step] = FLOOR
                    cells[i, row + right - step] = FLOOR
            if sides & _SOUTH:
                for step in range(columns, (ys[y + 1] - ys[y]) * columns, columns):
                    cells[i, row + left + step] = FLOOR
                    cells[i, row + right + step] = FLOOR
