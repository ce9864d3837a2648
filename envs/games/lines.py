"""Games won by so many in a row, compiled: N of them at once, each with an agent and an opponent.

TicTacToe and ConnectFour are the same but for the board's size, how many in a row win, and whether a move
is a place or a column into which a disc drops. A board is two bitboards as of `connect_four.solver`. What
scripted players draw and by what keys states are named is, bit by bit, what `luck.uniform`, `content_key`
and `task_key` make of the same game.

Kernels work on rows [low, high), so that threads can share a batch. Numba's cache does not notice edits in
other files: after one in `compiled_hash`, `compiled_random` or `connect_four.solver`, delete what
`__pycache__` has of this one.
"""

import numpy as np

from ludus.envs.compiled_hash import BLOCK, digest, put_decimal, put_hex, put_text
from ludus.envs.compiled_random import pcg64, pcg64_half
from ludus.envs.games.connect_four.solver import WIN, values_ahead
from ludus.tools.compiling import inner, kernel

# One game's state: both sides' bitboards, the agent's seat, the seed of what is drawn, moves made, the
# agent's errors, whether the game is over, the key of the game as it stands.
FIRST, SECOND, SEAT, SEED, PLAYS, ERRORS, OVER, ANCHOR, STATE_SIZE = range(9)

# The arguments as one int64 array. RUN in a row win; WHOLE: where a move is a column, into which a disc
# drops, the places of the first one, 0 where it is a place; CHOICE of the agent's seat; DEPTH: so many moves
# the opponent looks ahead, 0 for random ones, or ELSEWHERE, where the caller has its moves made by `reply`.
# The others are as of `solver.Board`.
ROWS, COLUMNS, ACTIONS, RUN, WHOLE, ERROR_LIMIT, CHOICE, DEPTH, FULL, BOTTOM, ODD, SETTINGS_SIZE = range(12)
ANY_SEAT = 2
ELSEWHERE = -1

OUTCOME, ILLEGAL, MALFORMED = range(3)
"""The terms, in the order of the rubric."""

_GOES_ON, _DRAWN, _WON = range(3)
_SIGNS = np.frombuffer(b".XO", np.uint8)
_AFTER, _BETWEEN = np.frombuffer(b")#", np.uint8), np.frombuffer(b";()#", np.uint8)
_LAST = np.frombuffer(b";)", np.uint8)
_SEAT, _SEED = np.frombuffer(b" seat ", np.uint8), np.frombuffer(b" seed ", np.uint8)
_HASH, _COMMA, _SEMICOLON, _CLOSE = ord("#"), ord(","), ord(";"), ord(")")
_UNIT = 1 / 2**53


@inner
def _place(taken: int, move: int, places: np.ndarray, settings: np.ndarray) -> int:
    """The place that a move takes, as a bit; 0 if it is illegal. `places`, int64 (actions,), are those of the
    moves, or the lowest of the columns."""
    place = places[move]
    if settings[WHOLE]:
        return (taken + place) & (settings[WHOLE] * place)
    return place & ~taken


@inner
def _play(states: np.ndarray, row: int, seat: int, place: int, settings: np.ndarray) -> int:
    """Take a place for a seat; what that leads to."""
    states[row, FIRST + seat] |= place
    states[row, PLAYS] += 1
    rows = settings[ROWS]
    for step in (1, rows, rows + 1, rows + 2):
        runs = states[row, FIRST + seat]
        for _ in range(settings[RUN] - 1):
            runs &= runs >> step
        if runs:
            return _WON
    return _DRAWN if states[row, PLAYS] == rows * settings[COLUMNS] else _GOES_ON


@inner
def _uniform(seed: int, plays: int, seat: int, text: np.ndarray) -> float:
    """`luck.uniform` of the place."""
    end = put_decimal(text, 0, seed)
    text[end] = _COMMA
    end = put_decimal(text, end + 1, plays)
    text[end] = _COMMA
    end = put_decimal(text, end + 1, seat)
    return np.float64(digest(text, end) >> np.uint64(11)) * _UNIT


