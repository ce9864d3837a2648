"""Looking ahead: alpha-beta search to a depth, for games of two in which nothing is hidden."""

from collections.abc import Callable
from typing import Any

from ludus.envs.games.form import Game, Strategy, View

Estimate = Callable[[Any, int], float]
"""How good a state in mid-game looks for a seat, strictly between -1 and 1."""


_TIE = 1e-9
"""Less than two estimates differ by."""


def minimax(game: Game[Any], estimate: Estimate, depth: int) -> Strategy:
    """Plays any of the moves that look best `depth` moves ahead; of wins the soonest, of losses the latest.

    The game has two seats that move one at a time, nothing hidden, no chance, and outcomes that are -1, 0 or
    1 and sum to 0.
    """

    def value(state: Any, seat: int, left: int, alpha: float, beta: float) -> float:
        """For the seat, exact between alpha and beta."""
        result = game.outcome(state)
        if result is not None:
            # A win counts for more the sooner it comes: by less than estimates can tell.
            return result[seat] * (2 + left)
        if left == 0:
            return estimate(state, seat)
        (mover,) = game.to_move(state)
        best = -float("inf")
        if mover != seat:
            alpha, beta = -beta, -alpha
        for move in game.legal(state, mover):
            best = max(best, value(game.play(state, {mover: move}), mover, left - 1, max(alpha, best), beta))
            if best >= beta:
                break
        return best if mover == seat else -best

    def play(view: View, legal: tuple[int, ...]) -> tuple[float, ...]:
        state, seat = view
        best, values = -float("inf"), []
        for move in legal:
            # What is below the best is known to be so only; what equals it, exactly.
            after = game.play(state, {seat: move})
            values.append(value(after, seat, depth - 1, best - _TIE, float("inf")))
            best = max(best, values[-1])
        count = values.count(best)
        return tuple((each == best) / count for each in values)

    return play
