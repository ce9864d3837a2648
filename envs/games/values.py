"""Exact values: what strategies earn against each other, and how much could be won from them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from ludus.envs.games.form import Game, Strategy, View
from ludus.envs.games.player import random

_Weighted = tuple[float, Any]
"""A state, and how probable it is that chance and the others let it come about."""


def count_states(game: Game[Any], most: int) -> int | None:
    """How many states there are along all lines of play, as often as they are reached; None if more than
    `most`."""
    count, pending = 0, [game.start()]
    while pending:
        state = pending.pop()
        count += 1
        if count > most:
            return None
        if game.outcome(state) is None:
            pending += [after for _, _, after in _successors(game, state, (random,) * game.seats, None)]
    return count


def expected(game: Game[Any], strategies: Sequence[Strategy]) -> tuple[float, ...]:
    """What each seat earns on average if every seat follows its strategy; by visiting the whole game."""
    totals = [0.0] * game.seats
    pending: list[_Weighted] = [(1.0, game.start())]
    while pending:
        weight, state = pending.pop()
        result = game.outcome(state)
        if result is not None:
            totals = [total + weight * value for total, value in zip(totals, result, strict=True)]
        else:
            pending += [(weight * p, after) for p, _, after in _successors(game, state, strategies, None)]
    return tuple(totals)


def best_response(game: Game[Any], strategies: Sequence[Strategy], seat: int) -> float:
    """The most that a seat can earn on average against the others' strategies, knowing these but not what is
    hidden from it. It must remember all that it has seen, as seats do in all games here."""

    def value(states: Sequence[_Weighted]) -> float:
        """The sum of what can be earned from these on."""
        total, pending = 0.0, list(states)
        decisions: dict[View, list[_Weighted]] = defaultdict(list)
        while pending:
            weight, state = pending.pop()
            result = game.outcome(state)
            if result is not None:
                total += weight * result[seat]
            elif seat in game.to_move(state):
                decisions[game.view(state, seat)].append((weight, state))
            else:
                pending += [(weight * p, after) for p, _, after in _successors(game, state, strategies, None)]
        # States that look the same must be answered by the same move.
        return total + sum(map(choice, decisions.values()))

    def choice(states: Sequence[_Weighted]) -> float:
        after: dict[int, list[_Weighted]] = defaultdict(list)
        for weight, state in states:
            for p, moves, follower in _successors(game, state, strategies, seat):
                after[moves[seat]].append((weight * p, follower))
        return max(map(value, after.values()))

    return value([(1.0, game.start())])


def exploitability(game: Game[Any], strategies: Sequence[Strategy]) -> float:
    """How much the seats could win by a better answer to the others, on average over the seats; 0 in an
    equilibrium (NashConv of Lanctot et al. 2017, arXiv:1711.00832, divided by the number of seats)."""
    earned = expected(game, strategies)
    gains = [best_response(game, strategies, seat) - earned[seat] for seat in range(game.seats)]
    return sum(gains) / game.seats


def _successors(
    game: Game[Any], state: Any, strategies: Sequence[Strategy], free: int | None
) -> Iterator[tuple[float, Mapping[int, int], Any]]:
    """What may follow: its probability, the moves that lead to it, the state. A seat that is `free` makes
    every legal move, each as if for certain."""
    if outcomes := game.chance(state):
        for probability, after in outcomes:
            yield probability, {}, after
        return
    options = []
    for seat in game.to_move(state):
        legal = game.legal(state, seat)
        chances = (1.0,) * len(legal) if seat == free else strategies[seat](game.view(state, seat), legal)
        options.append([(p, (seat, move)) for p, move in zip(chances, legal, strict=True) if p > 0])
    for together in product(*options):
        weight = 1.0
        for p, _ in together:
            weight *= p
        moves = dict(move for _, move in together)
        yield weight, moves, game.play(state, moves)
