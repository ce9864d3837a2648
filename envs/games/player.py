"""Scripted players by name, for every game.

A player is a `Strategy`: from what a seat sees to a probability for each legal move. Every game has `random`,
and its own in `Game.players`; a game in which one can look ahead has a method `minimax(depth) -> Strategy`.
After a colon comes a number: `minimax:3` looks three moves ahead, and `oracle:75` plays as `oracle` in 75 of
100 moves and at random in the others.
"""

from typing import Any

from ludus.envs.arguments import unknown
from ludus.envs.errors import ArgumentError
from ludus.envs.games.form import Game, Strategy, View
from ludus.envs.games.luck import pick

SUM_TOLERANCE = 1e-6
"""How far the probabilities of a caller's strategy may be from 1 together."""


def random(view: View, legal: tuple[int, ...]) -> tuple[float, ...]:
    """Every legal move alike."""
    return (1 / len(legal),) * len(legal)


def certain(move: int, legal: tuple[int, ...]) -> tuple[float, ...]:
    """The probabilities of one who makes this move."""
    return tuple(float(each == move) for each in legal)


def any_of(moves: set[int], legal: tuple[int, ...]) -> tuple[float, ...]:
    """The probabilities of one who makes any of these moves."""
    return tuple((move in moves) / len(moves) for move in legal)


def mixed(strategy: Strategy, share: float) -> Strategy:
    """One who follows a strategy with probability `share`, move by move, and plays at random otherwise."""

    def play(view: View, legal: tuple[int, ...]) -> tuple[float, ...]:
        return tuple(share * p + (1 - share) / len(legal) for p in strategy(view, legal))

    return play


def player_names(game: Game[Any]) -> list[str]:
    """What `named` takes, the number left out."""
    names = ["random", *game.players]
    return [*names, "minimax"] if hasattr(game, "minimax") else names


def named(game: Game[Any], name: str, argument: str = "opponent") -> Strategy:
    """The scripted player of a name.

    Args:
        game: whose.
        name: `random`, one of `Game.players`, with a share of 100 such as `oracle:75`, or `minimax:3`.
        argument: what the name was given as, for the error.

    Raises:
        ArgumentError: there is none of that name.
    """
    base, colon, number = str(name).partition(":")
    amount = int(number) if number.isascii() and number.isdigit() and len(number) < 4 else None
    if base not in player_names(game):
        raise ArgumentError(unknown(argument, name, player_names(game)))
    if (colon and amount is None) or (base == "minimax" and not 1 <= (amount or 0) <= 20):
        raise ArgumentError(
            f"{argument}={name!r}: after the colon give how many moves to look ahead, 1 to 20, as in "
            "minimax:3, or in how many of 100 moves to play so, as in oracle:75"
        )
    if base == "minimax":
        ahead: Strategy = game.minimax(amount)  # type: ignore[attr-defined]
        return ahead
    strategy = random if base == "random" else game.players[base](game)
    if amount is None:
        return strategy
    if amount > 100:
        raise ArgumentError(f"{argument}={name!r}: the share is of 100 moves")
    return mixed(strategy, amount / 100)


def choose(game: Game[Any], strategy: Strategy, state: Any, seat: int, number: float) -> int:
    """The move that a strategy makes in a state, drawn by a uniform number.

    Raises:
        ArgumentError: the strategy's answer is not a probability for each legal move.
    """
    legal = game.legal(state, seat)
    probabilities = strategy(game.view(state, seat), legal)
    try:
        values = [float(value) for value in probabilities]
        good = len(values) == len(legal) and min(values) >= 0 and abs(sum(values) - 1) <= SUM_TOLERANCE
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ArgumentError(
            f"a player of {game.name} answered {probabilities!r:.100} where {len(legal)} moves are legal; a "
            "strategy gives one probability for each, together 1"
        )
    return legal[pick(values, number)]
