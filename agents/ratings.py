"""Ratings: how strong players are, on Elo's scale, from the games that they played with each other.

ratings = rate([SeedPair(("minimax:3", "random"), seed, points), …], anchors={"random": 0.0})
ratings["minimax:3"].elo        # Interval(value=612.4, low=503.8, high=791.0)

The model is that of R. A. Bradley and M. E. Terry (Biometrika 39, 1952): player i of strength θᵢ is
expected to score σ(θᵢ − θⱼ) = 1 / (1 + exp(θⱼ − θᵢ)) against j. A win scores 1, a draw ½, and the strengths
maximise

    Σ over games of  s · log σ(θᵢ − θⱼ) + (1 − s) · log σ(θⱼ − θᵢ),        s: what i scored.

A draw as half a win keeps Elo's own meaning of a difference: 400 points are an expected score of 10 to 1,
draws included, whether a game can be drawn or not. (R. R. Davidson, JASA 65, 1970, gives draws a
probability of their own, by one more number for the whole pool. His strengths follow from the same total
scores, but are no longer expected ones, and the number depends on who is in the pool.) With draws the sum
is a quasi-likelihood (R. W. M. Wedderburn, Biometrika 61, 1974): all that it assumes are the expected
scores, and how much scores scatter is seen in the games, by a bootstrap.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ludus.agents.statistics import Interval
from ludus.tools.errors import UserError

SCALE = 400 / math.log(10)
"""Elo points for a difference of 1 in θ."""
RESAMPLES = 2_000
VIRTUAL_PAIRS = 1.0
"""Seed pairs that everybody has drawn with nobody in particular, so that ratings are finite."""
_TOLERANCE = 1e-9
"""The fit is done where nobody's expected score is further from the true one, as a share of the games."""
_ITERATIONS = 500


class RatingError(UserError):
    """The games don't say how strong the players are beside each other."""


@dataclass(frozen=True, slots=True, order=True)
class SeedPair:
    """Two games with the same seed and the seats swapped."""

    players: tuple[str, str]
    seed: int
    points: float
    """What the first of the players scored in both games, 0 to 2; the other has the rest."""


@dataclass(frozen=True, slots=True)
class Rating:
    """How strong a player is."""

    name: str
    elo: Interval
    """In Elo points, with its 95% interval."""
    games: int
    points: float
    """What it scored in its games."""
    anchored: bool
    """It was held at a given rating, so its interval has no width."""
    ahead: Interval | None
    """How far ahead it is of the next one in the table; None for the last. An interval above 0 tells the two
    apart, also where those of their ratings, which depend on all the others, overlap."""


@dataclass(frozen=True, slots=True)
class Ratings:
    """Players by strength."""

    players: tuple[Rating, ...]
    """The strongest first; equal ones by name."""
    determined: bool
    """Whether the games alone give everybody a finite rating: no group of players has won, or lost, every
    game with the others (L. R. Ford, American Mathematical Monthly 64, 1957). Otherwise the distance of
    such a group is known from one side only, and how far away it is put follows from `VIRTUAL_PAIRS`."""

    def __getitem__(self, name: str) -> Rating:
        """
        Raises:
            KeyError: nobody has that name.
        """
        for player in self.players:
            if player.name == name:
                return player
        raise KeyError(name)

    def __iter__(self) -> Iterator[Rating]:
        return iter(self.players)


def score(outcome: Sequence[float], low: float = -1.0, high: float = 1.0) -> float:
    """What the first of two seats scores, 0 to 1: half for getting as much as the other, and the more, the
    more it got beyond that; 1 for the game's best outcome against its worst.

    Where a game is won, drawn or lost, these are 1, ½ and 0. Where it is about an amount (chips, points),
    amounts count: who loses most games may still have earned the most.

    Args:
        outcome: of both seats.
        low: the worst outcome of the game (`Game.low`).
        high: the best one.
    """
    mine, other = outcome
    return 0.5 + (mine - other) / (2 * (high - low))


def expected_score(difference: float) -> float:
    """What a player is expected to score in a game with one who is weaker by so many Elo points."""
    return 1 / (1 + math.exp(-difference / SCALE))


