"""Where the players of an arena stand: ratings, and what else their games say of them."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ludus.agents.arena.folder import Game, Settings
from ludus.agents.arena.schedule import Fixture
from ludus.agents.choose import SCRIPTED
from ludus.agents.ratings import RESAMPLES, Rating, RatingError, Ratings, SeedPair, rate, score
from ludus.agents.statistics import Interval, bootstrap_mean, mean, plain
from ludus.envs.games.catalogue import make_game
from ludus.envs.games.form import Game as Rules
from ludus.envs.games.player import named
from ludus.envs.games.values import count_states, exploitability

SMALL = 20_000
"""Exploitability is computed for games of at most so many states, counted along every line of play."""


@dataclass(frozen=True, slots=True)
class Line:
    """A player's line in the standings."""

    name: str
    about: str
    """`scripted:NAME`, or which model it is."""
    rating: Rating | None
    """None where no pair of games with it ended without a fault."""
    games: int
    """That ended without a fault."""
    wins: int
    """Games in which it got more than the other."""
    draws: int
    losses: int
    as_first: float
    """What it scored on average in the first seat, 0 to 1; nan if it never sat there."""
    as_second: float
    payoff: Interval
    """What it got on average in a game, by the game's own measure."""
    illegal: int
    malformed: int
    forfeits: int
    time_outs: int
    faults: int
    """Games that broke at its seat; they count for nobody."""
    exploitability: float | None
    """How much could be won from it by one who knows its strategy, on average over the seats; None for
    models, and where the game is too large."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """What a player got against another."""

    games: int
    points: float
    payoff: float
    """On average."""


@dataclass(frozen=True, slots=True)
class Standings:
    settings: Settings
    lines: tuple[Line, ...]
    """The strongest first; those without a rating last."""
    meetings: Mapping[tuple[str, str], Meeting]
    """By player and other player."""
    first_seat: Interval
    """What the first seat scores on average, 0 to 1: above ½ where it is an advantage to begin."""
    anchors: Mapping[str, float]
    """The players whose ratings were held, and where."""
    games: int
    """That ended, with or without a fault."""
    faults: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        table = [
            {
                **{name: plain(value) for name, value in asdict(line).items() if name != "rating"},
                "payoff": plain(line.payoff),
                "elo": None if line.rating is None else plain(line.rating.elo),
                "ahead": plain(line.rating.ahead) if line.rating is not None else None,
                "anchored": line.rating is not None and line.rating.anchored,
            }
            for line in self.lines
        ]
        meetings = [
            {"player": one, "other": other, **asdict(met)} for (one, other), met in self.meetings.items()
        ]
        return {
            "settings": asdict(self.settings),
            "players": table,
            "meetings": meetings,
            "first_seat": plain(self.first_seat),
            "anchors": dict(self.anchors),
            "games": self.games,
            "faults": self.faults,
            "notes": list(self.notes),
        }


def seed_pairs(settings: Settings, games: Iterable[Game]) -> list[SeedPair]:
    """The pairs of which both games have ended without a fault."""
    rules = make_game(settings.game, **settings.arguments)
    points: dict[tuple[tuple[str, str], int], list[float]] = defaultdict(list)
    for game in games:
        if game.outcome is not None:
            fixture = game.fixture
            of_first = score(game.outcome, rules.low, rules.high)
            is_in_order = fixture.first == fixture.players[0]
            points[fixture.players, fixture.number].append(of_first if is_in_order else 1 - of_first)
    return [
        SeedPair(players, number, sum(both)) for (players, number), both in points.items() if len(both) == 2
    ]


@cache
def published_anchors() -> Mapping[str, Mapping[str, float]]:
    """Ratings of scripted players, by game, on which `random` is 0: those of `benchmarks/arena.py`."""
    found: dict[str, dict[str, float]] = json.loads(
        files("ludus.agents.arena").joinpath("anchors.json").read_text(encoding="utf-8")
    )
    return found


def anchors_for(settings: Settings) -> Mapping[str, float]:
    """The ratings that are held. Beside models, the scripted players' published ones, if the game is as it is
    by default; otherwise that of `random`, which is 0; none without it."""
    scripted = {
        name: about.removeprefix(SCRIPTED)
        for name, about in settings.players.items()
        if about.startswith(SCRIPTED)
    }
    if len(scripted) < len(settings.players) and not settings.arguments:
        known = published_anchors().get(settings.game, {})
        if held := {name: known[player] for name, player in scripted.items() if player in known}:
            return held
    return {name: 0.0 for name, player in scripted.items() if player == "random"}


def standings(settings: Settings, games: Mapping[Fixture, Game], resamples: int = RESAMPLES) -> Standings:
    """
    Args:
        settings: of the arena.
        games: those that have ended.
        resamples: of the ratings' bootstrap.
    """
    rules = make_game(settings.game, **settings.arguments)
    ended = [games[fixture] for fixture in sorted(games)]
    anchors, notes = anchors_for(settings), []
    ratings: Ratings | None = None
    try:
        ratings = rate(seed_pairs(settings, ended), anchors, resamples)
    except RatingError as unrated:
        notes.append(str(unrated))
    rated = {} if ratings is None else {rating.name: rating for rating in ratings}
    if ratings is not None and not anchors:
        notes.append(
            "no scripted player whose rating is known takes part: ratings are relative to the mean, and "
            "compare within this arena only"
        )
    if ratings is not None and not ratings.determined:
        notes.append(
            "some players have won, or lost, every game with all the others: how far apart they are is known "
            "from one side only"
        )
    if repeated := _repeated(settings, ended):
        notes.append(repeated)
    faults = sum(game.outcome is None for game in ended)
    if faults:
        notes.append(
            f"{faults} of {len(ended)} games ended in a fault and count for nobody; the same command plays "
            "them again"
        )
    lines = [_line(name, settings, ended, rated.get(name)) for name in sorted(settings.players)]
    lines.sort(key=lambda line: -math.inf if line.rating is None else line.rating.elo.value, reverse=True)
    return Standings(
        settings,
        tuple(lines),
        _meetings(rules, ended),
        bootstrap_mean(
            _by_pair((game, score(outcome, rules.low, rules.high)) for game, outcome in _whole(ended))
        ),
        {name: rating for name, rating in anchors.items() if name in rated},
        len(ended),
        faults,
        tuple(notes),
    )


def _whole(games: Iterable[Game]) -> list[tuple[Game, tuple[float, ...]]]:
    """The games without a fault, each with its outcome."""
    return [(game, game.outcome) for game in games if game.outcome is not None]


def _by_pair(values: Iterable[tuple[Game, float]]) -> list[float]:
    """The mean of the values of each pair of games, which are not independent."""
    found: dict[tuple[tuple[str, str], int], list[float]] = defaultdict(list)
    for game, value in values:
        found[game.fixture.players, game.fixture.number].append(value)
    return [mean(both) for both in found.values()]


def _seats(games: Iterable[Game], name: str) -> list[tuple[Game, int, tuple[float, float]]]:
    """The games of a player without a fault, with its seat, and what it got and the other."""
    found = []
    for game, outcome in _whole(games):
        if name in (game.fixture.first, game.fixture.second):
            seat = int(game.fixture.second == name)
            found.append((game, seat, (outcome[seat], outcome[1 - seat])))
    return found


def _line(name: str, settings: Settings, games: Sequence[Game], rating: Rating | None) -> Line:
    rules = make_game(settings.game, **settings.arguments)
    played = _seats(games, name)
    scores = [(seat, score(got, rules.low, rules.high)) for _, seat, got in played]
    results = Counter((mine > other) - (mine < other) for _, _, (mine, other) in played)
    endings = Counter(game.ending for game in games if game.culprit == name)
    wrong = Counter(
        "malformed" if ply.move is None else "illegal"
        for game in games
        for ply in game.plies
        if not ply.legal and name == (game.fixture.first, game.fixture.second)[ply.seat]
    )
    about = settings.players[name]
    return Line(
        name,
        about,
        rating,
        len(played),
        results[1],
        results[0],
        results[-1],
        mean([points for seat, points in scores if seat == 0]),
        mean([points for seat, points in scores if seat == 1]),
        bootstrap_mean(_by_pair((game, got[0]) for game, _, got in played)),
        wrong["illegal"],
        wrong["malformed"],
        endings["forfeit"],
        endings["time-out"],
        endings["fault"],
        _exploitability(settings.game, tuple(settings.arguments.items()), about.removeprefix(SCRIPTED))
        if about.startswith(SCRIPTED)
        else None,
    )


@cache
def _is_small(game: str, arguments: tuple[tuple[str, Any], ...]) -> bool:
    return count_states(make_game(game, **dict(arguments)), SMALL) is not None


@cache
def _exploitability(game: str, arguments: tuple[tuple[str, Any], ...], player: str) -> float | None:
    rules = make_game(game, **dict(arguments))
    if not _is_small(game, arguments):
        return None
    strategy = named(rules, player, "player")
    return exploitability(rules, (strategy, strategy))


def _meetings(rules: Rules[Any], games: Sequence[Game]) -> dict[tuple[str, str], Meeting]:
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for game, (first, second) in _whole(games):
        names = game.fixture.first, game.fixture.second
        found[names].append((first, second))
        found[names[::-1]].append((second, first))
    return {
        names: Meeting(
            len(got), sum(score(each, rules.low, rules.high) for each in got), mean([mine for mine, _ in got])
        )
        for names, got in sorted(found.items())
    }


def _repeated(settings: Settings, games: Sequence[Game]) -> str:
    """A note on games that are the same as others although nothing in the rules makes them so."""
    rules = make_game(settings.game, **settings.arguments)
    if rules.chance(rules.start()):
        return ""
    courses: dict[tuple[str, str], list[tuple[tuple[int, int | None], ...]]] = defaultdict(list)
    for game, _ in _whole(games):
        course = tuple((ply.seat, ply.move) for ply in game.plies)
        courses[game.fixture.first, game.fixture.second].append(course)
    most = max(
        ((len(played) / len(set(played)), names) for names, played in courses.items()), default=(0.0, None)
    )
    if most[0] <= 2 or most[1] is None:
        return ""
    first, second = most[1]
    played = courses[first, second]
    return (
        f"games repeat themselves: {len(set(played))} different ones among {len(played)} of {first} with "
        f"{second}; such games say nothing new, and intervals that rest on them are too narrow"
    )