@inner
def _answer(
    states: np.ndarray,
    row: int,
    settings: np.ndarray,
    places: np.ndarray,
    ways: np.ndarray,
    values: np.ndarray,
    nodes: np.ndarray,
    text: np.ndarray,
) -> int:
    """The opponent moves; what that leads to."""
    seat = 1 - states[row, SEAT]
    taken = states[row, FIRST] | states[row, SECOND]
    if settings[DEPTH]:
        nodes[0] = 0
        values_ahead(
            states[row, FIRST + seat],
            taken,
            settings[DEPTH],
            settings[FULL],
            settings[BOTTOM],
            settings[ROWS] + 1,
            ways,
            settings[ODD],
            False,
            nodes,
            values,
        )
    best, count = -WIN, 0
    for move in range(settings[ACTIONS]):
        if _place(taken, move, places, settings):
            if values[move] > best:
                best, count = values[move], 0
            count += values[move] == best
    # As `luck.pick` finds the index, with its roundings.
    number, chosen = _uniform(states[row, SEED], states[row, PLAYS], seat, text), 0
    for move in range(settings[ACTIONS]):
        place = _place(taken, move, places, settings)
        if place and values[move] == best:
            chosen = place
            if number < 1 / count:
                break
            number -= 1 / count
    return _play(states, row, seat, chosen, settings)


@inner
def _name_state(
    states: np.ndarray,
    row: int,
    settings: np.ndarray,
    places: np.ndarray,
    prefix: np.ndarray,
    text: np.ndarray,
) -> None:
    """Write the key that `GameChat.anchor` has for the state; `prefix` is what the state's text begins
    with."""
    end = put_text(text, 0, prefix)
    if settings[WHOLE]:
        for side in (FIRST, SECOND):
            text[end] = _HASH
            end = put_hex(text, end + 1, states[row, side])
            text[end] = _SEMICOLON
            end += 1
        text[end] = _CLOSE
        end += 1
    else:
        for place in places:
            mark = 1 if states[row, FIRST] & place else 2 if states[row, SECOND] & place else 0
            text[end] = _SIGNS[mark]
            end += 1
    end = put_text(text, end, _AFTER)
    end = put_hex(text, end, states[row, PLAYS])
    end = put_text(text, end, _BETWEEN)
    end = put_text(text, put_hex(text, end, states[row, ERRORS]), _LAST)
    states[row, ANCHOR] = np.int64(digest(text, end) >> np.uint64(1))


@kernel
def begin(
    streams: np.ndarray,
    states: np.ndarray,
    due: np.ndarray,
    settings: np.ndarray,
    places: np.ndarray,
    ways: np.ndarray,
    prefix: np.ndarray,
    low: int,
    high: int,
) -> None:
    """Start the next game in the rows where `due`, up to where the agent is to move."""
    text, nodes = np.empty(BLOCK, np.uint8), np.array([0, 1 << 62])
    values = np.zeros(settings[ACTIONS], np.int64)
    for row in range(low, high):
        if due[row]:
            states[row] = 0
            # What `Generator.integers` makes of the words for 2⁶³ and for 2.
            states[row, SEED] = np.int64(pcg64(streams[row]) >> np.uint64(1))
            states[row, SEAT] = settings[CHOICE]
            if settings[CHOICE] == ANY_SEAT:
                states[row, SEAT] = np.int64(pcg64_half(streams[row]) >> np.uint64(31))
            if states[row, SEAT] and settings[DEPTH] != ELSEWHERE:
                _answer(states, row, settings, places, ways, values, nodes, text)
            _name_state(states, row, settings, places, prefix, text)