def rate(
    pairs: Iterable[SeedPair], anchors: Mapping[str, float] | None = None, resamples: int = RESAMPLES
) -> Ratings:
    """Ratings of all who played. They don't depend on the order of games or players, bit by bit.

    Ratings are finite whatever happened: beside its games everybody has drawn one seed pair with a phantom,
    whose strength is fitted like everybody's. That pulls all towards the middle, by as much as two games in
    all that one played. (F. Caron and A. Doucet, JCGS 21, 2012, on such priors.)

    Intervals are by the Bayesian bootstrap (D. B. Rubin, Annals of Statistics 9, 1981). Each seed pair
    counts as much as an independent exponential number of mean 1 says, the virtual draw as half a pair won
    and half a pair lost, by gamma numbers of shape ½ (P. Muliere and P. Secchi, AISM 48, 1996). Ratings are
    fitted again, and the interval is from the 2.5th to the 97.5th percentile of those. So the interval of
    one who won every game has a width, too.

    Args:
        pairs: what was played. A pair with a game that ended in a fault does not belong here.
        anchors: players whose rating is given, in Elo points; those that did not play are ignored. Without
            any, the mean rating is 0.
        resamples: of the bootstrap; 0: no intervals, both ends are the rating.

    Raises:
        RatingError: there are no games, a player met itself, points are impossible, or no games connect some
            players with the others (anchors are connected).
    """
    played = sorted(_canonical(pair) for pair in pairs)
    if not played:
        raise RatingError("nobody can be rated: no pair of games was played to its end")
    games = Counter(name for pair in played for name in pair.players)
    names = sorted(games)
    numbers = {name: number for number, name in enumerate(names)}
    held = {name: float(rating) for name, rating in (anchors or {}).items() if name in games}
    fixed = {numbers[name]: rating for name, rating in held.items()}
    table = _Table.of(played, numbers)

    once_1P, drawn_12N = np.ones((1, len(played))), np.full((1, 2, len(names)), VIRTUAL_PAIRS)
    points_NN = table.points(once_1P)[0]
    _require_connection(names, points_NN, list(fixed))
    values_N = _elo(table, fixed, once_1P, drawn_12N)[0]
    spread_RN = values_N[None]
    if resamples:
        rng = np.random.default_rng(0)
        weights_RP = rng.exponential(size=(resamples, len(played)))
        drawn_R2N = 2 * rng.gamma(VIRTUAL_PAIRS / 2, size=(resamples, 2, len(names)))
        spread_RN = _elo(table, fixed, weights_RP, drawn_R2N)

    def interval(value: float, spread_R: np.ndarray) -> Interval:
        low, high = np.quantile(spread_R, [0.025, 0.975])
        return Interval(value, min(float(low), value), max(float(high), value))

    def rating(name: str, following: str | None) -> Rating:
        number = numbers[name]
        value, ahead = float(values_N[number]), None
        if following is not None:
            other = numbers[following]
            ahead = interval(value - float(values_N[other]), spread_RN[:, number] - spread_RN[:, other])
        points = float(points_NN[number].sum())
        elo = interval(value, spread_RN[:, number])
        return Rating(name, elo, 2 * games[name], points, name in held, ahead)

    order = sorted(names, key=lambda name: (-float(values_N[numbers[name]]), name))
    return Ratings(
        tuple(rating(name, following) for name, following in zip(order, [*order[1:], None], strict=True)),
        bool(_reachable(points_NN > 0, list(fixed)).all()),
    )


@dataclass(frozen=True)
class _Table:
    """Seed pairs as arrays, in the order of their players."""

    points_P: np.ndarray
    begins_K: np.ndarray
    """Where the pairs of each two players begin."""
    players_K2: np.ndarray
    """Which two."""
    size: int

    @classmethod
    def of(cls, played: Sequence[SeedPair], numbers: Mapping[str, int]) -> "_Table":
        players_P2 = np.array([[numbers[name] for name in pair.players] for pair in played])
        begins_P: np.ndarray = np.ones(len(played), dtype=bool)
        begins_P[1:] = (players_P2[1:] != players_P2[:-1]).any(axis=1)
        begins_K = np.flatnonzero(begins_P)
        return cls(np.array([pair.points for pair in played]), begins_K, players_P2[begins_K], len(numbers))

    def points(self, weights_RP: np.ndarray) -> np.ndarray:
        """What each player scored against each, (R, N, N), where pairs count as much as their weights."""
        points_RNN = np.zeros((len(weights_RP), self.size, self.size))
        first_K, second_K = self.players_K2.T
        for winner_K, loser_K, points_P in (
            (first_K, second_K, self.points_P),
            (second_K, first_K, 2 - self.points_P),
        ):
            points_RNN[:, winner_K, loser_K] = np.add.reduceat(weights_RP * points_P, self.begins_K, axis=1)
        return points_RNN


