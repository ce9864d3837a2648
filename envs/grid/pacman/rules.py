"""The rules of Pac-Man, compiled: the one implementation behind the single, the vector and the chat form.

A batch of N games is two arrays. `grids`, uint8 (N, rows·columns), is what agents observe, kept up to date
in place; `states`, int64 (N, STATE_SIZE), is everything else, the random word included. A game is therefore
a pure function of its first two rows and the actions, and a snapshot is a copy of them.

A grid cell is a set of bits: the two low ones say what lies there (0 wall, 1 floor, 2 pellet, 3 power
pellet), then one for Pac-Man, one for each ghost, and one that says that the ghosts in the cell are
harmless.

Kernels work on rows [low, high), so that threads can share a batch.
Numba's cache does not notice edits in other files; `compiled_random` is the only one whose functions are
called from here.
"""

from hashlib import blake2b

import numpy as np

from ludus.envs.compiled_random import advanced, below, mixed
from ludus.tools.compiling import inner, kernel

UP, RIGHT, DOWN, LEFT = range(4)
STAY = -1
"""Not an action of the environments; kernels take it as standing still."""

WALL, FLOOR, PELLET, POWER = range(4)
GROUND_BITS = 3
PACMAN_BIT = 4
GHOST_BIT = 8
"""Of ghost 0; ghost g has GHOST_BIT << g."""
HARMLESS_BIT = 128
MOST_GHOSTS = 4

CHASER, AMBUSHER, PATROLLER, SHY = range(4)

TERMS = ("pellet", "power", "ghost", "caught", "cleared")

# One game's state.
# ROUND is how far the patroller's round of the corners is, in steps; EATEN is a hash of the cells that have
# been eaten, POWER_LEFT how many power pellets have not, ANCHOR the key of the game as it stands.
PACMAN, FACING, PELLETS, STEP, ROUND, FRIGHT, RANDOM, HOME, EATEN, POWER_LEFT, ANCHOR, GHOSTS = range(12)
# For each ghost from GHOSTS on: its cell, its direction (STAY: none yet), the way it has saved up in
# thousandths of a cell, the steps that it still waits at home, whether it is frightened.
CELL, HEADING, SAVED, WAIT, SCARED, GHOST_SIZE = range(6)
STATE_SIZE = GHOSTS + MOST_GHOSTS * GHOST_SIZE

# The arguments as one int64 array.
ROWS, COLUMNS, START_CELL, HOME_CELL, GHOST_COUNT, SPEED, POWERS, FRIGHT_STEPS, MAX_STEPS, KINDS = range(10)
SETTINGS_SIZE = KINDS + MOST_GHOSTS

_FACTORS = np.frombuffer(blake2b(b"Pac-Man").digest() + blake2b(b"ghosts").digest(), np.uint64) | np.uint64(1)
"""Random odd numbers."""

WAIT_BETWEEN = 4
"""Ghost g leaves home g times this many steps after the start."""
WAIT_EATEN = 6
AHEAD = 4
"""How many cells ahead of Pac-Man the ambusher aims."""
_NO_WAY = 1 << 20
SIGHT = 4
"""From this distance on the patroller turns on Pac-Man and the shy one turns away."""


@kernel
def begin(
    grids: np.ndarray,
    states: np.ndarray,
    streams: np.ndarray,
    hashes: np.ndarray,
    due: np.ndarray,
    settings: np.ndarray,
    low: int,
    high: int,
) -> None:
    """Start the games that are due. Their grids hold a bare maze (wall and floor), or, where the settings
    give a start cell, a layout with its pellets. `streams`, int64 (N,), are advanced to the key of the new
    episode; `hashes` receives a content hash of each start."""
    rows, columns = settings[ROWS], settings[COLUMNS]
    for i in range(low, high):
        if not due[i]:
            continue
        grid, state = grids[i], states[i]
        streams[i] = mixed(streams[i])
        if settings[START_CELL] >= 0:
            start, home = settings[START_CELL], settings[HOME_CELL]
        else:
            start, home = _places(grid, rows, columns)
            for cell in range(grid.size):
                grid[cell] = PELLET if grid[cell] != WALL else WALL
            grid[start] = FLOOR
            corners = (
                columns + 1,
                (rows - 1) * columns - 2,
                2 * columns - 2,
                (rows - 2) * columns + 1,
            )
            for corner in range(settings[POWERS]):
                grid[corners[corner]] = POWER
        state[:] = 0
        state[PACMAN] = start
        state[FACING] = LEFT
        state[HOME] = home
        state[RANDOM] = mixed(streams[i])
        pellets = 0
        for cell in range(grid.size):
            pellets += grid[cell] >= PELLET
            state[POWER_LEFT] += grid[cell] == POWER
        state[PELLETS] = pellets
        for g in range(settings[GHOST_COUNT]):
            ghost = GHOSTS + g * GHOST_SIZE
            state[ghost + CELL] = home
            state[ghost + HEADING] = STAY
            state[ghost + WAIT] = g * WAIT_BETWEEN
        _put_pieces(grids, states, i, settings[GHOST_COUNT])
        _set_anchor(states, i, settings)
        # FNV's way of hashing, eight cells at a time.
        code = np.uint64(state[RANDOM])
        for first in range(0, grid.size, 8):
            word = np.uint64(0)
            for cell in range(first, min(first + 8, grid.size)):
                word = (word << np.uint64(8)) | np.uint64(grid[cell])
            code = (code ^ word) * np.uint64(0x100000001B3)
        hashes[i] = code