@kernel
def advance(
    states: np.ndarray,
    actions: np.ndarray,
    resting: np.ndarray,
    settings: np.ndarray,
    places: np.ndarray,
    ways: np.ndarray,
    prefix: np.ndarray,
    weights: np.ndarray,
    terms: np.ndarray,
    rewards: np.ndarray,
    terminated: np.ndarray,
    low: int,
    high: int,
) -> None:
    """Make the agent's move, and the opponent's if that is made here, in the rows that are not `resting`."""
    text, nodes = np.empty(BLOCK, np.uint8), np.array([0, 1 << 62])
    values = np.zeros(settings[ACTIONS], np.int64)
    for row in range(low, high):
        outcome, errs, over = 0.0, 0.0, False
        if not resting[row]:
            taken = states[row, FIRST] | states[row, SECOND]
            place = _place(taken, actions[row], places, settings)
            if place:
                result = _play(states, row, states[row, SEAT], place, settings)
                outcome = 1.0 if result == _WON else 0.0
                if result == _GOES_ON and settings[DEPTH] != ELSEWHERE:
                    result = _answer(states, row, settings, places, ways, values, nodes, text)
                    outcome = -1.0 if result == _WON else 0.0
                over = result != _GOES_ON
            else:
                states[row, ERRORS] += 1
                errs, over = 1.0, states[row, ERRORS] == settings[ERROR_LIMIT]
                outcome = -1.0 if over else 0.0
            states[row, OVER] = over
            _name_state(states, row, settings, places, prefix, text)
        terms[OUTCOME, row], terms[ILLEGAL, row], terms[MALFORMED, row] = outcome, errs, 0.0
        rewards[row] = weights[ILLEGAL] * errs + weights[OUTCOME] * outcome
        terminated[row] = over


@kernel
def reply(
    states: np.ndarray,
    moves: np.ndarray,
    settings: np.ndarray,
    places: np.ndarray,
    prefix: np.ndarray,
    weights: np.ndarray,
    terms: np.ndarray,
    rewards: np.ndarray,
    terminated: np.ndarray,
    low: int,
    high: int,
) -> None:
    """Make the opponents' moves, int64 (N,), which are legal; -1 where there is none."""
    text = np.empty(BLOCK, np.uint8)
    for row in range(low, high):
        if moves[row] >= 0:
            place = _place(states[row, FIRST] | states[row, SECOND], moves[row], places, settings)
            result = _play(states, row, 1 - states[row, SEAT], place, settings)
            if result != _GOES_ON:
                states[row, OVER] = terminated[row] = True
                terms[OUTCOME, row] = -1.0 if result == _WON else 0.0
                rewards[row] = weights[OUTCOME] * terms[OUTCOME, row]
            _name_state(states, row, settings, places, prefix, text)


@kernel
def look(
    states: np.ndarray,
    due: np.ndarray,
    seen: np.ndarray,
    masks: np.ndarray,
    settings: np.ndarray,
    places: np.ndarray,
    low: int,
    high: int,
) -> None:
    """Write what the agents see, float32 (N, rows, columns, 2), and their legal moves, int8 (N, actions), in
    the rows where `due`."""
    rows, columns = settings[ROWS], settings[COLUMNS]
    for row in range(low, high):
        if due[row]:
            own, other = states[row, FIRST + states[row, SEAT]], states[row, SECOND - states[row, SEAT]]
            for line in range(rows):
                for column in range(columns):
                    place = (rows + 1) * column + rows - 1 - line
                    seen[row, line, column, 0] = own >> place & 1
                    seen[row, line, column, 1] = other >> place & 1
            for move in range(settings[ACTIONS]):
                is_legal = not states[row, OVER] and _place(own | other, move, places, settings) != 0
                masks[row, move] = is_legal


@kernel
def name_tasks(states: np.ndarray, rows: np.ndarray, prefix: np.ndarray, codes: np.ndarray) -> None:
    """Write `task_key`, twice over, of the games in `rows`, int64 (n,); `prefix` is what the games' name
    begins with."""
    text = np.empty(BLOCK, np.uint8)
    for number in range(rows.size):
        row = rows[number]
        end = put_text(text, put_text(text, 0, prefix), _SEAT)
        end = put_text(text, put_decimal(text, end, states[row, SEAT]), _SEED)
        codes[number] = digest(text, put_decimal(text, end, states[row, SEED]))
