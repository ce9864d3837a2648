"""How Pac-Man looks: as a picture, and in a terminal."""

import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from math import cos, pi, sin

import numpy as np
from PIL import Image, ImageDraw

from ludus.envs.grid.pacman import rules
from ludus.envs.grid.pacman.game import Game

Colour = tuple[int, int, int]

_NIGHT: Colour = (13, 14, 28)
_WALL_FILL: Colour = (24, 28, 66)
_WALL_EDGE: Colour = (82, 104, 245)
_PELLET: Colour = (255, 214, 170)
_POWER: Colour = (255, 240, 214)
_PACMAN: Colour = (255, 214, 51)
_FRIGHTENED: Colour = (58, 80, 232)
_FLASH: Colour = (236, 240, 255)
_WHITE: Colour = (250, 250, 255)
_PUPIL: Colour = (28, 34, 110)
_GHOST: dict[str, Colour] = {
    "chaser": (255, 77, 77),
    "ambusher": (255, 155, 213),
    "patroller": (64, 224, 208),
    "shy": (255, 172, 77),
}
GHOST_COLOURS = {"chaser": "red", "ambusher": "pink", "patroller": "turquoise", "shy": "orange"}
"""What their colours are called."""

_SHARPEN = 3
"""Pictures are drawn this many times as large and then shrunk, for smooth edges."""
_FLASH_STEPS = 4
"""Frightened ghosts flash when they have this many steps left."""
_LOOK = {rules.UP: (0, -1), rules.RIGHT: (1, 0), rules.DOWN: (0, 1), rules.LEFT: (-1, 0), rules.STAY: (0, 0)}
"""(x, y) of each direction."""
_MOUTH = {rules.RIGHT: 0, rules.DOWN: 90, rules.LEFT: 180, rules.UP: 270}
"""Degrees clockwise from the right."""


def rgb_frame(game: Game, grid: np.ndarray, state: np.ndarray, pixels: int | None = None) -> np.ndarray:
    """The game as a picture.

    `grid` and `state` are one game's rows as `rules` describes them.

    Args:
        pixels: of a cell's side; by default between 12 and 48, more in smaller mazes.

    Returns:
        uint8 (rows · pixels, columns · pixels, 3).
    """
    size = (pixels or cell_size(game.rows, game.columns)) * _SHARPEN
    walls = (grid & rules.GROUND_BITS == rules.WALL).tobytes()
    picture = _maze_picture(walls, game.rows, game.columns, size).copy()
    pen = ImageDraw.Draw(picture)
    for cell, value in enumerate(grid.tolist()):
        x, y = _centre(cell, game.columns, size)
        match value & rules.GROUND_BITS:
            case rules.PELLET:
                _disc(pen, x, y, 0.09 * size, _PELLET)
            case rules.POWER:
                _disc(pen, x, y, 0.34 * size, _blend(_POWER, _NIGHT, 0.22))
                _disc(pen, x, y, 0.25 * size, _POWER)
    cell = int(state[rules.PACMAN])
    ghosts = list(_ghosts(game, state))
    caught = any(where == cell and not scared and not waits for _, where, _, scared, waits in ghosts)
    for kind, where, heading, scared, waits in ghosts:
        colour = _ghost_colour(kind, scared, state)
        if waits:
            colour = _waiting(colour)
        _draw_ghost(pen, where, game.columns, size, colour, heading, scared)
    if caught:
        _draw_pacman(pen, cell, game.columns, size, rules.UP, 75)
    else:
        mouth = 40 if state[rules.STEP] % 2 == 0 else 14
        _draw_pacman(pen, cell, game.columns, size, int(state[rules.FACING]), mouth)
    if game.view is not None:
        picture = _dimmed_outside(picture, cell, game, size)
    return np.array(picture.reduce(_SHARPEN))


def sight(game: Game, grid: np.ndarray, state: np.ndarray, pixels: int) -> np.ndarray:
    """The game as the agent sees it: with a partial view, that square alone, walls where the maze ends.

    Returns:
        uint8 (height, width, 3), `pixels` for each cell of `Game.view_shape`.
    """
    frame = rgb_frame(game, grid, state, pixels)
    if game.view is None:
        return frame
    row, column = divmod(int(state[rules.PACMAN]), game.columns)
    margin, side = game.view * pixels, (2 * game.view + 1) * pixels
    around = np.empty((len(frame) + 2 * margin, frame.shape[1] + 2 * margin, 3), np.uint8)
    around[:] = _WALL_FILL
    around[margin : margin + len(frame), margin : margin + frame.shape[1]] = frame
    return around[row * pixels : row * pixels + side, column * pixels : column * pixels + side]