@inner
def _places(maze: np.ndarray, rows: int, columns: int) -> tuple[int, int]:
    """Pac-Man's start, low in the middle, and the ghosts' home, high in the middle, three cells away."""
    start = _nearest(maze, rows, columns, rows - 2 - (rows - 7) // 4, (columns - 1) // 2, np.int64(-1))
    home = _nearest(maze, rows, columns, 1 + (rows - 7) * 5 // 12, (columns - 1) // 2, start)
    return start, home


@inner
def _nearest(maze: np.ndarray, rows: int, columns: int, row: int, column: int, shunned: int) -> int:
    """The floor cell nearest to a place, but no nearer than three cells to the shunned one."""
    best, found = 1 << 30, -1
    for r in range(1, rows - 1):
        if abs(r - row) >= best:
            continue
        for c in range(1, columns - 1):
            far = abs(r - row) + abs(c - column)
            apart = shunned < 0 or abs(r - shunned // columns) + abs(c - shunned % columns) >= 3
            if far < best and apart and maze[r * columns + c] != WALL:
                best, found = far, r * columns + c
    return found


@kernel
def advance(
    grids: np.ndarray,
    states: np.ndarray,
    actions: np.ndarray,
    orders: np.ndarray,
    resting: np.ndarray,
    settings: np.ndarray,
    weights: np.ndarray,
    terms: np.ndarray,
    rewards: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    low: int,
    high: int,
) -> None:
    """Play one step of every game that is not `resting`.

    `orders`, int64 (N, MOST_GHOSTS), are the directions in which ghosts are told to go, STAY for their own
    way. Fills `terms` float64 (5, N) in the order of TERMS, `rewards` float64 (N,), `terminated` and
    `truncated` bool (N,); for resting games with zeros.
    """
    columns, count = settings[COLUMNS], settings[GHOST_COUNT]
    for i in range(low, high):
        for t in range(len(TERMS)):
            terms[t, i] = 0.0
        rewards[i] = 0.0
        terminated[i] = False
        truncated[i] = False
        if resting[i]:
            continue
        _take_pieces(grids, states, i, count)
        action = actions[i]
        if action != STAY:
            cell = states[i, PACMAN] + _offset(action, columns)
            if grids[i, cell] != WALL:
                states[i, PACMAN] = cell
                states[i, FACING] = action
        # A dangerous ghost in the cell catches before anything in it is eaten. As Pac-Man moves first,
        # changing places with a ghost is a meeting too.
        eaten, caught = 0, False
        for g in range(count):
            eats, catches = _meeting(states, i, g)
            eaten += eats
            caught |= catches
        cleared = False
        if not caught:
            here = grids[i, states[i, PACMAN]]
            if here >= PELLET:
                grids[i, states[i, PACMAN]] = FLOOR
                states[i, PELLETS] -= 1
                states[i, POWER_LEFT] -= here == POWER
                states[i, EATEN] ^= mixed(states[i, PACMAN])
                cleared = states[i, PELLETS] == 0
                terms[here - PELLET, i] = 1.0
            if here == POWER:
                _frighten(states, i, settings)
            elif states[i, FRIGHT] > 0:
                states[i, FRIGHT] -= 1
                if states[i, FRIGHT] == 0:
                    for g in range(count):
                        states[i, GHOSTS + g * GHOST_SIZE + SCARED] = False
        if not caught and not cleared:
            row = states[i, PACMAN] // columns
            column = states[i, PACMAN] - row * columns
            for g in range(count):
                if _ghost_turn(grids, states, i, g, row, column, orders[i, g], settings):
                    eats, catches = _meeting(states, i, g)
                    eaten += eats
                    caught |= catches
                    if caught:
                        break
        states[i, STEP] += 1
        states[i, ROUND] += 1
        if states[i, ROUND] == 4 * (settings[ROWS] + settings[COLUMNS]):
            states[i, ROUND] = 0
        _put_pieces(grids, states, i, count)
        _set_anchor(states, i, settings)
        terms[2, i] = eaten
        terms[3, i] = caught
        terms[4, i] = cleared
        for t in range(len(TERMS)):
            rewards[i] += weights[t] * terms[t, i]
        terminated[i] = caught or cleared
        truncated[i] = not terminated[i] and states[i, STEP] >= settings[MAX_STEPS]


@inner
def _set_anchor(states: np.ndarray, i: int, settings: np.ndarray) -> None:
    """Key the game, beside its start, by what may still matter: the facing if an ambusher looks at it, the
    round if a patroller makes one, the random word if ghosts are frightened, or may be again."""
    state = states[i]
    total = np.uint64(state[PACMAN]) * _FACTORS[0]
    total += np.uint64(state[EATEN]) * _FACTORS[1]
    total += np.uint64(state[FRIGHT]) * _FACTORS[2]
    count = settings[GHOST_COUNT]
    if count > 0 and (state[FRIGHT] > 0 or state[POWER_LEFT] > 0):
        total += np.uint64(state[RANDOM]) * _FACTORS[3]
    for g in range(count):
        kind = settings[KINDS + g]
        if kind == AMBUSHER:
            total += np.uint64(state[FACING]) * _FACTORS[4]
        elif kind == PATROLLER:
            total += np.uint64(state[ROUND]) * _FACTORS[5]
        ghost = GHOSTS + g * GHOST_SIZE
        # Below 2,000, 16, 5 and 2, so that none reaches into another's bits.
        word = state[ghost + CELL] << 19 | state[ghost + SAVED] << 8 | state[ghost + WAIT] << 4
        word |= (state[ghost + HEADING] + 1) << 1 | state[ghost + SCARED]
        total += np.uint64(word) * _FACTORS[6 + g]
    state[ANCHOR] = np.int64(np.uint64(mixed(np.int64(total))) >> np.uint64(1))


@inner
def _offset(direction: int, columns: int) -> int:
    """From a cell to its neighbour; without branches, because directions are hard to foresee."""
    aside = direction & 1
    return aside * (2 - direction) + (1 - aside) * (direction - 1) * columns


@inner
def _take_pieces(grids: np.ndarray, states: np.ndarray, i: int, count: int) -> None:
    grids[i, states[i, PACMAN]] &= GROUND_BITS
    for g in range(count):
        grids[i, states[i, GHOSTS + g * GHOST_SIZE + CELL]] &= GROUND_BITS


@inner
def _put_pieces(grids: np.ndarray, states: np.ndarray, i: int, count: int) -> None:
    grids[i, states[i, PACMAN]] |= PACMAN_BIT
    for g in range(count):
        grids[i, states[i, GHOSTS + g * GHOST_SIZE + CELL]] |= np.uint8((GHOST_BIT << g) | HARMLESS_BIT)
    for g in range(count):
        ghost = GHOSTS + g * GHOST_SIZE
        if not states[i, ghost + SCARED] and states[i, ghost + WAIT] == 0:
            grids[i, states[i, ghost + CELL]] &= np.uint8(255 - HARMLESS_BIT)


@inner
def _meeting(states: np.ndarray, i: int, g: int) -> tuple[bool, bool]:
    """Whether Pac-Man eats ghost g now, and whether it catches him. An eaten ghost is home at once."""
    ghost = GHOSTS + g * GHOST_SIZE
    if states[i, ghost + CELL] != states[i, PACMAN] or states[i, ghost + WAIT] > 0:
        return False, False
    if not states[i, ghost + SCARED]:
        return False, True
    states[i, ghost + CELL] = states[i, HOME]
    states[i, ghost + HEADING] = STAY
    states[i, ghost + SAVED] = 0
    states[i, ghost + WAIT] = WAIT_EATEN
    states[i, ghost + SCARED] = False
    return True, False


@inner
def _frighten(states: np.ndarray, i: int, settings: np.ndarray) -> None:
    """Every ghost that is out turns round and is frightened from now on."""
    states[i, FRIGHT] = settings[FRIGHT_STEPS]
    for g in range(settings[GHOST_COUNT]):
        ghost = GHOSTS + g * GHOST_SIZE
        if states[i, ghost + WAIT] == 0:
            states[i, ghost + SCARED] = states[i, FRIGHT] > 0
            if states[i, ghost + HEADING] != STAY:
                states[i, ghost + HEADING] ^= 2


@inner
def _ghost_turn(
    grids: np.ndarray,
    states: np.ndarray,
    i: int,
    g: int,
    pacman_row: int,
    pacman_column: int,
    order: int,
    settings: np.ndarray,
) -> bool:
    """Let ghost g wait, save up way, or move one cell, as it is told where it may; whether it came out or
    moved: it may meet Pac-Man."""
    ghost = GHOSTS + g * GHOST_SIZE
    if states[i, ghost + WAIT] > 0:
        states[i, ghost + WAIT] -= 1
        return states[i, ghost + WAIT] == 0
    scared = states[i, ghost + SCARED]
    states[i, ghost + SAVED] += settings[SPEED] // 2 if scared else settings[SPEED]
    if states[i, ghost + SAVED] < 1000:
        return False
    states[i, ghost + SAVED] -= 1000
    columns = settings[COLUMNS]
    cell = states[i, ghost + CELL]
    heading = states[i, ghost + HEADING]
    back = heading ^ 2 if heading != STAY else STAY
    if scared:
        chosen = _random_way(grids, states, i, cell, back, columns)
    elif order != STAY and order != back and grids[i, cell + _offset(order, columns)] != WALL:
        chosen = order
    else:
        row = cell // columns
        column = cell - row * columns
        kind = settings[KINDS + g]
        aim_row, aim_column = _aim(kind, row, column, pacman_row, pacman_column, states, i, settings)
        down, right = aim_row - row, aim_column - column
        chosen = STAY
        best = _NO_WAY
        for direction in range(4):
            # Without branches: which way is open is as good as random, and wrong guesses cost more than sums.
            dy = down + (direction == UP) - (direction == DOWN)
            dx = right + (direction == LEFT) - (direction == RIGHT)
            blocked = (direction == back) | (grids[i, cell + _offset(direction, columns)] == WALL)
            far = dy * dy + dx * dx + blocked * _NO_WAY
            nearer = far < best
            best = far if nearer else best
            chosen = direction if nearer else chosen
    if chosen == STAY:
        # A dead end (layouts may have them): turn round, unless walls are all there is.
        if back == STAY or grids[i, cell + _offset(back, columns)] == WALL:
            return False
        chosen = back
    states[i, ghost + CELL] = cell + _offset(chosen, columns)
    states[i, ghost + HEADING] = chosen
    return True


@inner
def _random_way(grids: np.ndarray, states: np.ndarray, i: int, cell: int, back: int, columns: int) -> int:
    ways = 0
    for direction in range(4):
        ways += direction != back and grids[i, cell + _offset(direction, columns)] != WALL
    if ways == 0:
        return STAY
    pick = 0
    if ways > 1:
        states[i, RANDOM] = advanced(states[i, RANDOM])
        pick = below(states[i, RANDOM], ways)
    for direction in range(4):
        if direction != back and grids[i, cell + _offset(direction, columns)] != WALL:
            if pick == 0:
                return direction
            pick -= 1
    return STAY


@inner
def _aim(
    kind: int,
    ghost_row: int,
    ghost_column: int,
    row: int,
    column: int,
    states: np.ndarray,
    i: int,
    settings: np.ndarray,
) -> tuple[int, int]:
    """Row and column that a ghost of this kind, at its place, heads for when Pac-Man is at (row, column)."""
    rows, columns = settings[ROWS], settings[COLUMNS]
    if kind == CHASER:
        return row, column
    if kind == AMBUSHER:
        facing = states[i, FACING]
        return row + AHEAD * ((facing == DOWN) - (facing == UP)), column + AHEAD * (
            (facing == RIGHT) - (facing == LEFT)
        )
    near = abs(ghost_row - row) + abs(ghost_column - column) <= SIGHT
    if kind == SHY:
        if near:
            return rows - 2, 1
        return row, column
    if near:
        return row, column
    # The patroller's round: the corners clockwise, a new one every rows + columns steps.
    corner = states[i, ROUND] // (rows + columns)
    return (1 if corner < 2 else rows - 2), (1 if corner == 0 or corner == 3 else columns - 2)


@kernel
def look(
    grids: np.ndarray,
    states: np.ndarray,
    settings: np.ndarray,
    radius: int,
    due: np.ndarray,
    seen: np.ndarray,
    masks: np.ndarray,
    low: int,
    high: int,
) -> None:
    """In the rows that are `due`, write what agents see and which moves are open.

    `masks` is int8 (N, 4). `seen` is uint8 (N, rows · columns) with radius 0; otherwise (N, (2·radius + 1)²):
    the square around Pac-Man, with walls where the maze ends.
    """
    rows, columns = settings[ROWS], settings[COLUMNS]
    side = 2 * radius + 1
    for i in range(low, high):
        if not due[i]:
            continue
        grid = grids[i]
        pacman = states[i, PACMAN]
        for direction in range(4):
            masks[i, direction] = grid[pacman + _offset(direction, columns)] & GROUND_BITS != WALL
        if radius == 0:
            # Numba makes a loop like this a memcpy; assigning the slice takes eight times as long.
            for cell in range(grid.size):
                seen[i, cell] = grid[cell]
            continue
        top, left = pacman // columns - radius, pacman % columns - radius
        for r in range(side):
            for c in range(side):
                row, column = top + r, left + c
                inside = 0 <= row < rows and 0 <= column < columns
                seen[i, r * side + c] = grid[row * columns + column] if inside else WALL
