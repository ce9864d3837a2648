"""`Table`: a game in play, with who has moved, who has erred and how. The referee of every form of a game."""

from dataclasses import dataclass, replace
from typing import Any

from ludus.envs.games.form import Game
from ludus.envs.games.luck import pick, uniform

_CHANCE = -1
"""Where a seat's number stands, in the place of what chance draws."""


@dataclass(frozen=True, slots=True)
class Table:
    """A game in play. It never changes."""

    state: Any
    seed: int
    """What chance and scripted players draw follows from it."""
    errors: tuple[int, ...]
    """Illegal and malformed moves of each seat."""
    plays: int = 0
    """Moves made, where those made at the same time count as one."""
    pending: tuple[tuple[int, int], ...] = ()
    """(seat, move) of those that have moved while others still have to; nobody sees them."""
    forfeited: int | None = None
    """The seat that has lost by too many errors."""


def sit_down(game: Game[Any], seed: int) -> Table:
    """A new game, up to where somebody is to move."""
    return _by_chance(game, Table(game.start(), seed, (0,) * game.seats))


def waiting(game: Game[Any], table: Table) -> tuple[int, ...]:
    """The seats that still have to move; none at the end."""
    if table.forfeited is not None:
        return ()
    moved = [seat for seat, _ in table.pending]
    return tuple(seat for seat in game.to_move(table.state) if seat not in moved)


def submit(game: Game[Any], table: Table, seat: int, move: int | None, error_limit: int) -> Table:
    """The table after a seat that is waited for has moved.

    Args:
        game: the rules.
        table: the game as it stands.
        seat: which of those that are waited for.
        move: None for what could not be read. Such a move, or an illegal one, is an error: nothing moves.
        error_limit: with so many errors the seat forfeits.
    """
    if move is None or move not in game.legal(table.state, seat):
        errors = tuple(count + (each == seat) for each, count in enumerate(table.errors))
        return replace(table, errors=errors, forfeited=seat if errors[seat] >= error_limit else None)
    pending = (*table.pending, (seat, move))
    if len(pending) < len(game.to_move(table.state)):
        return replace(table, pending=pending)
    state = game.play(table.state, dict(pending))
    return _by_chance(game, replace(table, state=state, plays=table.plays + 1, pending=()))


def outcome(game: Game[Any], table: Table) -> tuple[float, ...] | None:
    """What each seat gets; None before the end."""
    if table.forfeited is None:
        result: tuple[float, ...] | None = game.outcome(table.state)
        return result
    return tuple(game.low if seat == table.forfeited else game.high for seat in range(game.seats))


def number_for(table: Table, seat: int) -> float:
    """The uniform number by which a scripted player at a seat draws its move."""
    return uniform(table.seed, table.plays, seat)


def _by_chance(game: Game[Any], table: Table) -> Table:
    """What follows as long as only chance moves."""
    state, draws = table.state, 0
    while outcomes := game.chance(state):
        number = uniform(table.seed, table.plays, _CHANCE, draws)
        state = outcomes[pick([probability for probability, _ in outcomes], number)][1]
        draws += 1
    return replace(table, state=state)