def read_sight(game: Game, picture: np.ndarray) -> np.ndarray:
    """`sight` backwards, by the colours that occur in a cell.

    Returns:
        the grid's cells, uint8 `Game.view_shape`, as far as they are drawn: what lies under somebody is
        floor, and of several who are in a cell only the one on top is there.
    """
    rows, columns = game.view_shape
    cells = picture.reshape(rows, len(picture) // rows, columns, -1, 3).swapaxes(1, 2)

    def has(colour: Colour) -> np.ndarray:
        return (cells == colour).all(-1).any((2, 3))

    grid = np.full(game.view_shape, rules.FLOOR, np.uint8)
    grid[(cells != _NIGHT).any((2, 3, 4))] = rules.PELLET
    grid[has(_POWER)] = rules.POWER
    grid[has(_WALL_FILL)] = rules.WALL
    for g, kind in reversed([*enumerate(game.ghost_kinds)]):
        ghost = rules.FLOOR | rules.GHOST_BIT << g
        grid[has(_waiting(_GHOST[kind]))] = ghost | rules.HARMLESS_BIT
        grid[has(_GHOST[kind])] = ghost
    for colour in (_FRIGHTENED, _FLASH, _waiting(_FRIGHTENED), _waiting(_FLASH)):
        grid[has(colour)] = rules.FLOOR | rules.GHOST_BIT | rules.HARMLESS_BIT
    grid[has(_PACMAN)] = rules.FLOOR | rules.PACMAN_BIT
    return grid


def cell_size(rows: int, columns: int) -> int:
    """Pixels of a cell's side in `rgb_frame`, by default."""
    return max(12, min(48, 560 // max(rows, columns)))


def _ghosts(game: Game, state: np.ndarray) -> Iterator[tuple[str, int, int, bool, bool]]:
    """Kind, cell, heading, whether frightened, whether waiting; the first ghost last, to lie on top."""
    for g in reversed(range(len(game.ghost_kinds))):
        ghost = rules.GHOSTS + g * rules.GHOST_SIZE
        cell, heading, _, wait, scared = state[ghost : ghost + rules.GHOST_SIZE].tolist()
        yield game.ghost_kinds[g], cell, heading, bool(scared), wait > 0


def _ghost_colour(kind: str, scared: bool, state: np.ndarray) -> Colour:
    if not scared:
        return _GHOST[kind]
    left = int(state[rules.FRIGHT])
    return _FLASH if left <= _FLASH_STEPS and left % 2 == 1 else _FRIGHTENED


def _waiting(colour: Colour) -> Colour:
    """Of a ghost that waits at home."""
    return _blend(colour, _NIGHT, 0.45)


@lru_cache(maxsize=8)
def _maze_picture(walls: bytes, rows: int, columns: int, size: int) -> Image.Image:
    """The walls as a rounded shape: drawn in the colour of its edge, and thinner on top in its own."""
    picture = Image.new("RGB", (columns * size, rows * size), _NIGHT)
    pen = ImageDraw.Draw(picture)
    for half, colour in ((0.31 * size, _WALL_EDGE), (0.31 * size - max(_SHARPEN, 0.07 * size), _WALL_FILL)):
        for cell, wall in enumerate(walls):
            if not wall:
                continue
            x, y = _centre(cell, columns, size)
            _disc(pen, x, y, half, colour)
            right = cell % columns + 1 < columns and walls[cell + 1]
            below = cell + columns < len(walls) and walls[cell + columns]
            if right:
                pen.rectangle((x, y - half, x + size, y + half), fill=colour)
            if below:
                pen.rectangle((x - half, y, x + half, y + size), fill=colour)
            if right and below and walls[cell + columns + 1]:
                pen.rectangle((x, y, x + size, y + size), fill=colour)
    return picture


def _draw_pacman(
    pen: ImageDraw.ImageDraw, cell: int, columns: int, size: int, facing: int, mouth: int
) -> None:
    x, y = _centre(cell, columns, size)
    r = 0.42 * size
    angle = _MOUTH[facing]
    pen.pieslice((x - r, y - r, x + r, y + r), angle + mouth, angle - mouth + 360, fill=_PACMAN)
    # The eye lies above the mouth, or behind it when he looks up or down.
    toward = (angle - 70 if facing != rules.LEFT else angle + 70) * pi / 180
    _disc(pen, x + 0.55 * r * cos(toward), y + 0.55 * r * sin(toward), 0.13 * r, _NIGHT)


def _draw_ghost(
    pen: ImageDraw.ImageDraw, cell: int, columns: int, size: int, colour: Colour, heading: int, scared: bool
) -> None:
    x, y = _centre(cell, columns, size)
    r = 0.40 * size
    foot = r / 3
    pen.pieslice((x - r, y - r, x + r, y + r), 180, 360, fill=colour)
    pen.rectangle((x - r, y, x + r, y + r - foot), fill=colour)
    for step in (-1, 0, 1):
        _disc(pen, x + 2 * step * foot, y + r - foot, foot, colour)
    if scared:
        ink = _PUPIL if colour == _FLASH else _FLASH
        for side in (-1, 1):
            _disc(pen, x + side * 0.36 * r, y - 0.2 * r, 0.13 * r, ink)
        mouth = [(x + 0.2 * r * step, y + 0.42 * r - 0.16 * r * (step % 2)) for step in range(-3, 4)]
        pen.line(mouth, fill=ink, width=max(1, round(0.11 * r)), joint="curve")
        return
    dx, dy = _LOOK[heading]
    for side in (-1, 1):
        eye_x, eye_y = x + side * 0.40 * r + 0.1 * r * dx, y - 0.18 * r + 0.1 * r * dy
        pen.ellipse((eye_x - 0.27 * r, eye_y - 0.33 * r, eye_x + 0.27 * r, eye_y + 0.33 * r), fill=_WHITE)
        _disc(pen, eye_x + 0.13 * r * dx, eye_y + 0.17 * r * dy, 0.16 * r, _PUPIL)


def _dimmed_outside(picture: Image.Image, cell: int, game: Game, size: int) -> Image.Image:
    """The picture, darker where a partial view does not reach."""
    assert game.view is not None
    row, column = divmod(cell, game.columns)
    dark = Image.blend(picture, Image.new("RGB", picture.size, _NIGHT), 0.62)
    box = (
        max(0, column - game.view) * size,
        max(0, row - game.view) * size,
        min(game.columns, column + game.view + 1) * size,
        min(game.rows, row + game.view + 1) * size,
    )
    dark.paste(picture.crop(box), box)
    return dark


def _centre(cell: int, columns: int, size: int) -> tuple[float, float]:
    return (cell % columns + 0.5) * size, (cell // columns + 0.5) * size


def _disc(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: Colour) -> None:
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _blend(colour: Colour, other: Colour, share: float) -> Colour:
    """`share` of the first colour, the rest of the other one."""
    red, green, blue = (round(share * a + (1 - share) * b) for a, b in zip(colour, other, strict=True))
    return red, green, blue


# The terminal: two columns a cell. A wall's sign follows from the sides on which its outline goes on, with
# the bits of up 1, right 2, down 4, left 8.
_LINES = " ╵╶╰╷│╭├╴╯─┴╮┤┬┼"
_PACMAN_SIGNS = {rules.UP: "U", rules.RIGHT: "C", rules.DOWN: "∩", rules.LEFT: "Ɔ"}
_GHOST_SIGN, _SCARED_SIGN, _CAUGHT_SIGN = "Ω", "ω", "✕"
_HOME, _CLEAR_BELOW = "\x1b[H", "\x1b[J"


def ansi_frame(game: Game, grid: np.ndarray, state: np.ndarray) -> str:
    """The game as lines of text with 24-bit colours, two columns a cell, and a line about it below."""
    rows, columns = game.rows, game.columns
    wall = np.pad((grid & rules.GROUND_BITS == rules.WALL).reshape(rows, columns), 1)
    pieces: dict[int, str] = {}
    cell = int(state[rules.PACMAN])
    caught = False
    for kind, where, _, scared, waits in _ghosts(game, state):
        pieces[where] = _painted(
            _SCARED_SIGN if scared else _GHOST_SIGN, _ghost_colour(kind, scared, state), True
        )
        caught |= where == cell and not scared and not waits
    sign = _CAUGHT_SIGN if caught else _PACMAN_SIGNS[int(state[rules.FACING])]
    pieces[cell] = _painted(sign, _PACMAN, True)
    lines = []
    for row in range(rows):
        line = []
        for column in range(columns):
            here = row * columns + column
            value = grid.item(here) & rules.GROUND_BITS
            if here in pieces:
                line.append(f"{pieces[here]} ")
            elif value == rules.WALL:
                sides = _outline(wall, row + 1, column + 1)
                line.append(_painted(_LINES[sides] + ("─" if sides & 2 else " "), _WALL_EDGE))
            elif value == rules.PELLET:
                line.append(_painted("· ", _PELLET))
            elif value == rules.POWER:
                line.append(_painted("● ", _POWER, True))
            else:
                line.append("  ")
        lines.append("".join(line).rstrip())
    told = f"step {state[rules.STEP]}   {state[rules.PELLETS]} left"
    if state[rules.PELLETS] == 0:
        told += "   cleared!"
    elif caught:
        told += "   caught"
    elif state[rules.FRIGHT]:
        told += f"   ghosts frightened for {state[rules.FRIGHT]}"
    return "\n".join([*lines, told])


def _outline(wall: np.ndarray, row: int, column: int) -> int:
    """The sides on which a wall's outline goes on: to walls, but not through the inside of a block of them.

    `wall` has a margin that counts as open.
    """
    sides = 0
    for bit, dy, dx in ((1, -1, 0), (2, 0, 1), (4, 1, 0), (8, 0, -1)):
        if wall[row + dy, column + dx]:
            one = wall[row + dx, column + dy] and wall[row + dy + dx, column + dx + dy]
            other = wall[row - dx, column - dy] and wall[row + dy - dx, column + dx - dy]
            if not (one and other):
                sides |= bit
    return sides


def _painted(text: str, colour: Colour, bold: bool = False) -> str:
    return f"\x1b[{'1;' if bold else ''}38;2;{colour[0]};{colour[1]};{colour[2]}m{text}\x1b[0m"


def show_frame(frame: str, frames_per_second: float) -> None:
    """Draw over the last frame at the terminal's top, and give the eye its time."""
    sys.stdout.write(f"{_HOME}{_CLEAR_BELOW}{frame}\n")
    sys.stdout.flush()
    time.sleep(1 / frames_per_second)