def _canonical(pair: SeedPair) -> SeedPair:
    """The pair with its players in the order of their names."""
    first, second = pair.players
    if first == second:
        raise RatingError(f"{first} played against itself, which says nothing of its strength")
    if not 0 <= pair.points <= 2:
        raise RatingError(f"{pair.points} points of {first} in two games with {second}: 0 to 2 are possible")
    return pair if first < second else SeedPair((second, first), pair.seed, 2 - pair.points)


def _reachable(edges_NN: np.ndarray, anchored: Sequence[int]) -> np.ndarray:
    """Who comes to whom by any number of edges; anchors, whose difference is known, come to each other."""
    reach_NN: np.ndarray = edges_NN | np.eye(len(edges_NN), dtype=bool)
    reach_NN[np.ix_(anchored, anchored)] = True
    for _ in range(len(edges_NN).bit_length()):
        reach_NN = reach_NN.astype(np.float64) @ reach_NN > 0
    return reach_NN


def _require_connection(names: Sequence[str], points_NN: np.ndarray, anchored: Sequence[int]) -> None:
    together_N = _reachable(points_NN + points_NN.T > 0, anchored)[0]
    if not together_N.all():
        here, there = (
            ", ".join(name for name, together in zip(names, together_N, strict=True) if together is wanted)
            for wanted in (np.True_, np.False_)
        )
        raise RatingError(
            f"no games connect {here} with {there}, so their ratings cannot be compared: let one of each "
            "play with the other"
        )


def _elo(
    table: _Table, fixed: Mapping[int, float], weights_RP: np.ndarray, drawn_R2N: np.ndarray
) -> np.ndarray:
    """Fitted ratings, (R, N), in Elo points.

    Args:
        table: the games.
        fixed: the ratings that are held, by player.
        weights_RP: how much each pair counts.
        drawn_R2N: games won and lost against the phantom.
    """
    size = table.size
    points_RMM = np.zeros((len(weights_RP), size + 1, size + 1))
    points_RMM[:, :size, :size] = table.points(weights_RP)
    points_RMM[:, :size, size], points_RMM[:, size, :size] = drawn_R2N[:, 0], drawn_R2N[:, 1]
    # Only differences count: without an anchor the phantom is held, and the mean moved to 0 afterwards.
    elo_RN = (
        SCALE
        * _fit(points_RMM, {player: elo / SCALE for player, elo in fixed.items()} or {size: 0.0})[:, :size]
    )
    for player, elo in fixed.items():  # as given, without what scaling there and back leaves
        elo_RN[:, player] = elo
    return elo_RN if fixed else elo_RN - elo_RN.mean(axis=1, keepdims=True)


def _fit(points_RMM: np.ndarray, held: Mapping[int, float]) -> np.ndarray:
    """The strengths (R, M) that maximise the likelihood of what each scored against each, some of them held.

    Newton's method, its steps shortened by log(1 + δ) / δ, where δ is the most by which a step changes a
    difference of two strengths: so the likelihood never falls (T. Sun and Q. Tran-Dinh, Mathematical
    Programming 178, 2019, on functions whose third derivative is bounded by the second, as the logistic
    one's is).
    """
    size = points_RMM.shape[-1]
    free = np.array([player for player in range(size) if player not in held])
    theta_RM = np.full(points_RMM.shape[:2], sum(held.values()) / len(held))
    for player, value in held.items():
        theta_RM[:, player] = value
    games_RMM = points_RMM + points_RMM.transpose(0, 2, 1)
    allowed_RF = _TOLERANCE * games_RMM.sum(axis=2)[:, free]
    diagonal = np.arange(size)
    for _ in range(_ITERATIONS):
        expected_RMM = 1 / (1 + np.exp(theta_RM[:, None, :] - theta_RM[:, :, None]))
        missing_RF = (points_RMM - games_RMM * expected_RMM).sum(axis=2)[:, free]
        if (np.abs(missing_RF) <= allowed_RF).all():
            return theta_RM
        slope_RMM = -games_RMM * expected_RMM * (1 - expected_RMM)
        slope_RMM[:, diagonal, diagonal] = -slope_RMM.sum(axis=2)
        step_RM = np.zeros_like(theta_RM)
        slope_RFF = slope_RMM[:, free[:, None], free]
        step_RM[:, free] = np.linalg.solve(slope_RFF, missing_RF[..., None])[..., 0]
        change_R1 = np.ptp(step_RM, axis=1, keepdims=True)
        shorter_R1 = np.divide(
            np.log1p(change_R1), change_R1, out=np.ones_like(change_R1), where=change_R1 > 0
        )
        theta_RM += shorter_R1 * step_RM
    raise AssertionError(f"ratings have not converged in {_ITERATIONS} steps")
