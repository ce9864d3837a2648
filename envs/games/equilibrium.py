"""Equilibria of small games of two whose outcomes sum to 0, by CFR+ (Tammelin 2014, arXiv:1407.5042)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ludus.envs.games.form import Game, Strategy, View

_CHANCE = 2
"""In the place of a seat, for what chance does."""


@dataclass(frozen=True)
class _Tree:
    """A whole game as arrays. Nodes are numbered from the root on; edges are sorted by depth."""

    parents_E: np.ndarray
    children_E: np.ndarray
    movers_E: np.ndarray
    """0, 1 or _CHANCE."""
    slots_E: np.ndarray
    """Where a seat's probability of the move is among all; 0 for chance."""
    chances_E: np.ndarray
    """Of chance's edges; 1 for a seat's."""
    levels: list[slice]
    """The edges of each depth."""
    earned_N: np.ndarray
    """What the first seat gets at the nodes where the game is over; 0 at others."""
    views: dict[View, tuple[int, tuple[int, ...]]]
    """The first slot of what a seat sees, and its legal moves."""


def equilibrium(game: Game[Any], iterations: int) -> Strategy:
    """A strategy for both seats that comes as close to an equilibrium as so many iterations bring it.

    The game has two seats that move one at a time and remember what they saw.
    """
    tree = _lay_out(game)
    views = tree.views.values()
    starts_V = np.array([start for start, _ in views])
    counts_V = np.array([len(legal) for _, legal in views])
    size = int(counts_V.sum())
    regrets_S, average_S = np.zeros(size), np.zeros(size)
    for iteration in range(1, iterations + 1):
        for seat in (0, 1):
            current_S = _normalised(regrets_S, starts_V, counts_V)
            weights_E = np.where(tree.movers_E == _CHANCE, tree.chances_E, current_S[tree.slots_E])
            own_N = _reach(tree, weights_E, tree.movers_E == seat)
            others_N = _reach(tree, weights_E, tree.movers_E != seat)
            values_N = _values(tree, weights_E) * (1 - 2 * seat)
            mine = tree.movers_E == seat
            parents, slots = tree.parents_E[mine], tree.slots_E[mine]
            gains = others_N[parents] * (values_N[tree.children_E[mine]] - values_N[parents])
            regrets_S = np.maximum(regrets_S + np.bincount(slots, gains, size), 0)
            average_S += iteration * np.bincount(slots, own_N[parents] * current_S[slots], size)
    probabilities_S = _normalised(average_S, starts_V, counts_V)
    table = {
        view: tuple(probabilities_S[start : start + len(legal)].tolist())
        for view, (start, legal) in tree.views.items()
    }
    return lambda view, legal: table[view]


def _normalised(weights_S: np.ndarray, starts_V: np.ndarray, counts_V: np.ndarray) -> np.ndarray:
    """Probabilities in the proportion of these weights, for each view; all alike where they are 0."""
    sums_S = np.repeat(np.add.reduceat(weights_S, starts_V), counts_V)
    uniform_S = 1 / np.repeat(counts_V, counts_V)
    return np.divide(weights_S, sums_S, out=uniform_S, where=sums_S > 0)


def _reach(tree: _Tree, weights_E: np.ndarray, counted_E: np.ndarray) -> np.ndarray:
    """For each node the product of the weights on the way to it that are counted."""
    factors_E = np.where(counted_E, weights_E, 1)
    reach_N = np.ones(len(tree.earned_N))
    for level in tree.levels:
        reach_N[tree.children_E[level]] = reach_N[tree.parents_E[level]] * factors_E[level]
    return reach_N


def _values(tree: _Tree, weights_E: np.ndarray) -> np.ndarray:
    """For each node what the first seat gets on average."""
    values_N = tree.earned_N.copy()
    for level in reversed(tree.levels):
        np.add.at(values_N, tree.parents_E[level], weights_E[level] * values_N[tree.children_E[level]])
    return values_N


def _lay_out(game: Game[Any]) -> _Tree:
    edges: list[tuple[int, int, int, int, float]] = []
    levels: list[slice] = []
    views: dict[View, tuple[int, tuple[int, ...]]] = {}
    earned: list[float] = [0.0]
    layer, size = [(0, game.start())], 0
    while layer:
        begin, following = len(edges), []
        for node, state in layer:
            result = game.outcome(state)
            if result is not None:
                earned[node] = result[0]
                continue
            after = [(_CHANCE, 0, p, each) for p, each in game.chance(state)]
            for seat in game.to_move(state):
                view, legal = game.view(state, seat), game.legal(state, seat)
                if view not in views:
                    views[view], size = (size, legal), size + len(legal)
                start, _ = views[view]
                after += [
                    (seat, start + number, 1.0, game.play(state, {seat: move}))
                    for number, move in enumerate(legal)
                ]
            for mover, slot, probability, each in after:
                edges.append((node, len(earned), mover, slot, probability))
                following.append((len(earned), each))
                earned.append(0.0)
        if len(edges) > begin:
            levels.append(slice(begin, len(edges)))
        layer = following
    parents, children, movers, slots, chances = zip(*edges, strict=True)
    return _Tree(
        np.array(parents),
        np.array(children),
        np.array(movers),
        np.array(slots),
        np.array(chances),
        levels,
        np.array(earned),
        views,
    )
